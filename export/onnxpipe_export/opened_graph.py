"""A graph's file that runs while it is verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxpipe.bundle.external import is_large_in_floats
from onnxpipe.engine import Session, open_session, parse_device
from onnxpipe_export.graphs.graph import Feeds, GraphExport
from onnxpipe_export.remembered import Memory


class OpenedGraph:
    """A file of a graph that runs, and answers the same inputs once.

    A large one in floats is opened without a second copy of its weights: beside what else the export holds, there may
    be no room for it, and the few cases cost less time than making it.

    Args:
        path: the .onnx file.
        root: the bundle's folder.
        graph: what it is the export of.

    Raises:
        BundleError: it cannot be opened.
        ValueError: it has other inputs or outputs.
    """

    def __init__(self, path: Path, root: Path, graph: GraphExport) -> None:
        self.path, self._root = path, root
        self._session: Session | None = None
        self._memory = Memory()
        _check_interface(self.session, graph)

    @property
    def session(self) -> Session:
        """The session, opened again if it was closed."""
        if self._session is None:
            lean = is_large_in_floats(self.path, self._root)
            self._session = open_session(self.path, root=self._root, device=parse_device("cpu"), lean=lean)
        return self._session

    def close(self) -> None:
        """Free the memory."""
        self._session, self._memory = None, Memory()

    def run(self, feeds: Feeds) -> Feeds:
        """Compute all outputs."""
        return self.session.run(feeds)

    def answer(self, feeds: Feeds, names: Sequence[str]) -> Feeds:
        """Compute these outputs of a case, or remember them."""
        return self._memory.answer((feeds, names), lambda: self.session.run(feeds, list(names)))


def _check_interface(session: Session, graph: GraphExport) -> None:
    """Check that the graph has exactly the expected inputs and outputs: an input that tracing dropped is found here."""
    for kind, wanted, names in (("inputs", graph.inputs, session.inputs), ("outputs", graph.outputs, session.outputs)):
        if set(names) != set(wanted):  # ONNX Runtime lists inputs with a default apart
            raise ValueError(f"its {kind} are {', '.join(names)} instead of {', '.join(wanted)}")
