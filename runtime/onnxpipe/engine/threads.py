"""How many threads this process may use: what the container grants, not what the host has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def available_threads() -> int:
    """The least of the CPUs of the affinity mask, the cgroup's CPU quota (v1 and v2, rounded up) and OMP_NUM_THREADS.

    ONNX Runtime's own default sees the mask but not the quota: in a container of 2 CPUs on a host of 64 it starts 64
    threads, which then wait for each other.
    """
    limits = [_affinity()]
    quota = cgroup_quota(_OWN_CGROUP, _CGROUP_ROOT)
    if quota is not None:
        limits.append(math.ceil(quota))
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wish.isdecimal() and int(wish) > 0:
        limits.append(int(wish))
    return max(1, min(limits))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota(own: Path, root: Path) -> float | None:
    """CPUs that the control group of this process, and every one above it, grants; None for no limit.

    Args:
        own: the file that names the process's groups (/proc/self/cgroup).
        root: where the groups are mounted (/sys/fs/cgroup).

    Source: Linux documentation, admin-guide/cgroup-v2 (cpu.max) and scheduler/sched-bwc (cpu.cfs_quota_us).
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:  # version 2: one tree for all controllers
            quotas += [_quota_v2(folder) for folder in _upwards(root, group)]
        elif "cpu" in controllers.split(","):
            for mount in (root / controllers, root / "cpu"):
                quotas += [_quota_v1(folder) for folder in _upwards(mount, group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(root: Path, group: str) -> list[Path]:
    """The group's folder and all above it. In a container the group's path is often not visible; then the root is."""
    folder = root.joinpath(*(part for part in group.split("/") if part not in ("", "..")))
    folders = [folder, *folder.parents]
    return folders[: folders.index(root) + 1]


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
