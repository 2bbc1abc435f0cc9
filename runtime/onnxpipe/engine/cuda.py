"""Find out whether NVIDIA GPUs can be used here and, if not, exactly what is missing.

ONNX Runtime lists its CUDA provider as available when it was built with it, and moves to the CPU with a line in the log
when the provider's libraries cannot be loaded. So they are checked here, one by one, before a session is opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import struct
import sys
import warnings
from functools import cache
from pathlib import Path

from onnxpipe.engine.runtime import import_onnxruntime

PROVIDER = "CUDAExecutionProvider"

_DRIVER = "libcuda.so.1"


@cache
def cuda_problem() -> str | None:
    """Tell why CUDA cannot be used, with the command that helps; None if it can."""
    runtime = import_onnxruntime()
    if PROVIDER not in runtime.get_available_providers():
        return (
            "the installed ONNX Runtime was built without CUDA: "
            'pip uninstall -y onnxruntime && pip install "onnxpipe[gpu]"'
        )
    if hasattr(runtime, "preload_dlls"):  # loads the libraries of the nvidia-* wheels; it prints which it did not find
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runtime.preload_dlls()
    library = Path(str(runtime.__file__)).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if sys.platform == "linux" and library.is_file():
        missing = [name for name in needed_libraries(library) if not _loads(name)]
        if missing:
            return _missing(missing)
    count = device_count()
    if count is None:
        return f"NVIDIA's driver did not start: look at the output of nvidia-smi ({_DRIVER} is there)"
    return None if count else "the driver sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES"


def _missing(names: list[str]) -> str:
    found = []
    if _DRIVER in names:
        found.append(f"NVIDIA's driver ({_DRIVER}) is missing; a container needs --gpus all")
    libraries = [name for name in names if name != _DRIVER]
    if libraries:
        found.append(f'{", ".join(libraries)} could not be loaded: pip install "onnxruntime-gpu[cuda,cudnn]"')
    return "; ".join(found)


def device_count() -> int | None:
    """Count the GPUs that the driver shows to this process; None if the driver is missing or does not start."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else _DRIVER)
    except OSError:
        return None
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return None
    return count.value


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def needed_libraries(library: Path) -> list[str]:
    """List the libraries that a 64-bit ELF library needs, without loading it.

    Loading the provider itself would answer too, but ONNX Runtime must be the first to load it: its global objects
    take their host from it.

    Source: System V ABI, "Dynamic Section": DT_NEEDED = 1, DT_STRTAB = 5; PT_LOAD = 1, PT_DYNAMIC = 2.
    """
    with library.open("rb") as file:
        head = file.read(64)
        if head[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian
            return []
        table, size, count = *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
        file.seek(table)
        headers = [struct.unpack_from("<IIQQQQQQ", file.read(size)) for _ in range(count)]
        entries = []
        for kind, _, offset, _, _, length, _, _ in headers:
            if kind == 2:
                file.seek(offset)
                entries = list(struct.iter_unpack("<QQ", file.read(length)))
        address = next((value for tag, value in entries if tag == 5), None)
        if address is None:
            return []
        for kind, _, offset, start, _, length, _, _ in headers:
            if kind == 1 and start <= address < start + length:
                file.seek(offset + address - start)
                strings = file.read(length - (address - start))
                return [_string(strings, value) for tag, value in entries if tag == 1]
    return []


def _string(strings: bytes, start: int) -> str:
    return strings[start : strings.index(b"\0", start)].decode()
