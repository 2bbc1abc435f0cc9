"""The reader of ONNX files by itself: what protobuf would read otherwise than it does, it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxpipe.bundle.graph_reader import external_tensors
from onnxpipe.errors import BundleError


def varint(value: int, length: int = 0) -> bytes:
    """The number in as few bytes as hold it, or padded to `length` of them."""
    groups = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    groups += [0] * (length - len(groups))
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def part(number: int, content: bytes, *, high: int = 0, tag: int = 0, size: int = 0) -> bytes:
    """A field of bytes: `high` is added to its tag, `tag` and `size` are the bytes that its tag and length are padded
    to."""
    return varint((number << 3 | 2) + high, tag) + varint(len(content), size) + content


ENTRY = part(1, b"location") + part(2, b"secret")
TENSOR = varint(8) + varint(1) + part(8, b"w") + part(13, ENTRY)


def test_a_plain_reference_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(part(7, part(5, TENSOR)))
    assert [tensor.entries for tensor in external_tensors(path)] == [{"location": "secret"}]


@pytest.mark.parametrize(
    "content",
    [
        part(7, part(5, TENSOR), high=1 << 32),
        part(7, part(5, TENSOR, high=1 << 32)),
        part(7, part(5, TENSOR, high=1 << 34)),
        part(7, part(5, TENSOR, high=1 << 62)),
        part(7, part(5, part(13, ENTRY, high=1 << 32))),
        part(7, part(5, part(13, part(1, b"location", high=1 << 32) + part(2, b"x")))),
        part(7, part(5, TENSOR), tag=2),
        part(7, part(5, TENSOR, tag=5)),
        part(7, part(5, TENSOR, tag=10)),
        part(7, part(5, TENSOR), size=5),
        part(7, part(5, TENSOR, size=3)),
        varint(7 << 3 | 2) + varint((1 << 32) + 1) + b"x",
        part(0, b"location"),
        part(7, part(0, TENSOR)),
        varint(0) + varint(1) + part(7, b""),
        varint(7 << 3 | 3) + part(5, TENSOR) + varint(7 << 3 | 4),
        part(7, varint(5 << 3 | 3) + TENSOR + varint(5 << 3 | 4)),
        varint(7 << 3 | 6) + b"x",
        varint(7 << 3 | 7) + b"x",
    ],
    ids=[
        "graph above 32 bits", "tensor above 32 bits", "tensor above 34 bits", "tensor above 62 bits",
        "reference above 32 bits", "key above 32 bits", "padded graph", "padded tensor", "tensor padded to ten",
        "padded length", "padded length of a tensor", "length above 32 bits", "field 0", "field 0 in a graph",
        "number in field 0", "group", "group in a graph", "wire type 6", "wire type 7",
    ],
)  # fmt: skip
def test_what_parsers_read_differently(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="not a valid ONNX graph"):
        external_tensors(path)
