"""TAPAS: one graph, from a question and a table to a score for each token and each aggregation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.cases import tables as cases
from onnxpipe_export.cases.text import TokenRow, batch
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import EncoderExport, max_length
from onnxpipe_export.graphs.graph import Case, Feeds, Run
from onnxpipe_export.graphs.tables.segments import traceable
from onnxpipe_export.tracing import replaced

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TOKEN_LOGITS = "token_logits"
"""An output beside the original's: the scores before a column is chosen. The choice puts all others to -10000, and
beside that no difference would be seen."""


@dataclass(frozen=True)
class TapasExport(EncoderExport):
    """The export of TAPAS for questions about tables; see `EncoderExport`."""

    @property
    def decisions(self) -> frozenset[str]:
        """The outputs of which the largest decides: the column that is chosen, and the aggregation."""
        return frozenset(self.outputs) - {_TOKEN_LOGITS}

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of questions about tables and of random ones, alone and padded."""
        return cases.make(self, tokenizer)

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compare the scores of tables' cells alone and in batches; of the question's tokens nothing is read."""
        rows = cases.text_rows(self, tokenizer)
        worst = 0.0
        for chosen in (rows, rows[::-1], rows[1::2]):
            together = run(batch(chosen, self, extra=len(chosen)))
            for place, row in enumerate(chosen):
                alone = run(batch([row], self))
                worst = max(worst, _difference(alone, together, place, row))
        return worst

    def _run_original(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        import torch

        with torch.inference_mode(), tracing.quiet():
            found = self._run({name: torch.from_numpy(feeds[name]) for name in self.inputs})
        return {name: found[name].float().numpy() for name in self.outputs}

    def _run(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        with _recorded() as recorded:
            answer = self.checkpoint.model(**tensors)
        return {**answer, _TOKEN_LOGITS: recorded[-1]}

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        model = self.checkpoint.model
        module = tracing.flat(model, self._run, self.inputs, self.outputs)
        with traceable(model):
            tracing.trace(module, self._example(), self.outputs, self._dynamic_axes(), path)

    def _example(self) -> dict[str, Any]:
        """Make two rows of different lengths, so that nothing about sizes and padding is constant."""
        import torch

        feeds = batch(cases.random_rows(self)[1:3], self, extra=2)
        return {name: torch.from_numpy(feeds[name]) for name in self.inputs}

    def _dynamic_axes(self) -> dict[str, dict[int, str]]:
        axes = super()._dynamic_axes()
        return axes | {name: {0: "batch_size"} for name in self.outputs if name == "logits_aggregation"}


def describe(checkpoint: Checkpoint) -> TapasExport:
    """Find the outputs and the longest row of the graph of `checkpoint`.

    Raises:
        ExportError: it is no TAPAS, or one that selects cells in several columns, which transformers cannot run.
    """
    config = checkpoint.config
    if config.model_type != "tapas":
        raise ExportError(
            f"models of the type '{config.model_type}' cannot be exported for table-question-answering: it takes "
            "TAPAS, and encoder-decoders of text such as TAPEX"
        )
    if not config.select_one_column:
        raise ExportError("a TAPAS with select_one_column=false cannot be run by transformers itself: set it to true")
    aggregates = ("logits_aggregation",) if config.num_aggregation_labels > 0 else ()
    return TapasExport(checkpoint, _INPUTS, ("logits", *aggregates, _TOKEN_LOGITS), max_length(checkpoint.model))


def _difference(alone: Feeds, together: Feeds, place: int, row: TokenRow) -> float:
    """Compute the largest difference of the cells' scores and of the aggregations'."""
    inside = row.arrays["token_type_ids"][:, 2] > 0
    worst = 0.0
    for name, value in together.items():
        here, there = value[place], alone[name][0]
        if name != "logits_aggregation":
            here, there = here[: len(row)][inside], there[inside]
        worst = max(worst, float(np.abs(here - there).max(initial=0.0)))
    return worst


@contextmanager
def _recorded() -> Iterator[Sequence[Any]]:
    """Record the scores of tokens that the model computes inside."""
    from transformers.models.tapas import modeling_tapas

    original, recorded = modeling_tapas.compute_token_logits, []

    def compute(*arguments: Any) -> Any:
        recorded.append(original(*arguments))
        return recorded[-1]

    with ExitStack() as stack:
        stack.enter_context(replaced(modeling_tapas, "compute_token_logits", compute))
        yield recorded
