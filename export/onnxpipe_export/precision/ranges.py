"""What activations were while an fp32 graph ran on the calibration's feeds, and the range that 8 bits should span.

Calibration pictures are few and not the user's, so a range goes a quarter further than they ask for, and is not cut to
what most numbers need: large ones are rare and carry the class. Of the cuts tried, the one is taken whose error to the
fourth power is least. Calibrated on 8 made pictures, one black and one white, against float32 on photos: squared error
of resnet-50's logits (their variance 7.1) 0.064 without the margin, 0.045 with it, 0.044 with twice as much; of
mobilenet-v2-deeplab's 0.095, 0.061, 0.062, and mean intersection over union of its masks 0.80, 0.97, 0.97. Before that,
without a margin, on other pictures: 99.99th percentile 0.77, squared error 0.78, fourth power 0.88, whole range 0.93;
for resnet-50 they agree with float32 on 96, 96, 97 and 97 photos of 100.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph

LEVELS = 255
_TINY = 1e-9
_SAMPLES = 8192
"""Numbers of an activation that are kept of each feed."""
_MOST_SAMPLES = 65536
_CUTS = 0.96 ** np.arange(48)
"""Shares of the whole range that are tried."""
_MARGIN = 1.25
"""How much further a range goes than the calibration asks for."""
_AT_ONCE = 24
"""Activations measured in one pass over the feeds, which bounds the memory that they take."""

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Observed:
    """One activation over all feeds.

    Attributes:
        low, high: its extremes; 0 is always between them.
        means: mean of each channel (axis 1), float64 (C,); empty where their number changes.
        samples: some of its numbers, float32 (S,).
    """

    low: float
    high: float
    means: np.ndarray
    samples: np.ndarray

    @classmethod
    def of(cls, value: np.ndarray, random: np.random.Generator) -> Observed:
        """The activation on one feed, float32 (batch, channels, ...)."""
        flat = value.reshape(-1)
        others = tuple(axis for axis in range(value.ndim) if axis != 1)
        return cls(
            float(flat.min(initial=0.0)),
            float(flat.max(initial=0.0)),
            value.mean(axis=others, dtype=np.float64) if value.ndim > 1 and value.size else np.zeros(0),
            flat[random.integers(0, flat.size, min(_SAMPLES, flat.size))] if flat.size else flat,
        )

    @classmethod
    def joined(cls, each: Sequence[Observed]) -> Observed:
        """Over several feeds."""
        means = [one.means for one in each]
        return cls(
            min((one.low for one in each), default=0.0),
            max((one.high for one in each), default=0.0),
            np.mean(means, axis=0) if len({len(mean) for mean in means}) == 1 else np.zeros(0),
            np.concatenate([np.zeros(1, np.float32), *(one.samples for one in each)]),
        )


@dataclass(frozen=True)
class Range:
    """How an activation becomes uint8: round(x / scale) + zero, cut to 0..255."""

    scale: float
    zero: int

    @classmethod
    def between(cls, low: float, high: float) -> Range:
        """The one that spans `low` (at most 0) to `high` (at least 0)."""
        scale = max(high - low, _TINY) / LEVELS
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, LEVELS)))


def observe(path: Path, names: Sequence[str], feeds: Iterable[Feeds], scratch: Path) -> dict[str, Observed]:
    """Run the fp32 graph at `path` on the feeds and note what the activations `names` (inputs among them) are.

    Args:
        path: the graph, saved tidy.
        names: activations of float32.
        feeds: what to run it on.
        scratch: an empty folder for the graph with these activations as outputs.
    """
    ready = list(feeds)
    found: dict[str, list[Observed]] = {name: [] for name in names}
    for start in range(0, len(names), _AT_ONCE):
        random = np.random.default_rng(0)
        for values in _run(path, names[start : start + _AT_ONCE], ready, scratch):
            for name, value in values.items():
                found[name].append(Observed.of(value, random))
    return {name: Observed.joined(each) for name, each in found.items()}


def _run(path: Path, names: Sequence[str], feeds: Sequence[Feeds], scratch: Path) -> Iterator[Feeds]:
    import onnx

    from onnxpipe.engine import open_session, parse_device

    graph = OnnxGraph.load(path)
    inputs = {value.name for value in graph.graph.input}
    inner = [name for name in names if name not in inputs]
    for name in inner:
        if name not in graph.outputs():
            graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    graph.save(scratch / path.name)
    session = open_session(scratch / path.name, root=scratch, device=parse_device("cpu"))
    for feed in feeds:
        values = session.run({key: feed[key] for key in session.inputs}, inner) if inner else {}
        yield {**values, **{name: feed[name] for name in names if name in inputs}}


def choose(observed: Observed, most: float = math.inf) -> Range:
    """The range whose errors, to the fourth power, are least over the samples, and a quarter more.

    Args:
        observed: the activation.
        most: what the activation cannot exceed.
    """
    low, high = observed.low, observed.high
    samples = observed.samples[:: -(-len(observed.samples) // _MOST_SAMPLES)]
    both = min(_CUTS, key=lambda cut: _error(samples, low * cut, high * cut))
    below = above = both
    if low < 0 < high:
        below = min(_CUTS, key=lambda cut: _error(samples, low * cut, high * both))
        above = min(_CUTS, key=lambda cut: _error(samples, low * below, high * cut))
    return Range.between(low * below * _MARGIN, min(high * above * _MARGIN, max(most, _TINY)))


def _error(samples: np.ndarray, low: float, high: float) -> float:
    chosen = Range.between(low, high)
    numbers = np.clip(np.rint(samples / np.float32(chosen.scale)) + chosen.zero, 0, LEVELS) - chosen.zero
    return float(np.mean(np.square(np.square(numbers * np.float32(chosen.scale) - samples))))
