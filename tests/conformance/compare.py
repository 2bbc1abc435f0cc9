"""Is an answer the same as the reference's? The path of the first difference, or None."""

from __future__ import annotations

from typing import Any

import numpy as np

TOLERANCE = 1e-4
"""Largest difference of a float: absolute, or relative to the expected value where that is larger than one."""


def same(expected: object, got: object, tolerance: float = TOLERANCE, path: str = "$") -> str | None:
    """Compare structure, Python types, key order and strings exactly, floats within `tolerance`.

    Returns:
        None when they are the same, else the path of the first difference and what it is:
        `$[0]['score']: expected 0.91, got 0.87`.
    """
    if type(expected) is not type(got):
        return f"{path}: expected {_describe(expected)}, got {_describe(got)}"
    if isinstance(expected, dict) and isinstance(got, dict):
        return _same_dict(expected, got, tolerance, path)
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        return _same_list(expected, got, tolerance, path)
    if isinstance(expected, np.ndarray) and isinstance(got, np.ndarray):
        return _same_array(expected, got, tolerance, path)
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
    off = np.abs(expected - got) - tolerance * np.maximum(1.0, np.abs(expected))
    if off.size and off.max() > 0:
        at = tuple(int(i) for i in np.unravel_index(off.argmax(), off.shape))
        return f"{path}{list(at)}: expected {expected[at]}, got {got[at]}"
    return None


def _describe(value: object) -> str:
    return f"{type(value).__name__} {_short(value)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
