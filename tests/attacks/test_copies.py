"""A copy of a model's folder holds its own files only: what links lead to elsewhere is not carried out with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from attacks.graphs import embedding, weights, write_folder
from attacks.test_external_data import hub_cache
from onnxpipe import AutoModel
from onnxpipe.bundle.files import copy_file
from onnxpipe.errors import BundleError

ATTACKS: dict[str, Callable[[Path], None]] = {
    "a link out of the folder": lambda path: path.symlink_to("/etc/passwd"),
    "a link to a folder": lambda path: path.symlink_to("/etc"),
    "a link to its own folder": lambda path: path.symlink_to("."),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("no such file"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": lambda path: os.mkfifo(path),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model", {"onnx/model.onnx": embedding()})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", ["secret", "onnx/secret"])
def test_nothing_is_copied_from_elsewhere(folder: Path, tmp_path: Path, name: str, attack: str) -> None:
    model = AutoModel.from_pretrained(folder, device="cpu")
    ATTACKS[attack](folder / name)
    with pytest.raises((BundleError, OSError), match="secret"):
        model.save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    if name == "secret":
        with pytest.raises((BundleError, OSError), match="secret"):
            copy_file(folder, name, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


def test_links_inside_the_folder_become_files(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").rename(folder / "real.json")
    (folder / "config.json").symlink_to("real.json")
    AutoModel.from_pretrained(folder, device="cpu").save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy/config.json").read_bytes() == (folder / "real.json").read_bytes()
    assert not (tmp_path / "copy/config.json").is_symlink()


def test_the_hubs_cache_is_copied(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    AutoModel.from_pretrained(snapshot, device="cpu").save_pretrained(tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()) == [
        "config.json", "model.onnx", "model.onnx_data"
    ]  # fmt: skip
    assert (tmp_path / "copy/onnx/model.onnx_data").read_bytes() == weights().tobytes()
    assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))
    assert AutoModel.from_pretrained(tmp_path / "copy", device="cpu")


def test_a_copy_into_the_folder_itself(folder: Path) -> None:
    model = AutoModel.from_pretrained(folder, device="cpu")
    model.save_pretrained(folder / "copy")
    assert sorted(path.relative_to(folder / "copy").as_posix() for path in (folder / "copy").rglob("*.*")) == [
        "config.json", "onnx/model.onnx"
    ]  # fmt: skip
