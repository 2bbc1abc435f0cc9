"""The export of a part of a model: its inputs and outputs by name, how PyTorch computes it, and its cases.

Models of images with text (or with points, or of pairs of images) differ in these things and in nothing else, so each
of their files says only these.
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
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run, SingleRun
from onnxpipe_export.onnx_graph import OnnxGraph

BATCH = "batch_size"
"""The axis along which rows of a run stand, in `WrappedExport.axes`."""

Axes = Mapping[str, Mapping[int, str]]
"""Input or output -> {axis: symbol} of every size that may change."""

Forward = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Input name -> torch tensor to output name -> torch tensor."""

MaxDifference = Callable[[Feeds, Feeds], float]
"""Largest absolute difference of one row's outputs, alone and cut from a batch; both without the batch axis."""

UserFeeds = Callable[[Feeds, Any], Feeds]
"""From one image as the model's processor prepares it, and transformers' tokenizer, to feeds of one row."""


def image_only(prepared: Feeds, tokenizer: Any) -> Feeds:
    """Return the processor's outputs as feeds: the plain `UserFeeds`, for graphs that take nothing else."""
    return prepared


def largest_difference(alone: Feeds, together: Feeds) -> float:
    """Compute the largest absolute difference of outputs of the same shapes: the plain `MaxDifference`.

    Equal infinities are equal.
    """
    pairs = [(np.asarray(alone[name], np.float64), np.asarray(together[name], np.float64)) for name in alone]
    with np.errstate(invalid="ignore"):
        distances = [np.where(a == b, 0.0, np.abs(a - b)) for a, b in pairs if a.size]
    return max((float(distance.max()) for distance in distances), default=0.0)


@dataclass(frozen=True)
class WrappedExport(SingleRun):
    """The export of one graph; implements `onnxpipe_export.graphs.graph.GraphExport`.

    Attributes:
        checkpoint: the model.
        name: the file's stem.
        inputs: names of its inputs, in order.
        outputs: names of its outputs, in order.
        axes: the sizes that may change; `BATCH` names the rows.
        forward: the original's computation.
        example: feeds to trace with: more than one row, and no two free sizes equal.
        make_cases: from transformers' tokenizer (None where the model has none) to the synthetic cases.
        makers: precision -> function that makes its file.
        decisions: the outputs whose largest element decides.
        compared: the outputs that `reference` returns; all of them by default.
        max_length: the longest row in tokens; None where it takes no text.
        replacements: context in which functions of the model are replaced while it is traced.
        traced: the computation that is traced, where it is not `forward`: same numbers, no branch on data.
        max_difference: how a row alone is compared with the same in a batch.
        constants: outputs that are numbers of the model, the same for any input.
        user_feeds: makes feeds of a user's own image; None where the graph takes no image.
        eager: whether attention is traced as plain products, which a model with parts of several kinds may refuse.
    """

    checkpoint: Checkpoint
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: Axes
    forward: Forward
    example: Callable[[], Feeds]
    make_cases: Callable[[Any], Sequence[Case]]
    makers: Mapping[str, Maker]
    decisions: frozenset[str] = frozenset()
    compared: tuple[str, ...] = ()
    max_length: int | None = None
    replacements: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    traced: Forward | None = None
    max_difference: MaxDifference = largest_difference
    constants: Mapping[str, float] = field(default_factory=dict)
    eager: bool = True
    user_feeds: UserFeeds | None = None

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        model, names = self.checkpoint.model, self.inputs
        outputs = [name for name in self.outputs if name not in self.constants]
        module = tracing.flat(model, self.traced or self.forward, names, outputs)
        feeds = self.example()
        axes = {name: self.axes[name] for name in (*names, *outputs) if name in self.axes}
        example = {name: torch.from_numpy(feeds[name]) for name in names}
        plain = attention(model, "eager") if self.eager else contextlib.nullcontext()
        with plain, self.replacements():
            tracing.trace(module, example, outputs, axes, path)

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers, and add the outputs that are constants."""
        super().optimise(graph)
        for name, value in self.constants.items():
            _add_number(graph, name, value)

    def cases(self, tokenizer: Any) -> Sequence[Case]:
        """Make the synthetic cases, and those of the user's own images."""
        folder = self.checkpoint.calibration
        if folder is None or self.user_feeds is None:
            return self.make_cases(tokenizer)
        types = {name: array.dtype for name, array in self.example().items()}
        user_cases = []
        for prepared in image_cases.user_images(folder, self.checkpoint):
            feeds = self.user_feeds(prepared, tokenizer)
            user_cases.append(
                Case({name: np.asarray(feeds[name], types[name]) for name in self.inputs}, calibrates=True)
            )
        return [*self.make_cases(tokenizer), *user_cases]

    def reference(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Compute the original's answer: float32, integers as they are."""
        import torch

        with torch.inference_mode(), tracing.quiet():
            answer = self.forward({name: torch.from_numpy(feeds[name]) for name in self.inputs})
            arrays = {name: _to_numpy(answer[name]) for name in self.compared or self.outputs if name in answer}
        return arrays | {name: np.array(value, np.float32) for name, value in self.constants.items()}

    def mask_of(self, feeds: Feeds) -> None:
        """Return None: outputs are whole vectors, not one a token."""

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compute the largest difference of a row alone, in its batch, and in its batch reversed."""
        worst = 0.0
        for case in self.make_cases(tokenizer):
            rows = self._rows(case.feeds)
            if rows < 2:
                continue
            backwards = run(self._take(case.feeds, slice(None, None, -1)))
            together = run(case.feeds)
            for row in range(rows):
                alone = self._row(run(self._take(case.feeds, slice(row, row + 1))), 0)
                for answer, place in ((together, row), (backwards, rows - 1 - row)):
                    worst = max(worst, self.max_difference(alone, self._row(answer, place)))
        return worst

    def _rows(self, feeds: Feeds) -> int:
        """Count the rows of `feeds`; 1 where nothing has a batch axis."""
        sizes = [feeds[name].shape[0] for name in self.inputs if self.axes.get(name, {}).get(0) == BATCH]
        return min(sizes, default=1)

    def _take(self, feeds: Feeds, which: slice) -> dict[str, np.ndarray]:
        """Take the rows `which` of every input that has rows."""
        return {
            name: np.ascontiguousarray(array[which]) if self.axes.get(name, {}).get(0) == BATCH else array
            for name, array in feeds.items()
        }

    def _row(self, answer: Feeds, place: int) -> dict[str, np.ndarray]:
        names = [name for name in self.compared or self.outputs if self.axes.get(name, {}).get(0) == BATCH]
        return {name: answer[name][place] for name in names}


def _to_numpy(tensor: Any) -> np.ndarray:
    """Convert a tensor to numpy: every kind of float as float32, integers and booleans as they are."""
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def _add_number(graph: OnnxGraph, name: str, value: float) -> None:
    """Add an output that is `value`, as an attribute of a node, which no precision rounds (an initializer would be)."""
    import onnx

    node = onnx.helper.make_node("Constant", [], [name], name=graph.fresh(f"{name}/Constant"), value_float=value)
    graph.graph.node.append(node)
    graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []))


@contextlib.contextmanager
def replaced_in(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Apply several `tracing.replaced` at once: (owner, attribute, value) each."""
    with contextlib.ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(tracing.replaced(owner, name, value))
        yield
