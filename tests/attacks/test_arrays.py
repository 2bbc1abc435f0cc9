"""Files of arrays whose header says what cannot be."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.bundle.arrays import read_safetensors


def safetensors(header: Any, data: bytes = bytes(16), size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(shape: Any = [2, 2], offsets: Any = [0, 16], dtype: Any = "F32") -> dict[str, Any]:  # noqa: B006
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(("dtype", "stored"), [("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2")])
def test_tensors_are_read(dtype: str, stored: str) -> None:
    values = np.array([[1, -2, 0.5], [3, 4, -5]], stored)
    content = safetensors(
        {"__metadata__": {"format": "pt"}, **entry([2, 3], [8, 8 + values.nbytes], dtype)}, bytes(8) + values.tobytes()
    )
    np.testing.assert_array_equal(read_safetensors(content)["w"], values.astype(np.float32))


def test_bfloat16_is_read() -> None:
    values = np.array([1, -2, 0.5, 3], np.float32)
    half = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = read_safetensors(safetensors(entry([4], [0, 8], "BF16"), half))["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


def test_tensors_without_values_are_read() -> None:
    assert read_safetensors(safetensors(entry([0, 5], [4, 4])))["w"].shape == (0, 5)
    assert read_safetensors(safetensors(entry([], [0, 4])))["w"].shape == ()


HOSTILE = {
    "nothing": b"",
    "no header": b"\x01\0\0\0\0\0\0",
    "header cut off": safetensors(entry(), b"", 10_000),
    "header of any length": safetensors(entry(), size=2**63),
    "not an object": safetensors([1]),
    "not JSON": safetensors(b"{]"),
    "too deep": safetensors(b"[" * 200_000),
    "entry of another kind": safetensors({"w": [1]}),
    "negative dimensions": safetensors(entry([-2, -2])),
    "one negative dimension": safetensors(entry([-1, 4])),
    "dimension that is a float": safetensors(entry([2.0, 2])),
    "dimension that is true": safetensors(entry([True, 4], [0, 16])),
    "shape that is a number": safetensors(entry(4)),
    "a million axes": safetensors(entry([127] * 10**6)),
    "more than there is": safetensors(entry([8, 8], [0, 256])),
    "other bytes than the shape has": safetensors(entry([2, 2], [0, 12])),
    "huge": safetensors(entry([2**40, 2**40], [0, 16])),
    "from before the data": safetensors(entry([2, 2], [-16, 0])),
    "backwards": safetensors(entry([2, 2], [16, 0])),
    "three places": safetensors(entry([2, 2], [0, 8, 16])),
    "integers": safetensors(entry([2, 2], [0, 16], "I32")),
    "type that is a list": safetensors(entry([2, 2], [0, 16], ["F32"])),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"header|JSON|Expecting|type|shape|lies at"):
        read_safetensors(HOSTILE[name])


def test_tensors_of_a_million_axes_are_refused_at_once(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from attacks.graphs import external_folder, onnx
    from onnxpipe.bundle.external import check_external
    from onnxpipe.errors import BundleError

    folder = external_folder(tmp_path)
    proto = onnx.load(folder / "onnx/model.onnx", load_external_data=False)
    proto.graph.initializer[0].dims.extend([127] * 10**6)
    (folder / "onnx/model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(BundleError, match="1000002 axes"):
        check_external(folder / "onnx/model.onnx", folder)
