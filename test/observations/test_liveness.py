"""Liveness of a stream: fast, slow, ended, and back again."""

import pytest

from latent_policy_ros.observations.liveness import Liveness


@pytest.mark.parametrize("rate, longest", [(100.0, 0.15), (10.0, 0.3)])
def test_a_stream_ends_after_the_timeout_or_three_of_its_periods(rate, longest):
    stream = Liveness(0.15)
    assert stream.silence(100.0) == 0.0  # never received
    for k in range(20):
        stream.receive(k / rate)
    last = 19 / rate
    assert stream.silence(last + longest - 1e-6) == 0.0
    assert stream.silence(last + longest + 1e-6) == pytest.approx(longest, abs=1e-5)


def test_an_outage_does_not_make_a_stream_slow():
    stream = Liveness(0.15)
    for now in (0.0, 0.01, 0.02, 0.03, 5.0, 5.01):
        stream.receive(now)
    assert stream.silence(5.1) == 0.0 and stream.silence(5.2) == pytest.approx(0.19)
