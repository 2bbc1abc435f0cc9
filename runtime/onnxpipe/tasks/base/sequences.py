"""What `generate()` gave for a batch, prompt by prompt, without what the batch added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.generation import StopStringCriteria

_NO_EXTRAS = frozenset({"sequences", "past_key_values"})
_UNSET = -1  # what stands behind a beam that ended where there is no end token to fill with


@dataclass(frozen=True)
class Ends:
    """How the end of a sequence is known.

    Attributes:
        eos: tokens after which nothing comes.
        pad: the token that fills rows that ended before others.
        stop: tells whether tokens end with a stop string; only needed where rows are filled with end tokens.
    """

    eos: tuple[int, ...]
    pad: int | None
    stop: Callable[[Array, None], Array] | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Ends:
        """From the parameters that hold for a call."""
        eos, pad, texts = (parameters.get(name) for name in ("eos_token_id", "pad_token_id", "stop_strings"))
        ids = () if eos is None else tuple(np.atleast_1d(eos).tolist())
        pad = ids[0] if pad is None and ids else pad
        stop = StopStringCriteria(parameters["tokenizer"], texts) if texts and pad in ids else None
        return cls(ids, pad, stop)

    def length(self, tokens: Array, start: int) -> int:
        """How many of the tokens, int64 (n,), of which those from `start` were written, are the row's own."""
        written = tokens[start:]
        found = np.flatnonzero(np.isin(written, self.eos))
        if found.size:
            end = start + int(found[0])
            stopped = self.stop is not None and found[0] > 0 and bool(self.stop(tokens[None, :end], None)[0])
            return end if stopped else end + 1
        own = np.flatnonzero(~np.isin(written, [_UNSET, *([] if self.pad is None else [self.pad])]))
        return start + (int(own[-1]) + 1 if own.size else 0)


def by_row(
    found: Any, prompts: int, padded: Sequence[int], start: int, ends: Ends | None = None
) -> list[dict[str, Array]]:
    """The sequences of each prompt, and whatever else there is for each of them.

    Args:
        found: int64 (prompts * n, length), or a dict with such `sequences`.
        prompts: how many there were.
        padded: how many tokens were put before each prompt to make it as long as the others.
        start: where the written tokens begin.
        ends: cut off what was put behind a prompt's n sequences because others were longer; None cuts nothing.

    Returns:
        For each prompt `sequences`, int64 (n, its own length), and for each further output with one entry a sequence
        (`sequences_scores`), or one a step and sequence (`scores`), that output as (n, ...) or (n, steps, ...).
    """
    sequences = np.asarray(found["sequences"] if isinstance(found, Mapping) else found)
    further = _further(found, prompts, len(sequences)) if isinstance(found, Mapping) else {}
    answers = []
    for i, rows in enumerate(sequences.reshape(prompts, -1, sequences.shape[1])):
        rows = rows[:, padded[i] :]
        if ends is not None:
            rows = rows[:, : max(ends.length(row, start - padded[i]) for row in rows)]
        answers.append({"sequences": rows, **{name: value[i] for name, value in further.items()}})
    return answers


def _further(found: Mapping[str, Any], prompts: int, count: int) -> dict[str, Array]:
    outputs = {}
    for name, value in found.items():
        if name in _NO_EXTRAS:
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
            value = np.stack(value, axis=1) if len({each.shape for each in value}) == 1 else value
        if isinstance(value, np.ndarray) and value.shape[:1] == (count,):
            outputs[name] = value.reshape(prompts, -1, *value.shape[1:])
    return outputs
