"""Read, rewrite and save ONNX graphs: the few operations that the precisions share."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe_export import stored_weights

SINGLE_FILE_LIMIT = 2_000_000_000
"""Bytes of weights above which they are saved to a file of their own: protobuf's limit is 2 GiB."""


class OnnxGraph:
    """An ONNX model in memory that can be rewritten node by node.

    Weights stay in the file: they are read when they are asked for, and copied when the graph is saved.

    Args:
        model: an onnx ModelProto, changed in place.
        folder: where the files of its weights are, if they are in files.
    """

    def __init__(self, model: Any, folder: Path | None = None) -> None:
        self.model = model
        self.folder = folder
        self.graph = model.graph
        self._inputs = {value.name for value in self.graph.input}
        self._names = {name for node in self.graph.node for name in (node.name, *node.output)} | self._inputs
        # That of an input is only its default.
        self._initializers = {
            tensor.name: tensor for tensor in self.graph.initializer if tensor.name not in self._inputs
        }
        self._counter: Counter[str] = Counter()

    @classmethod
    def load(cls, path: Path) -> OnnxGraph:
        """Load the graph at `path`."""
        return cls(stored_weights.read(path), path.parent)

    def save(self, path: Path, limit: int | None = None) -> None:
        """Write the graph to `path`; weights of more than `limit` bytes in all go to `<path>_data`.

        Args:
            path: the file to write.
            limit: in bytes; None for `SINGLE_FILE_LIMIT`.
        """
        import onnx

        self.tidy()
        size = sum(self.size(tensor.name) for tensor in self.graph.initializer)
        data = path.with_name(path.name + "_data")
        if size > (SINGLE_FILE_LIMIT if limit is None else limit):
            stored_weights.write(self.graph.initializer, self.folder, data)
            self.folder = path.parent
            onnx.save_model(self.model, str(path))
        else:
            stored_weights.write_whole(self.model, self.folder, path)
            data.unlink(missing_ok=True)

    def save_beside(self, path: Path) -> None:
        """Write the graph alone to `path`, in the folder of its weights, which stay in their files."""
        import onnx

        self.tidy()
        onnx.save_model(self.model, str(path))

    def take_in(self) -> None:
        """Read all weights into memory."""
        stored_weights.take_in(self.graph.initializer, self.folder)

    def size(self, name: str) -> int:
        """Count the bytes of the initializer `name`; 0 where it is not one."""
        tensor = self._initializers.get(name)
        return 0 if tensor is None else stored_weights.size(tensor)

    def initializer(self, name: str) -> Any:
        """Return the TensorProto of the initializer `name`, None where it is not one."""
        return self._initializers.get(name)

    def constant(self, name: str) -> np.ndarray | None:
        """Return the value of the initializer `name`, None where it is not one."""
        tensor = self._initializers.get(name)
        return None if tensor is None else stored_weights.value(tensor, self.folder)

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer and return its name, made unique."""
        name = self.fresh(name)
        self.name_constant(name, value)
        return name

    def name_constant(self, name: str, value: np.ndarray) -> None:
        """Add an initializer with the name of a tensor whose node is removed."""
        import onnx

        tensor = onnx.numpy_helper.from_array(np.asarray(value, order="C"), name)
        self.graph.initializer.append(tensor)
        self._initializers[name] = self.graph.initializer[-1]

    def change_constant(self, name: str, value: np.ndarray) -> None:
        """Give the initializer `name` another value, for all nodes that read it."""
        import onnx

        self._initializers[name].CopyFrom(onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))

    def make_optional(self, name: str, value: np.ndarray) -> None:
        """Give the input `name` a default, so that it need not be fed."""
        import onnx

        self.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))

    def consumers(self) -> dict[str, list[Any]]:
        """Map each tensor's name to the nodes that read it."""
        readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                readers.setdefault(name, []).append(node)
        return readers

    def producers(self) -> dict[str, Any]:
        """Map each tensor's name to the node that computes it."""
        return {name: node for node in self.graph.node for name in node.output if name}

    def outputs(self) -> set[str]:
        """Return the names of the graph's outputs."""
        return {output.name for output in self.graph.output}

    def fresh(self, stem: str) -> str:
        """Return a new name that starts with `stem`."""
        name = stem
        while name in self._names or name in self._initializers:
            self._counter[stem] += 1
            name = f"{stem}_{self._counter[stem]}"
        self._names.add(name)
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
        """Make a node that is not yet in the graph."""
        import onnx

        return onnx.helper.make_node(kind, list(inputs), [output], name=self.fresh(f"{output}/{kind}"), **attributes)

    def replace_nodes(self, replacements: Mapping[int, Sequence[Any]]) -> None:
        """Replace the node at each index (before the change) by these nodes, in place."""
        nodes = [new for index, node in enumerate(self.graph.node) for new in replacements.get(index, [node])]
        self.set_nodes(nodes)

    def set_nodes(self, nodes: Iterable[Any]) -> None:
        """Replace all nodes of the graph by `nodes`, in order."""
        kept = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def need_domain(self, domain: str) -> None:
        """Declare that the graph uses operators of this domain (version 1)."""
        import onnx

        if all(opset.domain != domain for opset in self.model.opset_import):
            self.model.opset_import.append(onnx.helper.make_opsetid(domain, 1))

    def tidy(self) -> None:
        """Turn constants into initializers, merge equal nodes, and drop what no output needs."""
        self._lift_constants()
        self._sort()
        self._merge_equal_nodes()
        self._drop_unused()
        # Drop the shapes that tracing guessed: they are stale after rewriting, and ONNX Runtime infers its own.
        del self.graph.value_info[:]

    def _lift_constants(self) -> None:
        import onnx

        kept = []
        for node in self.graph.node:
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            if node.op_type != "Constant" or not values:
                kept.append(node)
                continue
            tensor = onnx.TensorProto()
            tensor.CopyFrom(values[0])
            tensor.name = node.output[0]
            self.graph.initializer.append(tensor)
            self._initializers[tensor.name] = self.graph.initializer[-1]
        self.set_nodes(kept)

    def _sort(self) -> None:
        """Sort every node after those that compute its inputs, as ONNX requires; converters append casts at the end."""
        producers = {name: index for index, node in enumerate(self.graph.node) for name in node.output if name}
        nodes = list(self.graph.node)
        waiting = [
            {producers[name] for name in (*node.input, *_names_used_inside(node)) if name in producers}
            for node in nodes
        ]
        readers: dict[int, list[int]] = {}
        for index, before in enumerate(waiting):
            for earlier in before:
                readers.setdefault(earlier, []).append(index)
        ready = [index for index, before in enumerate(waiting) if not before]
        heapq.heapify(ready)
        order = []
        while ready:
            index = heapq.heappop(ready)
            order.append(nodes[index])
            for later in readers.get(index, ()):
                waiting[later].discard(index)
                if not waiting[later]:
                    heapq.heappush(ready, later)
        self.set_nodes(order)

    def _merge_equal_nodes(self) -> None:
        """Keep one of equal nodes: tracing repeats the same shape arithmetic in every layer."""
        renamed: dict[str, str] = {}
        for tensors in self._alike():
            kept_tensors: list[Any] = []
            for tensor in tensors:
                first = next((one for one in kept_tensors if stored_weights.same(one, tensor, self.folder)), tensor)
                if first is tensor:
                    kept_tensors.append(tensor)
                renamed[tensor.name] = first.name
        seen: dict[Any, Any] = {}
        outputs = self.outputs()
        kept = []
        for node in self.graph.node:
            inputs = [renamed.get(name, name) for name in node.input]
            del node.input[:]
            node.input.extend(inputs)
            key = (
                node.op_type,
                node.domain,
                tuple(inputs),
                tuple(sorted(a.SerializeToString() for a in node.attribute)),
            )
            pure = not any(attribute.HasField("g") for attribute in node.attribute) and "Random" not in node.op_type
            first = seen.setdefault(key, node) if pure and not outputs.intersection(node.output) else node
            if first is node:
                kept.append(node)
            else:
                renamed.update(zip(node.output, first.output, strict=True))
        self.set_nodes(kept)

    def _alike(self) -> Iterator[list[Any]]:
        """Yield initializers that have all in common but their last bytes."""
        kinds: dict[Any, list[Any]] = {}
        for tensor in self.graph.initializer:
            if tensor.name not in self._inputs:
                kinds.setdefault((tensor.data_type, *tensor.dims), []).append(tensor)
        for kind in (each for each in kinds.values() if len(each) > 1):
            begun: dict[Any, list[Any]] = {}
            for tensor in kind:
                beginning = stored_weights.beginning(tensor, self.folder), _typed_data(tensor)
                begun.setdefault(beginning, []).append(tensor)
            yield from begun.values()

    def _drop_unused(self) -> None:
        needed = self.outputs()
        kept = []
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
                needed.update(_names_used_inside(node))
                needed.discard("")  # the name of omitted inputs, and of omitted outputs
        self.set_nodes(reversed(kept))
        unused = [tensor for tensor in self.graph.initializer if tensor.name not in needed | self._inputs]
        for tensor in unused:
            self.graph.initializer.remove(tensor)
            self._initializers.pop(tensor.name, None)


def remove_graph(path: Path) -> None:
    """Remove the graph at `path` and its weights, if they are in a file of their own."""
    path.unlink()
    path.with_name(path.name + "_data").unlink(missing_ok=True)


def _typed_data(tensor: Any) -> tuple[Any, ...]:
    """Return the values of a small tensor that are not in raw_data."""
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    return tuple(tuple(values) for values in fields)


def _names_used_inside(node: Any) -> set[str]:
    """Name the tensors that the subgraphs of `node` (If, Loop) read from outside."""
    return {
        name
        for attribute in node.attribute
        if attribute.HasField("g")
        for inner in attribute.g.node
        for name in (*inner.input, *_names_used_inside(inner))
    }
