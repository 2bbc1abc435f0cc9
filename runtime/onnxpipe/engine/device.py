"""Find the device for the argument `device=`, and check that it is usable."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from onnxpipe.engine.cuda import PROVIDER as CUDA_PROVIDER
from onnxpipe.engine.cuda import cuda_problem, device_count
from onnxpipe.engine.plugins import PACKAGES, named, providing
from onnxpipe.engine.runtime import import_onnxruntime
from onnxpipe.errors import DeviceError

logger = logging.getLogger("onnxpipe")

CPU_PROVIDER = "CPUExecutionProvider"
COREML_PROVIDER = "CoreMLExecutionProvider"

_KNOWN = (
    "cpu, cuda, cuda:N, coreml (or mps), an index (-1 for the CPU), None for the first GPU or else the CPU, or "
    "openvino, webgpu and others whose package onnxruntime-ep-NAME is installed"
)


@dataclass(frozen=True)
class Device:
    """A device that models run on.

    Attributes:
        type: "cpu", "cuda", "coreml", or the name of an installed execution provider (see `plugins`).
        index: number of the GPU, or of the device that the execution provider lists; None for the others.
    """

    type: str
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"


CPU = Device("cpu")


def parse_device(value: Any = None) -> Device:
    """Parse `value` to a device, and check that it is usable.

    Args:
        value: None, an index, "cpu", "cuda", "cuda:1", "coreml" or "mps", the name of an installed execution provider
            ("openvino", "webgpu:1"), a `Device`, or anything with `.type` and `.index` as torch.device has. None is the
            first GPU, or the CPU if there is none; an index is a GPU, and a negative one the CPU.

    Raises:
        DeviceError: no such device here; the message says what is missing. transformers silently takes the CPU for an
            index when there is no accelerator; here a model runs on the device that was requested, or not at all.
    """
    if value is None:
        return _first()
    if isinstance(value, int) and not isinstance(value, bool):
        return CPU if value < 0 else _accelerator(value)
    if hasattr(value, "type") and hasattr(value, "index") and not isinstance(value, str):
        value = value.type if value.index is None else f"{value.type}:{value.index}"
    match = re.fullmatch(r"([a-z]\w*)(?::(\d+))?", value) if isinstance(value, str) else None
    kind, index = (match[1], int(match[2] or 0)) if match else ("", 0)
    if kind == "cpu":
        return CPU
    if kind == "cuda":
        return _cuda(index, value)
    return _coreml(value) if kind in ("coreml", "mps") else _plugin(kind, index, value)


def device_of_provider(provider: str, options: dict[str, Any]) -> Device:
    """Find the device of an execution provider; the CPU for those of ONNX Runtime that are neither CUDA nor CoreML."""
    if provider in (CUDA_PROVIDER, "TensorrtExecutionProvider"):
        return Device("cuda", int(options.get("device_id", 0)))
    if provider == COREML_PROVIDER:
        return Device("coreml")
    plugin = None if provider in import_onnxruntime().get_available_providers() else providing(provider)
    return CPU if plugin is None else Device(plugin.name, int(options.get("device_id", 0)))


def provider_list(device: Device) -> list[tuple[str, dict[str, str]]]:
    """List the execution providers, with options, for a device; the CPU runs the nodes that the device cannot."""
    providers: list[tuple[str, dict[str, str]]] = [(CPU_PROVIDER, {})]
    if device.type == "coreml":
        providers.insert(0, (COREML_PROVIDER, {}))
    if device.type == "cuda":
        options = {
            "device_id": str(device.index or 0),
            # On by default, with 10 bits of mantissa; PyTorch, whose answers are to be matched, has it off.
            "use_tf32": "0",
            # The default tries every algorithm at each new shape, and the shapes of texts change with each batch.
            "cudnn_conv_algo_search": "HEURISTIC",
        }
        providers.insert(0, (CUDA_PROVIDER, options))
    plugin = named(device.type) if device.type not in ("cpu", "coreml", "cuda") else None
    if plugin is not None:
        providers.insert(0, (plugin.provider, {"device_id": str(device.index or 0)}))
    return providers


def _first() -> Device:
    problem = cuda_problem()
    if problem is None:
        return Device("cuda", 0)
    if CUDA_PROVIDER in import_onnxruntime().get_available_providers():
        logger.warning("onnxruntime-gpu is installed, but the model runs on the CPU: %s", problem)
    return CPU


def _accelerator(index: int) -> Device:
    if cuda_problem() is not None and index == 0 and COREML_PROVIDER in import_onnxruntime().get_available_providers():
        return Device("coreml")
    return _cuda(index, index)


def _cuda(index: int, value: object) -> Device:
    problem = cuda_problem()
    if problem is not None:
        raise DeviceError(f"device={value!r} is not usable here: {problem}. For the CPU pass device='cpu'")
    count = device_count() or 0
    if index >= count:
        raise DeviceError(f"device={value!r} does not exist: the driver shows {count} GPU(s), the first is cuda:0")
    return Device("cuda", index)


def _coreml(value: object) -> Device:
    if COREML_PROVIDER not in import_onnxruntime().get_available_providers():
        raise DeviceError(
            f"device={value!r} is not usable here: CoreML is in ONNX Runtime's macOS wheels only. "
            "For the CPU pass device='cpu'"
        )
    return Device("coreml")


def _plugin(name: str, index: int, value: object) -> Device:
    plugin = named(name)
    if plugin is None:
        if name in PACKAGES:
            raise DeviceError(f"device={value!r} needs the package that has it: pip install {PACKAGES[name]}")
        raise DeviceError(f"device={value!r} is not known. Expected one of: {_KNOWN}. Others go through providers=")
    plugin.device(index)  # refuses one that is not here
    return Device(name, index)
