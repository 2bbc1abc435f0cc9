"""Beam search, and beam search that samples, as transformers 5 does them.

Per prompt there are `num_beams` running rows and `num_beams` slots for finished ones. Each step takes the best
candidates of all running rows; those that hit a stopping criterion may enter the slots, the others run on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnxpipe.generation.numerics import log_softmax, log_softmax_top_k, top_k
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.request import DecodingRequest, SearchResult, StepRecord
from onnxpipe.generation.stop_strings import StopStringCriteria
from onnxpipe.generation.stopping import EosTokenCriteria, MaxLengthCriteria, MaxTimeCriteria

#: Criteria whose decision on a row does not depend on the other rows.
_OWN = (MaxLengthCriteria, MaxTimeCriteria, EosTokenCriteria, StopStringCriteria)
#: The score of rows that must not be chosen: far below every sum of log-probabilities, and finite.
_NEVER = np.float32(-1.0e9)


@dataclass(frozen=True)
class _BeamRows:
    """Rows of prompts: running ones, finished ones, or candidates; n of them per prompt.

    Attributes:
        ids: int64 (prompts, n, max_length).
        scores: float32 (prompts, n).
        origins: int32 (prompts, n, max_length - prompt's length): the beam each token was chosen in; -1: none yet.
    """

    ids: Array
    scores: Array
    origins: Array

    def take(self, places: Array) -> _BeamRows:
        """Take the rows at int64 (prompts, m)."""
        prompts = np.arange(len(places))[:, None]
        return _BeamRows(self.ids[prompts, places], self.scores[prompts, places], self.origins[prompts, places])

    def of(self, chosen: Array) -> _BeamRows:
        """Take the rows of some of the prompts."""
        return _BeamRows(self.ids[chosen], self.scores[chosen], self.origins[chosen])


@dataclass(frozen=True)
class _State:
    """The state after a step.

    Attributes:
        running: the rows that continue.
        finished: the slots.
        full: bool (prompts, n): which slots hold a finished row.
        improvable: bool (prompts,): whether running rows may still improve the slots; once false, it stays so.
        length: tokens of the running rows.
        prompts: int64 (prompts,): the numbers of the prompts that are still decoded.
    """

    running: _BeamRows
    finished: _BeamRows
    full: Array
    improvable: Array
    length: int
    prompts: Array

    def of(self, chosen: Array) -> _State:
        """Take the state of some of the prompts; bool (prompts,)."""
        return _State(
            self.running.of(chosen),
            self.finished.of(chosen),
            self.full[chosen],
            self.improvable[chosen],
            self.length,
            self.prompts[chosen],
        )


def beam_search(request: DecodingRequest) -> SearchResult:
    """Find the best `num_return_sequences` rows of each prompt."""
    decoder, record = request.start(), StepRecord.of(request.config)
    beams, start = request.copies, request.prompt.shape[1]
    can_drop = request.any_rows and not record.any and all(type(one) in _OWN for one in request.criteria)
    state = _begin(request)
    results: list[_State] = []
    logits = decoder.prefill()
    while True:
        candidates = _candidates(request, state, logits, record)
        longer = candidates.ids[:, :, : state.length + 1]
        hits = request.criteria(longer.reshape(-1, state.length + 1), record.so_far()).reshape(candidates.scores.shape)
        running = _go_on(candidates, hits, beams)
        state = _enter(request, state, candidates, hits)
        state = replace(state, running=running, length=state.length + 1)
        state = replace(state, improvable=_improvable(request, state))
        going = _open(request, state)
        if not going.any() or hits.all():
            break
        beam = state.running.origins[:, :, state.length - 1 - start].astype(np.int64)
        rows = beam + ((np.arange(len(beam)) - state.prompts) * beams)[:, None]
        if can_drop and 2 * going.sum() <= len(going):
            results.append(state.of(~going))
            state, rows = state.of(going), rows[going]
        decoder.reorder(rows.reshape(-1))
        logits = decoder.step(state.running.ids[:, :, state.length - 1].reshape(-1, 1))[:, 0]
    return _found(request, [*results, state], record)


def _begin(request: DecodingRequest) -> _State:
    beams, (prompts, start) = request.copies, request.prompt.shape
    # transformers takes a pad token of 0 for one that is not set.
    fill = -1 if request.eos is None else (request.pad or int(request.eos[0]))
    ids = np.full((prompts, beams, request.max_length), fill, np.int64)
    ids[:, :, :start] = request.prompt[:, None]
    origins = np.full((prompts, beams, request.max_length - start), -1, np.int32)
    # All rows of a prompt are equal at first: only the first of them has candidates.
    scores = np.full((prompts, beams), _NEVER, np.float32)
    scores[:, 0] = 0
    return _State(
        running=_BeamRows(ids, scores, origins),
        finished=_BeamRows(ids, np.full((prompts, beams), _NEVER, np.float32), origins),
        full=np.zeros((prompts, beams), bool),
        improvable=np.ones(prompts, bool),
        length=start,
        prompts=np.arange(prompts),
    )


def _candidates(request: DecodingRequest, state: _State, logits: Array, record: StepRecord) -> _BeamRows:
    """Find the best continuations of each prompt's running rows, best first: enough that `num_beams` continue."""
    beams, start = request.copies, request.prompt.shape[1]
    prompts = len(state.full)
    rows = state.running.ids[:, :, : state.length].reshape(prompts * beams, -1)
    count = max(2, 1 + (0 if request.eos is None else len(request.eos))) * beams
    if request.streams is None:
        # The best of a prompt are among the best of its rows: only these are added up and compared.
        of_row, tokens = _best_of_rows(request, rows, logits, record, count)
        width = of_row.shape[1]
        total = (of_row.reshape(prompts, beams, width) + state.running.scores[:, :, None]).reshape(prompts, -1)
        best, places = top_k(total, count)
        beam, token = places // width, np.take_along_axis(tokens.reshape(prompts, -1), places, -1)
    else:
        scores = _scores(request, rows, logits, record)
        vocab = scores.shape[-1]
        total = (scores.reshape(prompts, beams, vocab) + state.running.scores[:, :, None]).reshape(prompts, -1)
        drawn = [
            request.streams.draw_several(prompt * beams, line, count) for prompt, line in zip(state.prompts, total)
        ]
        places = np.stack(drawn)
        best = np.take_along_axis(total, places, -1)
        beam, token = places // vocab, places % vocab
    chosen = state.running.take(beam)
    chosen.ids[:, :, state.length] = token
    chosen.origins[:, :, state.length - start] = beam + state.prompts[:, None] * beams
    return replace(chosen, scores=best)


def _best_of_rows(
    request: DecodingRequest, rows: Array, logits: Array, record: StepRecord, count: int
) -> tuple[Array, Array]:
    """Find the best tokens of each row: their scores, float32 (rows, count), and the tokens, int64."""
    before = None if record.any else request.processors.before_normalisation
    if before is None:
        return top_k(_scores(request, rows, logits, record), count, request.model.threads)
    return log_softmax_top_k(before.overwrite(rows, logits), count, request.model.threads)


def _scores(request: DecodingRequest, rows: Array, logits: Array, record: StepRecord) -> Array:
    """Compute and record the scores of all tokens, float32 (rows, vocab)."""
    scores = logits if request.processors.normalise else log_softmax(logits, request.model.threads)
    if request.processors:
        scores = request.processors(rows, scores)
    record.add(scores, logits)
    return scores


def _go_on(candidates: _BeamRows, hits: Array, beams: int) -> _BeamRows:
    """Take the best candidates that have not hit a stopping criterion."""
    scores = candidates.scores + np.where(hits, _NEVER, np.float32(0))
    best, places = top_k(scores, beams)
    return replace(candidates.take(places), scores=best)


def _enter(request: DecodingRequest, state: _State, candidates: _BeamRows, hits: Array) -> _State:
    """Put hits among the best `num_beams` candidates into the slots, if they are better than the rows there."""
    beams = request.copies
    generated = state.length + 1 - request.prompt.shape[1]
    ended = hits & (np.arange(hits.shape[1]) < beams)
    scores = candidates.scores / np.float32(generated ** _length_penalty(request))
    shut = ~_open(request, state)
    scores = scores + np.where(shut[:, None], _NEVER, np.float32(0)) + np.where(ended, np.float32(0), _NEVER)
    merged = _BeamRows(
        np.concatenate((state.finished.ids, candidates.ids), axis=1),
        np.concatenate((state.finished.scores, scores), axis=1),
        np.concatenate((state.finished.origins, candidates.origins), axis=1),
    )
    places = top_k(merged.scores, beams)[1]
    full = np.take_along_axis(np.concatenate((state.full, ended), axis=1), places, -1)
    return replace(state, finished=merged.take(places), full=full)


def _improvable(request: DecodingRequest, state: _State) -> Array:
    """Whether the best running row could still beat the worst slot, bool (prompts,), by transformers' heuristic.

    It takes the score that the best row would have at its current length; with early_stopping="never" and a positive
    length penalty the one it would have at the greatest length.
    """
    penalty, start = _length_penalty(request), request.prompt.shape[1]
    far = request.config.early_stopping == "never" and penalty > 0
    length = ((request.config.max_length or request.max_length) if far else state.length) - start
    attainable = state.running.scores[:, :1] / np.float32(length**penalty)
    worst = np.where(state.full, state.finished.scores.min(-1, keepdims=True), _NEVER)
    return np.asarray(state.improvable & (attainable > worst).any(-1))


def _open(request: DecodingRequest, state: _State) -> Array:
    """Whether the slots of each prompt may still change, bool (prompts,)."""
    done = state.full.all(-1) if request.config.early_stopping is True else np.zeros(len(state.full), bool)
    return np.asarray(state.improvable & ~done)


def _length_penalty(request: DecodingRequest) -> float:
    penalty = request.config.length_penalty
    return 1.0 if penalty is None else penalty


def _found(request: DecodingRequest, states: list[_State], record: StepRecord) -> SearchResult:
    """Collect the slots of all prompts, in their order."""
    order = np.argsort(np.concatenate([state.prompts for state in states]))
    count = request.config.num_return_sequences or 1
    ids, scores, origins = (
        np.concatenate([part[:, :count] for part in parts])[order]
        for parts in zip(*((one.finished.ids, one.finished.scores, one.finished.origins) for one in states))
    )
    origins = origins.reshape(-1, origins.shape[-1])
    generated = int((origins >= 0).sum(-1).max())
    sequences = ids.reshape(len(origins), -1)[:, : request.prompt.shape[1] + generated]
    return SearchResult(sequences, record, scores.reshape(-1), origins[:, :generated])
