"""The folder of an export: complete or not there, and nothing stays of exports that were killed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from odd_names import odd_folder
from onnxpipe.bundle.folder_names import in_utf8
from onnxpipe.errors import BundleError
from onnxpipe_export.write import copy_side_files, staged, write_json


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


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_a_folder_has_the_rights_of_any_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(os, "umask", None)  # whoever changes it, changes it for files of other threads as well
    with staged(tmp_path / "bundle") as stage:
        (stage / "config.json").write_text("{}")
        assert not stage.parent.stat().st_mode & 0o077  # unfinished files are nobody else's business
    assert (tmp_path / "bundle").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    target = odd_folder(tmp_path) / os.fsdecode(b"b\xff")
    with staged(target) as stage:
        str(stage).encode()
        write_json(stage / "bundle.json", {"model": target.name, "text": "\u00e9"})
    assert json.loads((target / "bundle.json").read_text("utf-8")) == {"model": target.name, "text": "\u00e9"}
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_errors_name_the_folder_not_the_link(tmp_path: Path) -> None:
    folder = odd_folder(tmp_path)
    with pytest.raises(BundleError) as caught, in_utf8(folder) as named:
        raise BundleError(f"{named / 'config.json'} is broken")
    assert str(caught.value) == f"{folder / 'config.json'} is broken"


def test_folders_in_utf8_keep_their_name(tmp_path: Path) -> None:
    with in_utf8(tmp_path) as named:
        assert named == tmp_path


LINKED = {
    "config.json": {},
    "generation_config.json": {},
    "2_Dense/config.json": {"modules.json": [{"path": "2_Dense"}]},
    "2_Dense/model.safetensors": {"modules.json": [{"path": "2_Dense"}]},
    "2_Dense/pytorch_model.bin": {"modules.json": [{"path": "2_Dense"}]},
    "voices/a.npy": {"speaker_embeddings_path.json": {"a": {"semantic_prompt": "voices/a.npy"}}},
    "language_model/unigrams.txt": {"alphabet.json": {}},
}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", LINKED)
def test_what_links_lead_to_elsewhere_is_not_published(tmp_path: Path, name: str) -> None:
    if name.endswith(".bin"):
        pytest.importorskip("torch")  # reads it
    secret = tmp_path / "secret"
    secret.write_text("{}")
    source, target = tmp_path / "source", tmp_path / "bundle"
    target.mkdir()
    (source / name).parent.mkdir(parents=True)
    for other, content in LINKED[name].items():
        (source / other).write_text(json.dumps(content))
    (source / name).symlink_to(secret)
    with pytest.raises(BundleError, match=f"{Path(name).name} is a link to .*secret"):
        copy_side_files(source, target)
    assert not (target / name).exists()
