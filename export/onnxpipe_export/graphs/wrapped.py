"""A graph of a part of a model: what goes in and comes out by name, how PyTorch computes it, and what it is asked.

The kinds of models that see pictures and words at once (or points, or pairs of pictures) differ in these five things
and in nothing else, so each of their files says only these.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.cases import images as image_cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import attention
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise

BATCH = "batch_size"
"""The axis along which rows of a run stand, in `WrappedGraph.axes`."""

Axes = Mapping[str, Mapping[int, str]]
"""Input or output -> {axis: symbol} of every size that may change."""

Forward = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Input name -> torch tensor to output name -> torch tensor."""

Alike = Callable[[Feeds, Feeds], float]
"""Largest absolute difference of one row's outputs, asked alone and cut from a batch; both without the batch axis."""

Shown = Callable[[Feeds, Any], Feeds]
"""From one picture as the model's processor prepares it, and transformers' tokenizer, to feeds of one row."""


def only_picture(prepared: Feeds, tokenizer: Any) -> Feeds:
    """The plain `Shown`: what the processor gives is what the graph takes."""
    return prepared


def largest_difference(alone: Feeds, together: Feeds) -> float:
    """The plain `Alike`: the shapes are the same. Equal infinities are equal."""
    pairs = [(np.asarray(alone[name], np.float64), np.asarray(together[name], np.float64)) for name in alone]
    with np.errstate(invalid="ignore"):
        distances = [np.where(a == b, 0.0, np.abs(a - b)) for a, b in pairs if a.size]
    return max((float(distance.max()) for distance in distances), default=0.0)


@dataclass(frozen=True)
class WrappedGraph:
    """One graph, as `onnxpipe_export.graphs.graph.Graph` wants it.

    Attributes:
        checkpoint: the model.
        name: the file's stem.
        inputs: names of its inputs, in order.
        outputs: names of its outputs, in order.
        axes: the sizes that may change; `BATCH` names the rows.
        forward: the original's computation.
        example: feeds to trace with: more than one row, and no two free sizes alike.
        questions: from transformers' tokenizer (None where the model has none) to the cases.
        makers: precision -> how its file is made.
        decisions: the outputs whose largest element decides.
        compared: the outputs that `reference` gives; all of them by default.
        max_length: the longest row in tokens; None where it reads no text.
        replacements: what stands in for functions of the model while it is traced.
        traced: the computation that is traced, where it is not `forward`: same numbers, no branch on data.
        alike: how a row alone is compared with the same in a batch.
        constants: outputs that are numbers of the model, the same for any input.
        shown: how a user's own picture becomes feeds; None where the graph sees no picture.
        eager: whether attention is traced as plain products, which a model with parts of several kinds may refuse.
    """

    checkpoint: Checkpoint
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: Axes
    forward: Forward
    example: Callable[[], Feeds]
    questions: Callable[[Any], Sequence[Case]]
    makers: Mapping[str, Maker]
    decisions: frozenset[str] = frozenset()
    compared: tuple[str, ...] = ()
    max_length: int | None = None
    replacements: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    traced: Forward | None = None
    alike: Alike = largest_difference
    constants: Mapping[str, float] = field(default_factory=dict)
    eager: bool = True
    shown: Shown | None = None

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        forward, names = self.traced or self.forward, self.inputs
        outputs = [name for name in self.outputs if name not in self.constants]

        class Flat(torch.nn.Module):  # type: ignore[misc]
            def __init__(self, model: Any) -> None:
                super().__init__()
                self.model = model

            def forward(self, *tensors: Any) -> tuple[Any, ...]:
                answer = forward(dict(zip(names, tensors, strict=True)))
                return tuple(answer[name] for name in outputs)

        given = self.example()
        axes = {name: self.axes[name] for name in (*names, *outputs) if name in self.axes}
        example = {name: torch.from_numpy(given[name]) for name in names}
        plain = attention(self.checkpoint.model, "eager") if self.eager else contextlib.nullcontext()
        with plain, self.replacements():
            tracing.trace(Flat(self.checkpoint.model).eval(), example, outputs, axes, path)

    def optimise(self, graph: OnnxGraph) -> None:
        """Fewer nodes, the same numbers; and the outputs that are numbers."""
        optimise(graph)
        for name, value in self.constants.items():
            _add_number(graph, name, value)

    def cases(self, tokenizer: Any) -> Sequence[Case]:
        """See `questions`; and those with the user's own pictures."""
        folder = self.checkpoint.calibration
        if folder is None or self.shown is None:
            return self.questions(tokenizer)
        types = {name: array.dtype for name, array in self.example().items()}
        own = []
        for prepared in image_cases.users_pictures(folder, self.checkpoint):
            feeds = self.shown(prepared, tokenizer)
            own.append(Case({name: np.asarray(feeds[name], types[name]) for name in self.inputs}, calibrates=True))
        return [*self.questions(tokenizer), *own]

    def reference(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """The original's answer: float32, integers as they are."""
        import torch

        with torch.inference_mode(), tracing.quiet():
            answer = self.forward({name: torch.from_numpy(feeds[name]) for name in self.inputs})
            found = {name: _to_numpy(answer[name]) for name in self.compared or self.outputs if name in answer}
        return found | {name: np.array(value, np.float32) for name, value in self.constants.items()}

    def mask_of(self, feeds: Feeds) -> None:
        """None: outputs are whole vectors, not one a token."""

    def chains(self, run: Run, tokenizer: Any) -> tuple[()]:
        """None: a run stands alone."""
        return ()

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Largest difference of a row alone, in its batch, and in its batch turned around."""
        worst = 0.0
        for case in self.questions(tokenizer):
            rows = self._rows(case.feeds)
            if rows < 2:
                continue
            backwards = run(self._take(case.feeds, slice(None, None, -1)))
            together = run(case.feeds)
            for row in range(rows):
                alone = self._row(run(self._take(case.feeds, slice(row, row + 1))), 0)
                for answer, place in ((together, row), (backwards, rows - 1 - row)):
                    worst = max(worst, self.alike(alone, self._row(answer, place)))
        return worst

    def _rows(self, feeds: Feeds) -> int:
        """How many rows `feeds` has; 1 where nothing has a batch axis."""
        sizes = [feeds[name].shape[0] for name in self.inputs if self.axes.get(name, {}).get(0) == BATCH]
        return min(sizes, default=1)

    def _take(self, feeds: Feeds, which: slice) -> dict[str, np.ndarray]:
        """The rows `which` of every input that has rows."""
        return {
            name: np.ascontiguousarray(array[which]) if self.axes.get(name, {}).get(0) == BATCH else array
            for name, array in feeds.items()
        }

    def _row(self, answer: Feeds, place: int) -> dict[str, np.ndarray]:
        names = [name for name in self.compared or self.outputs if self.axes.get(name, {}).get(0) == BATCH]
        return {name: answer[name][place] for name in names}


def _to_numpy(tensor: Any) -> np.ndarray:
    """float32 for every kind of float, integers and booleans as they are."""
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def _add_number(graph: OnnxGraph, name: str, value: float) -> None:
    """An output that is `value`: as an attribute of a node, which no precision rounds (an initializer would be)."""
    import onnx

    node = onnx.helper.make_node("Constant", [], [name], name=graph.fresh(f"{name}/Constant"), value_float=value)
    graph.graph.node.append(node)
    graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []))


@contextlib.contextmanager
def replaced_in(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Several `tracing.replaced` at once: (owner, attribute, value) each."""
    with contextlib.ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(tracing.replaced(owner, name, value))
        yield
