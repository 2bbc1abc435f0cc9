"""Threads as the container has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxpipe.engine import available_threads, threads
from onnxpipe.engine.threads import cgroup_quota


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("line", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/../elsewhere", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/not/visible", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("0::/", {"cpu.max": "1 0"}, None),
        ("0::/", {}, None),
        (
            "4:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("4:cpuacct,cpu:/x", {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 2.5),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("3:memory:/x\n0::/", {"cpu.max": "100000 100000"}, 1.0),
    ],
)
def test_cgroup_quota(tmp_path: Path, line: str, files: dict[str, str], quota: float | None) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, text in files.items():
        write(root / name, text)
    write(tmp_path / "own", line + "\n")
    assert cgroup_quota(tmp_path / "own", root) == quota


def test_no_cgroups(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(
    ("cpus", "quota", "wish", "threads_"),
    [(8, None, "", 8), (8, 2.5, "", 3), (8, 0.2, "", 1), (2, 16.0, "", 2), (8, 4.0, "2", 2), (8, 4.0, "64", 4),
     (8, None, "3,2", 3), (8, None, "x", 8), (8, None, "0", 8)],
)  # fmt: skip
def test_available_threads(
    monkeypatch: pytest.MonkeyPatch, cpus: int, quota: float | None, wish: str, threads_: int
) -> None:
    monkeypatch.setattr(threads, "_affinity", lambda: cpus)
    monkeypatch.setattr(threads, "cgroup_quota", lambda *_: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert available_threads() == threads_


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity cannot be set here")
def test_affinity() -> None:
    mask = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mask)})
        assert available_threads() == 1
    finally:
        os.sched_setaffinity(0, mask)
