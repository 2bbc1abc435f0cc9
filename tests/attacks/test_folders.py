"""Model folders that are damaged or hostile in their other files."""

from __future__ import annotations

import io
import json
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks.graphs import embedding, external_folder, weights, write_folder, write_manifest
from onnxpipe.bundle import Config, open_bundle
from onnxpipe.bundle.files import inside, read_json
from onnxpipe.bundle.proof import read_golden
from onnxpipe.errors import BundleError, ModelNotFoundError, NotExportedError


class Bomb:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was opened",))


def refused(folder: Path, why: str, error: type[Exception] = BundleError) -> None:
    with pytest.raises(error, match=why):
        open_bundle(folder)


def intact(folder: Path) -> Path:
    return write_folder(folder, {"onnx/model.onnx": embedding()})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ('"x"', "must hold a JSON object"),
        ("null", "must hold a JSON object"),
        ("{", "not valid JSON"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "too deeply|not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"num_labels": 1000000000}', "not a count"),
        ('{"num_labels": -1}', "not a count"),
        ('{"num_labels": "3"}', "not a count"),
        ('{"id2label": ["a"]}', "must map numbers"),
        ('{"id2label": {"a": "b"}}', "must map numbers"),
        ('{"id2label": 3}', "must map numbers"),
    ],
)
def test_config(tmp_path: Path, text: str, why: str) -> None:
    folder = intact(tmp_path)
    (folder / "config.json").write_text(text)
    refused(folder, why)


def test_config_that_is_not_text(tmp_path: Path) -> None:
    folder = intact(tmp_path)
    (folder / "config.json").write_bytes(b"\xff\xfe{\x00\x80")
    refused(folder, "not valid JSON")


def test_absurd_sizes(tmp_path: Path) -> None:
    folder = intact(tmp_path)
    for name, size in (("config.json", 17 << 20), ("tokenizer.json", 257 << 20)):
        with (folder / name).open("wb") as file:
            file.truncate(size)  # sparse: nothing is written
        started = time.perf_counter()
        with pytest.raises(BundleError, match="larger than"):
            read_json(folder, name)
        assert time.perf_counter() - started < 5


def test_config_that_is_a_link(tmp_path: Path) -> None:
    folder = intact(tmp_path / "m")
    (tmp_path / "secret.json").write_text("{}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "secret.json")
    refused(folder, "outside the model's folder")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "C:/x", "a\\b", "", "a\0b"])
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("x")
    folder = intact(tmp_path / "m")
    with pytest.raises(BundleError):
        inside(folder, name)
    refused(write_manifest(folder, graphs={"model": {"fp32": {"path": name}}}), "does not list|points out")
    entry = {"size": 1, "sha256": "0" * 64}
    manifest = {"format": 1, "graphs": {"model": {"fp32": {"path": name}}}, "files": {name: entry}}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    refused(folder, "points out")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "pip install -U onnxpipe"),
        ({"format": 10**30}, "pip install -U onnxpipe"),
        ({"format": "1"}, "no 'format' number"),
        ({"format": None}, "no 'format' number"),
        ({"format": True}, "no 'format' number"),
        ({"format": 0}, "no 'format' number"),
        ({"graphs": []}, "no object 'graphs'"),
        ({"graphs": {"model": []}}, "not an object"),
        ({"graphs": {"model": {"fp32": "onnx/model.onnx"}}}, "without a path"),
        ({"graphs": {"model": {"fp32": {"path": 3}}}}, "without a path"),
        ({"graphs": {"model": {"fp1": {"path": "onnx/model.onnx"}}}}, "not a precision"),
        ({"tasks": "all"}, "not a list"),
        ({"files": []}, "not an object"),
        ({"files": {"config.json": {"size": "1", "sha256": "0" * 64}}}, "no size and sha256"),
        ({"files": {"config.json": {"size": 1, "sha256": "abc"}}}, "no size and sha256"),
        ({"files": {"config.json": "x"}}, "no size and sha256"),
    ],
)
def test_manifests(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    refused(write_manifest(intact(tmp_path), **changes), why)


def test_files_that_changed_since_the_export(tmp_path: Path) -> None:
    folder = write_manifest(external_folder(tmp_path))
    bundle = open_bundle(folder)
    path = bundle.choose("model")[1]
    bundle.verify_file(path)
    data = folder / "onnx/model.onnx_data"
    data.write_bytes(bytes(weights().nbytes))  # as long, but zeros
    with pytest.raises(BundleError, match=r"model\.onnx_data is not the file that was exported"):
        bundle.verify_file(path)
    data.write_bytes(weights().tobytes() + b"x")
    with pytest.raises(BundleError, match=r"has 801 bytes; bundle\.json says 800"):
        bundle.verify_file(path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "certificate.json"])
def test_small_files_that_changed_since_the_export(tmp_path: Path, name: str) -> None:
    folder = intact(tmp_path)
    for other in ("tokenizer.json", "tokenizer_config.json", "certificate.json"):
        (folder / other).write_text('{"format": 1}')
    write_manifest(folder)
    assert open_bundle(folder).certificate == {"format": 1}
    (folder / name).write_text('{"format": 1, "changed": true}')
    refused(folder, "bundle.json says")


def test_files_that_were_added_since_the_export(tmp_path: Path) -> None:
    folder = write_manifest(intact(tmp_path))
    (folder / "chat_template.jinja").write_text("{{ evil }}")
    refused(folder, "not in bundle.json's list")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"pytorch_model.bin": pickle.dumps(Bomb())})
    refused(folder, r"onnxpipe export .* -o DIR", NotExportedError)
    refused(write_folder(tmp_path / "none"), "neither", ModelNotFoundError)


def _npz(path: Path, **entries: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("|", "/") + ".npy", content)


def _npy(array: Any, **changes: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    key = "model|0|input|x"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    hostile = {
        "pickle": {key: _npy(np.array([Bomb()], object))},
        "shape": {key: header.getvalue() + b"1234"},
        "text": {key: b"nothing of numpy"},
        "name": {"x": _npy([1.0])},
        "number": {"model|x|input|a": _npy([1.0])},
        "kind": {"model|0|secret|a": _npy([1.0])},
    }
    for entries in hostile.values():
        _npz(path, **entries)
        with pytest.raises(BundleError, match="not a file of cases"):
            read_golden(tmp_path)
    path.write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match="not a file of cases"):
        read_golden(tmp_path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BundleError, match="not a file of cases"):
        read_golden(tmp_path)
    path.unlink()
    with pytest.raises(ModelNotFoundError):
        read_golden(tmp_path)


def test_golden_bomb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as file:
        for _ in range(65):
            file.write(bytes(1 << 20))
    with pytest.raises(BundleError, match="unpacks to more"):
        read_golden(tmp_path)


def test_a_config_cannot_reach_python(tmp_path: Path) -> None:
    config = Config.from_dict({"__class__": "x", "get": 3, "_values": {}, "to_dict": "y"})
    assert config.get("hidden_size", 1) == 1
    assert config.to_dict()["get"] == 3
    assert type(config) is Config


def test_graphs_of_another_format(tmp_path: Path) -> None:
    folder = intact(tmp_path)
    (folder / "onnx/model.ort").write_bytes(b"x")
    refused(write_manifest(folder, graphs={"model": {"fp32": {"path": "onnx/model.ort"}}}), "not an .onnx graph")


def test_golden_files_that_numpy_does_not_write(tmp_path: Path) -> None:
    path, key = tmp_path / "golden.npz", "model/0/input/x.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (-1, 4)})
    for content, method in ((_npy([1.0]), zipfile.ZIP_LZMA), (_npy([1.0]), zipfile.ZIP_BZIP2), (header.getvalue(), 0)):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr(key, content)
        with pytest.raises(BundleError, match=r"golden\.npz is not a file of cases"):
            read_golden(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(key, _npy([1.0]))
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        raw[raw.index(mark) + offset] |= 1  # says that it is encrypted
    path.write_bytes(raw)
    with pytest.raises(BundleError, match="encrypted"):
        read_golden(tmp_path)
