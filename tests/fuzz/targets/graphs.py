"""ONNX files, checked by our own reader and never opened by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import onnx

from attacks.graphs import embedding, externalise, model, weights
from fuzz.mutate import mutate_bytes
from fuzz.target import Target
from onnxpipe.bundle.external import check_external
from onnxpipe.bundle.graph_reader import operators
from onnxpipe.errors import BundleError, ModelNotFoundError

_DATA = "model.onnx_data"


def _seeds() -> list[bytes]:
    helper = onnx.helper
    outside = externalise(embedding(), _DATA, offset=0, length=weights().nbytes)
    flag = helper.make_tensor_value_info("flag", onnx.TensorProto.BOOL, [])
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    branches = []
    for name in ("then", "else"):
        constant = helper.make_node("Constant", [], [name], value=outside.graph.initializer[0])
        value = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        branches.append(helper.make_graph([constant], name, [], [value]))
    nested = model(
        [helper.make_node("If", ["flag"], ["out"], then_branch=branches[0], else_branch=branches[1])], [flag], [out]
    )
    protos = (embedding(), outside, externalise(embedding(), _DATA), nested)
    return [proto.SerializeToString(deterministic=True) for proto in protos]


def _mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change bytes; in every third input a tag or length is also written in a longer form, as protobuf allows."""
    if random.random() < 0.33:
        at = random.randrange(min(len(data), 400))
        longer = bytes([data[at] | 0x80, *[0x80] * random.randrange(8), random.choice((0, 0, 1, 0x10, 0x7F))])
        data = data[:at] + longer + data[at + 1 :]
        if random.random() < 0.5:
            return data
    return mutate_bytes(random, data, others)


def _check(data: bytes, folder: Path) -> None:
    """Check a graph; where ours accepts it, protobuf's own reader must find no other reference to a file."""
    (folder / _DATA).write_bytes(weights().tobytes())
    graph = folder / "model.onnx"
    graph.write_bytes(data)
    files = check_external(graph, folder)
    operators(graph)
    try:
        proto = onnx.ModelProto.FromString(data)
    except Exception:  # protobuf has errors of its own, in each of its implementations
        return
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            found = {entry.key: entry.value for entry in tensor.external_data}.get("location")
            if found is not None and found not in files:  # without a name nothing is read
                raise AssertionError(f"the reference to {found!r} was not found")


def _tensors(message: Any) -> Iterator[Any]:
    """Iterate over every tensor in a protobuf message."""
    if isinstance(message, onnx.TensorProto):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            repeated = not hasattr(value, "ListFields")
            for each in value if repeated else [value]:
                yield from _tensors(each)


GRAPHS = Target("graphs", _seeds, _mutate, _check, (BundleError, ModelNotFoundError), count=1000)
