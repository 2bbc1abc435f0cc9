"""Hostile files and what they may cost: archives, WAV files with any header, playlists, memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import socket
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import pytest

Value = TypeVar("Value")

MIB = 2**20


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """Pack `files` (name to content) into a zip archive; all are dated 1980, so the bytes are the same every time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def gzip_of(content: bytes) -> bytes:
    """Compress `content` as gzip without a date."""
    return gzip.compress(content, mtime=0)


def wav(
    data: bytes, *, kind: int = 1, rate: int = 16_000, channels: int = 1, bits: int = 16, claimed: int | None = None
) -> bytes:
    """Write a WAV file whose header may say anything.

    Args:
        data: the samples.
        kind: 1 for integers, 3 for floats.
        claimed: how many bytes of samples the header promises; None for as many as there are.
    """
    frame = min(channels * bits // 8, 0xFFFF)
    size = len(data) if claimed is None else claimed
    layout = struct.pack("<HHIIHH", kind, channels, rate, min(rate * frame, 2**32 - 1), frame, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + body


def memory() -> int:
    """Return the most bytes that this process ever had in memory."""
    if sys.platform == "win32":
        pytest.skip("no way to ask for the memory here")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def load_or_refuse(load: Callable[[], Value], refusal: type[Exception]) -> Value | None:
    """Return what `load` returns, or None where it raises `refusal`; anything else that it raises fails the test."""
    try:
        return load()
    except refusal:
        return None


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n",
    "m3u8 of an address": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:{port}/x.ts\n"
    "#EXT-X-ENDLIST\n",
    "m3u8 with spaces": "\n\n  #EXTM3U\n#EXTINF:5,\nfile://{path}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{path}'\n",
    "ffconcat without quotes": "ffconcat version 1.0\nfile {path}\n",
    "concat": "file '{path}'\n",
    "pls": "[playlist]\nFile1={path}\nNumberOfEntries=1\n",
    "mpd": "<?xml version='1.0'?><MPD type='static'><BaseURL>{path}</BaseURL></MPD>",
    "mpd with periods": '<MPD type="static"><Period><AdaptationSet><Representation><BaseURL>{path}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm={media} {port} RTP/AVP {payload}\n",
    "sdp with a session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm={media} {port} RTP/AVP "
    "{payload}\n",
    "a bare path": "{path}",
}
"""Texts that name a file (`{path}`) or an address of this machine (`{port}`): FFmpeg would open what they name."""


@contextlib.contextmanager
def untouched_port() -> Iterator[int]:
    """Listen on a port of this machine, and fail where anything connects to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    with contextlib.closing(listener):
        yield listener.getsockname()[1]
        with pytest.raises(BlockingIOError):
            listener.accept()
