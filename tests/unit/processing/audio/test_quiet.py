"""What libmpg123 prints about a damaged mp3 becomes one warning, and what others print meanwhile stays theirs."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("soundfile")

from onnxpipe.processing.audio.io import quiet
from onnxpipe.processing.audio.io.load import load_audio
from onnxpipe.processing.audio.io.quiet import QuietDecoder
from unit.processing.audio.test_parts import RATE, encoded, mp3_frames

GLIBC = quiet._is_glibc()
needs_glibc = pytest.mark.skipif(not GLIBC, reason="stderr of C is found in glibc only")
LINE = b"[src/libmpg123/layer3.c:1] error: a\n"


@pytest.fixture(scope="module")
def damaged() -> bytes:
    data = bytearray(encoded("MP3"))
    for place in mp3_frames(bytes(data))[20:40]:
        data[place + 6 : place + 60] = b"\xff\x07" * 27
    return bytes(data)


@pytest.fixture
def other_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let C's library be another than glibc, and this process one of a single thread."""
    monkeypatch.setattr(quiet, "_is_glibc", lambda: False)
    monkeypatch.setattr(quiet.threading, "active_count", lambda: 1)
    quiet._catcher.cache_clear()
    yield
    quiet._catcher.cache_clear()


def c_prints(text: bytes) -> None:
    """Print to the stream that libraries in C print to."""
    library = ctypes.CDLL(None)
    library.fputs(text, ctypes.c_void_p.in_dll(library, "stderr"))


@needs_glibc
def test_damaged_frames_are_one_warning(damaged: bytes, caplog: Any, capfd: Any) -> None:
    load_audio(damaged, RATE)
    assert not capfd.readouterr().err
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == ["some of its audio is missing"]


@needs_glibc
def test_in_threads_each_damaged_file_has_its_warning(damaged: bytes, caplog: Any, capfd: Any) -> None:
    whole = encoded("MP3")
    with ThreadPoolExecutor(4) as pool:
        lengths = list(pool.map(lambda data: len(load_audio(data, RATE)), [damaged, whole] * 6))
    assert lengths == [len(load_audio(damaged, RATE)), len(load_audio(whole, RATE))] * 6
    assert not capfd.readouterr().err
    assert len(caplog.records) == 7


@needs_glibc
def test_only_lines_of_the_decoder_are_caught(capfd: Any) -> None:
    decoder = QuietDecoder()
    with decoder.quiet():
        c_prints(LINE + b"mine\n" + LINE)
        os.write(2, b"python\n")
        subprocess.run([sys.executable, "-c", f"import os; os.write(2, {LINE!r})"], check=True)
    assert decoder.complained
    assert capfd.readouterr().err == f"python\n{LINE.decode()}mine\n"
    quiet_one = QuietDecoder()
    with quiet_one.quiet():
        pass
    assert not quiet_one.complained
    c_prints(b"after\n")
    assert capfd.readouterr().err == "after\n"


@needs_glibc
def test_more_than_a_pipe_holds_does_not_block(capfd: Any) -> None:
    decoder = QuietDecoder()
    with decoder.quiet():
        for _ in range(5000):
            c_prints(LINE)
    assert decoder.complained
    with decoder.quiet():
        c_prints(b"mine\n")
    assert capfd.readouterr().err == "mine\n"


@needs_glibc
def test_an_error_in_the_decoder_gives_the_stream_back(capfd: Any) -> None:
    with pytest.raises(ZeroDivisionError), QuietDecoder().quiet():
        c_prints(LINE)
        raise ZeroDivisionError
    c_prints(b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.usefixtures("other_library")
def test_without_glibc_the_descriptor_is_diverted(capfd: Any) -> None:
    decoder = QuietDecoder()
    with decoder.quiet():
        os.write(2, b"Warning: Xing stream size off by more than 1%\nmine\n" + LINE)
    assert decoder.complained
    with decoder.quiet():
        os.write(2, b"and mine\n")
    assert capfd.readouterr().err == "mine\nand mine\n"


@pytest.mark.usefixtures("other_library")
def test_without_glibc_threads_keep_the_descriptor(capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet.threading, "active_count", lambda: 2)
    with QuietDecoder().quiet():
        os.write(2, b"mine\n")
    assert capfd.readouterr().err == "mine\n"


@needs_glibc
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_forked_meanwhile_can_decode(damaged: bytes) -> None:
    """The thread that holds the lock is not in the child, and the pipe is the parent's."""
    inside, done = threading.Event(), threading.Event()

    def decode() -> None:
        with QuietDecoder().quiet():
            inside.set()
            done.wait(60)

    def child(sender: Any) -> None:
        decoder = QuietDecoder()
        with decoder.quiet():
            c_prints(LINE)
        sender.send((decoder.complained, len(load_audio(damaged, RATE))))

    other = threading.Thread(target=decode)
    other.start()
    inside.wait(60)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(sender,))
    process.start()
    done.set()
    other.join()
    assert receiver.poll(60)
    assert receiver.recv() == (True, len(load_audio(damaged, RATE)))
    process.join()
