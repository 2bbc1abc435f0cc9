"""The one place where the runtime reaches for the exporter."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from onnxpipe.errors import MissingDependencyError

_NEEDED = ("onnxpipe_export", "torch", "transformers", "onnx")


def load_exporter() -> ModuleType:
    """The module `onnxpipe_export`.

    Raises:
        MissingDependencyError: it, or torch, transformers or onnx, is not installed; the message has the line for it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'exporting a model needs {", ".join(missing)}, not installed here: pip install "onnxpipe[export]"'
        )
    return importlib.import_module("onnxpipe_export")
