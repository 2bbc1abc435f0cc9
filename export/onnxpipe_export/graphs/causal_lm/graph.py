"""Export causal language models: one graph for prompts, continuations and single steps.

Inputs: input_ids (batch, length), attention_mask (batch, past + length), position_ids (batch, length),
num_logits_to_keep (): 0, its default, for the logits of every position, n for those of each row's last n tokens; then
what each layer keeps: keys and values so far, (batch, heads, past, head_dim), whose length may be 0, or states, zeros
at first. Outputs: logits (batch, kept, vocabulary), last_hidden_state (batch, length, width), keys and values with the
new ones, and new states.

Two kinds. *standard*: plain operators; the past grows by concatenation; batches are padded at the left. *gqa*: ONNX
Runtime's GroupQueryAttention, which appends to the past in place if it is bound so; batches are padded at the right, as
onnxpipe does, or at the left (`padding`).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.fuse import drop_views, fuse_decoder, share_tables
from onnxpipe_export.graphs.causal_lm import cases as causal_cases
from onnxpipe_export.graphs.causal_lm.cache import Kept, find_kept, original_cache, tensors
from onnxpipe_export.graphs.causal_lm.gqa import UnsupportedAttentionError
from onnxpipe_export.graphs.causal_lm.module import CausalModule, run_model
from onnxpipe_export.graphs.causal_lm.recurrence import expand
from onnxpipe_export.graphs.causal_lm.rotary import Rotary, find_rotary, frequencies_by_row
from onnxpipe_export.graphs.encoder import attention, max_length
from onnxpipe_export.graphs.families import GQA_FAMILIES
from onnxpipe_export.graphs.graph import Attention, Case, Feeds, Maker, Run
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import makers
from onnxpipe_export.remembered import Memory

_BATCH, _LENGTH, _PAST, _TOTAL = "batch_size", "sequence_length", "past_sequence_length", "total_sequence_length"
_REST = ("attention_mask", "position_ids", "num_logits_to_keep")
_SHORT, _LAST = 16, 8
"""All logits of a row of so many tokens are remembered; of a longer one those of its last tokens, at least so many."""
_ANGLES = 8
"""GroupQueryAttention rotates heads by tables whose width is a multiple of this."""
_FEWEST_ROTATIONS = 4096
"""The fewest rows of a table of rotations: 1 MB for heads of 64 numbers."""
_DYNAMIC, _LONGROPE = "dynamic", "longrope"
"""Scalings of rotary positions whose frequencies depend on how long a row has become: on each length beyond one, or on
whether it is beyond one."""


@dataclass(frozen=True)
class ExtraInput:
    """A further input of a decoder, with a value for each new token.

    Attributes:
        name: its name; also that of the argument of the model's forward.
        shape: of a token's value.
        dtype: of the numbers.
        value: what padding, generated tokens and tokens of text have.
    """

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    value: float = 0

    def neutral(self, rows: int, length: int) -> np.ndarray:
        """Make the values of tokens of text: (rows, length, ...)."""
        return np.full((rows, length, *self.shape), self.value, self.dtype)

    def random(self, rows: int, length: int) -> np.ndarray:
        """Make random values: (rows, length, ...)."""
        drawn = np.random.default_rng(5).standard_normal((rows, length, *self.shape))
        return (drawn > 0).astype(self.dtype) if np.issubdtype(self.dtype, np.integer) else drawn.astype(self.dtype)


@dataclass(frozen=True)
class CausalLMExport:
    """The export of a causal language model.

    Attributes:
        checkpoint: the model.
        kept: the arrays that it keeps from step to step.
        gqa: whether it attends by GroupQueryAttention.
        rotary: the rotation that GroupQueryAttention does, None where the model's own operators do it.
        positions: positions that the model has; rows of the tables of sines.
        max_length: the longest row, in tokens, that is verified.
        name: the file's stem.
        tokens: the input for tokens: "input_ids", or "inputs_embeds" where another graph embeds them.
        position_axes: how many positions a token has; with several, position_ids is (axes, batch, length).
        extras: further inputs, between num_logits_to_keep and the caches.
        changes_after: tokens of a row beyond which its rotary frequencies are others; None where they never are.
        memory: what the original said of rows.
    """

    checkpoint: Checkpoint
    kept: tuple[Kept, ...]
    gqa: bool
    rotary: Rotary | None
    positions: int
    max_length: int
    name: str = "model"
    tokens: str = "input_ids"
    position_axes: int = 1
    extras: tuple[ExtraInput, ...] = ()
    decisions: frozenset[str] = frozenset({"logits"})
    changes_after: int | None = None
    memory: Memory = field(default_factory=Memory, compare=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs; see the module's docstring."""
        return (self.tokens, *_REST, *(extra.name for extra in self.extras), *self.past)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; see the module's docstring."""
        return (*self.checkpoint.task.outputs, *self.present)

    @property
    def past(self) -> tuple[str, ...]:
        """Names of what it keeps as inputs."""
        return tuple(one.past for one in self.kept)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of what it keeps as outputs, in the same order."""
        return tuple(one.present for one in self.kept)

    @property
    def stateful(self) -> bool:
        """Whether it keeps states, of which no token can be cut off."""
        return not all(one.grows for one in self.kept)

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of graphs that run one token at a time."""
        return makers.DECODER

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers."""
        expand(graph)
        optimise(graph)
        drop_views(graph)
        if self.gqa:  # the other kind has standard operators only
            fuse_decoder(graph)
        share_tables(graph)
        graph.make_optional("num_logits_to_keep", np.array(0, np.int64))  # other libraries do not know it

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        with _traceable(self.checkpoint.model):
            tracing.trace(self._module(), self._example(), self.outputs, self._axes(), path)

    def fits(self) -> bool:
        """Tell whether GroupQueryAttention can replace the model's attention."""
        try:
            with torch.inference_mode(), _traceable(self.checkpoint.model), tracing.quiet():
                self._module()(*self._example().values())
        except UnsupportedAttentionError:
            return False
        return True

    def _module(self) -> CausalModule:
        model = self.checkpoint.model
        module = CausalModule(
            model, self.kept, gqa=self.gqa, rotary=self.rotary, positions=self.positions,
            extras=tuple(extra.name for extra in self.extras),
        )  # fmt: skip
        module.eval()
        return module

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make the cases; see `causal_cases`."""
        return causal_cases.make(self, causal_cases.rows_of(self, tokenizer))

    def chains(self, run: Run, tokenizer: Any) -> Iterable[tuple[Feeds, Feeds]]:
        """Compare a prompt and one and several tokens after it with one run of the original over all of them."""
        return causal_cases.chains(self, run, causal_cases.rows_of(self, tokenizer))

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compare rows alone and in batches; see `causal_cases.invariance`."""
        return causal_cases.invariance(self, run, causal_cases.rows_of(self, tokenizer))

    def mask_of(self, feeds: Feeds) -> np.ndarray | None:
        """Return the mask of the new tokens' padding, None after a past: new tokens have no padding there."""
        mask, length = feeds["attention_mask"], feeds[self.tokens].shape[1]
        return mask if mask.shape[1] == length else None

    def reference(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Compute the original's logits and last hidden state, each row alone and without padding; 0 at padding."""
        keep = int(feeds["num_logits_to_keep"])
        batch, length = feeds[self.tokens].shape[:2]
        logits, hidden = [], []
        for row in range(batch):
            alone = self._alone(feeds, row)
            answer = self.answer_of_original(keep, **alone)
            size = alone["ids"].shape[1]
            left = int(feeds["attention_mask"][row].argmax()) if size < length else 0
            hidden.append(np.pad(answer["last_hidden_state"][0], ((left, length - size - left), (0, 0))))
            scores = answer["logits"][0]
            logits.append(scores if keep else np.pad(scores, ((left, length - size - left), (0, 0))))
        return {"logits": np.stack(logits), "last_hidden_state": np.stack(hidden)}

    def _alone(self, feeds: Feeds, row: int) -> dict[str, Any]:
        """Return row `row` of a batch as arguments of `run_original`."""
        mask, ids = feeds["attention_mask"][row].astype(bool), feeds[self.tokens][row]
        length = len(ids)
        before = len(mask) - length
        chosen = slice(None) if before else mask
        extras = {extra.name: feeds[extra.name][row][None, chosen] for extra in self.extras}
        if not before:
            places = feeds["position_ids"][row, chosen][None] if self.changes_after else None
            return {"ids": ids[None, mask], "past": (), "extras": extras, "places": places}
        # padding is at the right of a row's own tokens with GroupQueryAttention, else at their left
        own = np.arange(len(mask)) < (int(mask.sum()) - length if self.gqa else before)
        own &= mask
        past = [
            array[:, :, own[: array.shape[2]]] if one.grows else array
            for one in self.kept for array in (feeds[one.past][row : row + 1],)
        ]  # fmt: skip
        return {"ids": ids[None], "past": past, "extras": extras}

    def answer_of_original(self, keep: int, ids: np.ndarray, **others: Any) -> dict[str, np.ndarray]:
        """Run the original once for the same row, whatever is wanted of it: logits and the last hidden state.

        Args:
            keep: how many of the last tokens get logits; 0 for all.
            ids: see `run_original`, as the `others`.
        """
        kept = max(keep, _LAST) if keep and ids.shape[1] > _SHORT else 0

        def ask() -> dict[str, np.ndarray]:
            answer = self.run_original(ids, **others, keep=kept)
            return {name: answer[name] for name in ("logits", "last_hidden_state")}

        answer = self.memory.answer((ids, others, kept), ask)
        return answer | {"logits": answer["logits"][:, -keep:]}

    def run_original(
        self,
        ids: np.ndarray,
        past: Sequence[np.ndarray] = (),
        extras: Feeds | None = None,
        places: np.ndarray | None = None,
        keep: int = 0,
    ) -> dict[str, np.ndarray]:
        """Run the original: logits, the last hidden state, and the caches under the names of outputs.

        Args:
            ids: int64 (1, length), or their embeddings, float32 (1, length, width); no padding.
            past: what was kept so far in the order of `kept`; empty for nothing.
            extras: the further inputs; None for those of text.
            places: the positions, int64 (1, length); None to count them.
            keep: how many of the last tokens get logits; 0 for all.
        """
        cache = original_cache(self.checkpoint.model, self.kept, [torch.from_numpy(array) for array in past])
        grown = [array for one, array in zip(self.kept, past, strict=False) if one.grows]
        before = grown[0].shape[2] if grown else 0
        inputs = {
            "input_ids" if ids.dtype == np.int64 else "inputs_embeds": torch.from_numpy(ids),
            "attention_mask": torch.ones(1, before + ids.shape[1], dtype=torch.int64),
        }
        takes_positions = "position_ids" in inspect.signature(self.checkpoint.model.forward).parameters
        if self.stateful and takes_positions:  # Bamba counts from 0 where none are given, as generate() gives them
            inputs["position_ids"] = torch.arange(before, before + ids.shape[1])[None]
        if places is not None:
            inputs["position_ids"] = torch.from_numpy(np.ascontiguousarray(places))
        if keep:
            inputs["logits_to_keep"] = keep
        values = self.neutral(*ids.shape[:2]) if extras is None else extras
        inputs |= {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}
        with torch.inference_mode(), tracing.quiet():
            scores, hidden = run_model(self.checkpoint.model, cache, inputs)
            states = tensors(self.kept, cache)
            named = {"logits": scores, "last_hidden_state": hidden} | dict(zip(self.present, states, strict=True))
            return {name: tensor.float().numpy() for name, tensor in named.items()}

    def fed(self, row: np.ndarray) -> np.ndarray:
        """Return a row of token ids as the graph takes it: as it is, or its embeddings (length, width)."""
        if self.tokens == "input_ids" or row.dtype != np.int64:
            return row
        with torch.inference_mode():
            embedded = self.checkpoint.model.get_input_embeddings()(torch.from_numpy(np.ascontiguousarray(row)))
            return np.asarray(embedded.float().numpy())

    def neutral(self, rows: int, length: int) -> dict[str, np.ndarray]:
        """Make the further inputs of text."""
        return {extra.name: extra.neutral(rows, length) for extra in self.extras}

    def positions_of(self, places: np.ndarray) -> np.ndarray:
        """Make position_ids of tokens of text from their places, int64 (batch, length)."""
        return places if self.position_axes == 1 else np.repeat(places[None], self.position_axes, axis=0)

    def empty_past(self, rows: int = 1) -> dict[str, np.ndarray]:
        """Make keys and values of length 0, and the states that a row begins with."""
        return {one.past: np.zeros(one.sized(rows, 0), np.float32) for one in self.kept}

    def _example(self) -> dict[str, Any]:
        """Make three rows of new tokens after a past, one padded, so that no length and no mask is constant."""
        rows, before, length = 3, 4, 5
        generator = np.random.default_rng(0)
        mask = np.ones((rows, before + length), np.int64)
        mask[1, :3] = 0
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, before:]
        states = generator.standard_normal
        arrays = {
            self.tokens: self.fed(generator.integers(0, self.checkpoint.config.vocab_size, (rows, length))),
            "attention_mask": mask,
            "position_ids": self.positions_of(positions),
            "num_logits_to_keep": np.array(2, np.int64),
            **{extra.name: extra.random(rows, length) for extra in self.extras},
        } | {one.past: states(one.sized(rows, before)).astype(np.float32) for one in self.kept}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _axes(self) -> dict[str, dict[int, str]]:
        named = (self.tokens, "position_ids", "last_hidden_state", *(extra.name for extra in self.extras))
        axes = {name: {0: _BATCH, 1: _LENGTH} for name in named}
        if self.position_axes > 1:
            axes["position_ids"] = {1: _BATCH, 2: _LENGTH}
        axes |= {"attention_mask": {0: _BATCH, 1: _TOTAL}, "logits": {0: _BATCH, 1: "num_logits"}}
        axes |= {one.past: {0: _BATCH, **({2: _PAST} if one.grows else {})} for one in self.kept}
        return axes | {one.present: {0: _BATCH, **({2: _TOTAL} if one.grows else {})} for one in self.kept}


def describe(
    checkpoint: Checkpoint,
    wanted: Attention = "auto",
    *,
    position_axes: int = 1,
    extras: tuple[ExtraInput, ...] = (),
) -> CausalLMExport:
    """Describe the graph of `checkpoint`, with the wanted attention or the one that fits.

    Args:
        checkpoint: the model.
        wanted: the attention.
        position_axes, extras: see `CausalLMExport`.

    Raises:
        ExportError: the model does not attend that way, or has no cache of keys and values.
    """
    config = checkpoint.model.config
    kept = find_kept(checkpoint.model)
    longest, positions = max_length(checkpoint.model), _positions(checkpoint.model)
    widths = {one.shape[-1] for one in kept}
    fits = all(one.grows for one in kept) and len(widths) == 1 and next(iter(widths)) % 8 == 0
    by_length, changes_after = _scaled_beyond(config, _DYNAMIC), _scaled_beyond(config, _LONGROPE)
    if by_length is not None:
        positions = min(positions, by_length)
    for limit in (by_length, changes_after):
        longest = longest if limit is None else min(longest, limit)
    if wanted not in ("auto", "standard", "gqa"):
        raise ExportError(f"unknown attention={wanted!r}; choose among auto, standard and gqa")
    if wanted == "gqa" and not fits:
        raise ExportError(
            "attention='gqa' needs keys and values of one head size that is a multiple of 8, and no states beside "
            "them; use attention='standard'"
        )
    gqa = wanted == "gqa" or (wanted == "auto" and fits and config.model_type in GQA_FAMILIES)
    rotary = find_rotary(checkpoint.model) if gqa and changes_after is None else None
    if rotary is not None and rotary.width % _ANGLES:
        rotary = None  # the model's own operators do it
    if by_length is not None and rotary is None:
        raise ExportError(
            f"the rotary positions of {checkpoint.name} change with a row's length beyond {by_length} tokens, which "
            "only attention='gqa' can limit, where the rotation fits it; leave attention= out, or take a ready-made "
            "ONNX folder of this model"
        )
    graph = CausalLMExport(
        checkpoint, kept, gqa, rotary, positions, longest, position_axes=position_axes, extras=extras,
        changes_after=changes_after,
    )  # fmt: skip
    if wanted == "auto" and gqa and not graph.fits():
        return describe(checkpoint, "standard", position_axes=position_axes, extras=extras)
    return graph


@contextlib.contextmanager
def _traceable(model: Any) -> Iterator[None]:
    """Give the model plain attention inside, and experts that gather weights for each token instead of counting."""
    with contextlib.ExitStack() as outside:
        outside.enter_context(attention(model, "eager"))
        outside.enter_context(frequencies_by_row(model))
        experts = getattr(model.config, "_experts_implementation", None)
        if experts is not None:
            model.set_experts_implementation("batched_mm")
            outside.callback(model.set_experts_implementation, experts)
        yield


def _positions(model: Any) -> int:
    """Count the rows of a table of rotations. A model of few positions goes on beyond them, as the original does."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return max(limit if isinstance(limit, int) and limit > 0 else max_length(model), _FEWEST_ROTATIONS)


def _scaled_beyond(config: Any, kind: str) -> int | None:
    """Return up to how many tokens the frequencies of rotary positions are constant; None where the scaling is not of
    this kind."""
    parameters = getattr(config, "rope_parameters", None) or {}
    scalings = [parameters, *(one for one in parameters.values() if isinstance(one, dict))]
    for scaling in scalings:
        if scaling.get("rope_type") == kind:
            original = scaling.get("original_max_position_embeddings")
            return int(original or getattr(config, "original_max_position_embeddings", None) or _limit(config))
    return None


def _limit(config: Any) -> int:
    return int(config.max_position_embeddings)
