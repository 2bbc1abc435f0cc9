"""Weights that stay in a file: read where they are, and written one after the other.

A graph in memory is then small, and no step of the export copies or holds all of its weights. Those of a model of
several gigabytes are in a file beside the graph, others in the graph's own file. Weights of less than a kilobyte are in
the graph in memory.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from onnxpipe.bundle.graph_reader import weights_inside

_Form = tuple[str, tuple[int, ...]]
"""A parameter and the order of its axes, empty for its own: each is stored once."""

_SMALL = 1024
_ALIGNMENT = 64
_WHOLE = frozenset({6, 7, 9})
"""ONNX's numbers of int32, int64 and bool: shapes and indices, which what infers shapes reads from the graph."""
_GRAPH, _INITIALIZER, _RAW_DATA = b"\x3a", b"\x2a", b"\x4a"
"""The tags of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data (onnx.proto)."""


def is_stored(tensor: Any) -> bool:
    """Tell whether a TensorProto's values are in a file."""
    import onnx

    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def size(tensor: Any) -> int:
    """Count the bytes of a TensorProto's values."""
    import onnx

    if is_stored(tensor):
        return int(_place(tensor)["length"])
    if not tensor.HasField("raw_data"):
        return int(tensor.ByteSize())
    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def value(tensor: Any, folder: Path | None) -> np.ndarray:
    """Return a TensorProto's values; those in a file as a view of the file, which takes no memory until it is read."""
    import onnx

    if not is_stored(tensor):
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    view = _bytes(tensor, folder).view(kind).reshape(tuple(tensor.dims))
    return np.require(np.asarray(view), requirements="A")  # those in the graph's own file stand anywhere


def read(path: Path) -> Any:
    """Read a graph into an onnx ModelProto, and leave its weights in their files."""
    import onnx

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (start, first, last), found = weights_inside(data, _SMALL)
        model = onnx.ModelProto.FromString(data[:start] + data[last:])
        ends = [first, *(one.stop for one in found)]
        parts = [data[end : one.start] for end, one in zip(ends, found, strict=False)]
        model.graph.ParseFromString(b"".join([*parts, data[ends[-1] : last]]))
        for one in found:
            tensor = model.graph.initializer.add()
            tensor.ParseFromString(data[one.message : one.before] + data[one.last : one.stop])
            if tensor.data_type in _WHOLE:
                tensor.ParseFromString(data[one.message : one.stop])
            else:
                _point(tensor, path.name, one.first, one.last - one.first)
    return model


def write_whole(model: Any, folder: Path | None, path: Path) -> None:
    """Write a graph with all its weights in one file, of less than 2 GiB.

    Weights that are in that file already, if it is written anew, are found in the new one afterwards.

    Args:
        model: an onnx ModelProto.
        folder: where those weights are that are in a file.
        path: the file.
    """
    import onnx

    rest = onnx.GraphProto(**{field.name: value for field, value in model.graph.ListFields()
                              if field.name != "initializer"})  # fmt: skip
    large = []
    for tensor in model.graph.initializer:
        if is_stored(tensor) or (tensor.HasField("raw_data") and size(tensor) >= _SMALL):
            large.append((tensor, _bytes(tensor, folder)))
        else:
            rest.initializer.append(tensor)
    heads = [
        onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims).SerializeToString()
        + _RAW_DATA + _varint(len(data)) for tensor, data in large
    ]  # fmt: skip
    fields = [
        _INITIALIZER + _varint(len(head) + len(data)) + head for head, (_, data) in zip(heads, large, strict=True)
    ]
    graph = rest.SerializeToString()
    whole = len(graph) + sum(len(each) + len(data) for each, (_, data) in zip(fields, large, strict=True))
    others = onnx.ModelProto(**{field.name: value for field, value in model.ListFields() if field.name != "graph"})
    draft, moved = path.with_name(path.name + ".part"), []
    with draft.open("wb") as file:
        file.write(others.SerializeToString() + _GRAPH + _varint(whole) + graph)
        for each, (tensor, data) in zip(fields, large, strict=True):
            file.write(each)
            if is_stored(tensor) and folder == path.parent and _place(tensor)["location"] == path.name:
                moved.append((tensor, file.tell(), len(data)))
            data.tofile(file)
    draft.replace(path)
    for tensor, offset, length in moved:
        _point(tensor, path.name, offset, length)


def take_in(tensors: Iterable[Any], folder: Path | None) -> None:
    """Read the values of all that are in a file into the graph."""
    for tensor in tensors:
        if is_stored(tensor):
            data = _bytes(tensor, folder).tobytes()
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = data


def write(tensors: Iterable[Any], folder: Path | None, path: Path) -> None:
    """Write the values of all but the small ones to the file `path`, and let the graph point there.

    Args:
        tensors: the graph's initializers.
        folder: where those are that are in a file already.
        path: the file; it may be the one that they are in.
    """
    draft = path.with_name(path.name + ".part")
    with draft.open("wb") as file:
        for tensor in tensors:
            if is_stored(tensor) or (tensor.HasField("raw_data") and size(tensor) >= _SMALL):
                _append(tensor, _bytes(tensor, folder), file, path.name)
    draft.replace(path)


def parameters(module: Any) -> dict[str, Any]:
    """Collect a torch module's parameters and buffers by the names that tracing gives them."""
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {name: tensor.detach() for name, tensor in named}


def keep_in_file(module: Any, folder: Path) -> None:
    """Move the parameters of a torch module to a file, of which they become views that take no memory until read.

    Args:
        module: the module; it computes the same as before.
        folder: where the file is, which has no name and is gone with the last parameter.
    """
    import torch

    with tempfile.TemporaryFile(dir=folder) as file:
        places = []
        for parameter in module.parameters():
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            array = np.ascontiguousarray(parameter.detach().numpy())
            places.append((parameter, file.tell(), array.dtype, array.shape))
            array.tofile(file)
            parameter.data = torch.empty(0, dtype=parameter.dtype)
        file.flush()
        for parameter, offset, kind, shape in places:
            parameter.data = torch.from_numpy(np.memmap(file, kind, "r+", offset, shape))


def add(path: Path, tensors: Mapping[str, Any]) -> None:
    """Make weights of those inputs of the graph at `path` that are parameters, in the file `<path>_data`.

    Weights that the graph transposes are written transposed, as folding constants would leave them.

    Args:
        path: a graph that was traced without its parameters: they are inputs.
        tensors: from `parameters`.
    """
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    given = [entry for entry in graph.input if entry.name not in tensors]
    forms: dict[str, _Form] = {entry.name: (entry.name, ()) for entry in graph.input if entry.name in tensors}
    first = {form: name for name, form in forms.items()}
    outputs = {entry.name for entry in graph.output}
    nodes = []
    for node in graph.node:
        weight = forms.get(node.input[0]) if node.op_type in ("Identity", "Transpose") else None
        if weight is None or weight[1] or node.output[0] in outputs:
            nodes.append(node)
        else:
            form = (weight[0], _permutation(node))
            forms[node.output[0]] = form
            first.setdefault(form, node.output[0])
    for node in nodes:
        for place, name in enumerate(node.input):
            if name in forms:
                node.input[place] = first[forms[name]]
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.extend(given)
    data = path.with_name(path.name + "_data")
    with data.open("wb") as file:
        for (parameter, permutation), name in first.items():
            if name in used:
                array = tensors[parameter].numpy()
                array = array.transpose(permutation) if permutation else array
                _add_one(graph, name, np.ascontiguousarray(array), file, data.name)
    onnx.save_model(model, str(path))


def computes_weights(path: Path) -> bool:
    """Tell whether a graph that `add` completed computes weights from others, which torch does while it traces.

    That is what a node computes from constants alone, and a BatchNormalization, which becomes part of a convolution.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    known = weights | {node.output[0] for node in graph.node if node.op_type == "Constant"} | {""}
    return any(
        node.op_type == "BatchNormalization" or (weights.intersection(node.input) and known.issuperset(node.input))
        for node in graph.node
    )


def _permutation(node: Any) -> tuple[int, ...]:
    """Return the order of axes that a Transpose makes; empty for an Identity."""
    return next((tuple(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), ())


def _add_one(graph: Any, name: str, array: np.ndarray, file: BinaryIO, location: str) -> None:
    import onnx

    if array.nbytes < _SMALL:
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
    _append(tensor, array.reshape(-1).view(np.uint8), file, location)
    graph.initializer.append(tensor)


def _append(tensor: Any, data: np.ndarray, file: BinaryIO, location: str) -> None:
    """Write bytes to the end of the file, and let `tensor` point there."""
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    offset = file.tell()
    data.tofile(file)
    _point(tensor, location, offset, len(data))


def same(first: Any, second: Any, folder: Path | None) -> bool:
    """Tell whether two TensorProtos of one type and shape have the same bytes."""
    return bool(np.array_equal(_bytes(first, folder), _bytes(second, folder)))


def beginning(tensor: Any, folder: Path | None) -> bytes:
    """Return the first bytes of a TensorProto's values, in which most that differ differ already."""
    return _bytes(tensor, folder)[:_SMALL].tobytes()


def _point(tensor: Any, location: str, offset: int, length: int) -> None:
    """Let a tensor's data be these bytes of a file."""
    import onnx

    place = {"location": location, "offset": str(offset), "length": str(length)}
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, text in place.items():
        tensor.external_data.add(key=key, value=text)


def _bytes(tensor: Any, folder: Path | None) -> np.ndarray:
    """Return the bytes of a TensorProto's values, uint8; those in a file as a view of it."""
    if not is_stored(tensor):
        return np.frombuffer(tensor.raw_data, np.uint8)
    assert folder is not None
    place = _place(tensor)
    path, offset, length = folder / place["location"], int(place.get("offset", 0)), int(place["length"])
    return np.memmap(path, np.uint8, "r", offset, (length,))


def _place(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _varint(number: int) -> bytes:
    """Encode a length as protobuf does: seven bits a byte, the lowest first."""
    low = [number >> shift & 127 | 128 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*low[:-1], low[-1] & 127])
