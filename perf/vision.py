"""Measure speed and agreement from the bytes of a JPEG to the answer: photos through the pipelines of both libraries.

    python -m perf.vision image-classification MODEL BUNDLE PHOTOS [--batch 1] [--count 16] [--rounds 5] [--threads 2]
    python -m perf.vision image-segmentation MODEL BUNDLE PHOTOS [--labels labels.jsonl]

MODEL is the checkpoint, BUNDLE its export (fp32 and int8), PHOTOS a folder. Each peer runs in a process of its own with
the same number of threads; the processes take turns over the same photos, so that a noisy machine is noisy for all. On
busy cores take --threads 1: PyTorch's threads wait for the slowest at every operator, which waits for other processes.
Prints milliseconds a photo (median of the rounds, and the quickest), the ratio against transformers, and how many
answers are the same: the first label, or the share of pixels and the mean intersection over union of the masks. With
--labels (lines of {"file", "label"}), also how many first labels are right.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perf import turns

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BASE = "transformers fp32"
Answer = Callable[[list[str], int], list[Any]]


def load(peer: str, task: str, folder: str, threads: int) -> Answer:
    """Load a function from paths and a batch size to the pipeline's answers."""
    library, dtype = peer.split()
    if library == "onnxpipe":
        sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
        from onnxpipe import pipeline

        ours = pipeline(task, model=folder, dtype=dtype, device="cpu", threads=threads)
        return lambda paths, batch: list(ours(paths, batch_size=batch))

    import torch
    import transformers

    torch.set_num_threads(threads)
    theirs = transformers.pipeline(task, model=folder, device="cpu")
    return lambda paths, batch: list(theirs(paths, batch_size=batch))


def worker(peer: str, task: str, folder: str, batch: int, threads: int) -> None:
    """Run a peer's process: for every message, a list of paths and a file to keep the answers in, reply the seconds."""
    call = load(peer, task, folder, threads)

    def reply(message: tuple[list[str], str | None]) -> float:
        paths, keep = message
        began = time.perf_counter()
        answers = call(paths, batch)
        seconds = time.perf_counter() - began
        if keep:
            np.savez_compressed(keep, *[_array(one) for one in answers])
        return seconds

    turns.answer(reply)


def _array(answer: list[dict[str, Any]]) -> np.ndarray:
    """Reduce an answer to its first label, or to the label of each pixel."""
    if "mask" not in answer[0]:
        return np.array(answer[0]["label"])
    labels = np.full(np.asarray(answer[0]["mask"]).shape, "", "U64")
    for segment in answer:
        labels[np.asarray(segment["mask"]) > 0] = segment["label"]
    return labels


def same(answers: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> str:
    """Say how many answers are the same."""
    if answers[0].ndim == 0:
        return f"{sum(str(a) == str(b) for a, b in zip(answers, wanted, strict=True))} of {len(wanted)} labels the same"
    pixels = [float((a == b).mean()) for a, b in zip(answers, wanted, strict=True)]
    unions = [_intersection_over_union(a, b) for a, b in zip(answers, wanted, strict=True)]
    return f"{statistics.mean(pixels):.2%} of pixels, mean IoU {statistics.mean(unions):.3f}"


def _intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the mean over the labels that either has."""
    shares = [((a == label) & (b == label)).sum() / ((a == label) | (b == label)).sum() for label in {*a.flat, *b.flat}]
    return float(np.mean(shares))


def main() -> None:
    """Run the command line; see the module's docstring."""
    if sys.argv[1:2] == ["--worker"]:
        peer, task, folder, batch, threads = sys.argv[2:]
        worker(peer, task, folder, int(batch), int(threads))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["image-classification", "image-segmentation"])
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--labels", type=Path)
    args = parser.parse_args()
    paths = sorted(str(path) for path in args.photos.resolve().glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    paths = paths[: args.count]
    bundle, model = str(args.bundle.resolve()), str(args.model.resolve())
    peers = [("onnxpipe fp32", bundle), ("onnxpipe int8", bundle), (BASE, model)]
    seconds: dict[str, list[float]] = {peer: [] for peer, _ in peers}
    answers: dict[str, list[np.ndarray]] = {}
    rest = (str(args.batch), str(args.threads))
    commands = {peer: ("perf.vision", "--worker", peer, args.task, folder, *rest) for peer, folder in peers}
    with tempfile.TemporaryDirectory() as work, turns.started(commands) as processes:
        for peer, process in processes.items():  # this round warms up
            keep = str(Path(work) / f"{peer}.npz")
            turns.ask(process, peer, [paths, keep])
            with np.load(keep) as kept:
                answers[peer] = [kept[f"arr_{number}"] for number in range(len(paths))]
        for _ in range(args.rounds):
            for peer, process in processes.items():
                seconds[peer].append(turns.ask(process, peer, [paths, None]))
    print(
        f"{args.task}: {len(paths)} photos, batches of {args.batch}, {args.threads} threads, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    right = _labels(args.labels) if args.labels else {}
    for peer, times in seconds.items():
        ratio = statistics.median(base / mine for base, mine in zip(seconds[BASE], times, strict=True))
        line = f"{peer:18} {1000 * statistics.median(times) / len(paths):7.1f} ms a photo"
        line += f" (quickest {1000 * min(times) / len(paths):7.1f})  {ratio:5.2f} x transformers"
        line += f"  {same(answers[peer], answers[BASE])}"
        if right:
            hits = [str(one) == right[Path(path).name] for one, path in zip(answers[peer], paths, strict=True)]
            line += f", {sum(hits)} right"
        print(line)


def _labels(path: Path) -> dict[str, str]:
    """Read a label for each file name."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {line["file"]: line["label"] for line in lines}


if __name__ == "__main__":
    main()
