"""Quantise the products of queries and keys to int8, with one fixed range each.

    scores = (round(Q / q) + z) (round(K / k)) q k        uint8 by int8, exact in int32

Queries and keys are linear in the output of a norm, so they stay within limits whatever the input is. The softmax and
the product with the values stay float32: a softmax over 1,500 states has most of its weights below 1/255. Where rows
are long this product is most of an encoder's time: whisper-tiny.en's encoder takes 142 ms instead of 169 (two threads,
AVX512-VNNI), and the cosine of its states to fp32's is 0.9995 with and without. MultiHeadAttention (com.microsoft),
which never stores the scores, gains half as much, and so does nothing else that was tried: scores of some queries at a
time, of single heads, 8-bit weights of the values (cosine 0.79).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision.ranges import Observed, choose

_DOMAIN = "com.microsoft"
_BETWEEN = frozenset({"Add", "Cast", "Div", "Mul", "Where"})
"""Operators between the product and the softmax: scaling, a mask, distances."""
_LEVELS = 127


@dataclass(frozen=True)
class Scores:
    """A MatMul of `queries` (..., rows, width) with `keys` (..., width, columns) that computes `output`."""

    output: str
    queries: str
    keys: str


def find(graph: OnnxGraph) -> list[Scores]:
    """List the products of two activations that a softmax over the last axis turns into weights."""
    consumers, outputs = graph.consumers(), graph.outputs()
    found = []
    for node in graph.graph.node:
        if node.op_type == "MatMul" and not any(graph.initializer(name) is not None for name in node.input):
            name, readers = node.output[0], consumers.get(node.output[0], [])
            while len(readers) == 1 and readers[0].op_type in _BETWEEN and name not in outputs:
                name = readers[0].output[0]
                readers = consumers.get(name, [])
            if len(readers) == 1 and readers[0].op_type == "Softmax" and _is_over_the_last_axis(readers[0]):
                found.append(Scores(node.output[0], node.input[0], node.input[1]))
    return found


def quantise(graph: OnnxGraph, scores: Sequence[Scores], observed: Mapping[str, Observed]) -> None:
    """Rewrite `graph` in place.

    Args:
        graph: later rewriting of the graph in which `scores` were found must have left these products alone.
        scores: from `find`.
        observed: of all their queries and keys.
    """
    places = {node.output[0]: index for index, node in enumerate(graph.graph.node)}
    replacements: dict[int, list[Any]] = {}
    rounded: dict[tuple[str, str], tuple[str, str, str]] = {}
    for each in scores:
        new: list[Any] = []
        for name, kind in ((each.queries, "uint8"), (each.keys, "int8")):
            if (name, kind) not in rounded:
                rounded[name, kind] = _rounded(graph, name, kind, observed[name], new)
        (queries, scale, zero), (keys, step, none) = rounded[each.queries, "uint8"], rounded[each.keys, "int8"]
        inputs = [queries, keys, scale, step, zero, none]
        replacements[places[each.output]] = [
            *new, graph.node("MatMulIntegerToFloat", inputs, each.output, domain=_DOMAIN)
        ]  # fmt: skip
    graph.replace_nodes(replacements)
    if scores:
        graph.need_domain(_DOMAIN)
    graph.tidy()


def _is_over_the_last_axis(node: Any) -> bool:
    return all(attribute.i == -1 for attribute in node.attribute if attribute.name == "axis")


def _rounded(graph: OnnxGraph, name: str, kind: str, observed: Observed, new: list[Any]) -> tuple[str, str, str]:
    """Append the node that rounds an activation; return the names of its numbers, their scale and their zero."""
    chosen = choose(observed)
    if kind == "int8":
        most = chosen.scale * max(chosen.zero, 255 - chosen.zero)
        scale, zero = np.array(most / _LEVELS, np.float32), np.array(0, np.int8)
    else:
        scale, zero = np.array(chosen.scale, np.float32), np.array(chosen.zero, np.uint8)
    names = graph.add_constant(f"{name}/{kind}/scale", scale), graph.add_constant(f"{name}/{kind}/zero", zero)
    numbers = graph.fresh(f"{name}/{kind}")
    new.append(graph.node("QuantizeLinear", [name, *names], numbers))
    return numbers, *names
