"""Search a folder of text files by meaning: embed every paragraph once, then rank them against each question.

python examples/semantic_search.py docs "How do I convert a model?" --model minilm --top 3
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxpipe import pipeline


def paragraphs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each paragraph of the folder's .txt and .md files with its place, "file:line"."""
    for path in sorted([*folder.rglob("*.txt"), *folder.rglob("*.md")]):
        start, lines = 1, []
        for number, line in enumerate([*path.read_text("utf-8", errors="replace").splitlines(), ""], 1):
            if line.strip():
                start = start if lines else number
                lines.append(line.strip())
            elif lines:
                yield f"{path.relative_to(folder)}:{start}", " ".join(lines)
                lines = []


def main() -> None:
    """Print the paragraphs that are nearest to the question."""
    parser = argparse.ArgumentParser(description="Search a folder of text files by meaning.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("question")
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--top", type=int, default=5)
    options = parser.parse_args()

    embed = pipeline("embedding", model=options.model, dtype=options.dtype)
    found = list(paragraphs(options.folder))
    if not found:
        raise SystemExit(f"{options.folder} has no .txt or .md file with text in it")
    vectors = np.stack(embed([text for _, text in found], truncation=True))
    scores = vectors @ embed(options.question)  # the vectors have length 1: this is the cosine
    for index in np.argsort(-scores)[: options.top]:
        place, text = found[index]
        print(f"{scores[index]:.3f}  {place}  {text:.100}")


if __name__ == "__main__":
    main()
