"""Run pipelines for minutes with bad items in between, and measure whether memory, descriptors and threads stay level.

    python -m perf.soak --text BUNDLE --generation BUNDLE --images BUNDLE --speech BUNDLE \
        [--photos FOLDER] [--clips FOLDER] [--minutes 10] [--precision int8] [--json FILE]

Each bundle runs in a process of its own, one after the other. A round is one call with good items and, between them,
items of every bad kind, `on_error="return"`: a bad item must come back as an `ItemError` in its place, and the good
ones must be answered as in the first round. Images come from --photos (JPEG) and recordings from --clips (FLAC or
WAV); without them, synthetic ones are used.

The process is looked at once a second: its memory (RSS), its open descriptors, and its threads by kind (Python's by
their names, all others as "native"). The slope of memory is a least-squares line through the samples after the first
quarter, while the allocators and caches settle. Prints a table, and JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

TASKS = {
    "text": "text-classification",
    "generation": "text-generation",
    "images": "image-classification",
    "speech": "automatic-speech-recognition",
}
WARM_UP = 0.25
"""The part of a run whose samples do not count for the slope."""

BAD_TEXTS: list[Any] = [None, 7, "half a pair: \ud800", {"no": "text"}]


def texts() -> tuple[list[Any], list[Any]]:
    """Make texts of mixed length, and bad ones."""
    text = "the film was not as good as the book but the music saved a long evening"
    return [" and ".join([text[4 * (i % 7) :]] * (1 + i % 6)) for i in range(48)], BAD_TEXTS


def prompts() -> tuple[list[Any], list[Any]]:
    """Make beginnings of stories, and bad ones; the last is too long for any small model."""
    names = ("Once upon a time", "The little dog", "Lily and Tom went", "A big red ball")
    return [f"{name}{' and then' * (i % 3)}" for i, name in enumerate(names * 2)], [None, 7, "half a pair: \ud800"]


def images(folder: Path | None) -> tuple[list[Any], list[Any]]:
    """Read photos, or draw noise; the bad ones are cut off, no images at all, missing, and larger than allowed."""
    from PIL import Image

    paths: list[Any] = sorted(folder.rglob("*.jpg"))[:24] if folder else []
    if not paths:
        random = np.random.default_rng(0)
        paths = [random.integers(0, 256, (240 + 8 * i, 320, 3), np.uint8) for i in range(16)]
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)).save(buffer, "PNG")
    whole = buffer.getvalue()
    bomb = whole[:16] + (100_000).to_bytes(4, "big") * 2 + whole[24:]
    return paths, [whole[: len(whole) // 2], b"no image", "/no/such/image.png", bomb, 7]


def recordings(folder: Path | None) -> tuple[list[Any], list[Any]]:
    """Find clips, or make tones; the bad ones are empty, no recordings at all, missing, and a header alone."""
    import soundfile

    clips: list[Any] = sorted(p for p in folder.rglob("*") if p.suffix in (".flac", ".wav"))[:6] if folder else []
    if not clips:
        clips = [np.sin(np.arange(16_000 * (2 + i)) / (9 + i)).astype(np.float32) for i in range(4)]
    buffer = BytesIO()
    soundfile.write(buffer, np.zeros(16_000, np.float32), 16_000, format="FLAC")
    return [str(c) if isinstance(c, Path) else c for c in clips], [
        b"",
        b"no audio",
        "/no/such.wav",
        buffer.getvalue()[:60],
    ]


def mixed(good: Sequence[Any], bad: Sequence[Any]) -> tuple[list[Any], set[int]]:
    """Put the bad items between the good ones, evenly; also return their places."""
    items, places, step = list(good), set(), max(1, len(good) // len(bad))
    for number, item in enumerate(bad):
        at = min(len(items), (number + 1) * step + number)
        items.insert(at, item)
        places.add(at)
    return items, places


def threads() -> dict[str, int]:
    """Count the threads of this process by kind."""
    own = Counter(re.sub(r"[-_ ]?\d+.*", "", thread.name) for thread in threading.enumerate())
    own["native"] = len(list(Path("/proc/self/task").iterdir())) - sum(own.values())
    return dict(sorted(own.items()))


def rss() -> int:
    """Return this process's memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Count this process's open descriptors."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1  # one is the listing's own


class Watch(threading.Thread):
    """Looks at the process once a second until it is stopped."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self.samples: list[tuple[float, int, int, dict[str, int]]] = []
        self._done = threading.Event()

    def run(self) -> None:
        start = time.monotonic()
        while not self._done.wait(1):
            self.samples.append((time.monotonic() - start, rss(), descriptors(), threads()))

    def stop(self) -> None:
        self._done.set()
        self.join()


def soak(kind: str, bundle: str, precision: str, minutes: float, folder: Path | None) -> dict[str, Any]:
    """Run one bundle for some minutes; return the figures."""
    from onnxpipe import pipeline

    pipe = pipeline(TASKS[kind], bundle, dtype=precision)
    make: dict[str, Callable[[], tuple[list[Any], list[Any]]]] = {
        "text": texts,
        "generation": prompts,
        "images": lambda: images(folder),
        "speech": lambda: recordings(folder),
    }
    items, places = mixed(*make[kind]())
    options: dict[str, Any] = {"max_new_tokens": 24, "do_sample": False} if kind == "generation" else {}
    watch, first, changed, lost, rounds = Watch(), "", 0, 0, 0
    watch.start()
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        answers = pipe(items, on_error="return", **options)
        failed = {i for i, answer in enumerate(answers) if type(answer).__name__ == "ItemError"}
        lost += len(answers) != len(items) or failed != places
        said = json.dumps([answer for i, answer in enumerate(answers) if i not in failed])
        first = first or said
        changed += said != first
        if kind == "generation":
            next(iter(pipe.stream(items[0], **options)))  # a stream that is left in the middle
        rounds += 1
    watch.stop()
    return figures(kind, watch.samples, rounds * len(items), rounds * len(places)) | {
        "rounds": rounds,
        "rounds_with_other_answers": changed,
        "rounds_with_misplaced_errors": lost,
    }


def figures(kind: str, samples: list[tuple[float, int, int, dict[str, int]]], items: int, bad: int) -> dict[str, Any]:
    """Sum up the samples of a run."""
    settled = samples[int(len(samples) * WARM_UP) :]
    seconds = np.array([sample[0] for sample in settled])
    megabytes = np.array([sample[1] / 1e6 for sample in settled])
    slope, _ = np.polyfit(seconds / 60, megabytes, 1)
    files = [sample[2] for sample in settled]
    return {
        "kind": kind,
        "minutes": round(samples[-1][0] / 60, 1),
        "items": items,
        "bad_items": bad,
        "rss_mb": {"settled": round(float(megabytes[0]), 1), "end": round(float(megabytes[-1]), 1),
                   "peak": round(max(sample[1] for sample in samples) / 1e6, 1)},
        "rss_mb_per_minute": round(float(slope), 3),
        "descriptors": {"settled": files[0], "end": files[-1], "peak": max(files)},
        "threads": {"settled": settled[0][3], "end": settled[-1][3]},
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the figures as a Markdown table."""
    lines = [
        "| task | minutes | items (bad) | RSS: settled, end, peak (MB) | MB/min | descriptors | threads | wrong |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        memory, files, kinds = row["rss_mb"], row["descriptors"], row["threads"]
        before, after = (sum(kinds[when].values()) for when in ("settled", "end"))
        wrong = row["rounds_with_other_answers"] + row["rounds_with_misplaced_errors"]
        cells = (
            TASKS[row["kind"]],
            row["minutes"],
            f"{row['items']} ({row['bad_items']})",
            f"{memory['settled']}, {memory['end']}, {memory['peak']}",
            f"{row['rss_mb_per_minute']:+.2f}",
            f"{files['settled']} → {files['end']}",
            f"{before} → {after}",
            f"{wrong} of {row['rounds']}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Run each bundle that was named in its own process, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind, task in TASKS.items():
        parser.add_argument(f"--{kind}", metavar="BUNDLE", help=f"a bundle for {task}")
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--clips", type=Path, help="a folder of FLAC or WAV files")
    parser.add_argument("--minutes", type=float, default=10, help="for each bundle")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--json", type=Path, help="where the figures are written as JSON")
    parser.add_argument("--one", choices=TASKS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        folder = {"images": args.photos, "speech": args.clips}.get(args.one)
        print(json.dumps(soak(args.one, getattr(args, args.one), args.precision, args.minutes, folder)))
        return
    rows = []
    for kind in TASKS:
        if getattr(args, kind):
            command = [sys.executable, "-m", "perf.soak", "--one", kind, *sys.argv[1:]]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    if not rows:
        parser.error("name at least one bundle")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
