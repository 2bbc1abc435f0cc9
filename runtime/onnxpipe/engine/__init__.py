"""Devices, threads and sessions of ONNX Runtime, and the scheduler that feeds them."""

from onnxpipe.engine.device import Device, parse_device
from onnxpipe.engine.opening import open_session
from onnxpipe.engine.placement import Placement
from onnxpipe.engine.run_limit import check_run_timeout
from onnxpipe.engine.runtime import import_onnxruntime
from onnxpipe.engine.session import Session, TensorSpec
from onnxpipe.engine.threads import available_threads

__all__ = [
    "Device",
    "Placement",
    "Session",
    "TensorSpec",
    "available_threads",
    "check_run_timeout",
    "import_onnxruntime",
    "open_session",
    "parse_device",
]
