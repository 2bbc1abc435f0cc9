"""Cases of a causal language model: real text and random tokens, alone and in batches, with and without a past."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.cases.text import SENTENCES
from onnxpipe_export.graphs.graph import Case, Feeds, Run

if TYPE_CHECKING:
    from onnxpipe_export.graphs.causal_lm.graph import CausalLMExport

TokenIds = np.ndarray
"""Token ids of one unpadded row, int64 (length,); of a graph that takes embeddings also those, (length, width)."""

_LENGTHS = (1, 2, 3, 7, 17, 64, 128)
_FULL = 16
"""Of longer rows only few logits are compared, as a vocabulary is large; the last hidden state is compared whole."""
_FEW = 4
_LONGEST_GOLDEN = 12
_BEYOND = 2
"""Positions of padding beyond the longest row of a batch."""
_GENERATED_ROWS, _GENERATED_TOKENS = 8, 64
_SEED = 7


def rows_of(graph: CausalLMExport, tokenizer: Any) -> list[TokenIds]:
    """Tokenize the sentences to rows, cut to the model's length."""
    encoded = [tokenizer.backend_tokenizer.encode(sentence).ids[: graph.max_length] for sentence in SENTENCES]
    return [np.array(ids, np.int64) for ids in encoded if ids]


def make(graph: CausalLMExport, text: Sequence[TokenIds]) -> list[Case]:
    """Make the cases; deterministic."""
    short = sorted(text, key=len)[:5]
    clear = clear_rows(graph, text)
    lengths = {length for length in (*_LENGTHS, *_window_lengths(graph)) if length <= graph.max_length}
    noise = random_rows(graph, sorted({*lengths, graph.max_length}))
    cases = [Case(batch(graph, [row], keep=_keep(row)), calibrates=True) for row in (*text, *generated_rows(graph))]
    cases += [Case(batch(graph, [row], keep=_keep(row)), decides=False) for row in noise]
    cases += [
        Case(batch(graph, clear[:1], keep=1), golden=True),
        Case(batch(graph, clear, keep=1), golden=True),
        Case(continued(graph, clear[-1:], 1, keep=1), golden=True),
        Case(batch(graph, short[:3], keep=0)),
        Case(batch(graph, [text[0], *short[1:3]], keep=1)),
        Case(batch(graph, noise[:5], keep=1), decides=False),
        Case(continued(graph, [text[0]], 1, keep=0)),
        Case(continued(graph, text[:5], 1, keep=1)),
    ]
    if not graph.stateful:  # Mamba's original begins several tokens without what it kept
        cases.append(Case(continued(graph, [text[-1]], min(5, len(text[-1]) - 1), keep=0)))
    if graph.gqa:
        cases += [Case(batch(graph, short[:3], keep=keep, side="left")) for keep in (0, 1)]
    elif not graph.stateful:
        cases.append(Case(continued(graph, [row for row in text if len(row) > 4][:3], 3, keep=2)))
    if graph.changes_after is not None:
        cases += [Case(_beyond(graph, rows)) for rows in (text[:1], short[:3])]
    return [case for case in cases if case.feeds]


def generated_rows(graph: CausalLMExport) -> list[TokenIds]:
    """Generate text with the model itself, which suits it whatever its language; the same in every export."""
    import torch

    model = graph.checkpoint.model
    length = min(_GENERATED_TOKENS, graph.max_length) - 1
    config = model.generation_config
    first = next((token for token in (config.bos_token_id, config.eos_token_id) if isinstance(token, int)), 0)
    if length < 1:
        return []
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), tracing.quiet():
        torch.manual_seed(_SEED)
        start = torch.full((_GENERATED_ROWS, 1), first)
        generated = model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=length, min_new_tokens=length, do_sample=True,
            top_k=0, top_p=1.0, temperature=1.0, num_beams=1, pad_token_id=first,
        )  # fmt: skip
    return list(generated.numpy())


def clear_rows(graph: CausalLMExport, text: Sequence[TokenIds]) -> list[TokenIds]:
    """Choose three beginnings of texts, of different lengths, after which the original is surest of the next token.

    Golden cases are few, so one near tie that falls the other way in int8 would make `onnxpipe verify` fail.
    """
    candidates = []
    for row in text:
        logits = graph.run_original(row[None, :_LONGEST_GOLDEN])["logits"][0, 1:]
        if len(logits):
            best = np.partition(logits, -2, axis=-1)[:, -2:]
            margin = (best[:, 1] - best[:, 0]) / np.maximum(np.ptp(logits, axis=-1), 1e-9)
            candidates.append((float(margin.max()), int(margin.argmax()) + 2, row))
    by_length: dict[int, TokenIds] = {}
    for _, length, row in sorted(candidates, key=lambda item: -item[0]):
        by_length.setdefault(length, row[:length])
    return list(by_length.values())[:3] or list(text[:1])


def chains(graph: CausalLMExport, run: Run, text: Sequence[TokenIds]) -> Iterator[tuple[Feeds, Feeds]]:
    """Run every row alone, then some together: a prompt, single steps from its caches, and several tokens at once."""
    long = [row for row in (*text, *random_rows(graph, _window_lengths(graph))) if len(row) > 6]
    for row in long:
        yield from _chain(graph, run, [row], [len(row) - 5, 1, 3, 1])
    for group in (long[:3], long[::-2][:4]):
        if group:
            yield from _chain(graph, run, group, [None, 1, 1])
    if graph.gqa and long:
        yield from _chain(graph, run, long[:3], [None, 1, 1], side="left")


def invariance(graph: CausalLMExport, run: Run, text: Sequence[TokenIds]) -> float:
    """Compute the largest difference of a row's logits and states alone and in batches, for a prompt and a step after.

    It is relative to the output's largest magnitude where that is above 1: scores of 30 have fewer digits than of 1.
    Padding at the left moves where kernels cut their sums, by 1e-7, which the rounding of activations to 8 bits makes
    visible (3e-3 in a tiny gpt_neo); so there a row is compared with itself padded just as far. GroupQueryAttention
    knows where a row begins, and its rows are compared without padding. Padding and the step stay within the positions
    that its table of rotations has.
    """
    text = [row[: max(graph.positions - _BEYOND - 1, 1)] for row in text]
    order = list(range(len(text)))
    worst = 0.0

    @functools.cache
    def alone(number: int, length: int) -> list[Feeds]:
        return _prompt_and_step(graph, run, [text[number]], length)

    for numbers in (order, order[::-1][: len(order) // 2], order[::5]):
        rows = [text[number] for number in numbers]
        length = max(len(row) for row in rows) + _BEYOND
        together = _prompt_and_step(graph, run, rows, length)
        for place, number in enumerate(numbers):
            single = alone(number, len(text[number]) if graph.gqa else length)
            for here, there in zip(single, together, strict=True):
                for name, value in here.items():
                    scale = max(1.0, float(np.abs(value).max()))
                    worst = max(worst, float(np.abs(value[0] - there[name][place]).max()) / scale)
    return worst


def random_rows(graph: CausalLMExport, lengths: Sequence[int]) -> list[TokenIds]:
    """Make rows of random ids."""
    generator = np.random.default_rng(_SEED)
    return [generator.integers(0, graph.checkpoint.config.vocab_size, length) for length in lengths]


def batch(
    graph: CausalLMExport, rows: Sequence[TokenIds], *, keep: int, extra: int = 0, side: str | None = None
) -> dict[str, np.ndarray]:
    """Batch rows without a past.

    Args:
        graph: which takes them.
        rows: the rows.
        keep: num_logits_to_keep.
        extra: positions beyond the longest row.
        side: of the padding, "left" or "right"; None for that at which onnxpipe pads for such a graph.
    """
    side = side or ("right" if graph.gqa else "left")
    length = max(len(row) for row in rows) + extra
    fed = [graph.fed(row) for row in rows]
    padding = _padding_id(graph) if graph.tokens == "input_ids" else 0
    tokens = np.full((len(rows), length, *fed[0].shape[1:]), padding, fed[0].dtype)
    mask = np.zeros((len(rows), length), np.int64)
    for number, row in enumerate(fed):
        start = 0 if side == "right" else length - len(row)
        tokens[number, start : start + len(row)] = row
        mask[number, start : start + len(row)] = 1
    return _feeds(graph, tokens, mask, keep) | graph.empty_past(len(rows))


def continued(graph: CausalLMExport, rows: Sequence[TokenIds], new: int, *, keep: int) -> dict[str, np.ndarray]:
    """Make feeds of the last `new` tokens of each row after the original's past; empty if a row is too short."""
    if not rows or new < 1 or min(len(row) for row in rows) <= new:
        return {}
    before = max(len(row) for row in rows) - new
    mask = np.zeros((len(rows), before + new), np.int64)
    past = {one.past: np.zeros(one.sized(len(rows), before), np.float32) for one in graph.kept}
    for number, row in enumerate(rows):
        size = len(row) - new
        start = 0 if graph.gqa else before - size
        states = graph.run_original(row[None, :size], keep=1)
        for one in graph.kept:
            place = (slice(None), slice(start, start + size)) if one.grows else ()
            past[one.past][(number, *place)] = states[one.present][0]
        mask[number, start : start + len(row)] = 1
    tokens = np.stack([graph.fed(row[-new:]) for row in rows])
    return _feeds(graph, tokens, mask, keep) | past


def _beyond(graph: CausalLMExport, rows: Sequence[TokenIds]) -> dict[str, np.ndarray]:
    """Batch rows, the first of which begins so late that its rotary frequencies are those of long rows."""
    feeds = batch(graph, rows, keep=1)
    inside = feeds["attention_mask"][:1].astype(bool)
    feeds["position_ids"][:1][inside] += graph.changes_after
    return feeds


def _feeds(graph: CausalLMExport, tokens: np.ndarray, mask: np.ndarray, keep: int) -> dict[str, np.ndarray]:
    length = tokens.shape[1]
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    if mask.shape[1] == length:
        positions = positions * mask
    else:  # new tokens follow each row's own past, wherever its padding is
        positions = mask.sum(axis=1, keepdims=True) - length + np.arange(length)
    return {graph.tokens: tokens, "attention_mask": mask, "position_ids": graph.positions_of(positions),
            "num_logits_to_keep": np.array(keep, np.int64), **graph.neutral(len(tokens), length)}  # fmt: skip


def _chain(
    graph: CausalLMExport,
    run: Run,
    rows: Sequence[TokenIds],
    sizes: Sequence[int | None],
    side: str | None = None,
) -> Iterator[tuple[Feeds, Feeds]]:
    """Run a row in pieces of these sizes, each on the caches of the one before. None: all that the others leave."""
    rest = sum(size for size in sizes if size is not None)
    ends = [np.cumsum([len(row) - rest if size is None else size for size in sizes]) for row in rows]
    expected = [_scores_at(graph, row, own) for row, own in zip(rows, ends, strict=True)]
    state: dict[str, np.ndarray] = {}
    for number in range(len(sizes)):
        parts = [row[own[number - 1] if number else 0 : own[number]] for row, own in zip(rows, ends, strict=True)]
        feeds = batch(graph, parts, keep=1, side=side) if not state else _follow(graph, state, parts, side)
        answer = run(feeds)
        state = {**{name: answer[present] for name, present in zip(graph.past, graph.present, strict=True)},
                 "attention_mask": feeds["attention_mask"]}  # fmt: skip
        yield {"logits": np.stack([scores[number : number + 1] for scores in expected])}, {"logits": answer["logits"]}


def _scores_at(graph: CausalLMExport, row: TokenIds, ends: np.ndarray) -> np.ndarray:
    """Compute the original's logits after the first `ends` tokens of a row, (ends, vocabulary); `ends` ascend."""
    kept = len(row) - int(ends[0]) + 1
    whole = {"past": (), "extras": graph.neutral(1, len(row)), "places": None}
    return np.asarray(graph.answer_of_original(kept, row[None], **whole)["logits"][0, ends - ends[0]])


def _follow(
    graph: CausalLMExport, state: Feeds, parts: Sequence[TokenIds], side: str | None = None
) -> dict[str, np.ndarray]:
    """Make feeds of the next tokens, as many in every row."""
    new = np.ones((len(parts), len(parts[0])), np.int64)
    mask = np.concatenate([state["attention_mask"], new], axis=1)
    if graph.gqa and side != "left":  # the padding stays behind the row's own tokens
        mask = -np.sort(-mask, axis=1)
    tokens = np.stack([graph.fed(part) for part in parts])
    return _feeds(graph, tokens, mask, 1) | {name: state[name] for name in graph.past}


def _prompt_and_step(graph: CausalLMExport, run: Run, rows: Sequence[TokenIds], length: int) -> list[Feeds]:
    """Compute the logits of rows padded to `length`, and of one step after them with each row's first token again."""
    feeds = batch(graph, rows, keep=1, extra=length - max(len(row) for row in rows))
    answer = run(feeds)
    answers: list[Feeds] = [{"logits": answer["logits"]}]
    if all(name in answer for name in graph.present):
        state = {name: answer[present] for name, present in zip(graph.past, graph.present, strict=True)}
        state["attention_mask"] = feeds["attention_mask"]
        step = run(_follow(graph, state, [row[:1] for row in rows]))
        answers.append({name: step[name] for name in ("logits", "last_hidden_state")})
    return answers


def _window_lengths(graph: CausalLMExport) -> list[int]:
    """Return row lengths at and beyond the edge of the model's sliding window, as far as rows are verified."""
    window = getattr(graph.checkpoint.config, "sliding_window", None)
    if not isinstance(window, int) or window < 1:
        return []
    return [length for length in (window, window + 1, 2 * window + 3) if 6 < length <= graph.max_length]


def _keep(row: TokenIds) -> int:
    return 0 if len(row) <= _FULL else _FEW


def _padding_id(graph: CausalLMExport) -> int:
    pad = getattr(graph.checkpoint.config, "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else 0
