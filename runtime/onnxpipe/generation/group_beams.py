"""Diverse beam search (Vijayakumar et al. 2016): groups of beams, each led away from the tokens of those before it.

Semantics of transformers 4's group beam search, which transformers 5 loads from the Hub with trust_remote_code; the
code here is this package's own, and no remote code runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.hypotheses import Hypotheses, best_rows, hypotheses
from onnxpipe.generation.numerics import log_softmax, top_k
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.request import DecodingRequest, SearchResult, StepRecord


@dataclass(frozen=True)
class _Groups:
    """The division of the rows: `count` groups of `size` beams for each of `prompts`."""

    prompts: int
    count: int
    size: int

    @property
    def beams(self) -> int:
        return self.count * self.size

    def rows(self, group: int) -> Array:
        """Compute the rows of a group: int64 (prompts, size)."""
        return np.arange(self.prompts)[:, None] * self.beams + group * self.size + np.arange(self.size)


def group_beam_search(request: DecodingRequest) -> SearchResult:
    """Find the best `num_return_sequences` rows of each prompt, over all its groups."""
    groups = _checked(request)
    decoder, record = request.start(), StepRecord.of(request.config)
    ids = request.expanded
    scores = np.full(request.rows, np.float32(-1e9))
    scores[:: groups.size] = 0
    collected = [[hypotheses(request, groups.size) for _ in range(groups.count)] for _ in range(groups.prompts)]
    origins: list[tuple[int, ...]] = [()] * request.rows
    logits = decoder.prefill()
    while True:
        step = _Step(request, groups, ids, logits, scores, origins, collected)
        tokens, chosen, scores = step.take()
        record.add(step.processed, logits)
        origins = [(*origins[row], row) for row in chosen.tolist()]
        ids = np.concatenate((ids[chosen], tokens[:, None]), axis=1)
        finished = all(one.done for each in collected for one in each)
        if finished or request.criteria(ids, record.so_far()).all():
            break
        decoder.reorder(chosen)
        logits = decoder.step(tokens[:, None])[:, 0]
    for prompt, each in enumerate(collected):
        for group, one in enumerate(each):
            if not one.done:
                for row in groups.rows(group)[prompt].tolist():
                    one.add(ids[row], float(scores[row]), origins[row], ids.shape[1] - request.prompt.shape[1])
    return best_rows(request, collected, record)


class _Step:
    """One step: each group in turn."""

    def __init__(
        self,
        request: DecodingRequest,
        groups: _Groups,
        ids: Array,
        logits: Array,
        scores: Array,
        origins: list[tuple[int, ...]],
        collected: list[list[Hypotheses]],
    ) -> None:
        self.request, self.groups, self.ids, self.scores = request, groups, ids, scores
        self.origins, self.collected = origins, collected
        self.logs = log_softmax(logits, request.model.threads)
        self.processed = np.zeros_like(self.logs)
        self.tokens = np.zeros(len(ids), np.int64)
        self.chosen = np.arange(len(ids))
        self.next_scores = scores.copy()

    def take(self) -> tuple[Array, Array, Array]:
        """Choose the next tokens and the rows they continue, int64 (rows,) each, and their scores, float32 (rows,)."""
        for group in range(self.groups.count):
            self._group(group)
        return self.tokens, self.chosen, self.next_scores

    def _group(self, group: int) -> None:
        rows = self.groups.rows(group)
        logs = self._processed(group, rows)
        vocab = logs.shape[-1]
        self.processed[rows.reshape(-1)] = logs
        total = (logs + self.scores[rows.reshape(-1), None]).reshape(self.groups.prompts, -1)
        eos = [] if self.request.eos is None else self.request.eos.tolist()
        best, places = top_k(total, max(2, 1 + len(eos)) * self.groups.size)
        for prompt in range(self.groups.prompts):
            self._prompt(self.collected[prompt][group], rows[prompt], best[prompt], places[prompt], vocab, eos)

    def _processed(self, group: int, rows: Array) -> Array:
        """Compute the log-probabilities of a group's rows, less the penalty for tokens chosen by previous groups."""
        flat = rows.reshape(-1)
        logs = self.logs[flat]
        penalty = np.float32(self.request.config.diversity_penalty or 0.0)
        if group and penalty:
            logs = logs.copy()
            for prompt in range(self.groups.prompts):
                first = prompt * self.groups.beams
                before = self.tokens[first : first + group * self.groups.size]
                counts = np.bincount(before, minlength=logs.shape[-1]).astype(np.float32)
                logs[prompt * self.groups.size : (prompt + 1) * self.groups.size] -= penalty * counts
        if not self.request.processors:
            return logs
        # Processors identify rows by their number: they get all rows, of which the group's are used.
        every = self.logs.copy()
        every[flat] = logs
        return self.request.processors(self.ids, every)[flat]

    def _prompt(self, kept: Hypotheses, rows: Array, best: Array, places: Array, vocab: int, eos: list[int]) -> None:
        """Sort a prompt's candidates into finished rows and ones that continue."""
        if kept.done:
            self.tokens[rows] = self.request.pad or 0
            self.next_scores[rows] = 0
            return
        generated = self.ids.shape[1] + 1 - self.request.prompt.shape[1]
        place = 0
        for rank, (score, where) in enumerate(zip(best.tolist(), places.tolist(), strict=True)):
            row, token = int(rows[where // vocab]), where % vocab
            if token in eos:
                if rank < len(rows):
                    kept.add(self.ids[row], score, (*self.origins[row], row), generated)
                continue
            target = rows[place]
            self.tokens[target], self.chosen[target], self.next_scores[target] = token, row, score
            place += 1
            if place == len(rows):
                break
        kept.update_done(float(best.max()), self.ids.shape[1] + 1)


def _checked(request: DecodingRequest) -> _Groups:
    config, beams, count = request.config, request.copies, request.config.num_beam_groups or 1
    if count > beams or beams % count:
        raise UnsupportedError(f"`num_beam_groups` ({count}) has to divide `num_beams` ({beams})")
    if config.do_sample:
        raise UnsupportedError(
            "Diverse beam search cannot be used in sampling mode. Make sure that `do_sample` is set to `False`."
        )
    if config.guidance_scale is not None and config.guidance_scale != 1:
        raise UnsupportedError("guidance_scale cannot be combined with num_beam_groups: leave one of them out")
    if not (config.diversity_penalty or 0.0) > 0.0:
        raise UnsupportedError(
            "`diversity_penalty` should be greater than `0.0`, otherwise your beam groups will be identical."
        )
    return _Groups(request.prompts, count, beams // count)
