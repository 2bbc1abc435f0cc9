"""Measure long recordings: one file, in chunks one by one and by eights, and window after window.

    python -m perf.speech BUNDLE SPEECH [--minutes 60] [--dtype fp32]

SPEECH is a folder with transcripts.jsonl, lines of {"file", "text"}: its recordings are joined and repeated to the
length, in one file, which onnxpipe transcribes greedily by its path. Prints seconds, whether the texts are the same,
whether the times are in order and inside the file, and by how much the process grew. Short recordings beside peers are
workloads of `python -m perf run`.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from perf import turns
from perf.turns import THREADS
from perf.worker import peak_memory

RATE = 16_000
TASK = "automatic-speech-recognition"
PAUSE = 0.5
"""Seconds between the recordings of a long file."""


def ours(folder: str, dtype: str, threads: int) -> Any:
    """Load onnxpipe's pipeline, in a process that can import neither torch nor transformers."""
    sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
    from onnxpipe import pipeline

    return pipeline(TASK, model=folder, dtype=dtype, device="cpu", threads=threads)


def decoded(path: Path) -> np.ndarray:
    """Decode a file to one channel at 16 kHz, float32 (n,)."""
    import soundfile
    import soxr

    array, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32", always_2d=True)
    mono = array.mean(axis=1)
    return mono if rate == RATE else np.asarray(soxr.resample(mono, rate, RATE), np.float32)


def transcripts(speech: Path) -> list[dict[str, str]]:
    """Read the lines of transcripts.jsonl."""
    return [json.loads(line) for line in (speech / "transcripts.jsonl").read_text("utf-8").splitlines()]


def write_long(speech: Path, target: Path, minutes: float) -> float:
    """Write the recordings, joined with pauses and repeated, as a 16-bit WAV file; return its length in seconds."""
    import soundfile

    pause = np.zeros(round(PAUSE * RATE), np.float32)
    turn = np.concatenate([part for row in transcripts(speech) for part in (decoded(speech / row["file"]), pause)])
    left = round(minutes * 60 * RATE)
    with soundfile.SoundFile(target, "w", RATE, 1, subtype="PCM_16") as file:
        while left > 0:
            file.write(turn[:left])
            left -= len(turn)
    return minutes * 60


WAYS: dict[str, dict[str, Any]] = {
    "chunks, one by one": {"chunk_length_s": 30, "batch_size": 1, "ignore_warning": True},
    "chunks, by eights": {"chunk_length_s": 30, "batch_size": 8, "ignore_warning": True},
    "in sequence": {},
}


def long_worker(way: str, folder: str, dtype: str, threads: int) -> None:
    """Run a process that transcribes two files, the short one to warm up, and replies how much it grew between."""
    pipe = ours(folder, dtype, threads)

    def reply(paths: tuple[str, str]) -> dict[str, Any]:
        short, long = paths
        pipe(short, return_timestamps=True, num_beams=1, **WAYS[way])
        before, began = peak_memory(), time.perf_counter()
        answer = pipe(long, return_timestamps=True, num_beams=1, **WAYS[way])
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "before": before, "growth": peak_memory() - before, **answer}

    turns.answer(reply)


def hour(args: argparse.Namespace) -> None:
    """Transcribe one long file in the three ways, and print a line each."""
    bundle = str(args.bundle.resolve())
    texts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work:
        short, long = Path(work) / "short.wav", Path(work) / "long.wav"
        write_long(args.speech, short, min(args.minutes / 4, 5))
        length = write_long(args.speech, long, args.minutes)
        print(f"{length / 60:.0f} minutes, {args.dtype}, greedy, {args.threads} threads")
        for way in WAYS:
            with turns.started(
                {way: ("perf.speech", "--long-worker", way, bundle, args.dtype, str(args.threads))}
            ) as processes:
                reply = processes[way].ask([str(short), str(long)])
            texts[way] = reply["text"]
            print(
                f"{way:18} {reply['seconds']:7.1f} s  {length / reply['seconds']:5.1f} x real time  "
                f"{reply['before']:.0f} MB, grew by {reply['growth']:.0f} MB  {in_order(reply['chunks'], length)}",
                flush=True,
            )
    one, other = list(WAYS)[:2]
    print(f"batches of 1 and 8: {'the same text' if texts[one] == texts[other] else 'OTHER TEXTS'}")


def in_order(chunks: Sequence[dict[str, Any]], length: float) -> str:
    """Say whether the times of segments never go back and stay inside the file."""
    times = [moment for chunk in chunks for moment in chunk["timestamp"] if moment is not None]
    back = sum(a > b for a, b in pairwise(times))
    outside = sum(not 0 <= moment <= length + 0.02 for moment in times)
    if back or outside:
        return f"{len(chunks)} segments, {back} TIMES GO BACK, {outside} OUTSIDE"
    return f"{len(chunks)} segments, times in order and inside"


def main() -> None:
    """Run the command line; see the module's docstring."""
    if sys.argv[1:2] == ["--long-worker"]:
        long_worker(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--threads", type=int, default=THREADS)
    hour(parser.parse_args())


if __name__ == "__main__":
    main()
