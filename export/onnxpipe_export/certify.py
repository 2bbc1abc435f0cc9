"""The proof that a graph answers as the PyTorch original does."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import CertificateError
from onnxpipe_export import cases as case_module
from onnxpipe_export.cases import Case, Row
from onnxpipe_export.graphs.encoder import EncoderGraph

_FLOORS: Mapping[str, Mapping[str, float]] = {
    "fp32": {"max_relative_difference": 1e-4, "batch_invariance": 1e-5},
    "fp16": {"cosine_min": 0.999, "batch_invariance": 1e-2},
    "int8": {"cosine_min": 0.98, "batch_invariance": 1e-5},
}


@dataclass(frozen=True)
class Reference:
    """The cases and the original's answers to them, computed once for all precisions."""

    cases: Sequence[Case]
    answers: Sequence[Mapping[str, np.ndarray]]
    rows: Sequence[Row]


def ask_original(graph: EncoderGraph, tokenizer: Any) -> Reference:
    """Run the original on every case."""
    cases = case_module.make(graph, tokenizer)
    return Reference(cases, [graph.reference(case.feeds) for case in cases], case_module.text_rows(graph, tokenizer))


def prove(path: Path, precision: str, graph: EncoderGraph, reference: Reference) -> dict[str, Any]:
    """Run the graph at `path` on every case, compare, and return the certificate's entry.

    Raises:
        CertificateError: it differs by more than its precision allows.
    """
    run = _runner(path)
    differences, cosines, agreements, relative = [0.0], [1.0], [], [0.0]
    for case, expected in zip(reference.cases, reference.answers, strict=True):
        got = run(case.feeds)
        mask = case.feeds["attention_mask"].astype(bool)
        for name, value in expected.items():
            if got[name].shape != value.shape:
                raise CertificateError(f"{path.name}: {name} has shape {got[name].shape}, the original {value.shape}")
            left, right = got[name].astype(np.float64), value.astype(np.float64)
            if (
                value.shape[:2] == mask.shape
                and value.ndim >= 2
                and graph.checkpoint.task.name != "text-classification"
            ):
                left, right = left[mask], right[mask]
            differences.append(float(np.abs(left - right).max()))
            relative.append(differences[-1] / max(float(np.abs(right).max()), 1e-12))
            flat_left, flat_right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
            norms = np.linalg.norm(flat_left, axis=-1) * np.linalg.norm(flat_right, axis=-1)
            cosines.extend(((flat_left * flat_right).sum(-1) / np.maximum(norms, 1e-30)).tolist())
            if graph.checkpoint.task.name != "feature-extraction":
                agreements.append(float((flat_left.argmax(-1) == flat_right.argmax(-1)).mean()))
    entry: dict[str, Any] = {
        "provider": "CPUExecutionProvider",
        "cases": len(reference.cases),
        "rows": sum(case.rows for case in reference.cases),
        "max_relative_difference": max(relative),
        "max_absolute_difference": max(differences),
        "cosine_min": min(cosines),
        "cosine_mean": float(np.mean(cosines)),
        "decision_agreement": float(np.mean(agreements)) if agreements else None,
        "batch_invariance": batch_invariance(run, graph, reference.rows),
        "tolerance": dict(_FLOORS[precision]),
    }
    failures = [
        f"{name} {entry[name]:.3g} (allowed {limit:g})"
        for name, limit in _FLOORS[precision].items()
        if not (entry[name] >= limit if name == "cosine_min" else entry[name] <= limit)
    ]
    if failures:
        raise CertificateError(
            f"{path.name} does not answer as the original does: {'; '.join(failures)}. Nothing was written"
        )
    return entry | {"passed": True}


def batch_invariance(run: Any, graph: EncoderGraph, rows: Sequence[Row]) -> float:
    """Largest absolute difference of a row's answer alone and in batches of other rows, orders and lengths of padding."""
    pad = case_module.padding_id(graph)
    alone = [run(case_module.batch([row], graph, pad)) for row in rows]
    worst = 0.0
    order = list(range(len(rows)))
    for numbers in (order, order[::-1], order[: len(rows) // 2], order[1::2]):
        together = run(case_module.batch([rows[number] for number in numbers], graph, pad, extra=len(numbers)))
        for place, number in enumerate(numbers):
            for name, value in alone[number].items():
                here = together[name][place]
                if value.shape[1:2] == (len(rows[number]),) and here.shape[:1] != value.shape[1:2]:
                    here = here[: len(rows[number])]
                worst = max(worst, float(np.abs(here - value[0]).max()))
    return worst


def certificate(entries: Mapping[str, Mapping[str, Any]], graph: EncoderGraph, texts: int) -> dict[str, Any]:
    """The content of certificate.json: graph -> precision -> entry, and what it was compared with."""
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
        "tokenizer": {"texts": texts, "mismatches": 0},
        "max_length": graph.max_length,
        "graphs": entries,
    }


def write_golden(path: Path, reference: Reference) -> None:
    """Write the short cases with the original's answers, so that any machine can repeat the proof without PyTorch."""
    arrays: dict[str, Any] = {}
    chosen = [pair for pair in zip(reference.cases, reference.answers, strict=True) if pair[0].golden]
    for number, (case, answer) in enumerate(chosen):
        arrays |= {f"model/{number}/input/{name}": array for name, array in case.feeds.items()}
        arrays |= {f"model/{number}/output/{name}": array for name, array in answer.items()}
    np.savez_compressed(path, **arrays)


def _runner(path: Path) -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = {given.name for given in session.get_inputs()}

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answer = session.run(names, {name: array for name, array in feeds.items() if name in wanted})
        return dict(zip(names, answer, strict=True))

    return run
