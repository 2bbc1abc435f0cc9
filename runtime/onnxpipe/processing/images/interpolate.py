"""Resize float arrays as `torch.nn.functional.interpolate` does.

Each axis is a few gathers with weights: one for nearest, two for bilinear, four for bicubic. Plane by plane, and in
blocks of rows that stay in the cache, this is as fast as torch on one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: The bicubic kernel's parameter (Keys, 1981) as torch has it; Pillow's is -0.5.
_CUBIC = -0.75
#: Rows of the result that are computed at a time.
_BLOCK = 64


def interpolate(
    array: Array, size: tuple[int, int], mode: str = "bilinear", align_corners: bool = False, antialias: bool = False
) -> Array:
    """Resize the last two axes of an array.

    Args:
        array: shape (…, h, w); taken as float32, unless `mode` is "nearest".
        size: (height, width) of the result.
        mode: "bilinear", "bicubic" (edge pixels repeated beyond the edge) or "nearest".
        align_corners: the centres of the corner pixels stay where they are; not for "nearest".
        antialias: a pixel of a smaller result is the mean of all that it covers; for "bilinear" only.

    Returns:
        Shape (…, height, width); float32, or the array's own type for "nearest".

    Raises:
        ValueError: another mode, a flag that the mode does not have, an empty axis, or fewer than two axes.
    """
    resize, flat = _prepared(array, size, mode, align_corners, antialias)
    out = np.empty((len(flat), *resize.size), flat.dtype)
    for plane, place in zip(flat, out):
        resize(plane, place)
    return out.reshape(*array.shape[:-2], *resize.size)


def interpolate_cropped(array: Array, between: tuple[int, int], kept: tuple[int, int], size: tuple[int, int]) -> Array:
    """Resize bilinearly to one size, crop, and resize bilinearly to another size, in one step.

    Args:
        array: shape (…, h, w).
        between: (height, width) after the first resizing.
        kept: (height, width) of the top left part that is kept and resized again.
        size: (height, width) of the result.

    Returns:
        Shape (…, height, width) float32. The intermediate array is never computed: both steps together are one
        weighted sum.
    """
    height, width = int(size[0]), int(size[1])
    flat = array.reshape(-1, *array.shape[-2:]).astype(np.float32, copy=False)
    resize = _Resize(*(_chained(*axis) for axis in zip(array.shape[-2:], between, kept, (height, width))))
    out = np.empty((len(flat), height, width), np.float32)
    for plane, place in zip(flat, out):
        resize(plane, place)
    return out.reshape(*array.shape[:-2], height, width)


def resized_planes(
    array: Array, size: tuple[int, int], mode: str = "bilinear", align_corners: bool = False, antialias: bool = False
) -> Iterator[Array]:
    """Yield the planes (height, width) of `interpolate` in one shared buffer, so that each overwrites the last."""
    resize, flat = _prepared(array, size, mode, align_corners, antialias)
    out = np.empty(resize.size, flat.dtype)
    for plane in flat:
        resize(plane, out)
        yield out


def resized_argmax(array: Array, size: tuple[int, int]) -> NDArray[np.int64]:
    """Resize the planes (C, h, w) bilinearly and return the index of the largest one (the first) at each pixel.

    The result is (height, width). Memory is that of a few planes of the result, however many planes there are.
    """
    winners = np.zeros((int(size[0]), int(size[1])), np.int64)
    best = np.full(winners.shape, -np.inf, np.float32)
    larger = np.empty(winners.shape, bool)
    for index, plane in enumerate(resized_planes(array, size)):
        np.greater(plane, best, out=larger)
        np.copyto(winners, index, where=larger)
        np.maximum(plane, best, out=best)
    return winners


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis: for each tap of the kernel, the indices to gather and the weights of the values (None for 1)."""

    size: int
    indices: tuple[NDArray[np.intp], ...]
    weights: tuple[Array, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Resize:
    rows: _Axis
    columns: _Axis

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.size, self.columns.size

    def __call__(self, plane: Array, out: Array) -> None:
        """Resize a plane (h, w) into `out` (height, width)."""
        # Columns first, while the plane is small; torch sums in this order too.
        wide = _gathered(plane, self.columns, 1, np.empty((len(plane), self.columns.size), plane.dtype))
        for start in range(0, self.rows.size, _BLOCK):
            _gathered(wide, self.rows, 0, out[start : start + _BLOCK], start)


def _gathered(plane: Array, axis: _Axis, number: int, out: Array, start: int = 0) -> Array:
    """Write the weighted sum of an axis' gathers to `out`, which holds the result from `start` on along that axis."""
    part = slice(start, start + out.shape[number])
    np.take(plane, axis.indices[0][part], number, out=out, mode="clip")
    if axis.weights is None:
        return out
    shape = (-1, 1) if number == 0 else (1, -1)
    out *= axis.weights[0][part].reshape(shape)
    term = np.empty_like(out)
    for indices, weights in zip(axis.indices[1:], axis.weights[1:]):
        np.take(plane, indices[part], number, out=term, mode="clip")
        term *= weights[part].reshape(shape)
        out += term
    return out


def _prepared(
    array: Array, size: tuple[int, int], mode: str, align_corners: bool, antialias: bool
) -> tuple[_Resize, Array]:
    if mode not in ("bilinear", "bicubic", "nearest"):
        raise ValueError(f"mode={mode!r} is not known; choose bilinear, bicubic or nearest")
    if (align_corners and (antialias or mode == "nearest")) or (antialias and mode != "bilinear"):
        raise ValueError(f"{align_corners=} and {antialias=} cannot be combined with {mode=}")
    height, width = int(size[0]), int(size[1])
    if array.ndim < 2 or min(*array.shape[-2:], height, width) < 1:
        raise ValueError(f"an array of shape {array.shape} cannot be resized to {height}x{width}")
    kind = "antialiased" if antialias else mode
    rows, columns = (
        _axis(old, new, kind, align_corners) for old, new in zip(array.shape[-2:], (height, width), strict=True)
    )
    flat = array.reshape(-1, *array.shape[-2:])
    return _Resize(rows, columns), flat if mode == "nearest" else flat.astype(np.float32, copy=False)


@lru_cache(maxsize=64)
def _axis(old: int, new: int, kind: str, align_corners: bool) -> _Axis:
    if kind == "antialiased":
        return _covering(old, new)
    if kind == "nearest":
        source = np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))
        return _Axis(new, (np.minimum(source.astype(np.intp), old - 1),), None)
    source = _sources(old, new, align_corners)
    if kind == "bilinear":
        source = np.maximum(source, 0)
    left = np.minimum(np.floor(source).astype(np.intp), old - 1)
    part = np.clip(source - left.astype(np.float32), 0, 1).astype(np.float32)
    if kind == "bilinear":
        return _Axis(new, (left, np.minimum(left + 1, old - 1)), (1 - part, part))
    taps = tuple(np.clip(left + step, 0, old - 1) for step in (-1, 0, 1, 2))
    return _Axis(new, taps, (_far(part + 1), _near(part), _near(1 - part), _far(2 - part)))


def _covering(old: int, new: int) -> _Axis:
    """Build the antialiasing kernel: a triangle as wide as two pixels of the result, or of the source if wider."""
    one, half = np.float32(1), np.float32(0.5)
    scale = np.float32(old) / np.float32(new)
    reach = max(scale, one)
    centre = (np.arange(new, dtype=np.float32) + half) * scale
    first = np.maximum((centre - reach + half).astype(np.intp), 0)
    end = np.minimum((centre + reach + half).astype(np.intp), old)
    steps = np.arange(int((end - first).max()))[:, None]
    away = ((first + steps).astype(np.float32) - centre + half) * (one / reach)
    weights = np.maximum(one - np.abs(away), 0) * (first + steps < end)
    weights /= weights.sum(0)
    return _Axis(new, tuple(np.minimum(first + steps, old - 1)), tuple(weights))


@lru_cache(maxsize=64)
def _chained(old: int, between: int, kept: int, new: int) -> _Axis:
    first, second = _axis(old, between, "bilinear", False), _axis(kept, new, "bilinear", False)
    both = _matrix(second, kept) @ _matrix(first, old)[:kept]
    start = (both != 0).argmax(1)
    end = old - (both[:, ::-1] != 0).argmax(1)
    steps = np.arange(int((end - start).max()))[:, None]
    weights = np.take_along_axis(both, np.minimum(start + steps, old - 1).T, 1).T * (start + steps < end)
    return _Axis(new, tuple(np.minimum(start + steps, old - 1)), tuple(weights.astype(np.float32)))


def _matrix(axis: _Axis, old: int) -> Array:
    """Return the weights of an axis as a matrix (new, old)."""
    matrix = np.zeros((axis.size, old))
    for indices, weights in zip(axis.indices, axis.weights or ()):
        np.add.at(matrix, (np.arange(axis.size), indices), weights)
    return matrix


def _sources(old: int, new: int, align_corners: bool) -> Array:
    """Return the position in the old axis of each pixel of the new one."""
    places = np.arange(new, dtype=np.float32)
    if align_corners:
        return places * (np.float32(old - 1) / np.float32(new - 1) if new > 1 else np.float32(0))
    return _fused(places + np.float32(0.5), np.float32(old) / np.float32(new), -0.5)


def _near(x: Array) -> Array:
    """Compute the bicubic kernel at distances of 0 to 1 pixel."""
    return _fused(_fused(x, _CUBIC + 2, -(_CUBIC + 3)) * x, x, 1)


def _far(x: Array) -> Array:
    """Compute the bicubic kernel at distances of 1 to 2 pixels."""
    return _fused(_fused(_fused(x, _CUBIC, -5 * _CUBIC), x, 8 * _CUBIC), x, -4 * _CUBIC)


def _fused(x: Array, factor: Any, summand: float) -> Array:
    """Compute x * factor + summand in float32, rounded once (fused), as in torch's compiled loops."""
    return np.asarray(x.astype(np.float64) * factor + summand).astype(np.float32)
