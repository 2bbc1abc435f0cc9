"""What stands in a pipeline for the model, where a task has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxpipe.bundle import Config
from onnxpipe.engine.device import CPU
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Model


class NoModel(Model):
    """The absence of a model: it has a config without values and a device, and no graph that could run.

    Args:
        task: the name of the task that needs no model.
    """

    def __init__(self, task: str) -> None:
        self.config = Config({})
        self.device = CPU
        self.precision = "fp32"
        self.name_or_path = task

    def placement(self) -> Any:
        """Refuse: there is no graph."""
        raise UnsupportedError(f"{self.name_or_path} has no model, so there is no graph to place on a device")

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Refuse: there is nothing to write."""
        raise UnsupportedError(f"{self.name_or_path} has no model, so there is nothing to save")
