"""Sort photos into folders by what is on them: one image-classification model, one folder a label.

python examples/image_sorter.py photos sorted --model microsoft/resnet-50

Files are copied, never moved. An image that cannot be read is named on stderr and left where it is.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from onnxpipe import ItemError, pipeline

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def main() -> None:
    """Copy every image of a folder to the folder of its label."""
    parser = argparse.ArgumentParser(description="Sort photos into folders by what is on them.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", default="microsoft/resnet-50")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()

    photos = sorted(path for path in options.source.rglob("*") if path.suffix.lower() in _SUFFIXES)
    classify = pipeline("image-classification", model=options.model, dtype=options.dtype)
    answers = classify((path for path in photos), top_k=1, on_error="return")
    for path, answer in zip(photos, answers, strict=True):
        if isinstance(answer, ItemError):
            print(f"{path}: {answer.error}", file=sys.stderr)
            continue
        label = re.sub(r"\W+", "_", answer[0]["label"].split(",")[0])
        folder = options.target / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / path.name)
        print(f"{label}/{path.name}  {answer[0]['score']:.2f}")


if __name__ == "__main__":
    main()
