"""Text that a graph is verified with: real text and random ids, short and long, alone and padded at either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case

SENTENCES = (
    "A gripping movie that never lets go of you.",
    "it 's a charming and often affecting journey .",
    "The plot is nothing but boilerplate clichés from start to finish.",
    "Sarah works at the United Nations in New York and lives in London.",
    "no",
    "What is the capital of France? Paris is the capital and most populous city of France.",
    "Apple reported a profit of $19.4 billion, up 2% from a year earlier, on Thursday.",
    "We love this!",
    "Two young, white males are outside near many bushes, while a dog runs through the snow and a child watches.",
    "The committee has approved the budget despite strong objections from several members, who argued that it leaves "
    "hospitals, schools and local transport without the money they were promised only three months ago.",
    "Die Katze sitzt auf der Matte und schläft.",
    "I would not recommend this to anyone: slow, loud and far too long, although the music is not bad at all.",
)
_LENGTHS = (1, 2, 3, 7, 17, 64, 128)
_SEED = 7


@dataclass(frozen=True)
class TokenRow:
    """One unpadded row: input name -> int64 array (length,), or (length, 7) of token types of several kinds."""

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["input_ids"])

    def cut(self, length: int) -> TokenRow:
        """Cut the row to a length; the end stays, so that a model that reads its last token (BART) still finds it."""
        if len(self) <= length:
            return self
        return TokenRow({name: np.concatenate([a[: length - 1], a[-1:]]) for name, a in self.arrays.items()})


class TextGraph(Protocol):
    """The part of a graph's export that rows of text are made from; see `onnxpipe_export.graphs.graph.GraphExport`."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The model."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that rows have."""

    @property
    def max_length(self) -> int:
        """The longest row, in tokens."""


def make(graph: TextGraph, tokenizer: Any) -> list[Case]:
    """Make the cases for `graph`; deterministic."""
    text = text_rows(graph, tokenizer)
    noise = random_rows(graph, [length for length in _LENGTHS if length <= graph.max_length])
    short = sorted(text, key=len)[:5]
    cases = [Case(batch([row], graph), golden=row is short[0], calibrates=True) for row in text]
    cases += [Case(batch([row], graph), golden=len(row) == 3) for row in noise]
    cases += [
        Case(batch(short[:2], graph), golden=True),
        Case(batch(short[1:3], graph, left=True), golden=True),
        Case(batch(text[:5], graph)),
        Case(batch(text[5:10], graph, left=True)),
        Case(batch(text[7:9], graph, extra=5)),
        Case(batch(noise[:5], graph)),
        Case(batch(noise[1:4], graph, left=True)),
    ]
    longest = random_rows(graph, [graph.max_length])
    cases.append(Case(batch(longest, graph)))
    return cases


def text_rows(graph: TextGraph, tokenizer: Any, sentences: Sequence[str] = SENTENCES) -> list[TokenRow]:
    """Tokenize the sentences to rows, cut to the model's length. Every third is a pair with the one before it."""
    rows = []
    for number, sentence in enumerate(sentences):
        pair = sentences[number - 1] if number % 3 == 2 else None
        texts = (sentence, pair) if pair else (sentence,)
        arrays = tokenizer(*texts, return_attention_mask=True, return_token_type_ids=True)
        row = TokenRow({name: np.array(arrays[name], np.int64) for name in graph.inputs})
        if len(row):
            rows.append(row.cut(graph.max_length))
    return rows


def random_rows(graph: TextGraph, lengths: Sequence[int]) -> list[TokenRow]:
    """Make rows of random ordinary ids, ending in the end-of-sequence token where the model has one."""
    generator = np.random.default_rng(_SEED)
    config = graph.checkpoint.config
    special = {getattr(config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    ordinary = np.array(
        [number for number in range(vocabulary_size(graph.checkpoint)) if number not in special] or [0], np.int64
    )
    eos = getattr(config, "eos_token_id", None)
    rows = []
    for length in lengths:
        ids = generator.choice(ordinary, length)
        if isinstance(eos, int):
            ids[-1] = eos
        arrays = {
            "input_ids": ids,
            "attention_mask": np.ones(length, np.int64),
            "token_type_ids": (np.arange(length) > length // 2).astype(np.int64),
        }
        rows.append(TokenRow({name: arrays[name] for name in graph.inputs}))
    return rows


def vocabulary_size(checkpoint: Checkpoint) -> int:
    """Count the ids that the model embeds; the config of one that is made of two has no number of its own."""
    size = getattr(checkpoint.config, "vocab_size", None)
    return int(checkpoint.model.get_input_embeddings().weight.shape[0] if size is None else size)


def batch(
    rows: Sequence[TokenRow], graph: TextGraph, *, left: bool = False, extra: int = 0, length: int | None = None
) -> dict[str, np.ndarray]:
    """Pad rows to one length, as feeds (batch, length).

    Args:
        rows: the rows.
        graph: says which inputs there are, and which id pads.
        left: pad at the left.
        extra: positions beyond the longest row, as far as the model allows.
        length: the length, instead of the longest row's and `extra`.
    """
    longest = max(len(row) for row in rows)
    length = length or max(min(longest + extra, graph.max_length), longest)
    feeds = {}
    for name in graph.inputs:
        shape = (len(rows), length, *rows[0].arrays[name].shape[1:])
        block = np.full(shape, _padding_id(graph) if name == "input_ids" else 0, np.int64)
        for number, row in enumerate(rows):
            start = length - len(row) if left else 0
            block[number, start : start + len(row)] = row.arrays[name]
        feeds[name] = block
    return feeds


def padded(rows: Sequence[Sequence[int]], padding: int, *, left: bool) -> dict[str, np.ndarray]:
    """Pad rows of ids to one length: input_ids and attention_mask, int64 (rows, length).

    Args:
        rows: the ids.
        padding: the id that pads.
        left: pad at the left, else at the right.
    """
    shape = (len(rows), max(map(len, rows)))
    ids, mask = np.full(shape, padding, np.int64), np.zeros(shape, np.int64)
    for number, row in enumerate(rows):
        part = slice(shape[1] - len(row), None) if left else slice(len(row))
        ids[number, part] = row
        mask[number, part] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _padding_id(graph: TextGraph) -> int:
    """Return the id that pads; 0 where the model names none, since the mask hides it."""
    pad = getattr(graph.checkpoint.config, "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else 0
