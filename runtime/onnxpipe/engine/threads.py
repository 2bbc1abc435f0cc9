"""Count the threads that this process may use: those that the container grants, not those of the host."""

from __future__ import annotations

import math
import os
from pathlib import Path

from onnxpipe.engine.cgroups import CGROUP_ROOT, OWN_CGROUPS, group_folders, read_text


def available_threads() -> int:
    """The least of the CPUs of the affinity mask, the cgroup's CPU quota (v1 and v2, rounded up) and OMP_NUM_THREADS.

    ONNX Runtime's own default sees the mask but not the quota: in a container of 2 CPUs on a host of 64 it starts 64
    threads, which then wait for each other.
    """
    limits = [_affinity()]
    quota = cgroup_quota()
    if quota is not None:
        limits.append(math.ceil(quota))
    requested = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if requested.isdecimal() and int(requested) > 0:
        limits.append(int(requested))
    return max(1, min(limits))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota(own: Path = OWN_CGROUPS, root: Path = CGROUP_ROOT) -> float | None:
    """CPUs that the control group of this process, and every one above it, grants; None for no limit.

    Args:
        own: the file that names the process's groups (/proc/self/cgroup).
        root: where the groups are mounted (/sys/fs/cgroup).

    Source: Linux documentation, admin-guide/cgroup-v2 (cpu.max) and scheduler/sched-bwc (cpu.cfs_quota_us).
    """
    quotas = [_quota(folder) for folder in group_folders("cpu", own, root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(folder: Path) -> float | None:
    """The CPUs that one group grants: of version 2 in `cpu.max`, of version 1 in two files."""
    quota, _, period = read_text(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us")
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max", or a file that is not there
        return None
