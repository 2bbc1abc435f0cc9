"""Label a table of reviews: one text-classification model, a CSV in, a CSV with two more columns out.

    python examples/review_table.py reviews.csv labelled.csv --model minilm-sst2 --column text

The rows are read, answered in batches and written as they come, so the table may be larger than memory. A row that
cannot be answered gets its error in the label's place. (`onnxpipe run text-classification --input reviews.csv` does the
same from the command line.)
"""

from __future__ import annotations

import argparse
import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from onnxpipe import ItemError, pipeline


def main() -> None:
    """Answer every row of the input table."""
    parser = argparse.ArgumentParser(description="Label the reviews of a CSV file.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", default="distilbert/distilbert-base-uncased-finetuned-sst-2-english")
    parser.add_argument("--column", default="text")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()

    classify = pipeline("text-classification", model=options.model, dtype=options.dtype)
    waiting: deque[dict[str, str]] = deque()  # rows that were read ahead and have no answer yet
    with options.source.open(newline="", encoding="utf-8") as source, options.target.open("w", newline="") as target:
        reader = csv.DictReader(source)

        def texts() -> Iterator[str]:
            for row in reader:
                waiting.append(row)
                yield row[options.column]

        writer = csv.DictWriter(target, [*(reader.fieldnames or ()), "label", "score"])
        writer.writeheader()
        for answer in classify(texts(), on_error="return"):
            row = waiting.popleft()
            if isinstance(answer, ItemError):
                writer.writerow({**row, "label": f"error: {answer.error}", "score": ""})
            else:
                writer.writerow({**row, "label": answer["label"], "score": f"{answer['score']:.4f}"})


if __name__ == "__main__":
    main()
