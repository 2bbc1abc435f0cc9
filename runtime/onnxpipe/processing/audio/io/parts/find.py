"""Choose who looks for the recordings of a file, by its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from onnxpipe.processing.audio.io.parts.chunks import AIFF, CAF, RF64, RIFF, RIFX, W64, au_parts, chunk_parts
from onnxpipe.processing.audio.io.parts.flac import flac_parts
from onnxpipe.processing.audio.io.parts.mpeg import MpegFrame, mpeg_parts
from onnxpipe.processing.audio.io.parts.ogg import ogg_parts
from onnxpipe.processing.audio.io.parts.part import MAX_PARTS, Part
from onnxpipe.processing.audio.io.parts.reader import ByteReader, after_id3


def find_parts(stream: IO[bytes]) -> list[Part]:
    """List the recordings of a file; empty where libsndfile reads all of it as it is, and for formats that are not
    known here.

    Args:
        stream: the file, which can be sought.
    """
    reader = ByteReader(stream)
    start = after_id3(reader, 0)
    head = reader.at(start, 16)
    finder = next((finder for magic, finder in _FINDERS if head.startswith(magic)), None)
    if finder is None and MpegFrame.of(head) is not None:
        finder = mpeg_parts
    parts = [] if finder is None else finder(reader, start)
    whole = len(parts) == 1 and parts[0] == Part(((0, reader.size),))
    return [] if whole or len(parts) > MAX_PARTS else parts


_FINDERS: tuple[tuple[bytes, Callable[[ByteReader, int], list[Part]]], ...] = (
    *((form.magic, chunk_parts(form)) for form in (RIFF, RIFX, RF64, AIFF, CAF, W64)),
    (b".snd", au_parts), (b"dns.", au_parts), (b"OggS", ogg_parts), (b"fLaC", flac_parts),
)  # fmt: skip
