"""Tensors of KServe v2: in JSON, or as little-endian bytes behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.serving.bodies import json_type
from onnxpipe.serving.faults import bad_request
from onnxpipe.serving.parameters import unknown_field

_KINDS: Mapping[str, str] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_FIELDS = frozenset({"name", "shape", "datatype", "data", "parameters"})


@dataclass(frozen=True)
class Tensor:
    """A tensor with a name.

    Attributes:
        name: its name.
        datatype: the protocol's name of its type.
        data: numbers, or objects of bytes.
    """

    name: str
    datatype: str
    data: np.ndarray[Any, Any]

    @classmethod
    def of(cls, name: str, data: np.ndarray[Any, Any]) -> Tensor:
        """Make a tensor of an array."""
        return cls(name, datatype_of(data.dtype), data)


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name of a type of numpy."""
    kinds = {np.dtype(kind): each for each, kind in _KINDS.items()}
    return kinds.get(dtype.newbyteorder("<"), "BYTES")


def read_tensors(given: Any, blob: bytes) -> list[Tensor]:
    """Read the inputs of a request.

    Args:
        given: from the JSON.
        blob: what follows the JSON.

    Raises:
        RequestFault: 400: shape, type, data and bytes do not go together.
    """
    if not isinstance(given, list) or not given:
        raise bad_request("inputs is a list of tensors", "inputs")
    tensors, place = [], 0
    for each in given:
        if not isinstance(each, Mapping):
            raise bad_request(f"a tensor is an object, got {json_type(each)}", "inputs")
        for name in each:
            if name not in _FIELDS:
                raise unknown_field(name, _FIELDS, "field of a tensor")
        own = each.get("parameters") or {}
        size = own.get("binary_data_size") if isinstance(own, Mapping) else None
        if size is None:
            tensors.append(_tensor(each, None))
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(blob) - place:
            raise bad_request("binary_data_size is not what the body holds", "inputs")
        tensors.append(_tensor(each, blob[place : place + size]))
        place += size
    if place != len(blob):
        raise bad_request(f"{len(blob) - place} bytes follow the last tensor", "inputs")
    return tensors


def _tensor(given: Mapping[str, Any], blob: bytes | None) -> Tensor:
    name, kind, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if not isinstance(name, str) or not isinstance(kind, str) or (kind != "BYTES" and kind not in _KINDS):
        raise bad_request(f"a tensor has a name and one of the datatypes BYTES, {', '.join(_KINDS)}", "inputs")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size <= 2**31 for size in shape):
        raise bad_request(f"the shape of {name:.50} is a list of whole numbers", "inputs")
    count = math.prod(shape)
    values = _from_bytes(blob, kind, name) if blob is not None else _from_json(given.get("data"), kind, name)
    if len(values) != count:
        raise bad_request(f"{name:.50} has the shape {shape}, and {len(values):,} elements", "inputs")
    return Tensor(name, kind, values.reshape(shape))


def _from_bytes(blob: bytes, kind: str, name: str) -> np.ndarray[Any, Any]:
    if kind != "BYTES":
        dtype = np.dtype(_KINDS[kind])
        if len(blob) % dtype.itemsize:
            raise bad_request(f"{name:.50} has {len(blob):,} bytes, which are no whole elements", "inputs")
        return np.frombuffer(blob, dtype)
    found, place = [], 0
    while place < len(blob):
        size = int.from_bytes(blob[place : place + 4], "little")
        if len(blob) - place < 4 + size:
            raise bad_request(f"an element of {name:.50} is longer than its bytes", "inputs")
        found.append(blob[place + 4 : place + 4 + size])
        place += 4 + size
    return _objects(found)


def _objects(values: Sequence[bytes]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _from_json(data: Any, kind: str, name: str) -> np.ndarray[Any, Any]:
    flat = _flat(data, name)
    if kind == "BYTES":
        if not all(isinstance(each, str) for each in flat):
            raise bad_request(f"the data of {name:.50} are texts", "inputs")
        return _objects([each.encode() for each in flat])
    wanted: Any = bool if kind == "BOOL" else (int, float) if kind.startswith("FP") else int
    if not all(isinstance(each, wanted) and (kind == "BOOL") == isinstance(each, bool) for each in flat):
        raise bad_request(f"the data of {name:.50} are not of the type {kind}", "inputs")
    try:
        return np.array(flat, np.dtype(_KINDS[kind]))
    except (OverflowError, ValueError):
        raise bad_request(f"the data of {name:.50} do not fit {kind}", "inputs") from None


def _flat(data: Any, name: str) -> list[Any]:
    if not isinstance(data, list):
        raise bad_request(f"{name:.50} has no data: a list, or bytes behind the JSON", "inputs")
    found: list[Any] = []
    for each in data:
        found += _flat(each, name) if isinstance(each, list) else [each]
    return found


def write_tensors(tensors: Sequence[Tensor], binary: Sequence[bool]) -> tuple[list[dict[str, Any]], bytes]:
    """Write tensors: their entries in the JSON, and the bytes that follow it."""
    entries, blobs = [], []
    for tensor, as_bytes in zip(tensors, binary, strict=True):
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.data.shape)}
        if as_bytes:
            blobs.append(_to_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            values = tensor.data.reshape(-1).tolist()
            entry["data"] = (
                [each.decode("utf-8", "replace") for each in values] if tensor.datatype == "BYTES" else values
            )
        entries.append(entry)
    return entries, b"".join(blobs)


def _to_bytes(tensor: Tensor) -> bytes:
    if tensor.datatype != "BYTES":
        return np.ascontiguousarray(tensor.data, _KINDS[tensor.datatype]).tobytes()
    return b"".join(len(each).to_bytes(4, "little") + each for each in tensor.data.reshape(-1).tolist())
