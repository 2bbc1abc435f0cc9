"""Execution providers in packages of their own, such as onnxruntime-ep-openvino: found by name, registered when used.

Such a package is a module `onnxruntime_ep_NAME` that says where its library is and which providers are in it; see
https://onnxruntime.ai/docs/execution-providers/plugin-ep-libraries.html.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from onnxpipe.engine.runtime import import_onnxruntime
from onnxpipe.errors import DeviceError

#: Device -> the package that has it; of those that are known.
PACKAGES = {"openvino": "onnxruntime-ep-openvino", "webgpu": "onnxruntime-ep-webgpu", "qnn": "onnxruntime-qnn"}

_PREFIX = "onnxruntime_ep_"
_OTHERS = ("onnxruntime_qnn",)

_REGISTERED: set[str] = set()
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Plugin:
    """An execution provider in a package of its own.

    Attributes:
        name: as `device=` calls it, e.g. "openvino".
        provider: as ONNX Runtime calls it, e.g. "OpenVINOExecutionProvider".
        path: its shared library.
    """

    name: str
    provider: str
    path: str

    def devices(self) -> list[Any]:
        """List the devices that it runs on here, as ONNX Runtime describes them; registers the library.

        Raises:
            DeviceError: ONNX Runtime is too old for it, or does not load the library.
        """
        runtime = import_onnxruntime()
        if not hasattr(runtime, "get_ep_devices"):
            raise DeviceError(f"onnxruntime {runtime.__version__} takes no {self.provider}: pip install -U onnxruntime")
        with _LOCK:
            if self.path not in _REGISTERED:
                try:
                    runtime.register_execution_provider_library(self.name, self.path)
                except Exception as error:
                    raise DeviceError(f"ONNX Runtime did not load {self.path}: {error}") from error
                _REGISTERED.add(self.path)
        return [device for device in runtime.get_ep_devices() if device.ep_name == self.provider]

    def device(self, index: int) -> Any:
        """Return one of its devices.

        Raises:
            DeviceError: there is none with that number here, or as for `devices`.
        """
        found = self.devices()
        if index >= len(found):
            listed = ", ".join(f"{self.name}:{i} ({describe(device)})" for i, device in enumerate(found))
            raise DeviceError(
                f"device='{self.name}:{index}' does not exist here: {self.provider} runs on {listed or 'nothing'} of "
                "this machine. For the CPU pass device='cpu'"
            )
        return found[index]


def describe(device: Any) -> str:
    """Describe a device in a few words: its kind and who made it."""
    hardware = device.device
    return f"{hardware.type.name} of {hardware.vendor or device.ep_vendor}"


@cache
def plugins() -> tuple[Plugin, ...]:
    """Find the installed packages of execution providers; imports them, and registers nothing."""
    return tuple(_installed())


def _installed() -> Iterator[Plugin]:
    for module in pkgutil.iter_modules():
        if not module.name.startswith(_PREFIX) and module.name not in _OTHERS:
            continue
        try:
            package = importlib.import_module(module.name)
            path, providers = str(package.get_library_path()), list(package.get_ep_names())
        except Exception:
            continue
        name = module.name.removeprefix(_PREFIX).removeprefix("onnxruntime_")
        for number, provider in enumerate(providers):
            yield Plugin(name if number == 0 else f"{name}_{number}", str(provider), path)


def named(device: str) -> Plugin | None:
    """Find the plug-in that `device=` names."""
    return next((plugin for plugin in plugins() if plugin.name == device), None)


def providing(provider: str) -> Plugin | None:
    """Find the plug-in of an execution provider."""
    return next((plugin for plugin in plugins() if plugin.provider == provider), None)
