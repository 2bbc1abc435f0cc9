"""The one place where the runtime reaches for the exporter."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, Unpack

from onnxpipe.bundle.hub_options import HubKeywords
from onnxpipe.errors import MissingDependencyError

_NEEDED = ("onnxpipe_export", "torch", "transformers", "onnx")

#: How a causal language model attends; see `onnxpipe_export.export`.
Attention = Literal["auto", "gqa", "standard"]


class Exporter(Protocol):
    """What the runtime uses of the package `onnxpipe_export`; that package holds itself to it."""

    def export(
        self,
        model: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        task: str | None = None,
        precision: str | Sequence[str] = ("fp32",),
        attention: Attention = "auto",
        calibration: str | os.PathLike[str] | None = None,
        progress: Callable[[str], None] | None = None,
        **hub: Unpack[HubKeywords],
    ) -> object:
        """Convert a model to a certified bundle in the folder `output` and return a report, for people to read.

        Raises:
            ExportError: it could not be converted.
        """
        ...


def can_export() -> bool:
    """Whether the exporter is installed here, with all that it needs."""
    return not _missing()


def load_exporter() -> Exporter:
    """Import `onnxpipe_export`.

    Raises:
        MissingDependencyError: it, or torch, transformers or onnx, is not installed; the message has the line for it.
    """
    missing = _missing()
    if missing:
        raise MissingDependencyError(
            f'exporting a model needs {", ".join(missing)}, not installed here: pip install "onnxpipe[export]"'
        )
    exporter: Exporter = importlib.import_module("onnxpipe_export")
    return exporter


def _missing() -> list[str]:
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]
