"""The proof that a graph answers as the PyTorch original does, and the same alone as in a batch."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.bundle import proof
from onnxpipe.engine import Session, open_session, parse_device
from onnxpipe.errors import BundleError, CertificateError, ExportError
from onnxpipe_export import cases as case_module
from onnxpipe_export.cases import Case, Row
from onnxpipe_export.graphs.encoder import EncoderGraph

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]

# Largest absolute difference of a row's answer alone and in a batch.
BATCH_INVARIANCE: Mapping[str, float] = {"fp32": 1e-5, "int8": 1e-5, "fp16": 1e-2}

# float16 rounds at 1e-3 relative wherever a kernel sums in another order, so it cannot promise what the others do: its
# limit grows with the largest answer.
_RELATIVE = frozenset({"fp16"})

# A model that is itself not invariant (by more than the rounding of float32) may differ by so many times as much.
_ORIGINAL_SLACK = 1.5


@dataclass(frozen=True)
class Reference:
    """The cases and the original's answers to them, computed once for all precisions.

    Attributes:
        cases: what is asked.
        answers: for each case the original's outputs, float32 arrays.
        rows: unpadded rows of real text, for batch invariance.
    """

    cases: Sequence[Case]
    answers: Sequence[Mapping[str, np.ndarray]]
    rows: Sequence[Row]

    @cached_property
    def scales(self) -> dict[str, float]:
        """The largest magnitude of each output over all cases."""
        masks = [case.feeds["attention_mask"] for case in self.cases]
        return proof.scales(zip(self.answers, masks, strict=True))


def ask_original(graph: EncoderGraph, tokenizer: Any) -> Reference:
    """Run the original on every case.

    Raises:
        ExportError: it fails on one.
    """
    cases = case_module.make(graph, tokenizer)
    try:
        answers = [graph.reference(case.feeds) for case in cases]
    except Exception as error:  # a model's forward can raise anything
        raise ExportError(f"the original itself fails on inputs that a graph would have to answer: {error}") from error
    return Reference(cases, answers, case_module.text_rows(graph, tokenizer))


def prove(path: Path, root: Path, precision: str, graph: EncoderGraph, reference: Reference) -> dict[str, Any]:
    """Run the graph at `path` on every case, compare, and return the certificate's entry.

    Args:
        path: the .onnx file.
        root: the bundle's folder.
        precision: decides what has to hold (`onnxpipe.bundle.proof.TOLERANCES`, `BATCH_INVARIANCE`).
        graph: what the graph is of.
        reference: from `ask_original`.

    Raises:
        CertificateError: it differs by more than its precision allows, or cannot run.
    """
    try:
        session = open_session(path, root=root, device=parse_device("cpu"))
        _check_interface(session, graph)
        answers = [session.run(case.feeds) for case in reference.cases]
        difference, agreement = _compare(graph, reference, answers)
        invariance = batch_invariance(session.run, graph, reference.rows)
    except (BundleError, RuntimeError, ValueError) as error:
        raise CertificateError(f"{path.name} is not what the original is: {error}. Nothing was written") from error
    tolerance = proof.TOLERANCES[precision]
    faults = tolerance.faults(difference, agreement)
    allowed = BATCH_INVARIANCE[precision]
    if precision in _RELATIVE:
        allowed *= max(1.0, *reference.scales.values())
    if not invariance <= allowed:
        # Models that look at neighbours through the padding (convolutions) answer so in PyTorch too.
        allowed = max(allowed, _ORIGINAL_SLACK * batch_invariance(graph.reference, graph, reference.rows))
    if not invariance <= allowed:
        faults.append(f"a row differs by {invariance:.3g} > {allowed:.3g} alone and in a batch")
    if faults:
        raise CertificateError(f"{path.name} does not answer as the original: {'; '.join(faults)}. Nothing was written")
    limits = {name: limit for name, limit in dataclasses.asdict(tolerance).items() if limit is not None}
    return {
        "provider": session.providers[0],
        "cases": len(reference.cases),
        "rows": sum(case.rows for case in reference.cases),
        "max_relative_difference": difference.max_relative,
        "max_absolute_difference": difference.max_absolute,
        "cosine_min": difference.cosine_min,
        "cosine_mean": difference.cosine_mean,
        "decision_agreement": agreement,
        "batch_invariance": invariance,
        "tolerance": limits | {"batch_invariance": allowed},
        "passed": True,
    }


def _check_interface(session: Session, graph: EncoderGraph) -> None:
    """The graph takes and gives exactly what it should: a mask that tracing lost is found here."""
    for kind, wanted, found in (("inputs", graph.inputs, session.inputs), ("outputs", graph.outputs, session.outputs)):
        if list(found) != list(wanted):
            raise ValueError(f"its {kind} are {', '.join(found)} instead of {', '.join(wanted)}")


def _compare(
    graph: EncoderGraph, reference: Reference, answers: Sequence[Mapping[str, np.ndarray]]
) -> tuple[proof.Difference, float | None]:
    """The worst difference over all cases, and the share of equal decisions (None for features)."""
    differences, agreements, weights = [], [], []
    decides = graph.checkpoint.task.name != "feature-extraction"
    for case, expected, got in zip(reference.cases, reference.answers, answers, strict=True):
        mask = case.feeds["attention_mask"]
        differences.append(proof.compare(expected, got, mask, reference.scales))
        if decides:
            agreements.append(proof.agreement(expected, got, mask))
            weights.append(differences[-1].vectors)
    return proof.Difference.worst(differences), float(np.average(agreements, weights=weights)) if decides else None


def batch_invariance(run: Run, graph: EncoderGraph, rows: Sequence[Row]) -> float:
    """Largest absolute difference of a row's answer alone and among others: other neighbours, orders, padding, sides.

    At the right, padding must change nothing. At the left it moves the positions of most models (in the original too),
    so there a row is compared with itself padded just as far.
    """
    order = list(range(len(rows)))
    batches = (order, order[::-1], order[: len(rows) // 2], order[1::2], order[::5])
    worst = 0.0
    for left in (False, True):
        for numbers in batches:
            chosen = [rows[number] for number in numbers]
            feeds = case_module.batch(chosen, graph, left=left, extra=len(numbers))
            length = feeds["input_ids"].shape[1]
            together = run(feeds)
            for place, row in enumerate(chosen):
                alone = run(case_module.batch([row], graph, left=left, length=length if left else None))
                worst = max(worst, _row_difference(alone, together, place, row, left))
    return worst


def _row_difference(
    alone: Mapping[str, np.ndarray], together: Mapping[str, np.ndarray], place: int, row: Row, left: bool
) -> float:
    """Largest difference at the row's tokens. An output is per token if its second axis changes with the padding."""
    worst = 0.0
    for name, value in together.items():
        here, there = value[place], alone[name][0]
        if here.ndim and there.shape[0] >= len(row) and here.shape[0] > len(row):
            here, there = (here[-len(row) :], there[-len(row) :]) if left else (here[: len(row)], there[: len(row)])
        worst = max(worst, float(np.abs(here - there).max()))
    return worst


def certificate(
    entries: Mapping[str, Mapping[str, Any]], graph: EncoderGraph, tokens: Mapping[str, int]
) -> dict[str, Any]:
    """The content of certificate.json.

    Args:
        entries: precision -> what `prove` returned.
        graph: what the graph is of.
        tokens: how the tokenizer did: {"texts", "mismatches"}.
    """
    versions = {name: importlib.metadata.version(name) for name in ("transformers", "torch")}
    return {
        "format": 1,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "reference": {
            "library": f"transformers {versions['transformers']}",
            "torch": versions["torch"],
            "attention": str(getattr(graph.checkpoint.model.config, "_attn_implementation", "eager")),
        },
        "tokenizer": dict(tokens),
        "longest_row": graph.max_length,
        "graphs": {"model": entries},
    }


def write_golden(path: Path, reference: Reference) -> None:
    """Write the short cases with the original's answers, so that any machine can repeat the proof without PyTorch."""
    arrays: dict[str, Any] = {}
    chosen = [pair for pair in zip(reference.cases, reference.answers, strict=True) if pair[0].golden]
    for number, (case, answer) in enumerate(chosen):
        arrays |= {f"model/{number}/input/{name}": array for name, array in case.feeds.items()}
        arrays |= {f"model/{number}/output/{name}": array for name, array in answer.items()}
    np.savez_compressed(path, **arrays)
