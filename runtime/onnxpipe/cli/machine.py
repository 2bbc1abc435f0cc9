"""Describe the machine as this process sees it: processor, cores, folders."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

#: Instruction sets that matter for speed, by Linux's names: 8-bit dot products, wide vectors, half precision.
_FEATURES = frozenset({
    "avx2", "fma", "f16c", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve",
})  # fmt: skip


def cpu_model() -> str:
    """Return the processor's name."""
    for line in _cpuinfo():
        if line.startswith(("model name", "Hardware", "cpu model")):
            return line.partition(":")[2].strip()
    if platform.system() == "Darwin" and (sysctl := shutil.which("sysctl")):
        done = subprocess.run(
            [sysctl, "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=10, check=False
        )
        if done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """List the processor's instruction sets that matter here; empty where the system does not list them."""
    from onnxpipe.bundle.processor import cpu_flags

    return sorted(_FEATURES & cpu_flags())


def affinity() -> int:
    """Count the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def folder_size(folder: Path) -> int:
    """Sum the bytes of the files in a folder; links are not followed (the Hub's cache links to its own files)."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - many files: paths cost
            except OSError:
                continue
    return total


def writable(folder: Path) -> bool:
    """Tell whether the folder can be written to, or created."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _cpuinfo() -> list[str]:
    return _read(Path("/proc/cpuinfo")).splitlines()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
