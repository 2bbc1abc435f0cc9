"""Weights in a file beside the graph: read where they are, and written one after the other.

The graph of a model of several gigabytes is then small, and no step of the export holds all of its weights in memory.
Weights of less than a kilobyte stay in the graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_Form = tuple[str, tuple[int, ...]]
"""A parameter and the order of its axes, empty for its own: each is stored once."""

_SMALL = 1024
_ALIGNMENT = 64


def is_stored(tensor: Any) -> bool:
    """Tell whether a TensorProto's values are in a file."""
    import onnx

    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def size(tensor: Any) -> int:
    """Count the bytes of a TensorProto's values."""
    return int(_place(tensor)["length"]) if is_stored(tensor) else int(tensor.ByteSize())


def value(tensor: Any, folder: Path | None) -> np.ndarray:
    """Return a TensorProto's values; those in a file as a view of the file, which takes no memory until it is read."""
    import onnx

    if not is_stored(tensor):
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    return np.asarray(_bytes(tensor, folder).view(kind).reshape(tuple(tensor.dims)))


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
            if is_stored(tensor) or len(tensor.raw_data) >= _SMALL:
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
    import onnx

    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    place = {"location": location, "offset": str(file.tell()), "length": str(len(data))}
    data.tofile(file)
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
