"""The calls of the suite: task -> named cases. A case says what is called, never what comes back."""

from __future__ import annotations

from conformance.cases import (
    feature_extraction,
    fill_mask,
    question_answering,
    text_classification,
    token_classification,
    zero_shot_classification,
)
from conformance.cases.common import Case
from zoo import FAMILIES, MISSING

CASES: dict[str, tuple[Case, ...]] = {
    "feature-extraction": feature_extraction.CASES,
    "text-classification": text_classification.CASES,
    "token-classification": token_classification.CASES,
    "question-answering": question_answering.CASES,
    "fill-mask": fill_mask.CASES,
    "zero-shot-classification": zero_shot_classification.CASES,
}

FULL = ("bert", "roberta", "deberta-v2")
"""WordPiece, byte-level BPE, Unigram: these run every case; the others run the cases marked `core`."""


def table(task: str) -> list[tuple[str, Case]]:
    """Every (family, case) of `task` that the suite runs."""
    return [
        (family, case)
        for family in FAMILIES
        for case in CASES[task]
        if (family in FULL or case.core) and (family, case.head) not in MISSING
    ]


def missing(task: str) -> dict[str, str]:
    """Family -> why transformers has no class for `task`."""
    heads = {case.head for case in CASES[task]}
    return {family: reason for (family, head), reason in MISSING.items() if head in heads}
