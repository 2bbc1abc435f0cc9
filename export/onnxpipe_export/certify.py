"""Verify that a graph answers as the PyTorch original does, and the same alone as in a batch."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from onnxpipe.bundle import proof
from onnxpipe.errors import BundleError, CertificateError, ExportError
from onnxpipe_export import batch_invariance
from onnxpipe_export.graphs.graph import Case, Feeds, GraphExport, Run
from onnxpipe_export.opened_graph import OpenedGraph
from onnxpipe_export.precision.activations import Calibration

# An answer may differ by this times what float32 answers of the original are away from float64, but never by more than
# `proof.MOST_RELATIVE`. The graph's answer and the original's both round, each in its own order, so twice is expected.
_ROUNDING_SLACK = 4.0

# Seeds of the random roundings of the original that are tried beside its own.
_SEEDS = (0, 1)

# How many cases are looked at before the original answers all of them, and how many times the limit is plainly wrong.
_FIRST_CASES, _PLAINLY = 8, 10

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Reference:
    """The cases and the original's answers to them, computed once for all precisions.

    Attributes:
        graph: how the graph is exported and the original is run.
        tokenizer: the original's tokenizer, None if it has none.
        cases: the inputs.
        answers: for each case the original's outputs, float32 arrays.
        opened: the fp32 file, whose answers to the first cases are known already; None where nobody looked at them.
    """

    graph: GraphExport
    tokenizer: Any
    cases: Sequence[Case]
    answers: Sequence[Feeds]
    opened: OpenedGraph | None = None

    @cached_property
    def scales(self) -> dict[str, float]:
        """The largest magnitude of each output over all cases."""
        masks = [self.graph.mask_of(case.feeds) for case in self.cases]
        return proof.scales(zip(self.answers, masks, strict=True))

    @cached_property
    def original_invariance(self) -> float:
        """How much the original's own answers differ alone and in a batch."""
        return self.graph.invariance(self.graph.reference, self.tokenizer)

    def rounding(self, number: int) -> float:
        """Compute how far float32 answers of the original to a case are from its float64 answer; see `exact`."""
        return _rounding(self.graph, self.cases[number], self.answers[number], self.scales)

    def chain_roundings(self, run: Run) -> list[float]:
        """Compute the same for the chains, which the graph runs once more."""

        def ask() -> list[Feeds]:
            return [expected for expected, _ in self.graph.chains(run, self.tokenizer)]

        runs = [ask(), *_exact_answers(self.graph, ask)]
        return [_largest_difference(answers, None, self.scales) for answers in zip(*runs, strict=True)]

    @cached_property
    def calibration(self) -> Calibration:
        """The feeds that smaller precisions are calibrated with."""
        return Calibration(case.feeds for case in self.cases if case.calibrates)


def run_original(graph: GraphExport, tokenizer: Any, path: Path | None = None, root: Path | None = None) -> Reference:
    """Run the original on every case.

    Args:
        graph: how the graph is exported and the original is run.
        tokenizer: the original's tokenizer, None if it has none.
        path: the fp32 file, whose answers to the first cases are looked at on the way: what is plainly wrong is
            refused before the original has answered all cases. None to look at nothing.
        root: the bundle's folder.

    Raises:
        ExportError: the original fails on one of them.
        CertificateError: the graph's first answers are plainly wrong.
    """
    answers: list[Feeds] = []
    opened = None
    try:
        cases = graph.cases(tokenizer)
        for number, case in enumerate(cases):
            answers.append(graph.reference(case.feeds))
            if path is not None and root is not None and number + 1 == min(_FIRST_CASES, len(cases)):
                opened = _look_at_first(path, root, graph, cases[: number + 1], answers)
    except CertificateError:
        raise
    except Exception as error:  # a model's forward can raise anything
        raise ExportError(
            f"the original model fails on the inputs that the export is verified with: {error}"
        ) from error
    return Reference(graph, tokenizer, cases, answers, opened)


def _look_at_first(
    path: Path, root: Path, graph: GraphExport, cases: Sequence[Case], answers: Sequence[Feeds]
) -> OpenedGraph:
    """Open a graph, and refuse it if its answers to these cases differ plainly, not by rounding.

    Raises:
        CertificateError: it does.
    """
    limit = proof.TOLERANCES["fp32"].max_relative
    assert limit is not None
    masks = [graph.mask_of(case.feeds) for case in cases]
    scales = proof.scales(zip(answers, masks, strict=True))
    try:
        opened = OpenedGraph(path, root, graph)
        for case, answer, mask in zip(cases, answers, masks, strict=True):
            difference = proof.compare(answer, opened.answer(case.feeds, list(answer)), mask, scales).max_relative
            if not difference <= _PLAINLY * limit and not difference <= _rounding_limit(
                limit, _rounding(graph, case, answer, scales)
            ):
                raise CertificateError(
                    f"the outputs of {path.name} differ from the original's in the first cases already: relative "
                    f"difference {difference:.3g} > {limit:g}. Nothing was written"
                )
    except (BundleError, RuntimeError, ValueError) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{path.name} cannot be verified: {error}. Nothing was written") from error
    return opened


@dataclass(frozen=True)
class Measurement:
    """How a graph answers, whatever its precision has to hold.

    Attributes:
        opened: the graph.
        differences: from the original, in each case and then each chain.
        agreement: the share of equal decisions, None for features.
        invariance: the largest difference of a row alone and in a batch.
    """

    opened: OpenedGraph
    differences: Sequence[proof.Difference]
    agreement: float | None
    invariance: float


def measure(path: Path, root: Path, reference: Reference) -> Measurement:
    """Run the graph at `path` on every case, and compare.

    Args:
        path: the .onnx file.
        root: the bundle's folder.
        reference: from `run_original`.

    Raises:
        CertificateError: it cannot run.
    """
    graph, opened = reference.graph, reference.opened
    try:
        if opened is None or opened.path != path:
            opened = OpenedGraph(path, root, graph)
        differences, agreement = _compare(opened, reference)
        return Measurement(opened, differences, agreement, graph.invariance(opened.run, reference.tokenizer))
    except (BundleError, RuntimeError, ValueError) as error:
        raise CertificateError(f"{path.name} cannot be verified: {error}. Nothing was written") from error


def verify(path: Path, root: Path, precision: str, reference: Reference) -> dict[str, Any]:
    """Run the graph at `path` on every case, compare, and return the certificate's entry: `measure` and `judge`."""
    return judge(path, precision, measure(path, root, reference), reference)


def judge(path: Path, precision: str, measured: Measurement, reference: Reference) -> dict[str, Any]:
    """Return the certificate's entry of a graph that was measured.

    Args:
        path: the .onnx file, for messages.
        precision: decides what has to hold (`onnxpipe.bundle.proof.TOLERANCES`, `batch_invariance.LIMITS`).
        measured: from `measure`.
        reference: from `run_original`.

    Raises:
        CertificateError: the graph differs by more than its precision allows, or cannot run.
    """
    graph, run, agreement, invariance = (
        reference.graph, measured.opened.run, measured.agreement, measured.invariance
    )  # fmt: skip
    difference = proof.Difference.worst(measured.differences)
    try:
        tolerance, beyond = _tolerance(precision, measured.differences, run, reference)
    except (RuntimeError, ValueError) as error:
        raise CertificateError(f"{path.name} cannot be verified: {error}. Nothing was written") from error
    faults = beyond + tolerance.faults(difference, agreement)
    alone = [each for case, each in zip(reference.cases, measured.differences) if case.rows == 1]
    allowed = batch_invariance.allowed(precision, invariance, alone, run, reference)
    padding: dict[str, Any] = {}
    if not invariance <= allowed:
        usual, allowed = allowed, batch_invariance.allowed_of_original(allowed, reference)
        equal = batch_invariance.changes_with_equal_lengths(run, reference)
        if equal is not None and not equal <= usual:
            faults.append(f"a row differs by {equal:.3g} > {usual:.3g} alone and among rows of its length")
        padding = {} if equal is None else {"batch_invariance_of_equal_lengths": equal}
    if not invariance <= allowed:
        faults.append(f"a row differs by {invariance:.3g} > {allowed:.3g} alone and in a batch")
    if faults:
        hint = ""
        if precision == "int8" and graph.checkpoint.task.modality == "image" and graph.checkpoint.calibration is None:
            hint = (
                ". It was calibrated and verified with synthetic images only: pass calibration= a folder of real ones"
            )
        raise CertificateError(
            f"the outputs of {path.name} differ from the original's: {'; '.join(faults)}. Nothing was written{hint}"
        )
    limits = {name: limit for name, limit in dataclasses.asdict(tolerance).items() if limit is not None}
    return {
        "provider": measured.opened.session.providers[0],
        "cases": len(reference.cases),
        "rows": sum(case.rows for case in reference.cases),
        "max_relative_difference": difference.max_relative,
        "max_absolute_difference": difference.max_absolute,
        "cosine_min": difference.cosine_min,
        "cosine_mean": difference.cosine_mean,
        "decision_agreement": agreement,
        "batch_invariance": invariance,
        **padding,
        "tolerance": limits | {"batch_invariance": allowed},
        "passed": True,
    }


def _tolerance(
    precision: str, differences: Sequence[proof.Difference], run: Run, reference: Reference
) -> tuple[proof.Tolerance, list[str]]:
    """Return the tolerance of this precision, and the faults of single cases.

    The relative difference is judged case by case: one in which the original's own rounding is large may differ by more
    (see `exact`), the others may not.
    """
    tolerance = proof.TOLERANCES[precision]
    limit = tolerance.max_relative
    if limit is None or all(difference.max_relative <= limit for difference in differences):
        return tolerance, []
    chains: list[float] | None = None
    widest, faults = limit, []
    for number, difference in enumerate(differences):
        if difference.max_relative <= limit:
            continue
        if number < len(reference.cases):
            rounding = reference.rounding(number)
        else:
            chains = reference.chain_roundings(run) if chains is None else chains
            rounding = chains[number - len(reference.cases)]
        allowed = _rounding_limit(limit, rounding)
        widest = max(widest, allowed)
        if not difference.max_relative <= allowed:
            faults.append(f"relative difference {difference.max_relative:.3g} > {allowed:.3g}")
    return dataclasses.replace(tolerance, max_relative=widest), faults[:1]


def _rounding_limit(limit: float, rounding: float) -> float:
    """Return what a float32 answer may differ by where the original's own is away from float64 by `rounding`."""
    return max(limit, min(_ROUNDING_SLACK * rounding, proof.MOST_RELATIVE))


def _rounding(graph: GraphExport, case: Case, answer: Feeds, scales: Mapping[str, float]) -> float:
    answers = [answer, *_exact_answers(graph, lambda: graph.reference(case.feeds))]
    return _largest_difference(answers, graph.mask_of(case.feeds), scales)


def _largest_difference(answers: Sequence[Feeds], mask: np.ndarray | None, scales: Mapping[str, float]) -> float:
    """Return how far float32 answers, the first and those after the second, are from the second, in float64."""
    single, exact, *rounded = answers
    return max(proof.compare(exact, other, mask, scales).max_relative for other in (single, *rounded))


def _exact_answers(graph: GraphExport, ask: Callable[[], _Answer]) -> list[_Answer]:
    """Ask in float64, and then with random roundings; see `exact`."""
    from onnxpipe_export import exact

    return exact.answers(graph.checkpoint.model, ask, _SEEDS)


def _compare(opened: OpenedGraph, reference: Reference) -> tuple[list[proof.Difference], float | None]:
    """Compute the difference in each case and then each chain, and the share of equal decisions (None for features)."""
    graph, differences, agreements, weights = reference.graph, [], [], []
    for expected, got, mask, decides in _pairs(opened, reference):
        differences.append(proof.compare(expected, got, mask, reference.scales))
        if decides and graph.decisions & set(expected):
            agreements.append(proof.agreement(expected, got, mask, graph.decisions))
            weights.append(differences[-1].vectors)
    return differences, float(np.average(agreements, weights=weights)) if agreements else None


def _pairs(opened: OpenedGraph, reference: Reference) -> Iterator[tuple[Feeds, Feeds, np.ndarray | None, bool]]:
    """Yield for every case and chain the original's answer, the graph's, the mask, and whether decisions count."""
    for case, expected in zip(reference.cases, reference.answers, strict=True):
        yield expected, opened.answer(case.feeds, list(expected)), reference.graph.mask_of(case.feeds), case.decides
    for expected, got in reference.graph.chains(opened.run, reference.tokenizer):
        yield expected, got, None, True


def certificate(
    entries: Mapping[str, Mapping[str, Any]],
    original: Mapping[str, str],
    tokens: Mapping[str, int] | None,
    further: Mapping[str, Any],
) -> dict[str, Any]:
    """Assemble the content of certificate.json.

    Args:
        entries: graph -> precision -> what `verify` returned.
        original: from `original_of`: what the graphs were compared with.
        tokens: the tokenizer's comparison, {"texts", "mismatches"}; None where the model has no tokenizer.
        further: what else was verified, where it is not empty: "longest_row", "image_sizes", "generation", "images".
    """
    return {
        "format": 1,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "reference": dict(original),
        **({} if tokens is None else {"tokenizer": dict(tokens)}),
        "graphs": dict(entries),
        **{name: value for name, value in further.items() if value},
    }


def padding_changes(entries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> bool:
    """Tell whether padding changes an answer of a graph of texts; `entries`: graph -> precision -> from `verify`."""
    return any(
        "batch_invariance_of_equal_lengths" in entry for precisions in entries.values() for entry in precisions.values()
    )


def original_of(library: str, attention: str) -> dict[str, str]:
    """Describe the original: the versions of its library and of torch, and its implementation of attention."""
    versions = {name: importlib.metadata.version(name) for name in (library, "torch")}
    return {"library": f"{library} {versions[library]}", "torch": versions["torch"], "attention": attention}


def verified_sizes(references: Sequence[Reference]) -> dict[str, Any]:
    """Return the longest text and the image sizes [height, width] that were verified, where the model takes them."""
    lengths = [reference.graph.max_length for reference in references]
    known = [length for length in lengths if length is not None]
    images = [case.feeds["pixel_values"] for reference in references for case in reference.cases
              if "pixel_values" in case.feeds]  # fmt: skip
    sizes = sorted({image.shape[-2:] for image in images if image.ndim > 3})  # others are cut into patches
    return ({"longest_row": min(known)} if known else {}) | ({"image_sizes": [list(s) for s in sizes]} if sizes else {})


def golden_arrays(reference: Reference) -> dict[str, np.ndarray]:
    """Collect the short cases of a graph with the original's answers, named as golden.npz has them."""
    arrays: dict[str, np.ndarray] = {}
    pairs = zip(reference.cases, reference.answers, strict=True)
    for number, (case, answer) in enumerate((case, answer) for case, answer in pairs if case.golden):
        stem = f"{reference.graph.name}/{number}"
        arrays |= {f"{stem}/input/{name}": array for name, array in case.feeds.items()}
        arrays |= {f"{stem}/output/{name}": array for name, array in answer.items()}
    return arrays


def write_golden(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write the arrays of all graphs' short cases, so that any machine can verify the bundle without PyTorch."""
    np.savez_compressed(path, **dict(arrays))
