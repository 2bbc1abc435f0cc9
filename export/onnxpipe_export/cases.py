"""The inputs a graph is proved on: real text and random ids, short and long, alone and padded at either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.graphs.encoder import EncoderGraph

SENTENCES = (
    "A gripping film that never lets go of you.",
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
class Case:
    """One run of the graph.

    Attributes:
        feeds: input name -> int64 array (batch, length).
        golden: whether it goes into golden.npz (the short ones do).
    """

    feeds: Mapping[str, np.ndarray]
    golden: bool = False

    @property
    def rows(self) -> int:
        """How many rows the run has."""
        return int(self.feeds["input_ids"].shape[0])


@dataclass(frozen=True)
class Row:
    """One unpadded row: input name -> int64 array (length,)."""

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["input_ids"])


def make(graph: EncoderGraph, tokenizer: Any) -> list[Case]:
    """The cases for `graph`; deterministic."""
    text = text_rows(graph, tokenizer)
    noise = random_rows(graph, [length for length in _LENGTHS if length <= graph.max_length])
    pad = padding_id(graph)
    short = sorted(text, key=len)[:5]
    cases = [Case(batch([row], graph, pad), golden=row is short[0]) for row in text]
    cases += [Case(batch([row], graph, pad), golden=len(row) == 3) for row in noise]
    cases += [
        Case(batch(short[:2], graph, pad), golden=True),
        Case(batch(short[1:3], graph, pad, left=True), golden=True),
        Case(batch(text[:5], graph, pad)),
        Case(batch(text[5:10], graph, pad, left=True)),
        Case(batch(text[7:9], graph, pad, extra=5)),
        Case(batch(noise[:5], graph, pad)),
        Case(batch(noise[1:4], graph, pad, left=True)),
    ]
    longest = random_rows(graph, [graph.max_length])
    cases.append(Case(batch(longest, graph, pad)))
    return cases


def text_rows(graph: EncoderGraph, tokenizer: Any, sentences: Sequence[str] = SENTENCES) -> list[Row]:
    """The sentences as rows, cut to the model's length. Every third is a pair with the one before it."""
    rows = []
    for number, sentence in enumerate(sentences):
        pair = sentences[number - 1] if number % 3 == 2 else None
        encoding = (
            tokenizer.backend_tokenizer.encode(sentence, pair) if pair else tokenizer.backend_tokenizer.encode(sentence)
        )
        arrays = {
            "input_ids": encoding.ids,
            "attention_mask": [1] * len(encoding.ids),
            "token_type_ids": encoding.type_ids,
        }
        kept = {name: np.array(arrays[name], np.int64) for name in graph.inputs}
        if len(encoding.ids) > graph.max_length:
            # The end stays, so that a model that reads its last token (BART) still finds it.
            kept = {name: np.concatenate([array[: graph.max_length - 1], array[-1:]]) for name, array in kept.items()}
        if len(encoding.ids):
            rows.append(Row(kept))
    return rows


def random_rows(graph: EncoderGraph, lengths: Sequence[int]) -> list[Row]:
    """Rows of random ordinary ids, ending in the end-of-sequence token where the model has one."""
    generator = np.random.default_rng(_SEED)
    config = graph.checkpoint.config
    special = {getattr(config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    ordinary = np.array([number for number in range(config.vocab_size) if number not in special] or [0], np.int64)
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
        rows.append(Row({name: arrays[name] for name in graph.inputs}))
    return rows


def padding_id(graph: EncoderGraph) -> int:
    """The id that pads; 0 where the model names none, since the mask hides it."""
    pad = getattr(graph.checkpoint.config, "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else 0


def batch(
    rows: Sequence[Row], graph: EncoderGraph, pad: int, *, left: bool = False, extra: int = 0
) -> dict[str, np.ndarray]:
    """Rows padded to the longest, plus `extra` positions as far as the model allows, as feeds (batch, length)."""
    longest = max(len(row) for row in rows)
    length = min(longest + extra, max(graph.max_length, longest))
    feeds = {}
    for name in graph.inputs:
        filling = pad if name == "input_ids" else 0
        block = np.full((len(rows), length), filling, np.int64)
        for number, row in enumerate(rows):
            array = row.arrays[name]
            start = length - len(array) if left else 0
            block[number, start : start + len(array)] = array
        feeds[name] = block
    return feeds
