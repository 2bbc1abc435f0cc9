"""Translate a text file line by line; empty lines stay where they are.

python examples/translate_file.py english.txt french.txt --model Helsinki-NLP/opus-mt-en-fr
"""

from __future__ import annotations

import argparse
from pathlib import Path

from onnxpipe import pipeline


def main() -> None:
    """Translate the lines of a file in batches."""
    parser = argparse.ArgumentParser(description="Translate a text file line by line.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--task", default="translation_en_to_fr")
    parser.add_argument("--model", default="Helsinki-NLP/opus-mt-en-fr")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()

    translate = pipeline(options.task, model=options.model, dtype=options.dtype)
    lines = options.source.read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line.strip()]
    answers = iter(translate(texts, batch_size=options.batch_size))
    with options.target.open("w", encoding="utf-8") as target:
        for line in lines:
            print(next(answers)["translation_text"] if line.strip() else "", file=target)


if __name__ == "__main__":
    main()
