"""Memory as the container has it: limits of control groups of both versions, then the machine's."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from onnxpipe.engine import memory
from onnxpipe.engine.cgroups import group_folders
from onnxpipe.engine.memory import available_memory, limit_arenas, machine_memory, memory_limit

GB = 2**30


@pytest.mark.parametrize(
    ("line", "files", "limit"),
    [
        pytest.param("0::/", {"memory.max": f"{2 * GB}"}, 2 * GB, id="v2"),
        pytest.param("0::/", {"memory.max": "max"}, None, id="v2, no limit"),
        pytest.param("0::/a/b", {"a/memory.max": f"{GB}", "a/b/memory.max": "max"}, GB, id="v2, a limit above"),
        pytest.param("0::/a/b", {"a/memory.max": f"{GB}", "a/b/memory.max": "4096"}, 4096, id="v2, nested limits"),
        pytest.param("0::/not/visible", {"memory.max": f"{GB}"}, GB, id="v2, the group's path is not visible"),
        pytest.param("0::/../x", {"memory.max": f"{GB}"}, GB, id="v2, a path that leaves the root"),
        pytest.param("0::/", {"memory.max": "nonsense"}, None, id="v2, unreadable"),
        pytest.param("0::/", {}, None, id="v2, the root has no file"),
        pytest.param("5:memory:/x", {"memory/x/memory.limit_in_bytes": f"{GB}"}, GB, id="v1"),
        pytest.param("5:memory:/x", {"memory/memory.limit_in_bytes": f"{GB}"}, GB, id="v1, a limit above"),
        pytest.param("5:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, id="v1, no limit"),
        pytest.param(
            "5:memory:/a/b",
            {"memory/a/memory.limit_in_bytes": f"{GB}", "memory/a/b/memory.limit_in_bytes": f"{2 * GB}"},
            GB,
            id="v1, nested limits",
        ),
        pytest.param("4:cpu:/x\n0::/", {"memory.max": f"{GB}", "cpu/x/memory.max": "1"}, GB, id="both versions"),
        pytest.param("4:cpu:/x", {"memory/x/memory.limit_in_bytes": "1"}, None, id="v1, another controller"),
    ],
)
def test_memory_limit(tmp_path: Path, line: str, files: dict[str, str], limit: int | None) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    (tmp_path / "own").write_text(line + "\n")
    assert memory_limit(tmp_path / "own", root) == limit


def test_no_cgroups(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "none", tmp_path) is None
    assert group_folders("memory", tmp_path / "none", tmp_path) == []


@pytest.mark.parametrize(
    ("machine", "limit", "available"),
    [(64 * GB, 2 * GB, 2 * GB), (64 * GB, None, 64 * GB), (GB, 2 * GB, GB), (None, GB, GB), (None, None, None)],
)
def test_available_memory(
    machine: int | None, limit: int | None, available: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: machine)
    monkeypatch.setattr(memory, "memory_limit", lambda: limit)
    assert available_memory() == available


def test_machine_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    total = machine_memory()
    assert total is None or total > 2**26
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert machine_memory() is None


def test_arenas_of_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def mallopt(name: int, value: int) -> int:
        asked.append((name, value))
        return 1

    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert limit_arenas() and asked == [(-8, 2)]
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")  # the user's own wins
    assert not limit_arenas() and len(asked) == 1
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: SimpleNamespace())  # musl
    assert not limit_arenas()
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not limit_arenas()
