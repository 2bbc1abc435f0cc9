"""The workloads that are timed: a task and its inputs. Peers' answers are compared before any time is believed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """A task over texts.

    Attributes:
        name: its name on the command line.
        task: the pipeline's task.
        texts: the inputs.
    """

    name: str
    task: str
    texts: list[str]


_QUERY_AND_PASSAGES = [
    "How do I run a language model on a small device?",
    "ONNX Runtime executes neural networks on CPUs, GPUs and phones.",
    "Quantised weights make a model four times smaller and often faster.",
    "The recipe calls for two eggs, flour and a pinch of salt.",
    "A container without PyTorch starts in less than a second.",
    "The train to Lyon leaves at nine from platform four.",
    "Embeddings turn sentences into vectors that can be compared.",
    "She painted the fence on a quiet Sunday afternoon.",
    "Edge boxes have little memory, so every megabyte of a dependency counts.",
    "Interest rates were left unchanged by the central bank.",
]


def _column(file: str, column: str, count: int) -> list[str]:
    folder = os.environ.get("ONNXPIPE_TEST_DATA")
    if not folder:
        raise SystemExit(f"set ONNXPIPE_TEST_DATA to the folder that holds {file}")
    lines = Path(folder, file).read_text("utf-8").splitlines()
    texts: list[str] = []
    for line in lines:
        value = json.loads(line)[column]
        texts.append(" ".join(value) if isinstance(value, list) else value)
    return texts[:count]


def workload(name: str) -> Workload:
    """Make a workload by its name."""
    if name == "one-sentence":
        return Workload(name, "embedding", _QUERY_AND_PASSAGES[:1])
    if name == "sentences":  # lengths as varied as real ones
        return Workload(name, "embedding", [" ".join(_QUERY_AND_PASSAGES[i % 10 :][: 1 + i % 4]) for i in range(200)])
    if name == "one-review":
        return Workload(name, "text-classification", _column("sst2_dev.jsonl", "text", 1))
    if name == "reviews":
        return Workload(name, "text-classification", _column("sst2_dev.jsonl", "text", 872))
    if name == "ner":
        return Workload(name, "token-classification", _column("conll2003_valid.jsonl", "tokens", 400))
    raise SystemExit(f"no workload {name!r}: one-sentence, sentences, one-review, reviews, ner")


PASSAGES = _QUERY_AND_PASSAGES
