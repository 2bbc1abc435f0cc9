"""Read files of arrays of strangers (numpy's, safetensors): no pickle, no more memory than the file has bytes."""

from __future__ import annotations

import io
import json
import math
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
    import zipfile  # slow to import, and few bundles need it

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


#: The types of floats in a safetensors file. BF16 is the upper half of a float32.
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
#: Axes that an array may have.
_MOST_AXES = 8


def read_safetensors(content: bytes) -> dict[str, Array]:
    """Read the tensors of floats in a safetensors file, as float32.

    Source: the format's description (8 bytes with the header's size, a header in JSON, then the values).

    Raises:
        ValueError: it is damaged, a tensor is not of floats, or its bytes are not those of its shape.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or start > len(content):
        raise ValueError("its header is cut off")
    try:
        header = json.loads(content[8:start])
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    values = memoryview(content)[start:]
    return {name: _tensor(values, name, entry) for name, entry in header.items() if name != "__metadata__"}


def _tensor(values: memoryview, name: str, entry: Any) -> Array:
    entry = entry if isinstance(entry, dict) else {}
    shape, place, kind = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not isinstance(kind, str) or kind not in _FLOATS:
        raise ValueError(f"{name!r} is of the type {kind!r}; read are {', '.join(_FLOATS)}")
    if not _are_sizes(shape, 0, _MOST_AXES):
        raise ValueError(f"{name!r} has the shape {str(shape)[:80]}, which is none")
    if not _are_sizes(place, 2, 2):
        raise ValueError(f"{name!r} lies at {str(place)[:80]}, not from one byte to another")
    begin, end = place
    if not begin <= end <= len(values) or end - begin != math.prod(shape) * np.dtype(_FLOATS[kind]).itemsize:
        raise ValueError(f"{name!r} has the shape {shape}, and lies at bytes {begin} to {end} of {len(values)}")
    array = np.frombuffer(values[begin:end], _FLOATS[kind])
    if kind == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    return array.reshape(shape).astype(np.float32)


def _are_sizes(value: Any, least: int, most: int) -> bool:
    """Whether a value from JSON is a list of so many whole numbers, none of them negative."""
    whole = isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
    return whole and least <= len(value) <= most


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
