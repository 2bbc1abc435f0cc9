"""Measure speed and word error rate of speech recognition: a Whisper through the pipelines, beside transformers'.

    python -m perf.speech MODEL BUNDLE SPEECH [--beams 1,5] [--rounds 3] [--threads 2]
    python -m perf.speech MODEL BUNDLE SPEECH --minutes 60 [--dtype fp32]

MODEL is the checkpoint, BUNDLE its export (fp32 and int8), SPEECH a folder with transcripts.jsonl, lines of {"file",
"text"}. Each peer runs in a process of its own with the same number of threads; the processes take turns over the same
clips, decoded before the clock starts. faster-whisper (CTranslate2, int8) takes part where its package is installed.
Prints seconds a round (medians), the real-time factor (seconds of audio in a second), the ratio against transformers,
the words wrong in a hundred, and how many texts are the same as transformers'.

With --minutes, the clips are joined and repeated to that length in one file, which onnxpipe transcribes by its path: in
chunks, in batches of 1 and of 8, and in sequence; prints seconds, whether the texts are the same, whether the times are
in order and inside the file, and by how much the process grew.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from perf import turns
from perf.words import error_rate

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BASE, FASTER = "transformers fp32", "faster-whisper int8"
RATE = 16_000
TASK = "automatic-speech-recognition"
PAUSE = 0.5
"""Seconds between the clips of a long file."""

Transcribe = Callable[[np.ndarray], str]


def load(peer: str, folder: str, beams: int, threads: int) -> Transcribe:
    """Load a function from float32 (n,) at 16 kHz to the text."""
    library, dtype = peer.split()
    if library == "onnxpipe":
        pipe = ours(folder, dtype, threads)
        return lambda audio: str(pipe(audio, num_beams=beams)["text"])
    if library == "transformers":
        import torch
        import transformers

        torch.set_num_threads(threads)
        theirs = transformers.pipeline(TASK, model=folder, device="cpu")
        return lambda audio: str(theirs(audio, num_beams=beams)["text"])

    from faster_whisper import WhisperModel

    model = WhisperModel(folder, device="cpu", compute_type=dtype, cpu_threads=threads)
    settings = {"beam_size": beams, "temperature": 0.0, "language": "en", "without_timestamps": True}

    def transcribe(audio: np.ndarray) -> str:
        segments, _ = model.transcribe(audio, condition_on_previous_text=False, **settings)
        return "".join(segment.text for segment in segments)

    return transcribe


def ours(folder: str, dtype: str, threads: int) -> Any:
    """Load onnxpipe's pipeline, in a process that can import neither torch nor transformers."""
    sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
    from onnxpipe import pipeline

    return pipeline(TASK, model=folder, dtype=dtype, device="cpu", threads=threads)


def worker(peer: str, folder: str, beams: int, threads: int) -> None:
    """Run a peer's process: for every message, a list of paths, reply the seconds of transcription and the texts."""
    transcribe = load(peer, folder, beams, threads)

    def reply(paths: list[str]) -> tuple[float, list[str]]:
        recordings = [decoded(Path(path)) for path in paths]
        began = time.perf_counter()
        texts = [transcribe(recording) for recording in recordings]
        return time.perf_counter() - began, texts

    turns.answer(reply)


def decoded(path: Path) -> np.ndarray:
    """Decode a file to one channel at 16 kHz, float32 (n,)."""
    import soundfile
    import soxr

    array, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32", always_2d=True)
    mono = array.mean(axis=1)
    return mono if rate == RATE else np.asarray(soxr.resample(mono, rate, RATE), np.float32)


def for_ctranslate2(folder: str, work: Path) -> str:
    """Convert the checkpoint by CTranslate2's own converter, with int8 weights."""
    import ctranslate2

    files = ["tokenizer.json", "preprocessor_config.json"]
    converter = ctranslate2.converters.TransformersConverter(folder, copy_files=files)
    return str(converter.convert(str(work / "ctranslate2"), quantization="int8"))


def compare(args: argparse.Namespace, beams: int) -> None:
    """Transcribe short clips one by one, and print a line a peer."""
    rows = transcripts(args.speech)
    paths = [str(args.speech.resolve() / row["file"]) for row in rows]
    audio_seconds = sum(len(decoded(Path(path))) for path in paths) / RATE
    bundle, model = str(args.bundle.resolve()), str(args.model.resolve())
    with tempfile.TemporaryDirectory() as work:
        peers = {"onnxpipe fp32": bundle, "onnxpipe int8": bundle, BASE: model}
        if importlib.util.find_spec("faster_whisper"):
            peers[FASTER] = for_ctranslate2(model, Path(work))
        rest = (str(beams), str(args.threads))
        commands = {peer: ("perf.speech", "--worker", peer, folder, *rest) for peer, folder in peers.items()}
        with turns.started(commands) as processes:
            texts = {peer: turns.ask(process, peer, paths)[1] for peer, process in processes.items()}  # warms up
            seconds: dict[str, list[float]] = {peer: [] for peer in peers}
            for _ in range(args.rounds):
                for peer, process in processes.items():
                    seconds[peer].append(turns.ask(process, peer, paths)[0])
    print(
        f"{len(paths)} clips, {audio_seconds:.0f} s, {beams} beams, {args.threads} threads, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for peer, times in seconds.items():
        middle = statistics.median(times)
        ratio = statistics.median(base / mine for base, mine in zip(seconds[BASE], times, strict=True))
        wrong = error_rate((text, row["text"]) for text, row in zip(texts[peer], rows, strict=True))
        same = sum(a == b for a, b in zip(texts[peer], texts[BASE], strict=True))
        line = f"{peer:20} {middle:6.2f} s  {audio_seconds / middle:5.1f} x real time  {ratio:5.2f} x transformers"
        print(f"{line}  {wrong:4.1f} words wrong in 100  {same} of {len(paths)} texts the same")


def transcripts(speech: Path) -> list[dict[str, str]]:
    """Read the lines of transcripts.jsonl."""
    return [json.loads(line) for line in (speech / "transcripts.jsonl").read_text("utf-8").splitlines()]


def write_long(speech: Path, target: Path, minutes: float) -> float:
    """Write the clips, joined with pauses and repeated, as a 16-bit WAV file; return its length in seconds."""
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
        before, began = peak(), time.perf_counter()
        answer = pipe(long, return_timestamps=True, num_beams=1, **WAYS[way])
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "before": before, "growth": peak() - before, **answer}

    turns.answer(reply)


def peak() -> float:
    """Return the most memory that this process ever had, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


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
                reply = turns.ask(processes[way], way, [str(short), str(long)])
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
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
        return
    if sys.argv[1:2] == ["--long-worker"]:
        long_worker(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--beams", default="1,5", help="numbers of beams, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--minutes", type=float, help="transcribe one file of this length")
    parser.add_argument("--dtype", default="fp32", help="of the long file")
    args = parser.parse_args()
    if args.minutes:
        hour(args)
        return
    for beams in args.beams.split(","):
        compare(args, int(beams))


if __name__ == "__main__":
    main()
