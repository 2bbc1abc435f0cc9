"""How much memory this process may use: what the container grants, not what the host has."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from onnxpipe.engine.cgroups import CGROUP_ROOT, OWN_CGROUPS, group_folders, read_text

#: Version 1 says "no limit" with a huge number, the largest multiple of a page in 63 bits.
_NO_LIMIT = 2**62
_ARENA_MAX = -8


def available_memory() -> int | None:
    """The bytes that this process may use: the least of the machine's and the container's; None where unknown."""
    return min((bytes_ for bytes_ in (machine_memory(), memory_limit()) if bytes_ is not None), default=None)


def machine_memory() -> int | None:
    """The machine's memory in bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def limit_arenas(count: int = 2) -> bool:
    """Let threads share so many of glibc's arenas; tell whether it does.

    By default there are up to eight a core, one for each thread that allocates, and what is free in one is of no use to
    another: a server grows for hours. `MALLOC_ARENA_MAX` in the environment wins. Source: mallopt(3), M_ARENA_MAX.
    """
    if "MALLOC_ARENA_MAX" in os.environ or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(_ARENA_MAX, count) == 1


def memory_limit(own: Path = OWN_CGROUPS, root: Path = CGROUP_ROOT) -> int | None:
    """The least bytes that the control group of this process, or one above it, allows; None for no limit.

    Args:
        own: the file that names the process's groups (/proc/self/cgroup).
        root: where the groups are mounted (/sys/fs/cgroup).

    Source: Linux documentation, admin-guide/cgroup-v2 (memory.max) and cgroup-v1/memory (memory.limit_in_bytes).
    """
    limits = []
    for folder in group_folders("memory", own, root):
        text = read_text(folder / "memory.max") or read_text(folder / "memory.limit_in_bytes")
        if text.isdecimal() and int(text) < _NO_LIMIT:  # else "max", or a file that is not there
            limits.append(int(text))
    return min(limits, default=None)
