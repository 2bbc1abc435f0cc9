"""Draw an image for every line of a text, and put them on one sheet.

python examples/draw_lines.py story.txt sheet.png --model stabilityai/sd-turbo --steps 1 --guidance 0

Each image has its line, its seed and its scheduler in its text fields; the sheet shows them in order.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from PIL import Image

from onnxpipe import pipeline


def main() -> None:
    """Draw the images of a text's lines, and write their sheet."""
    parser = argparse.ArgumentParser(description="Draw an image for every line of a text.")
    parser.add_argument("text", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--model", default="stabilityai/sd-turbo")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    lines = [line.strip() for line in options.text.read_text(encoding="utf-8").splitlines() if line.strip()]
    draw = pipeline("text-to-image", model=options.model, dtype=options.dtype)
    settings = {"num_inference_steps": options.steps, "guidance_scale": options.guidance, "seed": options.seed}
    images = []
    for image in draw((line for line in lines), **settings):
        images.append(image)
        print(f"seed {image.info['generation']['seed']}: {image.info['generation']['prompt']}", flush=True)
    columns = math.ceil(math.sqrt(len(images)))
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * height), "white")
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * width, number // columns * height))
    sheet.save(options.sheet)


if __name__ == "__main__":
    main()
