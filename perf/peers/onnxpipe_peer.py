"""Run onnxpipe in a process where importing torch or transformers fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def load(task: str, model: str, dtype: str) -> Callable[[list[str]], Any]:
    """Load a pipeline with its defaults, which choose the batches."""
    sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
    from onnxpipe import pipeline

    return pipeline(task, model=model, dtype=dtype)
