"""Keep what libmpg123 prints about damaged frames off the terminal: libsndfile cannot tell it to be silent."""

from __future__ import annotations

import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

#: Lines of libmpg123.
_PRINTED = re.compile(rb"\[src/libmpg123|Warning: |Note: |\s*$")
_STDERR = 2
#: C's number for a stream without a buffer (glibc's stdio.h).
_UNBUFFERED = 2


class QuietDecoder:
    """Catch the lines of libmpg123 while it decodes; other lines are passed on.

    Attributes:
        complained: whether it printed something.
    """

    def __init__(self) -> None:
        self.complained = False

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Catch what is printed in the `with` block. One thread decodes at a time, so that lines are its own."""
        with _lock:
            catcher = _catcher()
            if catcher is None:
                yield
                return
            try:
                with catcher.catching():
                    yield
            finally:
                for line in catcher.lines():
                    if _PRINTED.match(line):
                        self.complained = True
                    else:
                        with suppress(OSError):
                            os.write(_STDERR, line)


class _Catcher(ABC):
    """A pipe that C's prints go to for a while. It holds 64 KiB; what is printed beyond that is lost."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    @abstractmethod
    @contextmanager
    def catching(self) -> Iterator[None]:
        """Let prints go to the pipe in the `with` block."""
        yield

    def lines(self) -> list[bytes]:
        """Return the lines that were caught, with their ends."""
        found = b""
        with suppress(BlockingIOError):
            while more := os.read(self._read, 2**16):
                found += more
        return found.splitlines(keepends=True)


class _StreamCatcher(_Catcher):
    """Catches what C code prints to the stream `stderr`, by the variable of this name in glibc.

    The descriptor 2 is left alone, so that neither Python's own prints nor programs that other threads start go here.
    """

    def __init__(self) -> None:
        import ctypes

        super().__init__()
        library = ctypes.CDLL(None)
        self._stderr = ctypes.c_void_p.in_dll(library, "stderr")
        library.fdopen.restype = ctypes.c_void_p
        self._usual, self._ours = self._stderr.value, library.fdopen(self._write, b"w")
        if not self._ours:
            raise OSError(ctypes.get_errno(), "no stream for a pipe")
        library.setvbuf(ctypes.c_void_p(self._ours), None, _UNBUFFERED, ctypes.c_size_t(0))

    @contextmanager
    def catching(self) -> Iterator[None]:
        self._usual = self._stderr.value
        self._stderr.value = self._ours
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let prints go where they went before."""
        self._stderr.value = self._usual


class _DescriptorCatcher(_Catcher):
    """Catches what is printed to the descriptor 2, in a process of one thread.

    With more threads nothing is caught: another one might print, or start a program, in between.
    """

    @contextmanager
    def catching(self) -> Iterator[None]:
        if threading.active_count() != 1:
            yield
            return
        kept = os.dup(_STDERR)
        os.dup2(self._write, _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)


@cache
def _catcher() -> _Catcher | None:
    """Make the catcher of this process; None where there is no stderr."""
    try:
        os.fstat(_STDERR)
        if _is_glibc():
            with suppress(ImportError):
                return _StreamCatcher()
        return _DescriptorCatcher()
    except OSError:
        return None


def _is_glibc() -> bool:
    """Whether C's library is glibc. Others have `stderr` as a constant, or by another name."""
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False


_lock = threading.Lock()


def _after_fork() -> None:
    """Begin anew in a forked process: another thread may have held the lock, and the pipe is the parent's."""
    global _lock
    _lock = threading.Lock()
    if _catcher.cache_info().currsize and isinstance(catcher := _catcher(), _StreamCatcher):
        catcher.release()
    _catcher.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
