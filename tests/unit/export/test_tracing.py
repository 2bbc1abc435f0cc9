"""What C++ prints while a model is traced is kept off the standard output, and what other threads write is not."""

from __future__ import annotations

import os
import sys
import threading

import pytest

pytest.importorskip("torch")

from onnxpipe_export import tracing


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process have one thread, which that of a test may not have."""
    monkeypatch.setattr(tracing.threading, "enumerate", lambda: [threading.current_thread()])


@pytest.mark.usefixtures("one_thread")
def test_prints_are_silenced_in_a_process_of_one_thread(capfd: pytest.CaptureFixture[str]) -> None:
    with tracing._silent_output():
        os.write(1, b"graph(...)\n")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


def test_other_threads_keep_the_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    with tracing._silent_output():
        os.write(1, b"a line of a server\n")
    done.set()
    other.join()
    assert capfd.readouterr().out == "a line of a server\n"


@pytest.mark.usefixtures("one_thread")
def test_a_process_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(descriptor: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(tracing.os, "dup", closed)
    with tracing._silent_output():
        pass
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdout", None)
    with tracing._silent_output():
        pass
