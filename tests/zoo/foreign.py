"""Folders as optimum and transformers.js write them, rebuilt from our own bundles: their files, inputs and outputs.

They differ from ours in what a loader has to bear: the files lie beside config.json, there is no bundle.json, beams and
texts share one axis, the decoder has no last hidden state and no cross-attentions, and it is

- "separate": decoder_model (no past), and decoder_with_past_model (no encoder states, and no cross caches given back);
- "merged": decoder_model_merged, with both of these as branches of an `If` on use_cache_branch;
- "causal": model, without num_logits_to_keep;
- "uncached": model, or decoder_model, without caches;
- "alone": model, as it is.

The interfaces are those of optimum-onnx 0.1.0. The arithmetic is ours, cut out of the bundle's fp32 graphs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from onnxpipe_export.onnx_graph import OnnxGraph

Kind = Literal["separate", "merged", "causal", "uncached", "alone"]
_OURS = frozenset({"onnx", "bundle.json", "certificate.json", "golden.npz"})
_BRANCH = "use_cache_branch"


def make_foreign(kind: Kind, bundle: Path, folder: Path) -> Path:
    """Write the model of our `bundle` (fp32; causal: standard attention) into the new `folder`, as others would."""
    folder.mkdir(parents=True)
    for path in bundle.iterdir():
        if path.name not in _OURS:
            shutil.copyfile(path, folder / path.name)
    graphs = bundle / "onnx"
    if kind == "alone":
        shutil.copyfile(graphs / "model.onnx", folder / "model.onnx")
        return folder
    if kind == "causal":
        _save(_causal(_load(graphs / "model.onnx")), folder / "model.onnx")
        return folder
    if kind == "uncached" and (graphs / "model.onnx").is_file():
        graph = _load(graphs / "model.onnx")
        _fix(graph, "num_logits_to_keep", np.array(0, np.int64))
        _save(_without_caches(_without_past(graph)), folder / "model.onnx")
        return folder
    shutil.copyfile(graphs / "encoder_model.onnx", folder / "encoder_model.onnx")
    merged = graphs / "decoder_model_merged.onnx"
    first, later = _without_past(_load(merged)), _with_past(_load(merged))
    if kind == "uncached":
        _save(_without_caches(first), folder / "decoder_model.onnx")
    elif kind == "separate":
        _save(first, folder / "decoder_model.onnx")
        _save(later, folder / "decoder_with_past_model.onnx")
    else:
        _save(_branches(_load(merged), first, later), folder / "decoder_model_merged.onnx")
    return folder


def _causal(graph: OnnxGraph) -> OnnxGraph:
    _fix(graph, "num_logits_to_keep", np.array(0, np.int64))
    return _shape(graph, [value.name for value in graph.graph.input], drop=("last_hidden_state",))


def _without_past(graph: OnnxGraph) -> OnnxGraph:
    """The first call: nothing comes before the keys and values of this one."""
    past = {value.name for value in graph.graph.input if value.name.startswith("past_key_values.")}
    _fix(graph, _BRANCH, np.array([False]))
    _attend_to_one(graph, "past_key_values", "present")
    for node in graph.graph.node:
        if node.op_type == "Concat" and node.input[0] in past:
            _become_identity(node, node.input[1])
        elif node.op_type == "Shape" and node.input[0] in past:
            _become_constant(node, np.zeros(4, np.int64))
    drop = _unknown(value.name for value in graph.graph.output)
    kept = ("attention_mask", "encoder_attention_mask", "input_ids", "encoder_hidden_states", "position_ids")
    return _shape(graph, list(kept), drop=drop)


def _without_caches(graph: OnnxGraph) -> OnnxGraph:
    """Give the logits alone."""
    inputs = [value.name for value in graph.graph.input]
    return _shape(graph, inputs, drop=tuple(value.name for value in graph.graph.output if value.name != "logits"))


def _with_past(graph: OnnxGraph) -> OnnxGraph:
    """Any other call: the cross keys and values are those given."""
    inputs = [value.name for value in graph.graph.input if value.name not in ("encoder_hidden_states", _BRANCH)]
    _fix(graph, _BRANCH, np.array([True]))
    for node in graph.graph.node:
        if node.op_type == "Concat" and ".encoder." in node.input[0]:
            _become_identity(node, node.input[0])
        elif node.op_type == "Shape" and node.input[0] == "encoder_hidden_states":  # how many rows there are
            node.input[0] = "past_key_values.0.encoder.key"
    _attend_to_one(graph, "present", "past_key_values")
    outputs = [value.name for value in graph.graph.output]
    return _shape(graph, inputs, drop=(*_unknown(outputs), *(name for name in outputs if ".encoder." in name)))


def _attend_to_one(graph: OnnxGraph, emptied: str, kept: str) -> None:
    """Where attention to the cross caches given ("past_key_values") stands beside that to the states encoded now
    ("present"), `emptied` has no states, as many rows and heads as `kept`."""
    producers = graph.producers()
    pasts = [value.name for value in graph.graph.input if ".encoder." in value.name]
    pasts = [name for name in pasts if producers[name.replace("past_key_values", "present")].op_type == "Split"]
    if not pasts:
        return
    for name, value in (("zero", 0), ("states", 2)):
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    splits = [place for place, node in enumerate(graph.graph.node) if node.op_type == "Split"]
    place = 1 + max(p for p in splits if ".encoder." in graph.graph.node[p].output[0])
    for name in pasts:
        old, source = (name.replace("past_key_values", part) for part in (emptied, kept))
        for node in graph.graph.node:
            _rename(node.input, old, f"{old}/none")
            _rename(node.output, old, f"{old}/unused")
        cut = onnx.helper.make_node("Slice", [source, "zero", "zero", "states"], [f"{old}/none"], name=f"{old}/cut")
        graph.graph.node.insert(place, cut)


def _rename(names: Any, old: str, new: str) -> None:
    for place, name in enumerate(names):
        if name == old:
            names[place] = new


def _unknown(outputs: Iterable[str]) -> tuple[str, ...]:
    """What only our decoders give."""
    return tuple(name for name in outputs if name.startswith(("last_hidden_state", "cross_attentions.")))


def _branches(whole: OnnxGraph, first: OnnxGraph, later: OnnxGraph) -> OnnxGraph:
    """One graph that is `later` where use_cache_branch is true and `first` where it is false."""
    outputs = [value.name for value in first.graph.output]
    producers = later.producers()
    for name in outputs:  # a branch returns what it was given
        if name not in producers:
            given = name.replace("present", "past_key_values")
            later.graph.node.append(onnx.helper.make_node("Identity", [given], [name], name=f"{name}/given"))
    branches = {}
    for name, graph in (("then_branch", later), ("else_branch", first)):
        weights = [_named(tensor, f"{name}/{tensor.name}") for tensor in graph.graph.initializer]
        branches[name] = onnx.helper.make_graph(_renamed(graph, name), name, [], _untyped(outputs, name), weights)
    condition = onnx.helper.make_node("If", [_BRANCH], outputs, **branches)
    inputs = list(whole.graph.input)
    axes = {value.name: value for value in first.graph.output}
    graph = onnx.helper.make_graph([condition], "merged", inputs, [axes[name] for name in outputs])
    model = onnx.helper.make_model(graph, opset_imports=whole.model.opset_import, ir_version=whole.model.ir_version)
    return _one_batch(OnnxGraph(model))


def _renamed(graph: OnnxGraph, prefix: str) -> list[Any]:
    """The nodes, every tensor produced inside with a name of the branch's own."""
    inside = {name for node in graph.graph.node for name in node.output} | {t.name for t in graph.graph.initializer}
    nodes = []
    for node in graph.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}/{node.name}"
        for names in (copy.input, copy.output):
            for place, name in enumerate(names):
                names[place] = f"{prefix}/{name}" if name in inside else name
        nodes.append(copy)
    return nodes


def _named(tensor: Any, name: str) -> Any:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _untyped(names: Iterable[str], prefix: str) -> list[Any]:
    return [onnx.helper.make_tensor_value_info(f"{prefix}/{name}", onnx.TensorProto.FLOAT, None) for name in names]


def _fix(graph: OnnxGraph, name: str, value: np.ndarray) -> None:
    """Make the input `name` a constant."""
    for default in [tensor for tensor in graph.graph.initializer if tensor.name == name]:
        graph.graph.initializer.remove(default)
    tensor = onnx.numpy_helper.from_array(value, name)
    graph.graph.initializer.append(tensor)


def _become_identity(node: Any, source: str) -> None:
    node.op_type = "Identity"
    del node.input[:], node.attribute[:]
    node.input.append(source)


def _become_constant(node: Any, value: np.ndarray) -> None:
    node.op_type = "Constant"
    del node.input[:], node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(value)))


def _shape(graph: OnnxGraph, inputs: list[str], drop: tuple[str, ...]) -> OnnxGraph:
    """The graph with these inputs (constants are none) and without these outputs."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    for values, kept in (
        (graph.graph.input, lambda name: name in inputs and name not in constants),
        (graph.graph.output, lambda name: name not in drop),
    ):
        chosen = [value for value in values if kept(value.name)]
        del values[:]
        values.extend(chosen)
    shaped = OnnxGraph(graph.model)
    shaped.tidy()
    return _one_batch(shaped)


def _one_batch(graph: OnnxGraph) -> OnnxGraph:
    """One name for the axis of texts and that of beams."""
    for value in (*graph.graph.input, *graph.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == "decoder_batch_size":
                axis.dim_param = "batch_size"
    return graph


def _load(path: Path) -> OnnxGraph:
    """A graph with its weights in memory."""
    graph = OnnxGraph.load(path)
    graph.take_in()
    return graph


def _save(graph: OnnxGraph, path: Path) -> None:
    if any(node.op_type == "If" for node in graph.graph.node):
        onnx.save_model(graph.model, str(path))  # nothing to tidy, and what is inside is not looked at
    else:
        graph.save(path)
