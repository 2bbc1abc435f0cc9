"""What all modalities share: arrays and tensors, scores, kinds of files."""

from __future__ import annotations

import warnings
from enum import Enum
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.arrays import as_array, check_tensor_type, to_array
from onnxpipe.processing.file_kinds import is_container, kind_of
from onnxpipe.processing.scores import sigmoid, softmax


class Tensor:
    """A tensor of another library: one that needs gradients, on another device."""

    def __init__(self, values: list[float], attached: bool = True, device: str = "cuda") -> None:
        self.values, self.attached, self.device = values, attached, device

    def detach(self) -> Tensor:
        return Tensor(self.values, False, self.device)

    def cpu(self) -> Tensor:
        return Tensor(self.values, self.attached, "cpu")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.attached or self.device != "cpu":
            raise TypeError("detach it, and move it to the CPU")
        return np.array(self.values, dtype)


def test_arrays_and_tensors() -> None:
    array = np.zeros(3)
    assert as_array(array) is array and to_array(array) is array
    for convert in (as_array, to_array):
        converted = convert(Tensor([1.0, 2.0]))
        assert converted is not None and converted.tolist() == [1.0, 2.0]
    for value in ([1, 2], (1, 2), 3.0, "text", b"bytes", None, {"a": 1}):
        assert as_array(value) is None
    assert to_array([[1, 2], [3, 4]]).shape == (2, 2) and to_array(3).shape == ()


def test_tensor_types() -> None:
    check_tensor_type(None)
    check_tensor_type("np")
    check_tensor_type(Enum("TensorType", {"NUMPY": "np"}).NUMPY)  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedError, match="return_tensors='np'"):
        check_tensor_type("pt")
    with pytest.raises(ValueError, match="not a valid TensorType"):
        check_tensor_type("x")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_are_float32_and_warn_of_nothing(dtype: Any) -> None:
    logits = np.array([[-60000.0, 0.0, 200.0], [1.0, 1.0, 1.0]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares, chances = softmax(logits), sigmoid(logits)
    assert shares.dtype == chances.dtype == np.float32
    assert shares[0].tolist() == [0, 0, 1] and np.allclose(shares[1], 1 / 3)
    assert chances[0].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xef\xbb\xbf  <!DOCTYPE HTML>", "a web page"),
        (b"<svg>", "an SVG drawing"),
        (b"PK\x03\x04", "a zip archive"),
        (b"#EXTM3U", "a playlist"),
        (b"version https://git-lfs.github.com", "a Git LFS pointer"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
        (b"\xff\xd8\xff", None),
        (b"RIFF", None),
        (b"", None),
    ],
    ids=["web page", "svg", "zip", "playlist", "lfs", "jp2", "jpeg", "wav", "empty"],
)
def test_kinds_of_files(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind


def test_containers() -> None:
    assert is_container(b"\0\0\0\x20ftypM4A ") and is_container(b"\x1aE\xdf\xa3") and is_container(b"RIFF\0\0\0\0AVI ")
    assert not is_container(b"RIFF\0\0\0\0WAVE") and not is_container(b"")
