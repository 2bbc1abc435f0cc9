"""The unfinished file of a table job: it becomes the output when it is complete; `--resume` goes on with it."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from onnxpipe.cli.run.table import check_output
from onnxpipe.processing.tables.lines import TableError

#: Age in seconds from which on the unfinished files of other jobs are removed.
_OLD = 24 * 3600
_NAME = re.compile(r"\..+\.[0-9a-z_]{8}\.part")


class PartialFile:
    """An unfinished output, in the folder of the finished one.

    Args:
        target: the finished output.
        job: eight letters or digits, the same for the same job.

    Attributes:
        path: the unfinished file.
        rows: how many rows it holds.
    """

    def __init__(self, target: Path, job: str) -> None:
        self.target = target.resolve()  # through a link, so that the link stays
        self.path = self.target.parent / f".{self.target.name}.{job}.part"
        self.rows = 0
        self._file: BinaryIO | None = None

    def check_resume(self) -> None:
        """Refuse to resume where only unfinished files of other jobs are there.

        Raises:
            TableError: the unfinished file is that of a job with another model or other options.
        """
        others = [
            path
            for path in self.target.parent.glob(f".{glob_escaped(self.target.name)}.*.part")
            if _NAME.fullmatch(path.name) and path != self.path
        ]
        if others and not self.path.exists():
            raise TableError(
                f"{others[0]} holds the rows of a job with another model or other options: repeat that command, or "
                "leave --resume out to begin anew"
            )

    @contextlib.contextmanager
    def open(self, overwrite: bool) -> Iterator[PartialFile]:
        """Open the file. If the block succeeds it becomes the output; else it stays, unless it has no rows.

        Raises:
            FileExistsError: the output exists, and `overwrite` is false.
            TableError: another process writes the file.
        """
        check_output(self.target, overwrite)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(self.path, flags, 0o666), "r+b") as file:  # noqa: PTH123 - a descriptor
            if not _lock(file):
                raise TableError(f"{self.path}: another process writes this output")
            sweep(self.target.parent, self.path)
            self._file = file
            try:
                yield self
                file.flush()
                if self.target.exists():
                    self.path.chmod(self.target.stat().st_mode & 0o777)
            except BaseException:
                with contextlib.suppress(OSError):
                    file.flush()
                if not self.rows:
                    self.path.unlink(missing_ok=True)
                raise
        self.path.replace(self.target)

    def keep(self, rows: int, size: int) -> None:
        """Keep the first rows, which have so many bytes, and drop what follows."""
        assert self._file is not None
        self.rows = rows
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, text: str, rows: int = 1) -> None:
        """Append text that has so many rows; it is with the system at once, so that no signal loses it."""
        assert self._file is not None
        self._file.write(text.encode())
        self._file.flush()
        self.rows += rows


def sweep(folder: Path, mine: Path | None = None) -> None:
    """Remove unfinished files older than a day from a folder, save `mine` and those that a process still writes."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if path == mine or not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_file():
                continue
            if time.time() - path.stat().st_mtime > _OLD:
                with path.open("rb") as file:
                    abandoned = _lock(file)
                if abandoned:
                    path.unlink()


def glob_escaped(name: str) -> str:
    """Escape the characters of a name that have a meaning in a pattern."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _lock(file: BinaryIO) -> bool:
    """Lock a file for this process until it is closed; False where another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows: a file that is open cannot be removed there
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
