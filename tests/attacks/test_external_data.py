"""Graphs that name weights where none may be read: every one is refused before ONNX Runtime loads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks.graphs import embedding, external_folder, externalise, model, onnx, weights, write_folder
from onnxpipe.bundle import graph_reader
from onnxpipe.bundle.external import check_external
from onnxpipe.bundle.graph_reader import external_tensors
from onnxpipe.engine import open_session, parse_device
from onnxpipe.errors import BundleError

NBYTES = weights().nbytes


def load(folder: Path) -> Any:
    return open_session(folder / "onnx/model.onnx", root=folder, device=parse_device("cpu"))


def refused(folder: Path, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        load(folder)


def test_intact_external_data_loads(tmp_path: Path) -> None:
    for i, entries in enumerate([{}, {"offset": 0, "length": NBYTES}, {"offset": "0"}, {"checksum": "abc"}]):
        session = load(external_folder(tmp_path / str(i), **entries))
        got = session.run({"input_ids": np.array([[1, 2]]), "attention_mask": np.ones((1, 2), np.int64)})
        np.testing.assert_array_equal(got["last_hidden_state"][0], weights()[1:3])


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret",
        "x/../../secret",
        "..",
        "C:\\secret",
        "C:/secret",
        "\\\\host\\share",
        "..\\secret",
        "",
    ],
)
def test_locations_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(weights().tobytes())
    folder = write_folder(tmp_path / "m", {"onnx/model.onnx": externalise(embedding(), location)})
    refused(folder, "that is never right|does not say in which")


def test_memory_addresses(tmp_path: Path) -> None:
    """ONNX Runtime's own mark for a tensor in its memory, whose offset is an address. The file is there, even."""
    proto = externalise(embedding(), "*/_ORT_MEM_ADDR_/*", offset=140000000000000, length=NBYTES)
    folder = write_folder(tmp_path, {"onnx/model.onnx": proto, "onnx/*/_ORT_MEM_ADDR_/*": weights().tobytes()})
    refused(folder, "not a file name")


def test_symlinks_that_leave_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(weights().tobytes())
    folder = write_folder(tmp_path / "m", {"onnx/model.onnx": externalise(embedding(), "model.onnx_data")})
    (folder / "onnx/model.onnx_data").symlink_to(secret)
    refused(folder, "outside the model's folder")
    (folder / "onnx/model.onnx_data").unlink()
    (folder / "onnx/model.onnx_data").symlink_to("model.onnx_data")
    refused(folder, "could not be followed")


def test_a_folder_that_is_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/data").write_bytes(weights().tobytes())
    folder = write_folder(tmp_path / "m", {"onnx/model.onnx": externalise(embedding(), "sub/data")})
    (folder / "onnx/sub").symlink_to(tmp_path / "elsewhere")
    refused(folder, "outside the model's folder")


def test_a_graph_that_is_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(embedding().SerializeToString())
    folder = write_folder(tmp_path / "m", {"onnx/x": "x"})
    (folder / "onnx/model.onnx").symlink_to(tmp_path / "g.onnx")
    refused(folder, "outside the model's folder")


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    folder = external_folder(tmp_path)
    (folder / "onnx/model.onnx_data").rename(folder / "onnx/real")
    (folder / "onnx/model.onnx_data").symlink_to("real")
    assert load(folder).inputs


def hub_cache(tmp_path: Path, blobs: str = "blobs") -> Path:
    """A snapshot as the Hub's cache has it: links into the blobs of the same repository."""
    repo = tmp_path / "models--a--b"
    bundle = external_folder(tmp_path / "made")
    snapshot = repo / "snapshots" / "c0ffee"
    (repo / blobs).mkdir(parents=True)
    for path in [path for path in bundle.rglob("*") if path.is_file()]:
        link = snapshot / path.relative_to(bundle)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(repo / blobs / path.name)
        link.symlink_to(Path(os.path.relpath(repo, link.parent)) / blobs / path.name)
    return snapshot


def test_the_hubs_cache_loads(tmp_path: Path) -> None:
    assert load(hub_cache(tmp_path)).inputs


def test_links_into_another_repository_of_the_cache(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    other = tmp_path / "models--private--repo" / "blobs"
    other.mkdir(parents=True)
    (other / "secret").write_bytes(weights().tobytes())
    (snapshot / "onnx/model.onnx_data").unlink()
    (snapshot / "onnx/model.onnx_data").symlink_to(other / "secret")
    refused(snapshot, "outside the model's folder")


def test_a_blobs_folder_that_is_a_link(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path, "real")
    (tmp_path / "models--a--b/real").rename(tmp_path / "anywhere")
    (tmp_path / "models--a--b/blobs").symlink_to(tmp_path / "anywhere")
    for link in [path for path in snapshot.rglob("*") if path.is_symlink()]:
        target = str(link.readlink()).replace("/real/", "/blobs/")
        link.unlink()
        link.symlink_to(target)
    refused(snapshot, "outside the model's folder")


def test_hard_links(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(weights().tobytes())
    folder = write_folder(tmp_path / "m", {"onnx/model.onnx": externalise(embedding(), "model.onnx_data")})
    os.link(secret, folder / "onnx/model.onnx_data")
    refused(folder, "hard link")


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"offset": "-1"}, "not a number of bytes"),
        ({"offset": "1e3"}, "not a number of bytes"),
        ({"offset": " 1"}, "not a number of bytes"),
        ({"offset": "0x10"}, "not a number of bytes"),
        ({"offset": "٣"}, "not a number of bytes"),
        ({"offset": "9" * 5000}, "not a number of bytes"),
        ({"offset": 2**63 - 1}, "cut off or belongs"),
        ({"offset": 2**64 - 4}, "not a number of bytes"),
        ({"offset": 4}, "cut off or belongs"),
        ({"length": NBYTES + 1}, "by their length"),
        ({"length": 1}, "by their length"),
        ({"length": 2**63}, "by their length"),
        ({"length": "nan"}, "not a number of bytes"),
    ],
)
def test_offsets_and_lengths(tmp_path: Path, entries: dict[str, object], why: str) -> None:
    refused(external_folder(tmp_path, **entries), why)


def test_a_file_that_is_cut_off_or_missing_or_a_folder(tmp_path: Path) -> None:
    folder = external_folder(tmp_path)
    data = folder / "onnx/model.onnx_data"
    data.write_bytes(data.read_bytes()[:-1])
    refused(folder, "cut off or belongs")
    data.unlink()
    refused(folder, "no such file beside it")
    data.mkdir()
    refused(folder, "not a file")


@pytest.mark.parametrize("dims", [[2**62, 2**62], [-1, 4], [2**63 - 1], [2**40, 2**40, 2**40]])
def test_absurd_shapes(tmp_path: Path, dims: list[int]) -> None:
    proto = externalise(embedding(), "model.onnx_data")
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    folder = write_folder(tmp_path, {"onnx/model.onnx": proto, "onnx/model.onnx_data": weights().tobytes()})
    refused(folder, "more than any memory|negative dimension|cut off")


@pytest.mark.parametrize("dims", [[2**62, 2**62], [2**40, 2**20], [-1, 4], [10**6, 10**6]])
def test_absurd_shapes_inside_the_graph(tmp_path: Path, dims: list[int]) -> None:
    proto = embedding()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    refused(write_folder(tmp_path, {"onnx/model.onnx": proto}), "could not be loaded")


def test_types_that_cannot_be_external(tmp_path: Path) -> None:
    for number in (0, 8, 99):
        proto = externalise(embedding(), "model.onnx_data")
        proto.graph.initializer[0].data_type = number
        folder = tmp_path / str(number)
        write_folder(folder, {"onnx/model.onnx": proto, "onnx/model.onnx_data": weights().tobytes()})
        refused(folder, "cannot lie in another file")


def hostile_tensor(name: str = "hidden") -> Any:
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def hiding_places() -> dict[str, Any]:
    """Every place of an ONNX model where a tensor can stand, each with a hostile one in it."""
    helper = onnx.helper
    places: dict[str, Any] = {}

    def fresh(name: str) -> Any:
        places[name] = embedding()
        return places[name]

    fresh("initializer").graph.initializer.append(hostile_tensor())
    fresh("sparse values").graph.sparse_initializer.add().values.CopyFrom(hostile_tensor())
    fresh("sparse indices").graph.sparse_initializer.add().indices.CopyFrom(hostile_tensor())
    constant = helper.make_node("Constant", [], ["c"], value=hostile_tensor())
    fresh("attribute").graph.node.append(constant)
    tensors = fresh("attribute of tensors").graph.node.add().attribute.add()
    tensors.tensors.append(hostile_tensor())
    fresh("sparse attribute").graph.node.add().attribute.add().sparse_tensor.values.CopyFrom(hostile_tensor())
    fresh("sparse attributes").graph.node.add().attribute.add().sparse_tensors.add().indices.CopyFrom(hostile_tensor())
    body = helper.make_graph([constant], "body", [], [])
    fresh("subgraph").graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=body, else_branch=body))
    fresh("subgraphs").graph.node.add().attribute.add().graphs.append(body)
    deep = body
    for _ in range(20):
        deep = helper.make_graph([helper.make_node("If", ["c"], ["d"], then_branch=deep)], "b", [], [])
    fresh("deep subgraph").graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=deep))
    fresh("function").functions.add().node.append(constant)
    fresh("default of a function").functions.add().attribute_proto.add().t.CopyFrom(hostile_tensor())
    fresh("training").training_info.add().initialization.initializer.append(hostile_tensor())
    fresh("training algorithm").training_info.add().algorithm.node.append(constant)
    return places


@pytest.mark.parametrize("place", sorted(hiding_places()))
def test_hidden_references(tmp_path: Path, place: str) -> None:
    refused(write_folder(tmp_path, {"onnx/model.onnx": hiding_places()[place]}), "outside the graph.s folder")


def test_a_reference_without_the_mark_external(tmp_path: Path) -> None:
    proto = embedding()
    entry = proto.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    refused(write_folder(tmp_path, {"onnx/model.onnx": proto}), "outside the graph.s folder")


def test_references_dealt_out_over_repeated_fields(tmp_path: Path) -> None:
    """Protobuf merges repetitions of a field; a reader that looks at each alone would see no reference."""
    location = onnx.StringStringEntryProto(key="location", value="model.onnx_data").SerializeToString()
    again = bytes([0x6A, len(location)]) + location  # external_data = 13
    tensor = hostile_tensor().SerializeToString() + again
    graph = b"\x2a" + bytes([len(tensor)]) + tensor  # initializer = 5
    blob = b"\x3a" + bytes([len(graph)]) + graph  # graph = 7
    refused(write_folder(tmp_path / "a", {"onnx/model.onnx": blob}), "twice")
    intact = embedding().SerializeToString()
    refused(write_folder(tmp_path / "b", {"onnx/model.onnx": intact + intact}), "stands twice")


def test_mangled_files(tmp_path: Path) -> None:
    intact = externalise(embedding(), "model.onnx_data").SerializeToString()
    mangled = {
        "empty": b"",
        "cut": intact[:-3],
        "cut in the middle": intact[: len(intact) // 2],
        "text": b"this is no graph at all",
        "zeros": bytes(1000),
        "long number": b"\xff" * 100,
        "endless length": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + intact,
        "group": b"\x3b" + intact,
        "zip": b"PK\x03\x04" + bytes(100),
        "wrong wire type": b"\x38\x01" + intact,
        "bytes that are no text": intact.replace(b"model.onnx_data", b"model.onnx_\xff\xfe\xfd\xfc"),
    }
    for name, content in mangled.items():
        folder = write_folder(
            tmp_path / name, {"onnx/model.onnx": content, "onnx/model.onnx_data": weights().tobytes()}
        )
        refused(folder, "not a valid ONNX graph|could not be loaded|no graph")


def test_every_cut_is_refused_or_seen_whole(tmp_path: Path) -> None:
    """Wherever a file is cut, the reader says so or finds no more than the whole has; it never hangs or crashes."""
    whole = externalise(embedding(), "model.onnx_data").SerializeToString()
    path = tmp_path / "model.onnx"
    for stop in range(1, len(whole)):
        path.write_bytes(whole[:stop])
        try:
            assert len(external_tensors(path)) <= 1
        except BundleError:
            continue


def test_flipped_bytes_are_refused_or_read(tmp_path: Path) -> None:
    whole = bytearray(externalise(embedding(), "model.onnx_data").SerializeToString())
    folder = write_folder(tmp_path, {"onnx/model.onnx_data": weights().tobytes()})
    path = folder / "onnx/model.onnx"
    rng = np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            for file in check_external(path, folder).values():
                assert file.is_relative_to(folder)
        except BundleError:
            continue


def test_nesting_is_bounded(tmp_path: Path) -> None:
    body = hostile_tensor().SerializeToString()
    body = b"\x2a" + _size(len(body)) + body  # graph.initializer = 5
    for _ in range(3000):  # attribute.g = 6 in node.attribute = 5 in graph.node = 1
        for field in (b"\x32", b"\x2a", b"\x0a"):
            body = field + _size(len(body)) + body
    refused(write_folder(tmp_path, {"onnx/model.onnx": b"\x3a" + _size(len(body)) + body}), "nested more than 100 deep")


def _size(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = external_folder(tmp_path)
    with (folder / "onnx/model.onnx").open("wb") as file:
        file.truncate(1 << 31)  # sparse: nothing is written
    refused(folder, "it has 2147483648 bytes")
    (folder / "onnx/model.onnx").write_bytes(b"\x08\x01" * 1001)
    monkeypatch.setattr(graph_reader, "_MOST_FIELDS", 1000)
    refused(folder, "more than 1000 fields")


def test_operators_of_unknown_domains(tmp_path: Path) -> None:
    helper = onnx.helper
    info = helper.make_tensor_value_info("x", 1, ["b"]), helper.make_tensor_value_info("y", 1, ["b"])
    proto = model([helper.make_node("RunCommand", ["x"], ["y"], domain="evil", command="ls")], [info[0]], [info[1]])
    refused(write_folder(tmp_path, {"onnx/model.onnx": proto}), "could not be loaded by ONNX Runtime")
