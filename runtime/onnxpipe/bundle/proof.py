"""Compare a graph's answers with the original's: for the exporter, which certifies, and to verify on any machine.

golden.npz holds a few inputs with the original's outputs, so a device without PyTorch can be checked too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle.arrays import read_npz
from onnxpipe.bundle.files import MIB, read_bytes
from onnxpipe.bundle.objects import more_confident, same_order
from onnxpipe.errors import BundleError

Array = NDArray[Any]

#: Outputs of two axes whose second is the sequence. Of three axes or more, all whose first two are the mask's.
_PER_TOKEN = frozenset({"start_logits", "end_logits"})

_GOLDEN_LIMIT = 64 * MIB

#: A vector of a map that is shorter than this share of the longest has no direction: that of a dark pixel is noise.
_SHORT = 0.01

#: Most channels of an image; its vectors are its rows of pixels. Outputs of more channels, or logits, are maps.
_COLOURS = 3

#: Elements closer than this share of a vector's range are a tie.
_TIE = 0.01


@dataclass(frozen=True)
class Difference:
    """The differences from the original's answers, over all outputs and all positions that are not padding.

    Attributes:
        max_relative: the largest difference in an output, divided by that output's largest magnitude (over all cases
            where `scales` of them are given: a lone logit may be near zero in one).
        max_absolute: the largest difference.
        cosine_min, cosine_mean: cosine of the angle between the answers' vectors: the last axis of an output, or its
            sequence for outputs of one value per token (start_logits). A map (batch, channels, height, width) has one
            per pixel, and counts as one per image, with their mean; those shorter than a hundredth of the longest have
            no direction. Of a detector's objects the more confident half counts, as the rest is noise below any
            threshold.
        vectors: number of vectors.
    """

    max_relative: float
    max_absolute: float
    cosine_min: float
    cosine_mean: float
    vectors: int

    @classmethod
    def worst(cls, differences: Iterable[Difference]) -> Difference:
        """Combine those of several cases: the worst of each, and the mean over all vectors."""
        each = list(differences)
        vectors = sum(one.vectors for one in each)
        return cls(
            max(one.max_relative for one in each),
            max(one.max_absolute for one in each),
            min(one.cosine_min for one in each),
            sum(one.cosine_mean * one.vectors for one in each) / vectors if vectors else 1.0,
            vectors,
        )


@dataclass(frozen=True)
class Tolerance:
    """The limits of a precision; None where there is no limit.

    Attributes:
        max_relative: see `Difference`; at most this.
        cosine_min, cosine_mean: at least this.
        agreement: share of the decisions (largest logits) that are the original's; at least this.
    """

    max_relative: float | None = None
    cosine_min: float | None = None
    cosine_mean: float | None = None
    agreement: float | None = None

    def faults(self, difference: Difference, agreement: float | None = None) -> list[str]:
        """List the limits that are exceeded, in words. An `agreement` of None (features) is not judged."""
        found = []
        # Written so that NaN, which compares false with everything, is a fault.
        if self.max_relative is not None and not difference.max_relative <= self.max_relative:
            found.append(f"relative difference {difference.max_relative:.3g} > {self.max_relative:g}")
        if self.cosine_min is not None and not difference.cosine_min >= self.cosine_min:
            found.append(f"lowest cosine {difference.cosine_min:.5f} < {self.cosine_min:g}")
        if self.cosine_mean is not None and not difference.cosine_mean >= self.cosine_mean:
            found.append(f"mean cosine {difference.cosine_mean:.5f} < {self.cosine_mean:g}")
        if self.agreement is not None and agreement is not None and not agreement >= self.agreement:
            found.append(f"same decision in {agreement:.2%} < {self.agreement:.0%}")
        return found


_EIGHT_BITS = Tolerance(cosine_mean=0.99, agreement=0.95)
_FOUR_BITS = Tolerance(cosine_mean=0.95)

#: The limits within which a graph of each precision is certified.
TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_relative=1e-4),
    "fp16": Tolerance(cosine_min=0.999, agreement=0.99),
    "int8": _EIGHT_BITS,
    "q8": _EIGHT_BITS,
    "uint8": _EIGHT_BITS,
    "q4": _FOUR_BITS,
    "q4f16": _FOUR_BITS,
    "bnb4": _FOUR_BITS,
}


#: The largest relative difference that a certificate may allow float32, where the original's own rounding is large.
MOST_RELATIVE = 5e-3


def certified_tolerance(precision: str, entry: Mapping[str, Any] | None) -> Tolerance:
    """Give what a graph must hold: its precision's tolerance, or the wider relative difference of its certificate.

    Args:
        precision: the graph's.
        entry: what the certificate says of the graph in this precision; None without a certificate.
    """
    tolerance = TOLERANCES[precision]
    limits = entry.get("tolerance") if isinstance(entry, Mapping) else None
    allowed = limits.get("max_relative") if isinstance(limits, Mapping) else None
    if tolerance.max_relative is None or not isinstance(allowed, float):
        return tolerance
    return replace(tolerance, max_relative=max(tolerance.max_relative, min(allowed, MOST_RELATIVE)))


def scales(cases: Iterable[tuple[Mapping[str, Array], Array | None]]) -> dict[str, float]:
    """Find the largest magnitude of each of the original's outputs over cases of (outputs, attention mask)."""
    largest: dict[str, float] = {}
    for outputs, attention_mask in cases:
        for name, value in outputs.items():
            magnitude = _largest(_blocks(name, value, _mask(name, value, attention_mask)))
            largest[name] = max(magnitude, largest.get(name, 0.0))
    return largest


def compare(
    reference: Mapping[str, Array],
    got: Mapping[str, Array],
    attention_mask: Array | None = None,
    scales: Mapping[str, float] | None = None,
) -> Difference:
    """Compare the outputs `got` with those of the original.

    Args:
        reference: the original's outputs by name.
        got: the graph's; further ones are ignored.
        attention_mask: 1 for tokens, 0 for padding, shape (batch, sequence). Values at padding are meaningless
            and left out, for outputs of three or more axes that begin with the mask's two, and for start_logits and
            end_logits.
        scales: the magnitudes that differences are relative to, by output; None for the output's largest here.

    Raises:
        BundleError: an output is missing or has another shape.
    """
    for name, expected in reference.items():
        value = got.get(name)
        if value is None:
            raise BundleError(f"the graph has no output {name!r}; the original has it")
        if value.shape != expected.shape:
            raise BundleError(f"{name!r} has the shape {value.shape}; the original's has {expected.shape}")
    found = []
    got = same_order(reference, got)
    for name, expected in reference.items():
        value = got[name]
        mask = _mask(name, expected, attention_mask)
        scale = None if scales is None else scales[name]
        first, second = (_blocks(name, array, mask) for array in _without_equal_infinities(expected, value, 0.0))
        cosines = _image_cosines if _is_map(name, expected) else _kept_cosines(more_confident(name, reference))
        found.append(_difference(first, second, scale, cosines))
    if not found:
        raise BundleError("there is no output to compare")
    return Difference.worst(found)


def agreement(
    reference: Mapping[str, Array],
    got: Mapping[str, Array],
    attention_mask: Array | None = None,
    decisions: Collection[str] | None = None,
) -> float:
    """Compute the share of the vectors (see `Difference`) whose largest element is the original's; 0 to 1.

    If two elements of the original were nearly equal, either counts.

    Args:
        reference, got, attention_mask: as for `compare`.
        decisions: the outputs that decide; None for all. A detector's logits need its boxes beside them, to match
            the objects.
    """
    same: list[Array] = []
    got = same_order(reference, got)
    for name, expected in reference.items():
        if decisions is not None and name not in decisions:
            continue
        mask = _mask(name, expected, attention_mask)
        lowest = float(expected.min(where=np.isfinite(expected), initial=0.0))
        both = _without_equal_infinities(expected, got[name], lowest)
        pairs = zip(*(_blocks(name, array, mask) for array in both), strict=True)
        kept = more_confident(name, reference)
        same += [_same_decisions(a, b)[kept if kept is not None else ...] for a, b in pairs if a.size]
    return float(np.concatenate(same).mean()) if same else 1.0


@dataclass(frozen=True)
class Golden:
    """An input with the original's answer.

    Attributes:
        graph: name of its graph.
        number: its number, from 0.
        inputs: the graph's inputs by name.
        outputs: the original's outputs by name.
    """

    graph: str
    number: int
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def read_golden(folder: Path) -> list[Golden]:
    """Read the cases in a model folder's golden.npz, in order.

    Raises:
        ModelNotFoundError: there is no such file.
        BundleError: it is damaged, too large, or holds anything but plain arrays. No pickle is ever opened.
    """
    path = folder / "golden.npz"
    cases: dict[tuple[str, int], dict[str, dict[str, Array]]] = {}
    try:
        for key, array in read_npz(read_bytes(folder, path.name, _GOLDEN_LIMIT), _GOLDEN_LIMIT):
            graph, number, kind, name = key.split("/", 3)
            if kind not in ("input", "output"):
                raise ValueError(f"{key!r} is neither input nor output")
            cases.setdefault((graph, int(number)), {"input": {}, "output": {}})[kind][name] = array
    except BundleError:
        raise
    except ValueError as error:
        raise BundleError(f"{path} is not a file of cases: {error}") from None
    return [Golden(graph, number, case["input"], case["output"]) for (graph, number), case in sorted(cases.items())]


def _mask(name: str, value: Array, mask: Array | None) -> Array | None:
    if mask is None or value.shape[:2] != mask.shape:
        return None
    return mask.astype(bool) if value.ndim >= 3 or name in _PER_TOKEN else None


def _is_map(name: str, value: Array) -> bool:
    """Whether an output has a vector per pixel, (batch, channels, height, width). Caches have as many axes."""
    if value.ndim != 4 or name.startswith("present"):
        return False
    return int(value.shape[1]) > (1 if name.endswith("logits") else _COLOURS)


def _blocks(name: str, value: Array, mask: Array | None) -> list[Array]:
    """Split an output into its vectors, in double precision, those of equal length together as (vectors, length)."""
    wide = np.asarray(value, np.float64)
    if _is_map(name, value):
        return [image.reshape(len(image), -1).T for image in wide]
    if mask is not None and wide.ndim == 2:
        return [row[kept][None] for row, kept in zip(wide, mask, strict=True)]
    if mask is not None:
        wide = wide[mask]
    if wide.ndim == 0 or wide.shape[-1] == 1:
        return [wide.reshape(1, -1)]  # a vector of one number has no direction
    return [wide.reshape(-1, wide.shape[-1])]


def _without_equal_infinities(reference: Array, got: Array, instead: float) -> tuple[Array, Array]:
    """Put `instead` where both are the same infinity: the scores at masked positions (Grounding DINO's padding)."""
    same = np.isinf(reference) & (reference == got)
    return (np.where(same, instead, reference), np.where(same, instead, got)) if same.any() else (reference, got)


def _same_decisions(reference: Array, got: Array) -> Array:
    """Tell for each vector whether the largest element is the original's, or was nearly as large there."""
    chosen = np.take_along_axis(reference, got.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(reference.max(axis=1) - chosen <= _TIE * np.ptp(reference, axis=1))


def _largest(blocks: list[Array]) -> float:
    """Find the largest finite magnitude."""
    return max((float(np.abs(block).max(where=np.isfinite(block), initial=0.0)) for block in blocks), default=0.0)


_Cosines = Callable[[list[tuple[Array, Array]]], Array]


def _difference(reference: list[Array], got: list[Array], scale: float | None, cosines: _Cosines) -> Difference:
    """Compare blocks of vectors with the original's.

    Args:
        reference, got: the blocks.
        scale: the magnitude that differences are relative to; None for the largest.
        cosines: computes those that count, from pairs of blocks.
    """
    pairs = [(a, b) for a, b in zip(reference, got, strict=True) if a.size]
    if not pairs:
        return Difference(0.0, 0.0, 1.0, 1.0, 0)
    absolute = max(_furthest(a, b) for a, b in pairs)
    largest = _largest(reference) if scale is None else scale
    counted = cosines(pairs)
    relative = absolute / largest if largest else (0.0 if absolute == 0 else math.inf)
    return Difference(relative, absolute, float(counted.min()), float(counted.mean()), len(counted))


def _kept_cosines(kept: Array | None) -> _Cosines:
    """Make a function for the cosines of all vectors, or of those in `kept`."""

    def cosines(pairs: list[tuple[Array, Array]]) -> Array:
        every = np.concatenate([_cosines(a, b) for a, b in pairs])
        return every if kept is None else every[kept]

    return cosines


def _image_cosines(pairs: list[tuple[Array, Array]]) -> Array:
    """Average the cosines of each image's pixels, without vectors of nearly no length."""
    lengths = [np.linalg.norm(a, axis=1) for a, _ in pairs]
    limit = _SHORT * max(float(length.max()) for length in lengths)
    kept = [_cosines(a, b)[length >= limit] for (a, b), length in zip(pairs, lengths, strict=True)]
    return np.array([one.mean() if one.size else 1.0 for one in kept])


def _furthest(a: Array, b: Array) -> float:
    with np.errstate(invalid="ignore"):
        distance = np.where(a == b, 0.0, np.abs(a - b))  # equal infinities are equal
    return math.inf if np.isnan(distance).any() else float(distance.max())


def _cosines(a: Array, b: Array) -> Array:
    """Compute the cosine of each pair of vectors; 1 if they are equal, 0 if a length is zero or not finite."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines = np.einsum("ij,ij->i", a, b) / lengths
    cosines = np.where(np.isfinite(lengths) & (lengths > 0), cosines, 0.0)
    return np.where((a == b).all(axis=1), 1.0, cosines)
