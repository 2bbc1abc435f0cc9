"""Donut answers questions about documents as transformers' pipeline does, with the same graphs as image-to-text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import onnxpipe
from conformance import torchvision_standin
from onnxpipe import AutoModelForDocumentQuestionAnswering, ItemError
from onnxpipe.bundle import open_bundle
from onnxpipe.errors import UnsupportedError
from zoo.cache import cached_export
from zoo.documents import receipt
from zoo.vision.document_models import write_donut

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.xdist_group("vision-donut")

TASK = "document-question-answering"
QUESTIONS = ["What is the total?", "Who?", "Which card was it, and when?"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("donut") / "donut-docvqa"
    write_donut(folder)
    return folder


@pytest.fixture(scope="module")
def ours(model: Path) -> Any:
    return onnxpipe.pipeline(TASK, model=cached_export(model, ("fp32",)), device="cpu")


@pytest.fixture
def theirs(model: Path) -> Any:
    processor = torchvision_standin.image_processor(model)
    processor = processor or transformers.DonutImageProcessorPil.from_pretrained(str(model))
    return transformers.pipeline(TASK, model=str(model), image_processor=processor, device="cpu")


@pytest.mark.parametrize("options", [{}, {"max_new_tokens": 8}, {"max_new_tokens": 6, "num_beams": 3}])
def test_answers(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    """A random model never ends an answer, so its last token is forced to. (transformers takes parameters of
    `generate()` from the model alone.)"""
    page = receipt().image
    options = {**options, "forced_eos_token_id": ours.tokenizer.convert_tokens_to_ids("</s_answer>")}
    for name, value in options.items():
        setattr(theirs.model.generation_config, name, value)
    expected = [theirs(page, question) for question in QUESTIONS]
    assert all(answer["answer"] for (answer,) in expected) and len({str(answer) for answer in expected}) > 1
    assert [ours(page, question, **options) for question in QUESTIONS] == expected
    assert ours(page, QUESTIONS, **options) == expected
    inputs = [{"image": page, "question": question} for question in QUESTIONS]
    assert list(ours((each for each in inputs), **options)) == expected
    assert ours(inputs, batch_size=2, **options) == expected


def test_what_is_written_without_an_end_is_no_answer(ours: Any, theirs: Any) -> None:
    page = receipt().image
    assert ours(page, QUESTIONS[0]) == theirs(page, QUESTIONS[0]) == [{"answer": None}]


def test_several_answers(ours: Any) -> None:
    end = ours.tokenizer.convert_tokens_to_ids("</s_answer>")
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6, "forced_eos_token_id": end}
    first, second = ours(receipt().image, QUESTIONS[0], **beams)
    assert first["answer"] and second["answer"] and first != second
    drawn = {"do_sample": True, "seed": 3, "max_new_tokens": 6, "forced_eos_token_id": end}
    assert ours(receipt().image, QUESTIONS, **drawn) == ours(receipt().image, QUESTIONS, **drawn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ocr": "rapidocr"}, "reads the page itself and writes its answer: leave ocr= out"),
        ({"return_boxes": True}, "leave return_boxes= out"),
        ({"doc_stride": 3}, "leave doc_stride= out"),
        ({"max_new_tokn": 3}, "did you mean 'max_new_tokens'"),
    ],
)
def test_options_of_other_models_are_refused(ours: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours(receipt().image, QUESTIONS[0], **options)


def test_bad_inputs(ours: Any) -> None:
    page = receipt()
    good = {"image": page.image, "question": QUESTIONS[0]}
    bad = [
        {**good, "word_boxes": page.word_boxes},
        {**good, "image": None},
        {**good, "image": b"x"},
        {**good, "question": ""},
    ]
    answers = ours([good, *bad, good], on_error="return", max_new_tokens=3)
    assert [type(answer) for answer in answers] == [list, *[ItemError] * len(bad), list]
    assert "leave word_boxes out" in str(answers[1]) and "pass image=" in str(answers[2])
    with pytest.raises(UnsupportedError, match=r"no stream\(\)"):
        next(ours.stream(good))


def test_the_bundle_serves_both_tasks(ours: Any, model: Path) -> None:
    folder = cached_export(model, ("fp32",))
    assert open_bundle(folder).tasks == ("image-to-text", TASK)
    assert AutoModelForDocumentQuestionAnswering.from_pretrained(folder).can_generate()
    assert onnxpipe.pipeline(model=str(folder)).task == "image-to-text"
