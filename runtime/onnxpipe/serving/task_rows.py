"""The inputs of a task as columns of bytes: what KServe's tensors and Triton's hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxpipe.serving.faults import bad_request
from onnxpipe.tasks.base.spec import TaskSpec


def input_names(spec: TaskSpec) -> list[str]:
    """Return the names of a task's columns: the parts of its input, or "text", "image", "audio" or "video"."""
    if spec.parts and not spec.parts_as_list:
        return [part.name for part in spec.parts]
    return [str(spec.input) if spec.input in ("image", "audio", "video") else "text"]


def input_rows(columns: Mapping[str, Sequence[bytes]], spec: TaskSpec) -> list[Any]:
    """Join columns to inputs, one a row.

    Raises:
        RequestFault: 400: a column is missing, they have different lengths, or a text is not UTF-8.
    """
    names = input_names(spec)
    read = {name: [_value(each, name) for each in column] for name, column in columns.items()}
    if set(read) != set(names) or len({len(column) for column in read.values()}) != 1:
        raise bad_request(f"the inputs are {', '.join(names)}, each with as many rows", "inputs")
    if len(names) == 1:
        return read[names[0]]
    return [dict(zip(names, row, strict=True)) for row in zip(*(read[name] for name in names), strict=True)]


def _value(data: bytes, name: str) -> Any:
    if name in ("image", "audio", "video", "images"):
        try:
            return data.decode("ascii")  # base64, in JSON
        except UnicodeDecodeError:
            return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request(f"{name} is a text in UTF-8", "inputs") from None
