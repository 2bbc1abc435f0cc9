"""Bound the seconds of one run of a graph, by ONNX Runtime's terminate flag."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from onnxpipe.engine.runtime import import_onnxruntime

#: Seconds after which the thread that watches looks whether there is still something to watch.
_IDLE = 1.0


def check_run_timeout(seconds: Any) -> float | None:
    """Return the seconds that a run may take, as a float; None for no limit.

    Raises:
        ValueError: it is not a number of seconds above 0.
    """
    if seconds is None:
        return None
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"run_timeout={seconds!r}: pass the most seconds of one run of a graph, a number above 0")
    return float(seconds)


_NO_LIMIT = nullcontext()


def limited_run(seconds: float | None) -> AbstractContextManager[Any]:
    """Return a context with the options of one run of ONNX Runtime, whose terminate flag is set when the time is over.

    ONNX Runtime looks at the flag between two operators, those of subgraphs (the body of a loop) included.

    Args:
        seconds: the most seconds of the run; None gives None, which is no limit and costs nothing.
    """
    return _NO_LIMIT if seconds is None else _limited(seconds)


@contextmanager
def _limited(seconds: float) -> Iterator[Any]:
    options, watch = import_onnxruntime().RunOptions(), _watch
    watch.begin(options, seconds)
    try:
        yield options
    finally:
        watch.end(options)


class _Watch:
    """The runs of this process that have a limit, and one thread that stops them; it ends when there are none.

    Starting a thread for each run would cost half a millisecond, as much as a step of a small model.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[int, tuple[float, Any]] = {}
        self._thread: threading.Thread | None = None
        self._wakes = math.inf  # when the thread looks next

    def begin(self, options: Any, seconds: float) -> None:
        """Set the flag of these options so many seconds from now, if `end` is not called before."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._running[id(options)] = deadline, options
            if self._thread is None:
                self._thread = threading.Thread(target=self._stop_late_runs, name="onnxpipe-run-timeout", daemon=True)
                self._thread.start()
            elif deadline < self._wakes:
                self._changed.notify()

    def end(self, options: Any) -> None:
        """Leave the flag of these options as it is from now on."""
        with self._changed:
            self._running.pop(id(options), None)

    def _stop_late_runs(self) -> None:
        with self._changed:
            while self._running:
                now = time.monotonic()
                for deadline, options in self._running.values():
                    if deadline <= now:
                        options.terminate = True
                ahead = [deadline for deadline, _ in self._running.values() if deadline > now]
                self._wakes = min([*ahead, now + _IDLE])
                self._changed.wait(self._wakes - now)
            self._thread = None


_watch = _Watch()


def _forget_runs() -> None:
    """Begin anew in a forked process: the thread is not in it, and its lock may be held there for ever."""
    global _watch
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_runs)
