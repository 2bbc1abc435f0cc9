"""Keep what libmpg123 prints about damaged frames off the terminal: libsndfile cannot tell it to be silent."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

#: Lines of libmpg123.
_PRINTED = re.compile(rb"\[src/libmpg123|Warning: |Note: |\s*$")
_STDERR = 2


class QuietDecoder:
    """Catch the lines of libmpg123 while it decodes; other lines are passed on.

    Lines are caught only in a process of one thread: another one might print, or start a program, in between.

    Attributes:
        complained: whether it printed something.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.complained = False
        self._stack = stack
        self._file: IO[bytes] | None = None

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Catch what is printed in the `with` block."""
        if threading.active_count() != 1:
            yield
            return
        try:
            kept = os.dup(_STDERR)
        except OSError:  # there is none
            yield
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the recording
            self._stack.callback(self._file.close)
        os.dup2(self._file.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            self._pass_on()

    def _pass_on(self) -> None:
        assert self._file is not None
        if not self._file.seek(0, os.SEEK_END):
            return
        self._file.seek(0)
        for line in self._file.read().splitlines(keepends=True):
            if _PRINTED.match(line):
                self.complained = True
            else:
                os.write(_STDERR, line)
        self._file.seek(0)
        self._file.truncate()
