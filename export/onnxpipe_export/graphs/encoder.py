"""Encoders: one graph, from token ids to hidden states or to the scores of a head."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.cases import text as cases
from onnxpipe_export.cases.text import TokenRow
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.families import family_of
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run, SingleRun
from onnxpipe_export.graphs.windowed_attention import traceable_windows
from onnxpipe_export.precision import makers

_BATCH, _LENGTH = "batch_size", "sequence_length"
_LONGEST = 2048
"""Longer rows are not verified, as the time and memory of attention grow with the square."""


@dataclass(frozen=True)
class EncoderExport(SingleRun):
    """The export of an encoder: its graph's inputs and outputs, its cases, and how to run the original on them.

    Attributes:
        checkpoint: the model.
        inputs: names of the graph's inputs, each int64 (batch, length).
        outputs: names of its outputs.
        max_length: the longest row, in tokens, that the model takes (and that is verified).
    """

    checkpoint: Checkpoint
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    max_length: int
    name: str = "model"

    @property
    def decisions(self) -> frozenset[str]:
        """The outputs that are scores, of which the largest decides."""
        return frozenset() if self.checkpoint.task.name == "feature-extraction" else frozenset(self.outputs)

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions for whole texts."""
        return makers.ENCODER

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of real text and random ids, short and long, alone and padded at either side."""
        return cases.make(self, tokenizer)

    def mask_of(self, feeds: Feeds) -> np.ndarray:
        """Return the attention mask."""
        return feeds["attention_mask"]

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compare the rows of texts alone and in batches; see `row_invariance`."""
        return row_invariance(run, self, cases.text_rows(self, tokenizer))

    def invariance_of_equal_lengths(self, run: Run, tokenizer: Any) -> float:
        """Compare the rows of texts, cut to one length, alone and in batches: without padding."""
        rows = cases.text_rows(self, tokenizer)
        length = sorted(len(row) for row in rows)[len(rows) // 2]
        cut = [row.cut(length) for row in rows if len(row) >= length]
        return row_invariance(run, self, cut, padded=False)

    def reference(self, feeds: Feeds) -> dict[str, Any]:
        """Compute the original model's outputs (float32) for `feeds` (numpy arrays (batch, length)).

        A model whose forward is replaced for tracing takes only certain batches (BART: as many end tokens in every
        row), so it is run row by row.
        """
        rows = len(feeds["input_ids"])
        if self.replacement() is None or rows == 1:
            return self._run_original(feeds)
        answers = [
            self._run_original({name: array[row : row + 1] for name, array in feeds.items()}) for row in range(rows)
        ]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in self.outputs}

    def _run_original(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        import torch

        with torch.inference_mode(), tracing.quiet():
            tensors = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
            answer = self.checkpoint.model(**self._with_given(tensors))
            return {name: answer[name].float().numpy() for name in self.outputs}

    def _with_given(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Add what the model would find out by itself; see `ModelFamily.given`."""
        given = family_of(self.checkpoint.config.model_type).given.get(self.checkpoint.task.name)
        return {**tensors, **({} if given is None else given(self.checkpoint.model, tensors))}

    def replacement(self) -> Any:
        """Return the function that replaces the model's forward for tracing, None if there is none."""
        return family_of(self.checkpoint.config.model_type).heads.get(self.checkpoint.task.name)

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        family = family_of(self.checkpoint.config.model_type)
        with attention(self.checkpoint.model, family.attention), traceable_windows(self.checkpoint.model):
            tracing.trace(self._module(), self._example(), self.outputs, self._dynamic_axes(), path)

    def _module(self) -> Any:
        model, replacement = self.checkpoint.model, self.replacement()

        def run(tensors: Mapping[str, Any]) -> Any:
            return model(**self._with_given(tensors)) if replacement is None else replacement(model, tensors)

        return tracing.flat(model, run, self.inputs, self.outputs)

    def _example(self) -> dict[str, Any]:
        """Make three rows, one padded at each side, so that nothing about padding is constant."""
        import torch

        config = self.checkpoint.config
        shape = (3, min(11, self.max_length))
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(5, max(config.vocab_size, 6), shape, generator=generator)
        eos = getattr(config, "eos_token_id", None)
        if isinstance(eos, int):
            ids[ids == eos] = 5 if eos != 5 else 6
            ids[:, 6] = eos
        mask = torch.ones(shape, dtype=torch.int64)
        mask[1, -3:] = 0
        mask[2, :3] = 0
        pad = getattr(config, "pad_token_id", None)
        ids = torch.where(mask.bool(), ids, torch.full_like(ids, pad if isinstance(pad, int) and pad >= 0 else 0))
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros(shape, dtype=torch.int64)}
        return {name: feeds[name] for name in self.inputs}

    def _dynamic_axes(self) -> dict[str, dict[int, str]]:
        axes = {name: {0: _BATCH, 1: _LENGTH} for name in self.inputs}
        per_token = self.checkpoint.task.name != "text-classification"
        for name in self.outputs:
            axes[name] = {0: _BATCH, 1: _LENGTH} if per_token and name != "pooler_output" else {0: _BATCH}
        return axes


def describe(checkpoint: Checkpoint) -> EncoderExport:
    """Find the inputs, the outputs and the longest row of the graph of `checkpoint`."""
    inputs = _inputs(checkpoint)
    probe = EncoderExport(checkpoint, inputs, (), 1)
    feeds = {name: np.ones((1, 4), np.int64) for name in inputs} | {"input_ids": np.full((1, 4), 5)}
    eos = getattr(checkpoint.config, "eos_token_id", None)
    if isinstance(eos, int):
        feeds["input_ids"][:, -1] = eos
    if "token_type_ids" in feeds:
        feeds["token_type_ids"][:] = 0
    present = _present_outputs(probe, feeds)
    return EncoderExport(checkpoint, inputs, present, max_length(checkpoint.model))


def row_invariance(run: Run, graph: cases.TextGraph, rows: Sequence[TokenRow], *, padded: bool = True) -> float:
    """Compute the largest absolute difference of a row's answer alone and in batches.

    The batches differ in neighbours, order, padding and its side. At the right, padding must change nothing. At the
    left it moves the positions of most models (in the original too), so there a row is compared with itself padded just
    as far.
    """
    order = list(range(len(rows)))
    batches = (order, order[::-1], order[: len(rows) // 2], order[1::2], order[::5])
    worst = 0.0
    for left in (False, True) if padded else (False,):
        for numbers in batches:
            batch = [rows[number] for number in numbers]
            feeds = cases.batch(batch, graph, left=left, extra=len(numbers) if padded else 0)
            length = feeds["input_ids"].shape[1]
            together = run(feeds)
            for place, row in enumerate(batch):
                alone = run(cases.batch([row], graph, left=left, length=length if left else None))
                worst = max(worst, _row_difference(alone, together, place, row, left))
    return worst


def _row_difference(
    alone: Mapping[str, np.ndarray], together: Mapping[str, np.ndarray], place: int, row: TokenRow, left: bool
) -> float:
    """Compute the largest difference at the row's tokens.

    An output is per token if its second axis changes with the padding.
    """
    worst = 0.0
    for name, value in together.items():
        here, there = value[place], alone[name][0]
        if here.ndim and there.shape[0] >= len(row) and here.shape[0] > len(row):
            here, there = (here[-len(row) :], there[-len(row) :]) if left else (here[: len(row)], there[: len(row)])
        worst = max(worst, float(np.abs(here - there).max()))
    return worst


def max_length(model: Any) -> int:
    """Return the longest row, in tokens, that the model takes; at most 2048, as relative positions have no limit."""
    names = ("max_decoder_position_embeddings", "max_position_embeddings", "n_positions", "max_seq_len")
    parts = (model.config, *(getattr(model.config, part, None) for part in ("encoder", "decoder")))
    limits = [next((getattr(part, name) for name in names if getattr(part, name, None)), None) for part in parts]
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return max(min(min(known) - _reserved_positions(model), _LONGEST), 1) if known else _LONGEST


def _reserved_positions(model: Any) -> int:
    """Count the rows of the position table that no token can use: RoBERTa's positions start after the padding id."""
    import torch

    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def _inputs(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Name the inputs: input_ids, attention_mask, and token_type_ids where there is more than one type."""
    accepted = inspect.signature(checkpoint.model.forward).parameters
    types = getattr(checkpoint.config, "type_vocab_size", 0) or 0
    names = ["input_ids", "attention_mask"]
    if "token_type_ids" in accepted and types > 1:
        names.append("token_type_ids")
    return tuple(names)


def _present_outputs(graph: EncoderExport, feeds: Mapping[str, Any]) -> tuple[str, ...]:
    """Name those of the task's outputs that the model returns."""
    import torch

    with torch.inference_mode(), tracing.quiet():
        tensors = {name: torch.from_numpy(feeds[name]) for name in graph.inputs}
        answer = graph.checkpoint.model(**graph._with_given(tensors))
    return tuple(name for name in graph.checkpoint.task.outputs if answer.get(name) is not None)


@contextmanager
def attention(model: Any, implementation: str) -> Iterator[None]:
    """Set the model's attention implementation inside, and restore its own."""
    before = getattr(model.config, "_attn_implementation", None)
    with tracing.quiet():
        model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        if before is not None:
            with tracing.quiet():
                model.set_attn_implementation(before)
