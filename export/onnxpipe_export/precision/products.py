"""Find what is stored in fewer bits: products with constant matrices, and tables that are looked up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph

_FEWEST_COLUMNS = 32
"""Weights with fewer columns (a classifier's last layer) stay float32: no time to gain, and they decide the answer."""
_FLOAT = 1
"""ONNX's number of float32."""
_LARGE_TABLE = 1000
"""The fewest rows of a table that is a vocabulary, and is stored as int8."""


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm to quantise: its index, and its weight as stored (`transposed`: as (N, K)), of this shape."""

    index: int
    activation: str
    weight: str
    transposed: bool
    shape: tuple[int, ...]

    @property
    def gain(self) -> float:
        """Multiplications, K N a row, for each of the K + N numbers that have to be converted to or from 8 bits."""
        return self.shape[0] * self.shape[1] / (self.shape[0] + self.shape[1])


def constant_products(graph: OnnxGraph) -> list[Product]:
    """List every MatMul and Gemm with a constant float32 matrix worth quantising, in order."""
    products = []
    for index, node in enumerate(graph.graph.node):
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        weight = graph.initializer(node.input[1])
        if weight is None or len(weight.dims) != 2 or weight.data_type != _FLOAT:
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        plain = all(attributes[name].f == 1.0 for name in ("alpha", "beta") if name in attributes)
        if plain and not ("transA" in attributes and attributes["transA"].i):
            transposed = "transB" in attributes and bool(attributes["transB"].i)
            if weight.dims[0 if transposed else 1] >= _FEWEST_COLUMNS:
                products.append(Product(index, node.input[0], node.input[1], transposed, tuple(weight.dims)))
    return products


def read_tables(graph: OnnxGraph) -> list[tuple[int, np.ndarray]]:
    """List every Gather of rows of a large constant table: the node's index and the table, float32 (rows, width)."""
    tables = []
    for index, node in enumerate(graph.graph.node):
        if node.op_type != "Gather" or any(attribute.name == "axis" and attribute.i for attribute in node.attribute):
            continue
        table = graph.initializer(node.input[0])
        if table is None or len(table.dims) != 2 or table.data_type != _FLOAT or table.dims[0] < _LARGE_TABLE:
            continue
        value = graph.constant(node.input[0])
        assert value is not None
        tables.append((index, value))
    return tables
