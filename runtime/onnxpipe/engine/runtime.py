"""Import ONNX Runtime, only here: silently, and with the command that installs it if it is missing."""

from __future__ import annotations

import importlib
import os
import re
import warnings
from functools import cache
from types import ModuleType

from onnxpipe.errors import MissingDependencyError

_INSTALL = (
    'ONNX Runtime is not installed. For CPUs: pip install "onnxpipe[cpu]"; '
    'for NVIDIA GPUs: pip install "onnxpipe[gpu]". '
    "Install one of the two: they overwrite each other's files"
)
#: Older ones read any file that a graph names as its weights.
_OLDEST = (1, 24, 4)


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
        if error.name == "onnxruntime":
            raise MissingDependencyError(_INSTALL) from error
        # The package is there, and a library did not load: no memory to map it, another platform's wheel.
        raise MissingDependencyError(
            f"ONNX Runtime is installed and could not be loaded: {error}. Is there too little memory (ulimit -v, the "
            "container's limit), or is the wheel of another platform? Else install it again"
        ) from error
    except MemoryError as error:
        raise MissingDependencyError("ONNX Runtime could not be loaded: there is too little memory") from error
    if not hasattr(module, "InferenceSession"):  # the remains after one of the two wheels was uninstalled
        raise MissingDependencyError(f"the files of ONNX Runtime are incomplete; install it again. {_INSTALL}")
    if _parts(module) < _OLDEST:
        raise MissingDependencyError(
            f"onnxruntime {module.__version__} is too old, 1.24.4 is needed: pip install -U onnxruntime"
        )
    if hasattr(module, "disable_telemetry_events"):
        module.disable_telemetry_events()
    return module


def version_of(module: ModuleType) -> tuple[int, int]:
    """Major and minor version of ONNX Runtime."""
    major, minor = _parts(module)[:2]
    return major, minor


def _parts(module: ModuleType) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", module.__version__)[:3])
