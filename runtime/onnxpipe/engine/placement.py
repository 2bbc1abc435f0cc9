"""Read which execution provider runs each node of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpipe.engine.runtime import import_onnxruntime
from onnxpipe.errors import UnsupportedError

#: The session's setting that makes ONNX Runtime remember its assignments.
RECORD = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True)
class Placement:
    """The nodes of the optimised graph by the execution provider that runs them.

    Attributes:
        nodes: provider to the names of its nodes; a node without a name is listed by its operator.
    """

    nodes: Mapping[str, tuple[str, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """Provider to number of nodes."""
        return {provider: len(names) for provider, names in self.nodes.items()}

    def __str__(self) -> str:
        return ", ".join(f"{provider}: {count} nodes" for provider, count in self.counts.items()) or "no nodes"


def read_placement(session: Any) -> Placement:
    """Read the placement of an ONNX Runtime session that was opened with the setting `RECORD`.

    Raises:
        UnsupportedError: this version of ONNX Runtime does not record it.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        version = import_onnxruntime().__version__
        raise UnsupportedError(f"onnxruntime {version} does not tell which node runs where: pip install -U onnxruntime")
    nodes: dict[str, list[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes.setdefault(part.ep_name, []).extend(node.name or node.op_type for node in part.get_nodes())
    return Placement({provider: tuple(names) for provider, names in nodes.items()})
