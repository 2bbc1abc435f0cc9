"""The report that an export returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ExportReport:
    """A finished export.

    Attributes:
        folder: the bundle.
        task: the task it was exported for.
        files: relative path -> size in bytes, for every file of the bundle.
        certificate: the content of certificate.json.
        seconds: wall time of the whole export.
    """

    folder: Path
    task: str
    files: Mapping[str, int]
    certificate: Mapping[str, Any]
    seconds: float

    def __str__(self) -> str:
        total = sum(self.files.values()) / 1e6
        lines = [f"{self.folder}: {self.task}, {len(self.files)} files, {total:.1f} MB, {self.seconds:.1f} s"]
        for graph, precisions in self.certificate["graphs"].items():
            for precision, entry in precisions.items():
                lines.append(f"  {graph} {precision}: {_proof_line(entry)}")
        for precision, entry in self.certificate.get("generation", {}).items():
            lines.append(f"  generates {precision}: {_generation_line(entry)}")
        for precision, entry in self.certificate.get("images", {}).items():
            if "runs" in entry:
                apart = f"at most {entry['grey']:.2g} of 255 grey levels from the original's, {entry['psnr']:.0f} dB"
                lines.append(f"  images {precision}: {apart} ({len(entry['runs'])} short runs)")
        return "\n".join(lines)


def _proof_line(entry: Mapping[str, Any]) -> str:
    parts = [
        f"relative difference {entry['max_relative_difference']:.1e}",
        f"cosine {entry['cosine_mean']:.5f} (lowest {entry['cosine_min']:.5f})",
        f"alone or in a batch {entry['batch_invariance']:.1e}",
    ]
    if entry["decision_agreement"] is not None:
        parts.insert(2, f"same decision {entry['decision_agreement']:.1%}")
    return ", ".join(parts) + f" ({entry['cases']} cases, {entry['rows']} rows)"


def _generation_line(entry: Mapping[str, Any]) -> str:
    searches = entry["searches"].items()
    parts = [
        f"{name} {one['equal_rows']} of {one['rows']} outputs the same ({one['equal_tokens']:.1%} of tokens)"
        for name, one in searches
    ]
    return f"{', '.join(parts)}; {entry['prompts']} prompts, {entry['new_tokens']} tokens"
