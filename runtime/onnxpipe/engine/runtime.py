"""Import ONNX Runtime, only here: silently, and with the command that installs it if it is missing."""

from __future__ import annotations

import importlib
import os
import warnings
from functools import cache
from types import ModuleType

from onnxpipe.errors import MissingDependencyError

_INSTALL = (
    'ONNX Runtime is not installed. For CPUs: pip install "onnxpipe[cpu]"; '
    'for NVIDIA GPUs: pip install "onnxpipe[gpu]". '
    "Install one of the two: they overwrite each other's files"
)
_OLDEST = (1, 22)


@cache
def import_onnxruntime() -> ModuleType:
    """Import the module `onnxruntime`, with its telemetry off.

    Raises:
        MissingDependencyError: it is not installed, too old, or its files are damaged.
    """
    # Since 1.29 the telemetry starts with the import, so it must be off before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        with warnings.catch_warnings():
            # It warns of systems it was not tested on and of CUDA libraries it did not find. The latter is an error of
            # ours if a GPU was requested, and does not matter otherwise.
            warnings.simplefilter("ignore")
            module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(_INSTALL if error.name == "onnxruntime" else f"{_INSTALL} ({error})") from error
    if not hasattr(module, "InferenceSession"):  # the remains after one of the two wheels was uninstalled
        raise MissingDependencyError(f"the files of ONNX Runtime are incomplete; install it again. {_INSTALL}")
    if version_of(module) < _OLDEST:
        raise MissingDependencyError(
            f"onnxruntime {module.__version__} is too old, 1.22 is needed: pip install -U onnxruntime"
        )
    if hasattr(module, "disable_telemetry_events"):
        module.disable_telemetry_events()
    return module


def version_of(module: ModuleType) -> tuple[int, int]:
    """Major and minor version of ONNX Runtime."""
    major, minor = module.__version__.split(".")[:2]
    return int(major), int(minor)
