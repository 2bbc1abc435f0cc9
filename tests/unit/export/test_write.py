"""The folder of an export: complete or not there, and nothing stays of exports that were killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxpipe_export.write import staged


def test_a_folder_is_complete_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(RuntimeError), staged(target) as stage:
        (stage / "config.json").write_text("{}")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with staged(target) as stage:
        (stage / "config.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_killed_exports_left_is_swept(tmp_path: Path) -> None:
    def leftover(name: str, *, fresh: bool) -> Path:
        folder = tmp_path / name
        (folder / "onnx").mkdir(parents=True)
        (folder / "onnx" / "model.onnx").write_bytes(b"x")
        for path in (folder / "onnx", folder, *([] if fresh else [folder / "onnx" / "model.onnx"])):
            os.utime(path, (0, 0))
        return folder

    old, fresh = leftover(".a.x1.partial", fresh=False), leftover(".b.x2.partial", fresh=True)
    other = leftover("mine.partial", fresh=False)
    outside = leftover("outside", fresh=False)
    link = tmp_path / ".c.x3.partial"
    link.symlink_to(outside)
    with staged(tmp_path / "bundle"):
        pass
    assert not old.exists()
    assert fresh.exists() and other.exists() and outside.exists() and link.is_symlink()
