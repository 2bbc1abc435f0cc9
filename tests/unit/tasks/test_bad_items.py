"""An item that cannot be answered takes no other down, and a missing text is never scored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from onnxpipe import (
    ItemError,
    QuestionAnsweringPipeline,
    TextClassificationPipeline,
    TextGenerationPipeline,
    TokenClassificationPipeline,
)
from onnxpipe.bundle import Config
from onnxpipe.errors import BundleError, TextTooLongError
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.text_ranking import TextRankingPipeline
from onnxpipe.tasks.zero_shot_classification import ZeroShotClassificationPipeline
from unit.fakes import TEMPLATE, FakeCausal
from unit.fakes import tokenizer as letters

PAD, CLS, SEP, UNK, GOLD = range(5)
GOOD = {"question": "where is gold", "context": "there is gold here"}


def words() -> Tokenizer:
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "gold", "where", "is", "there", "here", "tea", "cup"]
    backend = Backend(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    backend.add_special_tokens(names[:4])
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", CLS), ("[SEP]", SEP)]
    )
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return Tokenizer(backend, TokenizerSettings(named))


class _Finder:
    """Points to every "gold"; as a classifier, its logit is the number of them."""

    device = SimpleNamespace(type="cpu")
    name_or_path = "finder"
    dtype = "float32"
    per_token = frozenset({"start_logits", "end_logits"})

    def __init__(self, *labels: str) -> None:
        self.config = Config({"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}})

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        found = (feeds["input_ids"] == GOLD).astype(np.float32)
        counts = np.repeat(found.sum(1, keepdims=True), max(self.config.num_labels, 1), axis=1)
        return {"start_logits": 20 * found, "end_logits": 20 * found, "logits": counts}


@pytest.fixture
def qa() -> Any:
    return QuestionAnsweringPipeline(_Finder(), words(), task="question-answering")


@pytest.mark.parametrize(
    "bad",
    [
        {"question": "where is gold", "context": ""}, {"question": "", "context": "gold"},
        {"question": None, "context": "gold"}, {"question": "where", "context": None}, {"question": "where"}, {},
        {"question": 3, "context": "gold"}, {"question": "where", "context": float("nan")},
        {"question": "where", "context": ["gold"]}, {"question": "where", "context": "\ud800"},
        {**GOOD, "id": 3}, None, "gold", 3,
        {"question": " ".join(["where"] * 600), "context": "gold"},
    ],
)  # fmt: skip
def test_a_bad_example_of_question_answering(qa: Any, bad: Any) -> None:
    answers = qa([GOOD, bad, GOOD], on_error="return")
    assert [type(answer) for answer in answers] == [dict, ItemError, dict]
    assert answers[0]["answer"] == "gold" and answers[1].index == 1
    with pytest.raises(Exception, match=r"\w") as caught:
        qa([GOOD, bad])
    assert caught.value.index == 1  # type: ignore[attr-defined]
    assert isinstance(qa([bad], on_error="return"), ItemError)


def test_a_question_that_leaves_no_room_for_the_context(qa: Any) -> None:
    long = {"question": " ".join(["where"] * 40), "context": "there is gold here"}
    for side in ("right", "left"):
        qa.tokenizer.padding_side = side
        answers = qa([GOOD, long, GOOD], max_seq_len=20, doc_stride=0, on_error="return")
        assert [type(answer) for answer in answers] == [dict, ItemError, dict]
        assert "the question has 40 tokens, which leaves no room for the context in windows of 20" in str(answers[1])
        with pytest.raises(TextTooLongError, match="pass a larger max_seq_len"):
            qa(long, max_seq_len=20, doc_stride=0)


def test_a_function_of_the_config_that_is_none() -> None:
    finder = _Finder()
    finder.config = Config({"id2label": {}, "function_to_apply": "cubic"}, "folder")
    pipe = TextClassificationPipeline(finder, words(), task="text-classification")
    with pytest.raises(BundleError, match=r"config\.json of folder: function_to_apply is 'cubic'"):
        pipe("gold")
    answers = pipe(["gold", "tea"], on_error="return")
    assert [type(answer) for answer in answers] == [ItemError, ItemError]


def test_bad_pairs_of_question_answering(qa: Any) -> None:
    answers = qa(question=["where is gold", None], context=["there is gold", "gold"], on_error="return")
    assert [type(answer) for answer in answers] == [dict, ItemError]


def test_a_score_is_a_probability_where_windows_repeat_the_answer(qa: Any) -> None:
    text = " ".join(["here is gold"] * 60)
    for options in ({}, {"align_to_words": False}, {"handle_impossible_answer": True}):
        answers = qa(question="where is gold", context=text, max_seq_len=32, doc_stride=16, top_k=5, **options)
        assert all(0 <= answer["score"] <= 1 for answer in answers), answers
        assert "gold" in answers[0]["answer"] and answers[0]["score"] > 0.1


@pytest.mark.parametrize("documents", ["cup", None, 3, {"a": "cup"}, b"cup", ["cup", None], ["cup", float("nan")]])
def test_documents_that_are_not_a_list_of_texts(documents: Any) -> None:
    pipe = TextRankingPipeline(_Finder("score"), words(), task="text-ranking")
    item = {"query": "tea", "documents": documents}
    answers = pipe([{"query": "tea", "documents": ["cup", "gold"]}, item], on_error="return")
    assert [entry["document"] for entry in answers[0]] == ["gold", "cup"]
    assert isinstance(answers[1], ItemError) and "documents" in str(answers[1])
    with pytest.raises(ValueError, match="documents"):
        pipe(item)


def test_labels_of_zero_shot_that_are_missing() -> None:
    finder = _Finder("contradiction", "neutral", "entailment")
    pipe = ZeroShotClassificationPipeline(finder, words(), task="zero-shot-classification")
    with pytest.raises(ValueError, match=r"candidate_labels\[1\] is missing"):
        pipe("tea", candidate_labels=["cup", None])
    answers = pipe(["tea", None, "", 3], candidate_labels=["cup", "gold"], on_error="return")
    assert [type(answer) for answer in answers] == [dict, ItemError, ItemError, ItemError]


def test_a_bad_chat() -> None:
    pipe = TextGenerationPipeline(FakeCausal(), letters(template=TEMPLATE), task="text-generation")
    good: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
    bad = [*good, {"role": "user"}]
    options = {"do_sample": False, "max_new_tokens": 2}
    for inputs in ([good, bad, good], (chat for chat in (good, bad, good))):
        answers = list(pipe(inputs, on_error="return", **options))
        assert [type(answer) for answer in answers] == [list, ItemError, list]
    with pytest.raises(ValueError, match="'role' and 'content'"):
        pipe(bad, **options)
    assert isinstance(pipe(bad, on_error="return", **options), ItemError)
    mixed = pipe([good, None, "hi", 3], on_error="return", **options)
    assert [type(answer) for answer in mixed] == [list, ItemError, list, ItemError]


class _Tagger(_Finder):
    """Tags every "gold"."""

    per_token = frozenset({"logits"})

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        found = (feeds["input_ids"] == GOLD).astype(np.float32)
        return {"logits": 20 * np.stack([1 - found, found], axis=-1)}


def test_each_input_has_its_own_offset_mapping() -> None:
    pipe = TokenClassificationPipeline(_Tagger("O", "GOLD"), words(), task="token-classification")
    spans = [[(0, 0), (7, 9), (0, 0)], [(0, 0), (3, 5), (0, 0)]]
    found = pipe(["gold", "gold"], offset_mapping=spans)
    assert [(each[0]["start"], each[0]["end"]) for each in found] == [(7, 9), (3, 5)]
    with pytest.raises(ValueError, match="offset_mapping has 1 spans, the input 3 tokens"):
        pipe("gold", offset_mapping=[(0, 1)])


class _Loud(TextClassificationPipeline):
    """Counts "tea" as "gold": a subclass with an `encode` of its own."""

    def encode(self, value: Any, options: Any) -> Any:
        return super().encode(value.replace("tea", "gold"), options)


@pytest.mark.parametrize("keywords", [{}, {"truncation": True, "max_length": 4}, {"padding": "longest"}])
@pytest.mark.parametrize("kind", [TextClassificationPipeline, _Loud])
def test_texts_of_a_list_are_encoded_as_alone(kind: type[TextClassificationPipeline], keywords: dict[str, Any]) -> None:
    pipe = kind(_Finder("few", "many"), words(), task="text-classification", function_to_apply="none")
    texts = ["gold", "where is gold", "tea is gold gold", "there", "gold gold gold tea"]
    assert pipe(texts, **keywords) == [pipe(text, **keywords)[0] for text in texts]
    lengths = [[len(row.feeds["input_ids"]) for row in pipe.encode(text, pipe.parse(keywords, None))] for text in texts]
    rows = pipe.encode_many(texts, pipe.parse(keywords, None))
    assert rows is None or [[len(row.feeds["input_ids"])] for row in rows] == lengths
    assert (rows is None) == (kind is _Loud or "padding" in keywords)


class _Bold(TextClassificationPipeline):
    """Writes labels in capitals: a subclass with a `decode` of its own."""

    def decode(self, rows: Any, options: Any) -> Any:
        answer = super().decode(rows, options)
        return {**answer, "label": answer["label"].upper()} if isinstance(answer, dict) else answer


@pytest.mark.parametrize("keywords", [{}, {"top_k": None}, {"top_k": 1}, {"function_to_apply": "softmax"}])
@pytest.mark.parametrize("kind", [TextClassificationPipeline, _Bold])
def test_texts_of_a_list_are_decoded_as_alone(kind: type[TextClassificationPipeline], keywords: dict[str, Any]) -> None:
    pipe = kind(_Finder("few", "many"), words(), task="text-classification")
    texts = ["gold", "where is gold", "tea is gold gold", "there", "gold gold gold tea"]
    alone = [pipe(text, **keywords) for text in texts]
    assert pipe(texts, **keywords) == [each if "top_k" in keywords else each[0] for each in alone]
    options = pipe.parse(keywords, None)
    rows = [[(row, pipe.run([row], options)[0]) for row in pipe.encode(text, options)] for text in texts]
    assert (pipe.decode_many(rows, options) is None) == (kind is _Bold)
