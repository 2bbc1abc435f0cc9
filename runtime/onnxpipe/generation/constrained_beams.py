"""Beam search for texts that must contain certain tokens (Anderson et al. 2017; Post and Vilar 2018).

Semantics of transformers 4's constrained beam search, which transformers 5 loads from the Hub with trust_remote_code;
the code here is this package's own, and no remote code runs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.constraints import Constraint, ConstraintState, constraints_of
from onnxpipe.generation.hypotheses import Hypotheses, best_rows, hypotheses
from onnxpipe.generation.numerics import log_softmax, top_k
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.request import DecodingRequest, SearchResult, StepRecord


@dataclass(frozen=True)
class _Candidate:
    """A row and the token that would follow, with the sum of log-probabilities."""

    row: int
    token: int
    score: float


def constrained_beam_search(request: DecodingRequest) -> SearchResult:
    """Find the best `num_return_sequences` rows of each prompt that meet the constraints; others, if too few do."""
    constraints = _checked(request)
    decoder, record = request.start(), StepRecord.of(request.config)
    beams, ids = request.copies, request.expanded
    scores = np.full(request.rows, np.float32(-1e9))
    scores[::beams] = 0
    collected = [hypotheses(request, beams) for _ in range(request.prompts)]
    origins: list[tuple[int, ...]] = [()] * request.rows
    logits = decoder.prefill()
    while True:
        logs = log_softmax(logits, request.model.threads)
        total = (request.processors(ids, logs) if request.processors else logs) + scores[:, None]
        record.add(total, logits)
        chosen = [
            _step(request, constraints, collected[prompt], prompt, ids, total, origins)
            for prompt in range(request.prompts)
        ]
        flat = list(itertools.chain.from_iterable(chosen))
        rows = np.array([one.row for one in flat], np.int64)
        tokens = np.array([one.token for one in flat], np.int64)
        scores = np.array([one.score for one in flat], np.float32)
        origins = [(*origins[row], row) for row in rows.tolist()]
        ids = np.concatenate((ids[rows], tokens[:, None]), axis=1)
        if all(one.done for one in collected) or request.criteria(ids, record.so_far()).all():
            break
        decoder.reorder(rows)
        logits = decoder.step(tokens[:, None])[:, 0]
    for prompt, kept in enumerate(collected):
        if not kept.done:
            _close(request, constraints, kept, range(prompt * beams, (prompt + 1) * beams), ids, scores, origins)
    return best_rows(request, [[one] for one in collected], record)


def _step(
    request: DecodingRequest,
    constraints: list[Constraint],
    kept: Hypotheses,
    prompt: int,
    ids: Array,
    total: Array,
    origins: list[tuple[int, ...]],
) -> list[_Candidate]:
    """Choose the `num_beams` rows of a prompt that continue; finished ones that meet the constraints are kept."""
    beams, vocab = request.copies, total.shape[-1]
    first = prompt * beams
    if kept.done:
        return [_Candidate(first, request.pad or 0, 0.0)] * beams
    eos = [] if request.eos is None else request.eos.tolist()
    best, places = top_k(total[first : first + beams].reshape(1, -1), max(2, 1 + len(eos)) * beams)
    going: list[_Candidate] = []
    for rank, (score, where) in enumerate(zip(best[0].tolist(), places[0].tolist(), strict=True)):
        row, token = first + where // vocab, where % vocab
        if token not in eos:
            going.append(_Candidate(row, token, score))
        elif rank < beams and ConstraintState.after(constraints, ids[row].tolist()).completed:
            kept.add(ids[row], score, (*origins[row], row), ids.shape[1] + 1 - request.prompt.shape[1])
        if len(going) == beams:
            break
    going = _lead(constraints, going, range(first, first + beams), ids, total)
    kept.update_done(float(best.max()), ids.shape[1] + 1)
    return going


def _lead(
    constraints: list[Constraint], going: list[_Candidate], rows: range, ids: Array, total: Array
) -> list[_Candidate]:
    """Add to the best candidates those that advance a constraint, and take from all banks in turn."""
    every = list(going)
    states = [ConstraintState.after(constraints, [*ids[one.row].tolist(), one.token]) for one in going]
    seen = {(*ids[one.row].tolist(), one.token) for one in going}
    for row in rows:
        before = ids[row].tolist()
        state = ConstraintState.after(constraints, before)
        for token in [] if state.completed else state.advance():
            if (*before, token) not in seen:
                seen.add((*before, token))
                every.append(_Candidate(row, token, float(total[row, token])))
                states.append(state.plus(token))
    if len(every) == len(going):
        return going
    order = sorted(range(len(every)), key=lambda i: -np.float32(states[i].bank * 100 + np.float32(every[i].score)))
    banks = [states[i].bank for i in order]
    # The best of each bank, then the second best of each, ...
    ranks = [rank for _, bank in itertools.groupby(banks) for rank, _ in enumerate(bank)]
    turn = [order[i] for i in sorted(range(len(order)), key=ranks.__getitem__)]
    return [every[i] for i in turn[: len(going)]]


def _close(
    request: DecodingRequest,
    constraints: list[Constraint],
    kept: Hypotheses,
    rows: range,
    ids: Array,
    scores: Array,
    origins: list[tuple[int, ...]],
) -> None:
    """Add rows that were still running to the finished ones: those that meet the constraints; all, if too few do."""
    met = [row for row in rows if ConstraintState.after(constraints, ids[row].tolist()).completed]
    few = len(met) < (request.config.num_return_sequences or 1)
    for row in [*met, *(row for row in rows if few and row not in met)]:
        kept.add(ids[row], float(scores[row]), origins[row], ids.shape[1] - request.prompt.shape[1])


def _checked(request: DecodingRequest) -> list[Constraint]:
    config = request.config
    if request.copies <= 1 or (config.num_beams or 1) <= 1:
        raise UnsupportedError("`num_beams` needs to be greater than 1 for constrained generation.")
    if config.do_sample:
        raise UnsupportedError("`do_sample` needs to be false for constrained generation.")
    if (config.num_beam_groups or 1) > 1:
        raise UnsupportedError("`num_beam_groups` not supported yet for constrained generation.")
    return constraints_of(config.constraints, config.force_words_ids)
