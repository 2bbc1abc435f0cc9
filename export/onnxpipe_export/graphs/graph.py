"""The interface between the export and the kinds of graphs: what `convert` and `certify` need of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise

Attention = Literal["auto", "standard", "gqa"]
"""How a causal model attends: by standard operators, by ONNX Runtime's GroupQueryAttention, or the faster that fits."""

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], Feeds]
"""Input name -> array to output name -> array: a session's run, or `GraphExport.reference`."""

Maker = Callable[[Path, Path, Sequence[Feeds]], None]
"""Writes the file of a precision: (fp32 file, file to write, feeds to calibrate with)."""


@dataclass(frozen=True)
class Case:
    """One run of a graph.

    Attributes:
        feeds: input name -> array: token ids int64 (batch, length), caches, hidden states and pixels float32.
        golden: whether it goes into golden.npz (few and short ones, at most some 100 kB with their answers).
        calibrates: whether smaller precisions are calibrated with it (single rows of real text are).
        decides: whether its decisions count; after random tokens a language model has no preference.
    """

    feeds: Feeds
    golden: bool = False
    calibrates: bool = False
    decides: bool = True

    @property
    def rows(self) -> int:
        """How many rows the run has."""
        return max(int(array.shape[0]) for array in self.feeds.values() if array.ndim)


class SingleRun:
    """What exports of graphs without caches have in common; a base of `GraphExport`s."""

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers."""
        optimise(graph)

    def chains(self, run: Run, tokenizer: Any) -> tuple[()]:
        """Return no chains: a run stands alone."""
        return ()


class GraphExport(Protocol):
    """The export of one file onnx/<name>.onnx of a bundle, with its cases and the original's answers to them."""

    @property
    def name(self) -> str:
        """The file's stem: "model", "encoder_model", "decoder_model_merged"."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The model."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs, in order."""

    @property
    def decisions(self) -> frozenset[str]:
        """The outputs of `reference` whose largest element is a decision (logits); features have none."""

    @property
    def max_length(self) -> int | None:
        """The longest row, in tokens, that it takes and is verified with; None where it takes no text."""

    @property
    def makers(self) -> Mapping[str, Maker]:
        """Precision -> function that makes its file from the fp32 file; see `onnxpipe_export.precision.makers`."""

    def trace(self, path: Path) -> None:
        """Write the graph, as traced, to `path`."""

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the traced graph in place to fewer nodes."""

    def cases(self, tokenizer: Any) -> Sequence[Case]:
        """Make the inputs that the original and the graph are compared on; deterministic.

        Args:
            tokenizer: transformers' tokenizer, None if the model has none.
        """

    def reference(self, feeds: Feeds) -> Feeds:
        """Compute the original's answer (float32): the outputs that are compared, which need not be all."""

    def mask_of(self, feeds: Feeds) -> np.ndarray | None:
        """Return 1 where a token is and 0 at padding, (batch, length); None: everything is compared.

        Outputs of three or more axes that begin with these two are compared at tokens only.
        """

    def chains(self, run: Run, tokenizer: Any) -> Iterable[tuple[Feeds, Feeds]]:
        """Run the graph step by step on the caches of earlier steps, and yield the original's answers and the graph's.

        The pairs have no padding and the same output names as `reference`. Empty where a run stands alone.
        """

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compute the largest absolute difference of a row's answer alone and in batches, whatever the neighbours."""
