"""Make docs/images/demo.gif from the video of a demo: python docs/images/make_gif.py runs/demo/*/episode_001.mp4"""

import sys
from pathlib import Path

import av
from PIL import Image

OUT = Path(__file__).with_name("demo.gif")
WIDTH, FPS, SPEED, COLORS = 640, 8, 1.5, 96  # pixels, images a second, times real time, colours of the palette


def main(video: str) -> None:
    """Write the GIF: every image that is due, scaled, with one palette for all."""
    images, due = [], 0.0
    with av.open(video) as container:
        for frame in container.decode(video=0):
            if frame.time >= due:
                image = frame.to_image()
                images.append(image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS))
                due += SPEED / FPS
    palette = images[len(images) // 2].quantize(COLORS)
    images = [image.quantize(COLORS, palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(OUT, save_all=True, append_images=images[1:], duration=1000 / FPS, loop=0, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
