"""The command line on a real model: a table of reviews in, labels and scores out, nothing of PyTorch in the process."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rows = Callable[[str], list[dict[str, Any]]]
Find = Callable[[str], Path]

pytestmark = pytest.mark.xdist_group("real")


def test_872_reviews_in_a_csv(real_bundle: Find, rows: Rows, tmp_path: Path) -> None:
    reviews = rows("sst2_dev.jsonl")
    source, target = tmp_path / "reviews.csv", tmp_path / "out.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text", "gold"])
        writer.writeheader()
        writer.writerows({"id": i, "text": row["text"], "gold": row["label"]} for i, row in enumerate(reviews))
    command = [
        sys.executable, "-m", "onnxpipe", "run", "text-classification", "--model", str(real_bundle("minilm-sst2")),
        "--input", str(source), "--column", "text", "--output", str(target),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "872 rows" in done.stderr and "rows/s" in done.stderr
    with target.open(newline="", encoding="utf-8") as file:
        answered = list(csv.DictReader(file))
    assert [row["text"] for row in answered] == [row["text"] for row in reviews]
    assert sum(row["label"] == row["gold"] for row in answered) / 872 > 0.85
    assert all(0.5 <= float(row["score"]) <= 1 for row in answered)


def test_verify_and_inspect(real_bundle: Find) -> None:
    for command in ("verify", "inspect"):
        done = subprocess.run(
            [sys.executable, "-m", "onnxpipe", command, str(real_bundle("minilm-conll"))],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "int8" in done.stdout and "fp32" in done.stdout


def test_no_torch_after_a_pipeline_ran(real_bundle: Find, tmp_path: Path) -> None:
    code = (
        "import sys; from onnxpipe import pipeline; "
        f"print(pipeline('sentiment-analysis', {str(real_bundle('minilm-sst2'))!r})('We love this')); "
        "bad = {'torch', 'transformers', 'onnx', 'onnxpipe_export'} & set(sys.modules); assert not bad, bad"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "POSITIVE" in done.stdout
    assert not any(tmp_path.iterdir())


def test_bench(real_bundle: Find, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "onnxpipe", "bench", str(real_bundle("minilm-sst2")), "--dtype", "int8",
         "--threads", "1", "--rounds", "1", "--seconds", "0.1", "--batch", "1,4", "-o", str(target)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(target.read_text())["settings"]["int8, 1 thread"]
    assert {"cold start (s)", "alone, p50 (ms)", "at half load, p99 (ms)", "batch of 4, inputs (1/s)"} <= figures.keys()
    assert all(value > 0 for values in figures.values() for value in values)
