"""Describe the machine as this process sees it: processor, cores, memory, folders."""

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
_CGROUP = Path("/sys/fs/cgroup")


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
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            return sorted(_FEATURES & set(line.partition(":")[2].split()))
    return []


def affinity() -> int:
    """Count the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[int | None, int | None]:
    """Return the machine's memory and the container's limit in bytes; None where unknown, or without a limit."""
    total = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = []
    for folder in _memory_groups():
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if text.isdigit() and (total is None or int(text) < total):  # version 1 says "no limit" with a huge number
            limits.append(int(text))
    return total, min(limits, default=None)


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


def _memory_groups() -> list[Path]:
    """List the control groups that limit this process's memory (version 1 or 2), from its own up to the root."""
    folders: list[Path] = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUP / "memory" if controllers else _CGROUP
        own = root / group.lstrip("/")
        folders += [each for each in (own, *own.parents) if each == root or root in each.parents]
    return folders


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
