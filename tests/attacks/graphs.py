"""Small ONNX graphs for tests, intact and hostile, and model folders around them. Nothing binary is kept in git."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

VOCABULARY, WIDTH = 50, 4


def weights() -> np.ndarray:
    """The table of the embedding graph, float32, shape (50, 4)."""
    return np.arange(VOCABULARY * WIDTH, dtype=np.float32).reshape(VOCABULARY, WIDTH) / 100


def embedding(dtype: Any = np.float32) -> Any:
    """last_hidden_state = table[input_ids] * attention_mask: the smallest graph with an encoder's inputs."""
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], name="gather"),
        helper.make_node("Cast", ["attention_mask"], ["mask"], name="cast", to=kind),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["wide"], name="unsqueeze"),
        helper.make_node("Mul", ["rows", "wide"], ["last_hidden_state"], name="mul"),
    ]
    inputs = [
        helper.make_tensor_value_info(n, onnx.TensorProto.INT64, ["b", "s"]) for n in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", kind, ["b", "s", WIDTH])
    tensors = [
        onnx.numpy_helper.from_array(weights().astype(dtype), "table"),
        onnx.numpy_helper.from_array(np.array([2]), "axis"),
    ]
    return model(nodes, inputs, [output], tensors)


def endless(token: int = 7) -> Any:
    """The embedding graph, which loops for ever if a token of its input is `token`."""
    proto, helper, kinds = embedding(), onnx.helper, onnx.TensorProto
    proto.graph.node[-1].output[0] = "plain"
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["more"]), helper.make_node("Add", ["sum", "one"], ["next"])],
        "body",
        [helper.make_tensor_value_info("turn", kinds.INT64, []), helper.make_tensor_value_info("go", kinds.BOOL, []),
         helper.make_tensor_value_info("sum", kinds.FLOAT, [])],
        [helper.make_tensor_value_info("more", kinds.BOOL, []), helper.make_tensor_value_info("next", kinds.FLOAT, [])],
    )  # fmt: skip
    proto.graph.node.extend([
        helper.make_node("Equal", ["input_ids", "token"], ["same"]),
        helper.make_node("Cast", ["same"], ["counted"], to=kinds.INT64),
        helper.make_node("ReduceMax", ["counted"], ["any"], keepdims=0),
        helper.make_node("Mul", ["any", "many"], ["turns"]),
        helper.make_node("Loop", ["turns", "", "zero"], ["count"], body=body),
        helper.make_node("Mul", ["count", "zero"], ["nothing"]),
        helper.make_node("Add", ["plain", "nothing"], ["last_hidden_state"]),
    ])  # fmt: skip
    constants = {"token": np.int64(token), "many": np.int64(2**62), "zero": np.float32(0), "one": np.float32(1)}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.array(v), name) for name, v in constants.items())
    return proto


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], tensors: list[Any] = ()) -> Any:  # type: ignore[assignment]
    """A model of opset 17 that ONNX Runtime 1.22 and later load."""
    graph = onnx.helper.make_graph(nodes, "graph", inputs, outputs, list(tensors))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)


def externalise(proto: Any, location: str, **entries: object) -> Any:
    """The same model with its table in another file: `location`, and whatever else `entries` says."""
    table = proto.graph.initializer[0]
    table.ClearField("raw_data")
    table.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        entry = table.external_data.add()
        entry.key, entry.value = key, str(value)
    return proto


def write_folder(folder: Path, files: Mapping[str, Any] = {}, config: Any = None) -> Path:
    """A model folder: config.json and the given files (bytes, text, JSON values or ONNX models)."""
    everything: dict[str, Any] = {"config.json": config or {"model_type": "bert", "architectures": ["BertModel"]}}
    everything |= files
    for name, content in everything.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content)
        elif hasattr(content, "SerializeToString"):
            path.write_bytes(content.SerializeToString())
        else:
            path.write_text(json.dumps(content))
    return folder


def external_folder(folder: Path, **entries: object) -> Path:
    """Write an intact folder whose graph has its table in onnx/model.onnx_data."""
    proto = externalise(embedding(), "model.onnx_data", **entries)
    return write_folder(folder, {"onnx/model.onnx": proto, "onnx/model.onnx_data": weights().tobytes()})


def write_manifest(folder: Path, **changes: Any) -> Path:
    """bundle.json for what is in the folder."""
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "bundle.json"
    }
    graphs = {"model": {"fp32": {"path": "onnx/model.onnx"}}}
    manifest = {"format": 1, "tasks": ["feature-extraction"], "graphs": graphs, "files": files, **changes}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder
