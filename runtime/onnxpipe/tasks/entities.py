"""From labelled tokens to entities: words, groups, and overlapping windows.

The rules are those of transformers' token-classification pipeline: labels are `B-x`, `I-x` or plain `x` (which counts
as `I-x`); a token joins the group before it if the tag is the same and it is not a `B-`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Entity = dict[str, Any]
Joined = Callable[[list[str]], str]


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a text: its vocabulary form, scores over the labels, span in characters, position, and whether it
    continues the word before it."""

    word: str
    scores: NDArray[Any]
    start: int
    end: int
    index: int
    subword: bool


def tokens_as_entities(tokens: Sequence[Token], labels: Mapping[int, str]) -> list[Entity]:
    """One entity a token, by its best label."""
    return [
        {
            "entity": labels[int(t.scores.argmax())],
            "score": float(t.scores.max()),
            "index": t.index,
            "word": t.word,
            "start": t.start,
            "end": t.end,
        }
        for t in tokens
    ]


def words_as_entities(
    tokens: Sequence[Token], strategy: str, labels: Mapping[int, str], joined: Joined
) -> list[Entity]:
    """One entity a word; `strategy` ("first", "max", "average") says whose scores count for the word."""
    words: list[list[Token]] = []
    for token in tokens:
        if words and token.subword:
            words[-1].append(token)
        else:
            words.append([token])
    entities = []
    for word in words:
        scores = _word_scores(word, strategy)
        best = int(scores.argmax())
        entities.append(
            {
                "entity": labels[best],
                "score": float(scores[best]),
                "word": joined([t.word for t in word]),
                "start": word[0].start,
                "end": word[-1].end,
            }
        )
    return entities


def _word_scores(word: Sequence[Token], strategy: str) -> NDArray[Any]:
    if strategy == "first":
        return word[0].scores
    if strategy == "max":
        return max(word, key=lambda t: float(t.scores.max())).scores
    return np.asarray(np.nanmean(np.stack([t.scores for t in word]), axis=0))


def group(entities: Sequence[Entity], joined: Joined) -> list[Entity]:
    """Neighbouring entities of one tag put together."""
    groups: list[list[Entity]] = []
    for entity in entities:
        begins, tag = _tag(entity["entity"])
        if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(entity)
        else:
            groups.append([entity])
    return [
        {
            "entity_group": members[0]["entity"].split("-", 1)[-1],
            "score": float(np.nanmean([np.float32(e["score"]) for e in members])),
            "word": joined([e["word"] for e in members]),
            "start": members[0]["start"],
            "end": members[-1]["end"],
        }
        for members in groups
    ]


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and its tag."""
    if label.startswith(("B-", "I-")):
        return label[0] == "B", label[2:]
    return False, label


def resolve_overlaps(entities: list[Entity]) -> list[Entity]:
    """Entities of overlapping windows, each place once: the longer wins, on equal length the higher score."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda e: e["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
            continue
        if _weight(entity) > _weight(kept[-1]):
            kept[-1] = entity
    return kept


def _weight(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
