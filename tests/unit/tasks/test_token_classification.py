"""Tokens to words to entities."""

from __future__ import annotations

import numpy as np
import pytest

from onnxpipe.tasks.token_classification import Token, group, resolve_overlaps, tokens_as_entities, words_as_entities

LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "LOC"}


def token(word: str, start: int, scores: list[float], subword: bool = False, index: int = 0) -> Token:
    return Token(word, np.array(scores, np.float32), start, start + len(word.removeprefix("##")), index, subword)


def joined(words: list[str]) -> str:
    return " ".join(words).replace(" ##", "")


EN = token("En", 0, [0.1, 0.8, 0.1, 0.0])
ZO = token("##zo", 2, [0.0, 0.05, 0.05, 0.9], subword=True)
FERRARI = token("Ferrari", 5, [0.1, 0.2, 0.7, 0.0])
AND = token("and", 13, [0.9, 0.1, 0.0, 0.0])


def test_simple_groups_by_label_and_breaks_at_b() -> None:
    entities = group(tokens_as_entities([EN, FERRARI, AND, EN, EN], LABELS), joined)
    assert [(e["entity_group"], e["word"]) for e in entities] == [
        ("PER", "En Ferrari"), ("O", "and"), ("PER", "En"), ("PER", "En")
    ]  # fmt: skip
    assert entities[0]["score"] == pytest.approx(0.75)
    assert (entities[0]["start"], entities[0]["end"]) == (0, 12)


@pytest.mark.parametrize(("strategy", "label", "score"), [("first", "B-PER", 0.8), ("max", "LOC", 0.9),
                                                          ("average", "LOC", 0.45)])  # fmt: skip
def test_words(strategy: str, label: str, score: float) -> None:
    (word,) = words_as_entities([EN, ZO], strategy, LABELS, joined)
    assert (word["entity"], word["word"], word["start"], word["end"]) == (label, "Enzo", 0, 4)
    assert word["score"] == pytest.approx(score)


def test_a_first_token_always_begins_a_word() -> None:
    assert len(words_as_entities([ZO, ZO], "first", LABELS, joined)) == 1


def test_overlaps() -> None:
    def entity(start: int, end: int, score: float) -> dict[str, float]:
        return {"start": start, "end": end, "score": score}

    got = resolve_overlaps([entity(4, 9, 0.5), entity(0, 3, 0.1), entity(5, 12, 0.2), entity(5, 12, 0.4)])
    assert got == [entity(0, 3, 0.1), entity(5, 12, 0.4)]
    assert resolve_overlaps([]) == []
