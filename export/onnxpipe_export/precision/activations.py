"""Observe the activations of products while the fp32 graph runs on the calibration's feeds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import inner
from onnxpipe_export.precision.products import constant_products
from onnxpipe_export.precision.ranges import Observed, Range, choose

ROWS = 128
"""Rows of an activation that are kept, over all feeds."""


@dataclass(frozen=True)
class Activation:
    """An activation over all feeds.

    Attributes:
        low, high: the extremes of each of its columns, float32 (K,).
        rows: some of its rows, float32 (rows, K).
        count: how many rows it had.
    """

    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray
    count: int

    @property
    def peaks(self) -> np.ndarray:
        """The largest magnitude in each column, float32 (K,)."""
        return np.asarray(np.maximum(-self.low, self.high))

    @property
    def range(self) -> Range:
        """What 8 bits span; see `ranges`."""
        return choose(Observed(float(self.low.min(initial=0.0)), float(self.high.max(initial=0.0)), np.zeros(0)))

    def divided(self, factors: np.ndarray) -> Activation:
        """Return the same with each column divided by its factor, float32 (K,), above 0."""
        return Activation(self.low / factors, self.high / factors, self.rows / factors, self.count)

    @classmethod
    def of(cls, rows: np.ndarray, kept: int) -> Activation:
        """Observe the activation on one feed, float32 (rows, K), and keep so many of its rows."""
        places = np.linspace(0, len(rows) - 1, min(len(rows), kept)).astype(int)
        return cls(rows.min(axis=0), rows.max(axis=0), rows[places].copy(), len(rows))

    @classmethod
    def joined(cls, each: Sequence[Activation]) -> Activation:
        """Join what was observed over several feeds."""
        return cls(
            np.minimum.reduce([one.low for one in each]),
            np.maximum.reduce([one.high for one in each]),
            np.concatenate([one.rows for one in each]),
            sum(one.count for one in each),
        )


class Calibration(list[inner.Feeds]):
    """The feeds that an export calibrates all smaller precisions with, and what was observed on them once."""

    def __init__(self, feeds: Iterable[inner.Feeds]) -> None:
        super().__init__(feeds)
        self._observed: dict[Hashable, dict[str, Activation]] = {}

    def observe(self, path: Path) -> dict[str, Activation]:
        """Observe the activations of the graph at `path`, or remember them."""
        status = path.stat()
        key = str(path), status.st_ino, status.st_size, status.st_mtime_ns
        if key not in self._observed:
            self._observed[key] = _observe(path, self)
        return self._observed[key]


def observe(path: Path, feeds: Sequence[inner.Feeds]) -> dict[str, Activation]:
    """Run the fp32 graph at `path` and observe the activations that are multiplied with constant weights.

    Args:
        path: the graph, saved tidy, so that names are those that `constant_products` finds.
        feeds: inputs to run it on; without padding. A `Calibration` remembers what was observed.
    """
    return feeds.observe(path) if isinstance(feeds, Calibration) else _observe(path, feeds)


def _observe(path: Path, feeds: Sequence[inner.Feeds]) -> dict[str, Activation]:
    names = list(dict.fromkeys(product.activation for product in constant_products(OnnxGraph.load(path))))
    if not names or not feeds:
        return {}
    each: dict[str, list[Activation]] = {name: [] for name in names}
    for values in inner.values(path, names, feeds):
        for name, value in values.items():
            each[name].append(Activation.of(value.reshape(-1, value.shape[-1]), -(-ROWS // len(feeds))))
    return {name: Activation.joined(found) for name, found in each.items()}
