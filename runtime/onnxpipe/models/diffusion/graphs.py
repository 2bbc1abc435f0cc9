"""The graphs of a diffusion pipeline by component: opened when they first run, and closed where memory is scarce."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from onnxpipe.bundle import Bundle
from onnxpipe.bundle.external import is_large_in_floats
from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.engine import Device, Session
from onnxpipe.models.base import Opener


class ComponentConfig(dict[str, Any]):
    """The config.json of a component: its fields by key, and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this config has no {name!r}; it has {', '.join(self)}") from None


class ComponentGraphs:
    """Opens the graphs of a folder of components.

    Args:
        bundle: the folder.
        opener: opens a graph on the user's device.
        low_memory: close a graph as soon as a step that needs it is done (`release`), and keep no second copy of the
            weights of a large one.

    Attributes:
        low_memory: as passed; may be changed.
    """

    def __init__(self, bundle: Bundle, opener: Opener, low_memory: bool = False) -> None:
        self._bundle = bundle
        self._opener = opener
        self.low_memory = low_memory
        self._open: dict[str, Session] = {}

    @property
    def names(self) -> Collection[str]:
        """The components that have a graph."""
        return self._bundle.graphs.keys()

    @property
    def opened(self) -> list[str]:
        """The components whose graphs are open."""
        return list(self._open)

    def session(self, name: str) -> Session:
        """Open the graph of a component, or return it if it is open.

        Raises:
            PrecisionError: there is none, or not in the precision that was asked for.
            BundleError, DeviceError: it cannot be loaded.
        """
        if name not in self._open:
            lean = self.low_memory and is_large_in_floats(self.file(name), self._bundle.folder)
            self._open[name], _ = self._opener(name, lean)
        return self._open[name]

    def precision(self, name: str) -> str:
        """Tell the precision of a component's graph."""
        return self._opener.choose(name)[0]

    def file(self, name: str) -> Path:
        """Find the file of a component's graph."""
        return self._opener.choose(name)[1]

    def move(self, device: Any) -> Device:
        """Open the graphs on another device from now on; return it.

        Raises:
            DeviceError: there is no such device here.
        """
        opener = self._opener.on(device)
        if opener.device != self._opener.device:
            self._opener = opener
            self._open.clear()
        return opener.device

    def release(self, *names: str) -> None:
        """Close graphs that are not needed for now, if memory is scarce."""
        if self.low_memory:
            for name in names:
                self._open.pop(name, None)

    def config(self, *names: str) -> ComponentConfig:
        """Read the config.json of the first of the components `names` that has one; an empty one if none has.

        Raises:
            BundleError: the file is not a config.
        """
        found = next((name for name in names if has_file(self._bundle.folder, f"{name}/config.json")), None)
        return ComponentConfig(read_json(self._bundle.folder, f"{found}/config.json") if found is not None else {})
