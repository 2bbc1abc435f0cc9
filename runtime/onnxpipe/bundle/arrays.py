"""Read numpy's files of strangers: no pickle, and no more memory than the file itself has bytes."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def read_npy(content: bytes) -> Array:
    """Read the array of an .npy file.

    Raises:
        ValueError: it is damaged, or holds objects.
    """
    return _array(io.BytesIO(content), len(content))


def read_npz(content: bytes, limit: int) -> Iterator[tuple[str, Array]]:
    """Yield the names and arrays of an .npz file.

    Raises:
        ValueError: it is damaged, unpacks to more than `limit` bytes, is encrypted, or packed in a way that numpy does
            not write.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > limit:
                raise ValueError(f"it unpacks to more than {limit} bytes")
            for entry in entries:
                if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{entry.filename!r} is encrypted, or compressed by a method that numpy lacks")
                with archive.open(entry) as file:
                    yield entry.filename.removesuffix(".npy"), _array(file, entry.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from None


def _array(file: IO[bytes], size: int) -> Array:
    """Read an array in numpy's format. numpy trusts the header, so it is compared with the size first.

    Source: numpy.lib.format (NEP 1).
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array of the format {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"an array of {dtype}")
    if any(length < 0 for length in shape):
        raise ValueError(f"an array of the shape {shape}")
    count = math.prod(shape)
    if count * dtype.itemsize > size:
        raise ValueError(f"an array of the shape {shape} in {size} bytes")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count).reshape(shape, order="F" if fortran else "C")
