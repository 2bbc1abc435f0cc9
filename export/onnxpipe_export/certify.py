"""Verify that a graph answers as the PyTorch original does, and the same alone as in a batch."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.bundle import proof
from onnxpipe.engine import Session, open_session, parse_device
from onnxpipe.errors import BundleError, CertificateError, ExportError
from onnxpipe_export.graphs.graph import Case, Feeds, GraphExport

# Largest absolute difference of a row's answer alone and in a batch.
BATCH_INVARIANCE: Mapping[str, float] = {"fp32": 1e-5, "int8": 1e-5, "q4": 1e-5, "fp16": 1e-2}

# float16 rounds at 1e-3 relative wherever a kernel sums in another order, so it cannot promise what the others do: its
# limit grows with the largest answer.
_RELATIVE = frozenset({"fp16"})

# Or this share of the largest answer: some roundings of float32, since padding changes the order of sums.
_ROUNDED = 1e-6

# Where the original itself is not invariant (by more than the rounding of float32), the limit is its own difference
# times this.
_ORIGINAL_SLACK = 1.5

# A model that magnifies rounding errors may differ by the first times what its own answers move when its pixels are
# rounded differently (which is one rounding; a graph's operators round in another order everywhere), but never by more
# than the second.
_ROUNDING_SLACK, _MOST_ROUNDING = 4.0, 5e-3


@dataclass(frozen=True)
class Reference:
    """The cases and the original's answers to them, computed once for all precisions.

    Attributes:
        graph: how the graph is exported and the original is run.
        tokenizer: the original's tokenizer, None if it has none.
        cases: the inputs.
        answers: for each case the original's outputs, float32 arrays.
    """

    graph: GraphExport
    tokenizer: Any
    cases: Sequence[Case]
    answers: Sequence[Feeds]

    @cached_property
    def scales(self) -> dict[str, float]:
        """The largest magnitude of each output over all cases."""
        masks = [self.graph.mask_of(case.feeds) for case in self.cases]
        return proof.scales(zip(self.answers, masks, strict=True))

    @cached_property
    def original_invariance(self) -> float:
        """How much the original's own answers differ alone and in a batch."""
        return self.graph.invariance(self.graph.reference, self.tokenizer)

    @cached_property
    def original_rounding(self) -> float:
        """The largest relative difference of the original's answers when the last bits of its pixels change."""
        generator = np.random.default_rng(0)
        differences = [0.0]
        for case, answer in zip(self.cases, self.answers, strict=True):
            pixels = case.feeds.get("pixel_values")
            if pixels is not None:
                noise = generator.choice(np.array([-1, 1], np.float32), pixels.shape) * np.float32(2**-22)
                other = self.graph.reference({**case.feeds, "pixel_values": pixels + pixels * noise})
                differences.append(proof.compare(answer, other, scales=self.scales).max_relative)
        return max(differences)

    @property
    def calibration(self) -> list[Feeds]:
        """The feeds that smaller precisions are calibrated with."""
        return [case.feeds for case in self.cases if case.calibrates]


def run_original(graph: GraphExport, tokenizer: Any) -> Reference:
    """Run the original on every case.

    Raises:
        ExportError: the original fails on one of them.
    """
    try:
        cases = graph.cases(tokenizer)
        answers = [graph.reference(case.feeds) for case in cases]
    except Exception as error:  # a model's forward can raise anything
        raise ExportError(
            f"the original model fails on the inputs that the export is verified with: {error}"
        ) from error
    return Reference(graph, tokenizer, cases, answers)


def verify(path: Path, root: Path, precision: str, reference: Reference) -> dict[str, Any]:
    """Run the graph at `path` on every case, compare, and return the certificate's entry.

    Args:
        path: the .onnx file.
        root: the bundle's folder.
        precision: decides what has to hold (`onnxpipe.bundle.proof.TOLERANCES`, `BATCH_INVARIANCE`).
        reference: from `run_original`.

    Raises:
        CertificateError: the graph differs by more than its precision allows, or cannot run.
    """
    graph = reference.graph
    try:
        session = open_session(path, root=root, device=parse_device("cpu"))
        _check_interface(session, graph)
        difference, agreement = _compare(session, reference)
        invariance = graph.invariance(session.run, reference.tokenizer)
    except (BundleError, RuntimeError, ValueError) as error:
        raise CertificateError(f"{path.name} cannot be verified: {error}. Nothing was written") from error
    tolerance = _tolerance(precision, difference, reference)
    faults = tolerance.faults(difference, agreement)
    largest = max(1.0, *reference.scales.values())
    allowed = BATCH_INVARIANCE[precision]
    allowed = allowed * largest if precision in _RELATIVE else max(allowed, _ROUNDED * largest)
    if not invariance <= allowed:
        # Convolutions that read the padding of neighbours make a model's answers differ in PyTorch too.
        allowed = max(allowed, _ORIGINAL_SLACK * reference.original_invariance)
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


def _tolerance(precision: str, difference: proof.Difference, reference: Reference) -> proof.Tolerance:
    """Return the tolerance of this precision, widened where the original's own answers move as much by rounding."""
    tolerance = proof.TOLERANCES[precision]
    if tolerance.max_relative is None or difference.max_relative <= tolerance.max_relative:
        return tolerance
    own = min(_ROUNDING_SLACK * reference.original_rounding, _MOST_ROUNDING)
    return dataclasses.replace(tolerance, max_relative=max(tolerance.max_relative, own))


def _check_interface(session: Session, graph: GraphExport) -> None:
    """Check that the graph has exactly the expected inputs and outputs: an input that tracing dropped is found here."""
    for kind, wanted, names in (("inputs", graph.inputs, session.inputs), ("outputs", graph.outputs, session.outputs)):
        if list(names) != list(wanted):
            raise ValueError(f"its {kind} are {', '.join(names)} instead of {', '.join(wanted)}")


def _compare(session: Session, reference: Reference) -> tuple[proof.Difference, float | None]:
    """Compute the worst difference over all cases and chains, and the share of equal decisions (None for features)."""
    graph, differences, agreements, weights = reference.graph, [], [], []
    for expected, got, mask, decides in _pairs(session, reference):
        differences.append(proof.compare(expected, got, mask, reference.scales))
        if decides and graph.decisions & set(expected):
            agreements.append(proof.agreement(expected, got, mask, graph.decisions))
            weights.append(differences[-1].vectors)
    return proof.Difference.worst(differences), float(np.average(agreements, weights=weights)) if agreements else None


def _pairs(session: Session, reference: Reference) -> Iterator[tuple[Feeds, Feeds, np.ndarray | None, bool]]:
    """Yield for every case and chain the original's answer, the graph's, the mask, and whether decisions count."""
    for case, expected in zip(reference.cases, reference.answers, strict=True):
        yield expected, session.run(case.feeds, list(expected)), reference.graph.mask_of(case.feeds), case.decides
    for expected, got in reference.graph.chains(session.run, reference.tokenizer):
        yield expected, got, None, True


def certificate(
    entries: Mapping[str, Mapping[str, Any]],
    references: Sequence[Reference],
    tokens: Mapping[str, int] | None,
    generation: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Assemble the content of certificate.json.

    Args:
        entries: graph -> precision -> what `verify` returned.
        references: what the graphs were compared with.
        tokens: the tokenizer's comparison, {"texts", "mismatches"}; None where the model has no tokenizer.
        generation: precision -> what `verify_generation` returned; empty for models that do not generate.
    """
    graphs = [reference.graph for reference in references]
    versions = {name: importlib.metadata.version(name) for name in ("transformers", "torch")}
    return {
        "format": 1,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "reference": {
            "library": f"transformers {versions['transformers']}",
            "torch": versions["torch"],
            "attention": str(getattr(graphs[0].checkpoint.model.config, "_attn_implementation", "eager")),
        },
        **({} if tokens is None else {"tokenizer": dict(tokens)}),
        **_verified_sizes(references),
        "graphs": dict(entries),
        **({"generation": dict(generation)} if generation else {}),
    }


def _verified_sizes(references: Sequence[Reference]) -> dict[str, Any]:
    """Return the longest text and the image sizes [height, width] that were verified, where the model takes them."""
    lengths = [reference.graph.max_length for reference in references]
    known = [length for length in lengths if length is not None]
    images = [case.feeds["pixel_values"] for reference in references for case in reference.cases
              if "pixel_values" in case.feeds]  # fmt: skip
    sizes = sorted({image.shape[-2:] for image in images if image.ndim > 3})  # others are cut into patches
    return ({"longest_row": min(known)} if known else {}) | ({"image_sizes": [list(s) for s in sizes]} if sizes else {})


def write_golden(path: Path, references: Sequence[Reference]) -> None:
    """Write the short cases with the original's answers, so that any machine can verify the bundle without PyTorch."""
    arrays: dict[str, Any] = {}
    for reference in references:
        pairs = zip(reference.cases, reference.answers, strict=True)
        chosen = [(case, answer) for case, answer in pairs if case.golden]
        for number, (case, answer) in enumerate(chosen):
            stem = f"{reference.graph.name}/{number}"
            arrays |= {f"{stem}/input/{name}": array for name, array in case.feeds.items()}
            arrays |= {f"{stem}/output/{name}": array for name, array in answer.items()}
    np.savez_compressed(path, **arrays)
