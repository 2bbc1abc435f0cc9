"""The finished rows of a prompt, kept by their score, for diverse and constrained beam search.

Semantics of transformers 4's BeamHypotheses, in code of this package's own; nothing is loaded from the Hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxpipe.generation.protocols import Array
from onnxpipe.generation.request import DecodingRequest, SearchResult, StepRecord


@dataclass(frozen=True)
class Hypothesis:
    """A finished row.

    Attributes:
        score: sum of log-probabilities over generated tokens ** length_penalty.
        ids: int64 (length,), without the end token.
        origins: the beam that each of its tokens was chosen in.
    """

    score: float
    ids: Array
    origins: tuple[int, ...]


@dataclass
class Hypotheses:
    """The best `size` finished rows.

    Attributes:
        size: number of rows that are kept.
        penalty: length_penalty.
        early: early_stopping.
        start: tokens of the prompt.
        longest: most tokens of a row.
    """

    size: int
    penalty: float
    early: bool | str
    start: int
    longest: int
    kept: list[Hypothesis] = field(default_factory=list)
    done: bool = False

    def add(self, ids: Array, total: float, origins: tuple[int, ...], generated: int) -> None:
        """Add a row, if good enough, with `total` log-probability and `generated` tokens, its end token included."""
        score = total / generated**self.penalty
        if len(self.kept) == self.size:
            worst = min(range(self.size), key=lambda place: self.kept[place].score)
            if score <= self.kept[worst].score:
                return
            del self.kept[worst]
        self.kept.append(Hypothesis(score, ids.copy(), origins))

    def update_done(self, best: float, length: int) -> None:
        """Set `done` once no running row can enter any more; `best` is their best total, `length` their tokens."""
        if self.done or len(self.kept) < self.size:
            return
        if self.early is True:
            self.done = True
            return
        far = self.early == "never" and self.penalty > 0
        attainable = best / ((self.longest if far else length) - self.start) ** self.penalty
        self.done = min(one.score for one in self.kept) >= attainable


def hypotheses(request: DecodingRequest, size: int) -> Hypotheses:
    """Make an empty collection for a call."""
    config = request.config
    return Hypotheses(
        size=size,
        penalty=1.0 if config.length_penalty is None else config.length_penalty,
        early=config.early_stopping or False,
        start=request.prompt.shape[1],
        longest=request.max_length,
    )


def best_rows(request: DecodingRequest, collected: Sequence[Sequence[Hypotheses]], record: StepRecord) -> SearchResult:
    """Take the best `num_return_sequences` of each prompt; `collected` has the prompts' collections (one per group)."""
    count = request.config.num_return_sequences or 1
    best: list[Hypothesis] = []
    for groups in collected:
        # Of equal scores the later one comes first, as in the reversed stable sort of transformers.
        ranked = sorted((one for group in groups for one in group.kept), key=lambda one: one.score)[::-1]
        best += ranked[:count]
    width = min(max(len(one.ids) for one in best) + 1, request.max_length)
    fill = request.pad if request.pad is not None else 0
    sequences = np.full((len(best), width), fill, np.int64)
    origins = np.full((len(best), max(1, width - request.prompt.shape[1])), -1, np.int32)
    for row, one in enumerate(best):
        sequences[row, : len(one.ids)] = one.ids
        if len(one.ids) < width and request.eos is not None:
            sequences[row, len(one.ids)] = request.eos[0]
        origins[row, : len(one.origins)] = one.origins
    return SearchResult(sequences, record, np.array([one.score for one in best], np.float32), origins)
