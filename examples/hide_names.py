"""Replace names in a text by their kind: "Sarah lives in Rome" becomes "[PER] lives in [LOC]".

python examples/hide_names.py letter.txt --model dslim/bert-base-NER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from onnxpipe import pipeline


def main() -> None:
    """Print the file's text without names."""
    parser = argparse.ArgumentParser(description="Replace names in a text by their kind.")
    parser.add_argument("source", type=Path)
    parser.add_argument("--model", default="dslim/bert-base-NER")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()

    find = pipeline("ner", model=options.model, dtype=options.dtype, aggregation_strategy="simple")
    lines = options.source.read_text(encoding="utf-8").splitlines()
    for line, entities in zip(lines, find(lines), strict=True):
        for entity in reversed(entities):  # from the end, so that the places before it stay right
            line = f"{line[: entity['start']]}[{entity['entity_group']}]{line[entity['end'] :]}"
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
