"""Verify that a bundle generates as the original does: whole outputs, token by token, greedy and by beams.

The graphs are driven by the runtime, and the original by transformers' own `generate`, over inputs of different
lengths, each alone and several in one padded batch. In fp32 every token has to be the same, except where two outputs
are nearly equally likely by the original: a sum in another order may then tip the choice. For smaller precisions the
logits' tolerance decides, and the share of equal tokens is noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import CertificateError
from onnxpipe_export import tracing
from onnxpipe_export.generation_kinds import NEW_TOKENS, GenerationKind
from onnxpipe_export.graphs.graph import Feeds
from onnxpipe_export.remembered import Memory

_SEARCHES: Mapping[str, Mapping[str, Any]] = {"greedy": {"num_beams": 1}, "beam_4": {"num_beams": 4}}
_NEAR_TIE = 2e-4
"""Outputs whose mean log-probabilities by the original differ by less are a tie: twice what fp32 may differ (1e-4)."""


@dataclass(frozen=True)
class SearchComparison:
    """The comparison of one search's outputs with the original's.

    Attributes:
        rows: outputs compared, alone and in the batch.
        equal_rows: those that are the original's, every token.
        near_ties: those that are not, but as likely by the original's own probabilities.
        equal_tokens: share of the original's new tokens that the bundle generates in the same place.
    """

    rows: int
    equal_rows: int
    near_ties: int
    equal_tokens: float


@dataclass(frozen=True)
class OriginalOutputs:
    """The original's outputs, computed once for all precisions.

    Attributes:
        kind: how the original generates.
        memory: how likely it found outputs.
    """

    kind: GenerationKind
    memory: Memory = field(default_factory=Memory)

    @cached_property
    def batches(self) -> list[Feeds]:
        """Each input alone, then several together."""
        return self.kind.batches()

    @cached_property
    def answers(self) -> dict[str, list[list[np.ndarray]]]:
        """Search -> the new tokens of each row, for each batch."""
        return {"greedy": self._greedy(), "beam_4": [self._generate(batch, "beam_4") for batch in self.batches]}

    def _greedy(self) -> list[list[np.ndarray]]:
        """Search greedily: rows alone step by step only where one run over a row's tokens in the batch chooses others.

        Steps read all weights for each token: of a llama of 135M parameters, this spares 64 of 80 of them.
        """
        *alone, together = self.batches
        rows = self._generate(together, "greedy")
        if len(rows) != len(alone):
            return [*(self._generate(batch, "greedy") for batch in alone), rows]
        pairs = zip(alone, rows, strict=True)
        return [
            *([row] if self._chooses(batch, row) else self._generate(batch, "greedy") for batch, row in pairs),
            rows,
        ]

    def _chooses(self, batch: Feeds, tokens: np.ndarray) -> bool:
        """Tell whether the original finds each of these tokens likeliest after those before it, in a batch of one."""
        return len(tokens) > 0 and np.array_equal(self.kind.choices(batch, tokens), tokens)

    def _generate(self, batch: Feeds, search: str) -> list[np.ndarray]:
        return self.new_tokens(batch, self.kind.generate(batch, self.options(search)))

    def new_tokens(self, batch: Feeds, ids: np.ndarray) -> list[np.ndarray]:
        """Cut the generated tokens, up to the one that ends, from each row of what `generate` gave."""
        return [_until_end(row[self.kind.prompt_length(batch) :], self.kind) for row in np.asarray(ids)]

    def options(self, search: str) -> dict[str, Any]:
        """Return the arguments of `generate` for a search."""
        return {**_SEARCHES[search], "do_sample": False, "max_new_tokens": NEW_TOKENS, **self.kind.options}

    def log_probabilities(self, batch: int, row: int, tokens: np.ndarray) -> np.ndarray:
        """Compute how likely the original finds each generated token in a row of a batch, float32 (length,)."""

        inputs = self.kind.row(self.batches, batch, row)
        return self.memory.answer((inputs, tokens), lambda: self.kind.log_probabilities(inputs, tokens))


def verify_generation(folder: Path, precision: str, original_outputs: OriginalOutputs) -> dict[str, Any]:
    """Generate with the bundle in `folder`, compare with the original, and return the certificate's entry.

    Args:
        folder: the bundle, with its graphs, config and tokenizer.
        precision: which of its graphs.
        original_outputs: what the original generates.

    Raises:
        CertificateError: an output of the fp32 graphs differs, or the runtime cannot generate.
    """
    try:
        model = original_outputs.kind.runtime_class.from_pretrained(folder, dtype=precision, device="cpu")
        searches = {name: _compare(model, original_outputs, name) for name in _SEARCHES}
    except (ValueError, RuntimeError, OSError) as error:
        raise CertificateError(f"the {precision} bundle does not generate: {error}. Nothing was written") from error
    for name, result in searches.items():
        different = result.rows - result.equal_rows - result.near_ties
        if precision == "fp32" and different:
            raise CertificateError(
                f"{different} of {result.rows} outputs of the {name} search are not the original's "
                f"({result.equal_tokens:.1%} of their tokens are). Nothing was written"
            )
    return {
        "prompts": len(original_outputs.batches) - 1,
        "new_tokens": NEW_TOKENS,
        "searches": {name: vars(result) for name, result in searches.items()},
        "passed": True,
    }


def _compare(model: Any, original_outputs: OriginalOutputs, search: str) -> SearchComparison:
    batches = original_outputs.batches
    pairs: list[tuple[tuple[int, int], np.ndarray, np.ndarray]] = []
    for number, (batch, expected) in enumerate(zip(batches, original_outputs.answers[search], strict=True)):
        with tracing.quiet():
            got = original_outputs.new_tokens(batch, model.generate(**batch, **original_outputs.options(search)))
        rows = enumerate(zip(expected, got, strict=True))
        pairs += [((number, row), wanted, answer) for row, (wanted, answer) in rows]
    same = [np.array_equal(wanted, answer) for _, wanted, answer in pairs]
    ties = sum(not equal and _near_tie(original_outputs, *pair) for equal, pair in zip(same, pairs, strict=True))
    tokens = sum(len(wanted) for _, wanted, _ in pairs)
    hits = sum(_hits(wanted, answer) for _, wanted, answer in pairs)
    return SearchComparison(len(pairs), sum(same), ties, hits / tokens if tokens else 1.0)


def _until_end(tokens: np.ndarray, kind: GenerationKind) -> np.ndarray:
    """Cut the tokens after the first that ends; what follows is padding up to the batch's longest row."""
    eos, pad = kind.model.generation_config.eos_token_id, kind.padding
    ends = [] if eos is None else ([eos] if isinstance(eos, int) else list(eos))
    places = np.flatnonzero(np.isin(tokens, ends))
    if len(places):
        return tokens[: places[0] + 1]
    return tokens[: len(tokens) - int((np.cumsum(tokens[::-1] != pad) == 0).sum())] if pad not in ends else tokens


def _hits(wanted: np.ndarray, answer: np.ndarray) -> int:
    size = min(len(wanted), len(answer))
    return int((wanted[:size] == answer[:size]).sum())


def _near_tie(
    original_outputs: OriginalOutputs, place: tuple[int, int], wanted: np.ndarray, answer: np.ndarray
) -> bool:
    """Tell whether the original finds both outputs equally likely: up to their first difference, or as a whole."""
    size = min(len(wanted), len(answer))
    apart = np.flatnonzero(wanted[:size] != answer[:size])
    greedy = [int(apart[0]) + 1] if len(apart) else []
    likely = [original_outputs.log_probabilities(*place, tokens) for tokens in (wanted, answer)]
    for end in (*greedy, max(len(wanted), len(answer))):
        first, second = (float(each[:end].mean()) for each in likely)
        if abs(first - second) <= _NEAR_TIE * max(1.0, abs(first)):
            return True
    return False
