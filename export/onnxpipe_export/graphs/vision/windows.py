"""Trace attention in windows (Swin and similar models) for images of any size.

Every second layer shifts its windows by half a window; Swin's own (not those of similar models) only where the image is
larger than one window. It stores that in the layer and never resets it, so its answers depend on earlier inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional

from onnxpipe_export.graphs.vision.padding import missing
from onnxpipe_export.tracing import replaced

_NOTED = ("shift_size", "window_size")


@contextmanager
def forgetful(model: Any) -> Iterator[None]:
    """Restore the windows and shifts of layers afterwards, which a run may have changed."""
    noted = [(module, [getattr(module, name) for name in _NOTED]) for module in _layers(model)]
    try:
        yield
    finally:
        for module, values in noted:
            for name, value in zip(_NOTED, values, strict=True):
                setattr(module, name, value)


@contextmanager
def any_windows(model: Any) -> Iterator[None]:
    """Let layers with windows compute their padding and shift inside, without branches, so that they can be traced."""
    with ExitStack() as stack:
        for module in _layers(model):
            stack.enter_context(replaced(module, "maybe_pad", _padding(module.window_size)))
            if hasattr(module, "set_shift_and_window_size"):
                shift = _Shift(module.shift_size, module.window_size)
                stack.enter_context(replaced(module, "set_shift_and_window_size", shift.look))
                if module.shift_size:
                    stack.enter_context(replaced(module, "cyclic_shift", shift.roll))
                    stack.enter_context(replaced(module, "get_attn_mask", shift.mask))
        yield


def _layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if all(hasattr(module, name) for name in (*_NOTED, "get_attn_mask"))]


def _padding(window: int) -> Any:
    """Make a function that pads to whole windows; its second result, whether anything was padded, is always true."""

    def pad(hidden: Any, height: Any, width: Any) -> tuple[Any, tuple[int, ...]]:
        padded = functional.pad(hidden, (0, 0, 0, missing(width, window), 0, missing(height, window)))
        return padded, (0, 0, 0, 1, 0, 1)

    return pad


class _Shift:
    """The shift of one layer: none where the image's smaller side is not larger than a window."""

    def __init__(self, full: int, window: int) -> None:
        self._full, self._window = full, window
        self._shift: Any = torch.tensor(full)

    def look(self, size: tuple[Any, Any]) -> None:
        """Set the shift for features of this size."""
        smaller = torch.minimum(torch.as_tensor(size[0]), torch.as_tensor(size[1]))
        self._shift = torch.where(smaller <= self._window, 0, self._full)

    def roll(self, hidden: Any, reverse: bool = False) -> Any:
        """Move (batch, height, width, channels) up and left, or back."""
        for axis in (1, 2):
            at = hidden.shape[axis] - self._shift if reverse else self._shift
            first = torch.arange(hidden.shape[axis]) + at
            hidden = hidden.index_select(axis, first % hidden.shape[axis])
        return hidden

    def mask(self, height: Any, width: Any, dtype: Any, device: Any) -> Any:
        """Make the mask added to scores, -100 between places that the roll joined: (windows, places, places)."""
        rows, columns = self._regions(height), self._regions(width)
        regions = rows[:, None] * 3 + columns[None]
        window = self._window
        split = regions.reshape(height // window, window, width // window, window).transpose(1, 2)
        flat = split.reshape(-1, window * window)
        return torch.where(flat[:, None] == flat[:, :, None], 0.0, -100.0)

    def _regions(self, size: Any) -> Any:
        """Number regions: 0 before the last window, 1 in it, 2 in its part from the other side; 0 without a shift."""
        places = torch.arange(size)
        region = (places >= size - self._window).long() + (places >= size - self._shift).long()
        return torch.where(self._shift > 0, region, 0)
