"""The module that is traced for a causal language model: flat tensors in, flat tensors out."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from onnxpipe_export import tracing
from onnxpipe_export.graphs.causal_lm import padding
from onnxpipe_export.graphs.causal_lm.cache import Kept, cache_argument, kept_cache, tensors
from onnxpipe_export.graphs.causal_lm.gqa import GqaRun
from onnxpipe_export.graphs.causal_lm.recurrence import traceable_recurrences
from onnxpipe_export.graphs.causal_lm.rotary import Rotary


class CausalModule(torch.nn.Module):  # type: ignore[misc]
    """A causal language model from (tokens, attention_mask, position_ids, num_logits_to_keep, extras, what it keeps) to
    (logits, last hidden state, what it keeps). Tokens are input_ids, or inputs_embeds if they are floats.

    Args:
        model: the original.
        kept: what it keeps from step to step.
        gqa: attend through GroupQueryAttention nodes.
        rotary: the rotation that the nodes do, None where the model's own operators do it.
        positions: rows of the tables of sines.
        extras: names of further arguments of the model's forward.
    """

    def __init__(
        self,
        model: Any,
        kept: Sequence[Kept],
        *,
        gqa: bool,
        rotary: Rotary | None,
        positions: int,
        extras: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.kept = kept
        self.gqa = gqa
        self.rotary = rotary
        self.positions = positions
        self.extras = extras
        self.no_padding_between_tokens = padding.NoPaddingBetweenTokens()

    def forward(self, tokens: Any, mask: Any, positions: Any, keep: Any, *rest: Any) -> tuple[Any, ...]:
        """Run the model; see the class."""
        extras, past = rest[: len(self.extras)], rest[len(self.extras) :]
        if not self.gqa:
            inputs = self._inputs(tokens, mask, positions, kept_positions(positions, keep), extras)
            cache = kept_cache(self.kept, past)
            with traceable_recurrences(self.model, cache):
                logits, hidden = run_model(self.model, cache, inputs)
            return (logits, hidden, *tensors(self.kept, cache))
        new, total = torch._shape_as_tensor(tokens)[1], torch._shape_as_tensor(mask)[1]
        places = padding.find(mask, new)
        tokens = self.no_padding_between_tokens(tokens, places.forward)
        positions = _of_each_axis(positions, places.forward)
        extras = tuple(padding.at(extra, places.forward) for extra in extras)
        kept = kept_positions(positions, keep, places.shift)
        mask = (torch.arange(total) < places.counts[:, None]).to(mask.dtype)
        inputs = self._inputs(tokens, mask, positions, kept, extras)
        layers = list(zip(past[::2], past[1::2], strict=True))
        lengths = (places.counts - 1).to(torch.int32)
        run = GqaRun(layers, lengths, total.to(torch.int32), self.rotary, self.positions)
        with run.inside(self.model):
            logits, hidden = run_model(self.model, run.cache(), inputs)
        hidden = padding.at(hidden, (torch.arange(new) - places.shift).clamp(min=0))
        return (logits, hidden, *(tensor for layer in range(len(layers)) for tensor in run.present[layer]))

    def _inputs(self, tokens: Any, mask: Any, positions: Any, kept: Any, extras: Sequence[Any]) -> dict[str, Any]:
        inputs = {
            "inputs_embeds" if tokens.is_floating_point() else "input_ids": tokens,
            "attention_mask": mask,
            "logits_to_keep": kept,
            **dict(zip(self.extras, extras, strict=True)),
        }
        if "position_ids" in inspect.signature(self.model.forward).parameters or _passes_on(self.model):
            inputs["position_ids"] = positions
        return inputs


def run_model(model: Any, cache: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """Run the model on a cache: logits, and the last hidden state that they are computed from."""
    hidden_states: list[Any] = []
    hook = decoder_of(model).register_forward_hook(lambda module, args, output: hidden_states.append(output[0]))
    try:
        with _selecting(model, inputs) as selected:
            answer = model(**selected, **{cache_argument(model): cache}, use_cache=True, return_dict=True)
    finally:
        hook.remove()
    return answer.logits, hidden_states[0]


def decoder_of(model: Any) -> Any:
    """Return the part of a causal model that gives the last hidden state.

    `get_decoder` looks for names: it finds the output layer of ModernBERT's decoder, and the model itself where it
    knows no name (Llama 4 without its images).
    """
    parts = (model.get_decoder(), model.base_model, getattr(model, "model", None))
    return next(part for part in parts if part is not None and part is not model and any(part.children()))


@contextlib.contextmanager
def _selecting(model: Any, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Select the states that get logits by `pick` inside; yields the model's inputs for that.

    A model's own selection is a function of its module, or, in older versions of transformers, a line of its forward
    that knows one list of positions for all rows. Then every state is let through to the head and selected there.
    """
    home = sys.modules[type(model).__module__]
    head = model.get_output_embeddings()
    if hasattr(home, "slice_logits_to_keep") or head is None or "logits_to_keep" not in inputs:
        with tracing.replaced(home, "slice_logits_to_keep", pick):
            yield inputs
        return
    kept = inputs["logits_to_keep"]
    hook = head.register_forward_pre_hook(lambda module, args: (pick(args[0], kept),))
    try:
        yield inputs | {"logits_to_keep": 0}
    finally:
        hook.remove()


def pick(hidden: Any, kept: Any) -> Any:
    """Select the states (batch, length, width) at the positions (batch, kept), or the last so many; 0 for all.

    It replaces transformers' own selection, which cannot be traced.
    """
    if isinstance(kept, int):
        return hidden[:, -kept:]
    return padding.at(hidden, kept)


def kept_positions(positions: Any, keep: Any, shift: Any = None) -> Any:
    """Find the positions of each row that get logits: all for keep = 0, else the last `keep` that are not padding.

    A row's last token is the one with the largest position; padding has 0, as has the one token of the shortest row,
    which stands first or last as the padding is at the right or left. Of several positions of a token the sum counts:
    within an image only the last token has the largest row and column.

    Args:
        positions: int64 (batch, length) or (axes, batch, length), of tokens and then padding where `shift` is given.
        keep: int64 ().
        shift: by how much the tokens of each row were moved to the front, int64 (batch, 1); None for padding at the
            left.

    Returns:
        int64 (batch, kept).
    """
    positions = positions.sum(dim=0) if positions.dim() == 3 else positions
    length = torch._shape_as_tensor(positions)[1]
    every = keep == 0
    offsets = torch.arange(torch.where(every, length, keep))
    ranked = positions * length + torch.arange(length) if shift is None else positions
    last = ranked.argmax(dim=1, keepdim=True)
    start = torch.zeros_like(last) if shift is None else -shift
    first = torch.where(every, start, last - keep + 1)
    return (first + offsets).clamp(min=0)


def _of_each_axis(positions: Any, index: Any) -> Any:
    """Take positions (batch, length) or (axes, batch, length) at a row's places, int64 (batch, length)."""
    if positions.dim() == 2:
        return padding.at(positions, index)
    return torch.stack([padding.at(axis, index) for axis in positions])


def _passes_on(model: Any) -> bool:
    """Tell whether the model's forward passes keyword arguments that it does not know itself to its decoder."""
    kinds = (parameter.kind for parameter in inspect.signature(model.forward).parameters.values())
    decoder = inspect.signature(decoder_of(model).forward).parameters
    return inspect.Parameter.VAR_KEYWORD in kinds and "position_ids" in decoder
