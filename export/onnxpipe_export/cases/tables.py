"""Tables and questions that TAPAS's graph is verified with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe_export.cases.text import TextGraph, TokenRow, batch
from onnxpipe_export.graphs.graph import Case

_MOVIES = {
    "Movie": ["Metropolis", "Stalker", "Playtime", "The Apartment", "Ikiru"],
    "Director": ["Fritz Lang", "Andrei Tarkovsky", "Jacques Tati", "Billy Wilder", "Akira Kurosawa"],
    "Released": ["10 January 1927", "25 May 1979", "16 December 1967", "15 June 1960", "9 October 1952"],
    "Minutes": ["153", "161", "124", "125", "143"],
}
_RIVERS = {
    "River": ["Danube", "Rhine", "Elbe"],
    "Length (km)": ["2,850", "1,233", "1,094"],
    "Mouth": ["Black Sea", "North Sea", "n/a"],
}
_SALES = {
    "Month": ["January", "February", "March", "April", "May", "June", "July", "August"],
    "Units": ["12", "7", "", "31", "12", "4", "0", "18"],
    "Revenue": ["$1,200.50", "$700.00", "?", "$3,100.00", "$1,150.25", "$395.00", "$0", "$1,790.90"],
    "Notes": ["first orders of the year", "", "closed", "spring sale", "-", "", "holidays", "new shop in Lyon"],
}
_ONE = {"City": ["Lyon"]}
_QUESTIONS: Sequence[tuple[Any, str]] = (
    (_MOVIES, "Which movie is the longest?"),
    (_MOVIES, "Who directed Playtime?"),
    (_MOVIES, "How many movies were released after 1960?"),
    (_MOVIES, "What is the average length of the movies in minutes?"),
    (_RIVERS, "Which rivers are shorter than 1,233 km?"),
    (_RIVERS, "Where does the Danube end?"),
    (_SALES, "What is the sum of the units that were sold in spring?"),
    (_SALES, "In which month was the revenue more than 3,000?"),
    (_SALES, "How many units in January and February?"),
    (_ONE, "Which city?"),
)
_SEED = 11
_CELLS = ((1, 1), (3, 2), (6, 4), (12, 5))
"""Rows and columns of tables of random tokens."""


def make(graph: TextGraph, tokenizer: Any) -> list[Case]:
    """Make the cases for `graph`; deterministic. Padding is at the right, where the tokenizer puts it."""
    text, noise = text_rows(graph, tokenizer), random_rows(graph)
    short = sorted(text, key=len)
    cases = [Case(batch([row], graph), golden=len(row) <= len(short[2]), calibrates=True) for row in text]
    cases += [Case(batch([row], graph)) for row in noise]
    cases += [
        Case(batch(short[:2], graph), golden=True),
        Case(batch(text[:4], graph)),
        Case(batch(text[3:8], graph, extra=7)),
        Case(batch(noise, graph)),
    ]
    return cases


def text_rows(graph: TextGraph, tokenizer: Any) -> list[TokenRow]:
    """Encode questions with their tables; every other one follows from an answer, some of whose cells are marked."""
    import pandas

    rows = []
    for number, (table, question) in enumerate(_QUESTIONS):
        frame = pandas.DataFrame(table)
        encoded = tokenizer(frame, question, truncation="drop_rows_to_fit", max_length=graph.max_length)
        types = np.array(encoded["token_type_ids"], np.int64)
        if number % 2:
            types[:, 3] = (types[:, 1] == 1) & (types[:, 2] > 0) & (types[:, 2] < 3)
        ids = np.array(encoded["input_ids"], np.int64)
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        rows.append(TokenRow({name: arrays[name] for name in graph.inputs}))
    return rows


def random_rows(graph: TextGraph) -> list[TokenRow]:
    """Make tables of random tokens, as long as the model takes them, with random ranks and relations."""
    generator = np.random.default_rng(_SEED)
    config = graph.checkpoint.config
    sizes = list(config.type_vocab_sizes)
    rows = []
    for height, width in _CELLS:
        places = [(0, 0)] * 5
        for row in range(min(height + 1, sizes[2], config.max_num_rows)):
            for column in range(1, min(width + 1, sizes[1], config.max_num_columns)):
                places += [(row, column)] * int(generator.integers(1, 4))
        places = places[: graph.max_length]
        types = np.zeros((len(places), len(sizes)), np.int64)
        types[:, 2], types[:, 1] = np.array(places).T
        types[:, 0] = types[:, 1] > 0
        inside = np.flatnonzero(types[:, 2] > 0)
        for kind in range(3, len(sizes)):
            types[inside, kind] = generator.integers(0, sizes[kind], len(inside))
        ids = generator.integers(1, config.vocab_size, len(places))
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        rows.append(TokenRow({name: arrays[name] for name in graph.inputs}))
    return rows
