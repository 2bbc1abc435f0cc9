"""Tell which 8-bit kernels this processor has: files of 8-bit weights are made for one of them."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_ARM = frozenset({"aarch64", "arm64", "armv8l"})
#: Linux's names of the instruction sets, to the kernels: 8-bit dot products, 512 and 256 bits wide.
_KERNELS = {"avx512_vnni": "VNNI", "avx_vnni": "VNNI", "avx512bw": "AVX512", "avx2": "AVX2"}


@cache
def cpu_flags() -> frozenset[str]:
    """List the processor's instruction sets by Linux's names; empty where the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    listed = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(listed.partition(":")[2].split())


def kernels() -> frozenset[str]:
    """Tell the processor's 8-bit kernels: "VNNI", "AVX512", "AVX2", "Arm". Any other x86 system is taken for AVX2."""
    if platform.machine().lower() in _ARM:
        return frozenset({"Arm"})
    return frozenset(name for flag, name in _KERNELS.items() if flag in cpu_flags()) or frozenset({"AVX2"})
