"""Split generate()'s output per prompt and strip the padding of the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.generation import StopStringCriteria

_NO_EXTRAS = frozenset({"sequences", "past_key_values"})
_UNSET = -1  # fills a beam that ended, where there is no end token to fill it with


@dataclass(frozen=True)
class SequenceEnds:
    """Find the end of a sequence.

    Attributes:
        eos: tokens after which nothing follows.
        pad: the token that fills rows that ended before others.
        stop: whether tokens end with a stop string; only needed where rows are filled with end tokens.
    """

    eos: tuple[int, ...]
    pad: int | None
    stop: Callable[[Array, None], Array] | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> SequenceEnds:
        """Build it from the generation parameters that hold for a call."""
        eos, pad, texts = (parameters.get(name) for name in ("eos_token_id", "pad_token_id", "stop_strings"))
        ids = () if eos is None else tuple(np.atleast_1d(eos).tolist())
        pad = ids[0] if pad is None and ids else pad
        stop = StopStringCriteria(parameters["tokenizer"], texts) if texts and pad in ids else None
        return cls(ids, pad, stop)

    def length(self, tokens: Array, start: int) -> int:
        """Count the tokens that are the row's own, among int64 (n,) of which those from `start` on were generated."""
        generated = tokens[start:]
        ends = np.flatnonzero(np.isin(generated, self.eos))
        if ends.size:
            end = start + int(ends[0])
            stopped = self.stop is not None and ends[0] > 0 and bool(self.stop(tokens[None, :end], None)[0])
            return end if stopped else end + 1
        own = np.flatnonzero(~np.isin(generated, [_UNSET, *([] if self.pad is None else [self.pad])]))
        return start + (int(own[-1]) + 1 if own.size else 0)


def split_sequences(
    generated: Any, prompts: int, padded: Sequence[int], start: int, ends: SequenceEnds | None = None
) -> list[dict[str, Array]]:
    """Split the output of `generate()`: the sequences of each prompt, and the other outputs for each of them.

    Args:
        generated: int64 (prompts * n, length), or a dict with such `sequences`.
        prompts: the number of prompts.
        padded: for each prompt, the number of tokens before it that make it as long as the others.
        start: where the generated tokens begin.
        ends: cut off what was put behind a prompt's n sequences because others were longer; None cuts nothing.

    Returns:
        For each prompt `sequences`, int64 (n, its own length), and for each others output with one entry a sequence
        (`sequences_scores`), or one a step and sequence (`scores`), that output as (n, ...) or (n, steps, ...).
    """
    sequences = np.asarray(generated["sequences"] if isinstance(generated, Mapping) else generated)
    others = _other_outputs(generated, prompts, len(sequences)) if isinstance(generated, Mapping) else {}
    answers = []
    for i, rows in enumerate(sequences.reshape(prompts, -1, sequences.shape[1])):
        rows = rows[:, padded[i] :]
        if ends is not None:
            rows = rows[:, : max(ends.length(row, start - padded[i]) for row in rows)]
        answers.append({"sequences": rows, **{name: value[i] for name, value in others.items()}})
    return answers


def _other_outputs(generated: Mapping[str, Any], prompts: int, count: int) -> dict[str, Array]:
    outputs = {}
    for name, value in generated.items():
        if name in _NO_EXTRAS:
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
            value = np.stack(value, axis=1) if len({each.shape for each in value}) == 1 else value
        if isinstance(value, np.ndarray) and value.shape[:1] == (count,):
            outputs[name] = value.reshape(prompts, -1, *value.shape[1:])
    return outputs
