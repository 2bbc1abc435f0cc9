"""Accuracy on labelled data: fp32 answers as transformers does, int8 within half a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe import pipeline
from tolerances import LAYER, REAL_MODEL

Rows = Callable[[str], list[dict[str, Any]]]
Find = Callable[[str], Path]

pytestmark = [pytest.mark.xdist_group("real"), pytest.mark.filterwarnings("ignore::UserWarning")]


def _accuracy(labels: Sequence[str], rows: Sequence[dict[str, Any]]) -> float:
    return 100 * sum(label == row["label"] for label, row in zip(labels, rows)) / len(rows)


def test_sst2(real_model: Find, real_bundle: Find, rows: Rows, record_property: Any) -> None:
    transformers = pytest.importorskip("transformers")
    reviews = rows("sst2_dev.jsonl")
    texts = [row["text"] for row in reviews]
    theirs = transformers.pipeline("text-classification", str(real_model("minilm-sst2")), device="cpu")(texts)
    ours = {d: pipeline("text-classification", real_bundle("minilm-sst2"), dtype=d)(texts) for d in ("fp32", "int8")}
    accuracy = {d: _accuracy([a["label"] for a in answers], reviews) for d, answers in ours.items()}
    record_property("accuracy", accuracy)
    print(f"SST-2 accuracy: {accuracy}")
    assert [a["label"] for a in ours["fp32"]] == [a["label"] for a in theirs]
    assert max(abs(a["score"] - b["score"]) for a, b in zip(ours["fp32"], theirs)) < REAL_MODEL
    assert accuracy["fp32"] == _accuracy([a["label"] for a in theirs], reviews)
    assert abs(accuracy["int8"] - accuracy["fp32"]) <= 0.5


def _gold(tokens: Sequence[str], tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Entities of IOB2 tags as spans of characters in the tokens joined by blanks."""
    spans: list[list[Any]] = []
    at, before = 0, "O"
    for token, tag in zip(tokens, tags):
        if tag.startswith("B-") or (tag.startswith("I-") and before[2:] != tag[2:]):
            spans.append([at, at + len(token), tag[2:]])
        elif tag.startswith("I-"):
            spans[-1][1] = at + len(token)
        at, before = at + len(token) + 1, tag
    return {tuple(span) for span in spans}  # type: ignore[misc]


def _f1(answers: Sequence[Sequence[dict[str, Any]]], sentences: Sequence[dict[str, Any]]) -> float:
    right = found = wanted = 0
    for entities, sentence in zip(answers, sentences):
        gold = _gold(sentence["tokens"], sentence["tags"])
        mine = {(e["start"], e["end"], e["entity_group"]) for e in entities}
        right, found, wanted = right + len(gold & mine), found + len(mine), wanted + len(gold)
    return 200 * right / (found + wanted)


def test_conll(real_model: Find, real_bundle: Find, rows: Rows) -> None:
    transformers = pytest.importorskip("transformers")
    sentences = rows("conll2003_valid.jsonl")
    words = [row["tokens"] for row in sentences]
    keywords: dict[str, Any] = {"aggregation_strategy": "first"}
    reference = transformers.pipeline("ner", str(real_model("minilm-conll")), device="cpu", **keywords)
    theirs = reference(words, is_split_into_words=True)
    scores = {}
    for dtype in ("fp32", "int8"):
        ours = pipeline("ner", real_bundle("minilm-conll"), dtype=dtype, **keywords)(words, is_split_into_words=True)
        scores[dtype] = _f1(ours, sentences)
        if dtype == "fp32":
            for mine, other in zip(ours, theirs):
                assert [(e["entity_group"], e["word"], e["start"], e["end"]) for e in mine] == [
                    (e["entity_group"], e["word"], e["start"], e["end"]) for e in other
                ]
    print(f"CoNLL-2003 entity F1: {scores}, transformers {_f1(theirs, sentences)}")
    assert scores["fp32"] == _f1(theirs, sentences)
    assert abs(scores["int8"] - scores["fp32"]) <= 0.5


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation with ties at their mean rank."""

    def ranks(values: Sequence[float]) -> Any:
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

    return float(100 * np.corrcoef(ranks(a), ranks(b))[0, 1])


def test_stsb(real_model: Find, real_bundle: Find, rows: Rows) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pairs = rows("stsb_dev.jsonl")
    gold = [row["score"] for row in pairs]
    texts = [row[side] for row in pairs for side in ("sentence1", "sentence2")]
    scores, vectors = {}, {}
    for dtype in ("fp32", "int8"):
        vectors[dtype] = np.stack(pipeline("embedding", real_bundle("all-MiniLM-L6-v2"), dtype=dtype)(texts))
        scores[dtype] = _spearman((vectors[dtype][::2] * vectors[dtype][1::2]).sum(1).tolist(), gold)
    print(f"STS-B Spearman: {scores}")
    assert abs(scores["int8"] - scores["fp32"]) <= 0.5

    folder = str(real_model("all-MiniLM-L6-v2"))
    tokenizer, model = (
        transformers.AutoTokenizer.from_pretrained(folder),
        transformers.AutoModel.from_pretrained(folder),
    )
    with torch.inference_mode():  # the mean over the mask, scaled to length 1: what the model's files declare
        encoded = tokenizer(texts[:200], padding=True, truncation=True, max_length=256, return_tensors="pt")
        mask = encoded["attention_mask"][..., None].float()
        pooled = (model(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)
        reference = torch.nn.functional.normalize(pooled).numpy()
    assert (1 - (reference * vectors["fp32"][:200]).sum(1)).max() < LAYER
    similarity = pipeline("sentence-similarity", real_bundle("all-MiniLM-L6-v2"))
    direct = similarity({"source_sentence": texts[0], "sentences": texts[1:4]})
    assert direct == pytest.approx((vectors["fp32"][0] * vectors["fp32"][1:4]).sum(1).tolist(), abs=REAL_MODEL)


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_an_answer_does_not_depend_on_its_neighbours(real_bundle: Find, rows: Rows, dtype: str) -> None:
    texts = [row["text"] for row in rows("sst2_dev.jsonl")][:200]
    pipe = pipeline("text-classification", real_bundle("minilm-sst2"), dtype=dtype, top_k=None)
    alone = [{a["label"]: a["score"] for a in pipe(text, top_k=None)} for text in texts]
    order = np.random.default_rng(0).permutation(len(texts)).tolist()
    for batch_size in (None, 4, 32):
        for picked in (list(range(len(texts))), order):
            together = pipe([texts[i] for i in picked], batch_size=batch_size)
            for i, answer in zip(picked, together):
                assert all(abs(a["score"] - alone[i][a["label"]]) <= REAL_MODEL for a in answer)
