"""VideoStream: pictures after a lost packet of H.264 count as lost, up to the next key frame."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.observations.video_stream import VideoStream

LENGTH, KEY_INTERVAL = 40, 10
ENCODERS = {
    "without delay": {"tune": "zerolatency", "preset": "ultrafast"},
    "B-frames": {"preset": "fast", "x264-params": "bframes=3:b-pyramid=normal:open-gop=0"},
    "scaling matrices and several references": {"preset": "fast", "x264-params": "cqm=jvt:bframes=0:ref=4"},
}


def packets(options, pixel_format="yuv420p"):
    """Packets of a video whose pictures differ everywhere."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 48, pixel_format, Fraction(1, 30)
    codec.options = {**options, "g": str(KEY_INTERVAL)}
    noise, made = np.random.default_rng(0).integers(0, 100, (48, 64, 3)), []
    for k in range(LENGTH):
        frame = av.VideoFrame.from_ndarray((np.roll(noise, 3 * k, axis=1) + 3 * k).astype(np.uint8), format="rgb24")
        frame.pts = k
        made += codec.encode(frame)
    return [(packet.pts, bytes(packet)) for packet in [*made, *codec.encode(None)]]


def decode(stream):
    """{time: picture}, and the number of packets that were refused."""
    video, shown, refused = VideoStream("front"), {}, 0
    for at, data in stream:
        try:
            shown |= dict(video.push(at, SimpleNamespace(format="h264", data=data)))
        except ObservationRefused as error:
            assert "packets of the video are lost" in str(error)
            refused += 1
    return shown, refused


@pytest.mark.parametrize("options", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_no_wrong_picture_after_a_lost_packet(options, pixel_format):
    stream = packets(options, pixel_format)
    whole, refused = decode(stream)
    assert refused == 0 and len(whole) > LENGTH - 5
    for lost in range(1, LENGTH - 1):
        shown, refused = decode([*stream[:lost], *stream[lost + 1 :]])
        assert all(np.array_equal(picture, whole[at]) for at, picture in shown.items()), lost
        assert refused <= KEY_INTERVAL and len(shown) >= len(whole) - KEY_INTERVAL - 4


def test_pictures_return_with_the_next_key_frame():
    stream = packets(ENCODERS["without delay"])
    shown, refused = decode([*stream[:13], *stream[15:]])
    assert sorted(shown) == [*range(13), *range(20, LENGTH)] and refused == 5
