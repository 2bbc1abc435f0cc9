"""Is an answer the same as the reference's? The path of the first difference, or None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

TOLERANCE = 1e-4
"""Largest difference of a float: absolute, or relative to the expected value where that is larger than one.

Twice what two kernels may differ by over a tiny model (`tolerances.MODEL`), as an answer is computed from its outputs;
it is also what a bundle's fp32 is certified for.
"""


EDGE = 1e-3
"""How near to the next integer a float must lie for its rounding to go either way."""


TIPPED = 0.005
"""Share of a mask's pixels that may be of another segment: where two are equal to the last bits of a float."""


class Cut(int):
    """An integer of the reference that was cut or rounded from the float `exact`."""

    exact: float

    def __new__(cls, value: int, exact: float) -> Cut:
        self = super().__new__(cls, value)
        self.exact = exact
        return self


@dataclass(frozen=True, eq=False)
class ImagePixels:
    """A PIL image of an answer: its mode, and its pixels uint8 (height, width) or (height, width, channels).

    Args:
        exact: for a reference's grey levels that were rounded from floats: one level either way is the same.
    """

    mode: str
    pixels: np.ndarray
    exact: bool = True


def same(expected: object, got: object, tolerance: float = TOLERANCE, path: str = "$") -> str | None:
    """Compare structure, Python types, key order and strings exactly, floats within `tolerance`.

    Returns:
        None when they are the same, else the path of the first difference and what it is:
        `$[0]['score']: expected 0.91, got 0.87`.
    """
    if isinstance(expected, Cut) and type(got) is int:
        near = abs(expected.exact - round(expected.exact)) <= EDGE * max(1.0, abs(expected.exact) / 100)
        return None if abs(expected - got) <= near else f"{path}: expected {expected} ({expected.exact}), got {got}"
    if type(expected) is not type(got):
        return f"{path}: expected {_describe(expected)}, got {_describe(got)}"
    if isinstance(expected, dict) and isinstance(got, dict):
        return _same_dict(expected, got, tolerance, path)
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        return _same_list(expected, got, tolerance, path)
    if isinstance(expected, np.ndarray) and isinstance(got, np.ndarray):
        return _same_array(expected, got, tolerance, path)
    if isinstance(expected, ImagePixels) and isinstance(got, ImagePixels):
        return _same_image(expected, got, path)
    if isinstance(expected, float) and isinstance(got, float):
        equal = abs(expected - got) <= tolerance * max(1.0, abs(expected)) or expected == got
        return None if equal else f"{path}: expected {expected!r}, got {got!r}"
    return None if expected == got else f"{path}: expected {expected!r}, got {got!r}"


def _same_dict(expected: dict[Any, Any], got: dict[Any, Any], tolerance: float, path: str) -> str | None:
    if list(expected) != list(got):
        return f"{path}: expected the keys {list(expected)}, got {list(got)}"
    differences = (same(expected[key], got[key], tolerance, f"{path}[{key!r}]") for key in expected)
    return next((difference for difference in differences if difference), None)


def _same_list(expected: Any, got: Any, tolerance: float, path: str) -> str | None:
    if len(expected) != len(got):
        return f"{path}: expected {len(expected)} items, got {len(got)}: {_short(expected)} and {_short(got)}"
    pairs = enumerate(zip(expected, got, strict=True))
    differences = (same(one, other, tolerance, f"{path}[{i}]") for i, (one, other) in pairs)
    return next((difference for difference in differences if difference), None)


def _same_array(expected: np.ndarray, got: np.ndarray, tolerance: float, path: str) -> str | None:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return f"{path}: expected {expected.dtype}{expected.shape}, got {got.dtype}{got.shape}"
    if expected.dtype.kind not in "fc":
        return _first_unequal(expected, got, path, allowed=TIPPED if expected.dtype == bool else 0)
    off = np.abs(expected - got) - tolerance * np.maximum(1.0, np.abs(expected))
    if off.size and off.max() > 0:
        at = tuple(int(i) for i in np.unravel_index(off.argmax(), off.shape))
        return f"{path}{list(at)}: expected {expected[at]}, got {got[at]}"
    return None


def _same_image(expected: ImagePixels, got: ImagePixels, path: str) -> str | None:
    if (expected.mode, expected.pixels.shape) != (got.mode, got.pixels.shape):
        return f"{path}: expected an image {expected.mode} {expected.pixels.shape}, got {got.mode} {got.pixels.shape}"
    if not expected.exact:
        return _first_unequal(expected.pixels, got.pixels, path, least=1)
    is_mask = np.isin(expected.pixels, (0, 255)).all()
    return _first_unequal(expected.pixels, got.pixels, path, allowed=TIPPED if is_mask else 0)


def _first_unequal(
    expected: np.ndarray, got: np.ndarray, path: str, *, least: int = 0, allowed: float = 0
) -> str | None:
    """The first place where integers or booleans differ by more than `least`, and how many such places there are.

    Args:
        allowed: the share of places that may differ.
    """
    places = np.argwhere(np.abs(expected.astype(np.int64) - got.astype(np.int64)) > least)
    if len(places) <= allowed * expected.size:
        return None
    at = tuple(places[0].tolist())
    return f"{path}{list(at)}: expected {expected[at]}, got {got[at]} ({len(places)} of {expected.size} differ)"


def _describe(value: object) -> str:
    return f"{type(value).__name__} {_short(value)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
