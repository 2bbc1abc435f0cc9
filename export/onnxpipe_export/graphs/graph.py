"""The seam between the export and the kinds of graphs: what `convert` and `certify` ask of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.onnx_graph import OnnxGraph

Attention = Literal["auto", "standard", "gqa"]
"""How a causal model attends: by standard operators, by ONNX Runtime's GroupQueryAttention, or the best that holds."""

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], Feeds]
"""Input name -> array to output name -> array: a session's run, or `Graph.reference`."""

Maker = Callable[[Path, Path, Sequence[Feeds]], None]
"""From the fp32 file to the file of a precision, with feeds to calibrate on."""


@dataclass(frozen=True)
class Case:
    """One run of a graph.

    Attributes:
        feeds: input name -> array: token ids int64 (batch, length), caches, hidden states and pixels float32.
        golden: whether it goes into golden.npz (few and short ones, at most some 100 kB with their answers).
        calibrates: whether smaller precisions learn from it which columns are large (single rows of real text do).
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


class Graph(Protocol):
    """One file onnx/<name>.onnx of a bundle, and how to ask the PyTorch original the same."""

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
        """Those outputs of `reference` whose largest element is a decision (logits); of features it means nothing."""

    @property
    def max_length(self) -> int | None:
        """The longest row, in tokens, that it takes and is proved for; None where it reads no text."""

    @property
    def makers(self) -> Mapping[str, Maker]:
        """Precision -> how its file is made of the fp32 file; see `onnxpipe_export.precision.makers`."""

    def trace(self, path: Path) -> None:
        """Write the graph, as traced, to `path`."""

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the traced graph in place to fewer nodes."""

    def cases(self, tokenizer: Any) -> Sequence[Case]:
        """What the original and the graph are asked; deterministic. `tokenizer` is transformers', None if the model
        has none."""

    def reference(self, feeds: Feeds) -> Feeds:
        """The original's answer (float32): the outputs that are compared, which need not be all."""

    def mask_of(self, feeds: Feeds) -> np.ndarray | None:
        """1 where a token is, 0 at padding, (batch, length): outputs of three or more axes that begin with these two
        are compared at tokens only. None: everything is compared."""

    def chains(self, run: Run, tokenizer: Any) -> Iterable[tuple[Feeds, Feeds]]:
        """Runs that take what earlier ones gave (caches): pairs of the original's answer and the graph's, without
        padding, by the same output names as `reference`. Empty where a run stands alone."""

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Largest absolute difference of a row's answer alone and in a batch, other neighbours and padding."""
