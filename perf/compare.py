"""Compare answers with the original's, before a time is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perf.words import error_rate


@dataclass(frozen=True)
class Quality:
    """How answers compare.

    Attributes:
        value: from 0 to 1, where all is the same (or right).
        words: the same in words.
    """

    value: float
    words: str


def vectors(answers: Sequence[Any], wanted: Sequence[Any]) -> Quality:
    """Compare vectors by their cosine."""
    cosines = [_cosine(np.asarray(a), np.asarray(b)) for a, b in zip(answers, wanted, strict=True)]
    mean, lowest = float(np.mean(cosines)), min(cosines)
    return Quality(mean, f"cosine {mean:.4f}" + (f", lowest {lowest:.4f}" if len(cosines) > 1 else ""))


def scores(answers: Sequence[Any], wanted: Sequence[Any]) -> Quality:
    """Compare the scores of all classes: the cosine of their logarithms, centred, and the first label."""
    pairs = list(zip(answers, wanted, strict=True))
    cosines = [_cosine(_logarithms(a), _logarithms(b)) for a, b in pairs]
    same = sum(a[0]["label"] == b[0]["label"] for a, b in pairs)
    return Quality(float(np.mean(cosines)), f"cosine {np.mean(cosines):.4f}, {same} of {len(pairs)} labels")


def _logarithms(answer: Sequence[dict[str, Any]]) -> Any:
    """Bring scores to the order of their labels (which may stand there twice), as centred logits."""
    ordered = sorted((one["label"], -one["score"]) for one in answer)
    logits = np.log(np.maximum([-score for _, score in ordered], 1e-30))
    return logits - logits.mean()


def same(answers: Sequence[Any], wanted: Sequence[Any], what: str) -> Quality:
    """Count the answers that are the same."""
    count = sum(a == b for a, b in zip(answers, wanted, strict=True))
    return Quality(count / len(wanted), f"{count} of {len(wanted)} {what}")


def labels(answers: Sequence[Any], wanted: Sequence[Any]) -> Quality:
    """Count the same labels of texts, or the same lists of entities."""
    return same([_label(one) for one in answers], [_label(one) for one in wanted], "labels")


def _label(answer: Any) -> Any:
    if isinstance(answer, dict):
        return answer["label"]
    return [(one.get("word"), one.get("entity") or one.get("label")) for one in answer]


def pixels(answers: Sequence[Any], wanted: Sequence[Any]) -> Quality:
    """Count the pixels that have the same label."""
    share = float(np.mean([np.mean(np.array(a) == np.array(b)) for a, b in zip(answers, wanted, strict=True)]))
    return Quality(share, f"{share:.2%} of pixels")


def tokens(answers: Sequence[Any], wanted: Sequence[Any]) -> Quality:
    """Count the tokens that are chosen as the original does where its text is given so far."""
    pairs = [(a, b) for one, other in zip(answers, wanted, strict=True) for a, b in zip(one, other, strict=True)]
    share = sum(a == b for a, b in pairs) / len(pairs)
    return Quality(share, f"{share:.0%} of {len(pairs)} tokens")


def transcripts(answers: Sequence[str], wanted: Sequence[str], spoken: Sequence[str]) -> Quality:
    """Count the words that are wrong in a hundred, and the texts that are the original's."""
    wrong = error_rate(zip(answers, spoken, strict=True))
    count = sum(a.strip() == b.strip() for a, b in zip(answers, wanted, strict=True))
    return Quality(1 - wrong / 100, f"{wrong:.1f} words wrong in 100, {count} of {len(wanted)} texts")


def translations(answers: Sequence[str], wanted: Sequence[str], references: Sequence[str]) -> Quality:
    """Score translations against references (BLEU), and count those that are the original's."""
    import sacrebleu

    bleu = sacrebleu.corpus_bleu(list(answers), [list(references)]).score
    count = sum(a.strip() == b.strip() for a, b in zip(answers, wanted, strict=True))
    return Quality(bleu / 100, f"BLEU {bleu:.1f}, {count} of {len(wanted)} texts")


def apart(alone: Sequence[Any], batched: Sequence[Any]) -> float:
    """Find how far answers alone and in a list are apart at most: vectors, or scores of classes."""
    if isinstance(alone[0][0], dict):
        alone, batched = (
            [sorted((one["label"], one["score"]) for one in a) for a in each] for each in (alone, batched)
        )
        alone, batched = ([[score for _, score in a] for a in each] for each in (alone, batched))
    return max(float(np.abs(np.subtract(a, b)).max()) for a, b in zip(alone, batched, strict=True))


def _cosine(a: Any, b: Any) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
