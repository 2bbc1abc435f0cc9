"""Questions about images: BLIP writes what transformers' `generate()` writes; ViLT is in test_tasks.py as well."""

from __future__ import annotations

import copy
import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import onnxpipe
from onnxpipe import AutoModelForVisualQuestionAnswering
from onnxpipe.cli import main
from zoo.cache import cached_bundle, cached_model
from zoo.vision.images import pil_image, write

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TASK = "visual-question-answering"
QUESTION = "How many cats are on the sofa?"
QUESTIONS = (QUESTION, "Is it raining?", "What is behind the woman with the umbrella?")
IMAGES = ("photo", "second", "odd")
pytestmark = pytest.mark.xdist_group("vision-blip")


@cache
def _original() -> Any:
    return transformers.BlipForQuestionAnswering.from_pretrained(cached_model("blip", TASK)).eval()


@cache
def _pipe(family: str, dtype: str = "fp32") -> Any:
    return onnxpipe.pipeline(TASK, model=str(cached_bundle(family, TASK, ("fp32", "int8"))), dtype=dtype)


def _feeds(question: str, *images: str) -> dict[str, np.ndarray]:
    pipe = _pipe("blip")
    pixels = [pipe.image_processor(pil_image(name).convert("RGB"))["pixel_values"] for name in images]
    words = pipe.tokenizer([question] * len(images), return_tensors="np")
    ids = {name: np.asarray(words[name], np.int64) for name in ("input_ids", "attention_mask")}
    return {**ids, "pixel_values": np.concatenate(pixels)}


@pytest.mark.parametrize(
    "options", [{"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 2}], ids=["one", "beams"]
)
@pytest.mark.parametrize("question", QUESTIONS)
def test_generate(question: str, options: dict[str, Any]) -> None:
    feeds, options = _feeds(question, *IMAGES), {**options, "max_new_tokens": 10}
    with torch.inference_mode():
        given = {name: torch.from_numpy(array) for name, array in feeds.items()}
        expected = _original().generate(**given, **options).numpy()
    model = AutoModelForVisualQuestionAnswering.from_pretrained(cached_bundle("blip", TASK, ("fp32", "int8")))
    np.testing.assert_array_equal(model.generate(**feeds, **options), expected)


def test_a_text_is_written_for_each_question_alone_or_in_a_batch() -> None:
    pipe = _pipe("blip")
    images = [pil_image(name) for name in IMAGES]
    options = {"max_new_tokens": 8}
    expected = [pipe(image, question, **options) for question in QUESTIONS for image in images]
    assert len({str(answer) for answer in expected}) > 4
    for size in (None, 1, 4):
        assert pipe(images, list(QUESTIONS), batch_size=size, **options) == expected
    beams = pipe(images[0], QUESTION, generate_kwargs={"num_beams": 3, "num_return_sequences": 3}, **options)
    assert len(beams) == 3 and all(list(answer) == ["answer"] for answer in beams)


def test_an_image_is_encoded_once_for_all_questions() -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_bundle("blip", TASK, ("fp32", "int8"))), max_new_tokens=4)
    pipe(pil_image("photo"), list(QUESTIONS))
    pipe(pil_image("photo"), QUESTION)
    assert pipe.model.vision.runs == 1
    pipe([pil_image("second"), pil_image("photo")], QUESTION)
    assert pipe.model.vision.runs == 2


@pytest.mark.parametrize("family", ["vilt", "blip"])
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_a_bad_input_does_not_lose_the_others(family: str, dtype: str) -> None:
    pipe = _pipe(family, dtype)
    good = {"image": pil_image("photo"), "question": QUESTION}
    bad = [{**good, "image": b"no image"}, {**good, "question": " "}, {"image": good["image"]}, {**good, "question": 3},
           {**good, "question": "what " * 600}]  # fmt: skip
    answers = pipe([good, *bad, good], on_error="return", batch_size=2)
    assert answers[0] == answers[-1] == pipe(good)
    reasons = [str(answer.error) for answer in answers[1:-1]]
    for reason, text in zip(
        reasons, ("is not an image", "is empty", "a dict of image", "not a text", "takes at most"), strict=True
    ):
        assert text in reason


def test_scores_do_not_depend_on_the_batch() -> None:
    pipe = _pipe("vilt", "int8")
    images = [pil_image(name) for name in ("photo", "mate", "second", "wide")]
    alone = [pipe(image, question, top_k=99) for question in QUESTIONS for image in images]
    assert pipe(images, list(QUESTIONS), top_k=99, batch_size=4) == alone
    assert all(0 < answer["score"] < 1 for answers in alone for answer in answers)


def test_what_a_model_of_scores_refuses() -> None:
    pipe = _pipe("vilt")
    with pytest.raises(ValueError, match="writes none: leave max_new_tokens out"):
        pipe(pil_image("photo"), QUESTION, max_new_tokens=3)
    with pytest.raises(ValueError, match="none that could be streamed"):
        next(iter(pipe.stream({"image": pil_image("photo"), "question": QUESTION})))
    with pytest.raises(TypeError, match="top_p"):
        pipe(pil_image("photo"), QUESTION, top_p=3)
    with pytest.raises(ValueError, match="without an image"):
        pipe()


def test_an_answer_is_streamed() -> None:
    pipe, value = _pipe("blip"), {"image": pil_image("odd"), "question": QUESTION}
    text = "".join(pipe.stream(value, max_new_tokens=8))
    assert text.strip() == pipe(value, max_new_tokens=8)[0]["answer"]


def test_copies_answer_alike() -> None:
    pipe, value = _pipe("blip"), {"image": pil_image("photo"), "question": QUESTION}
    assert copy.deepcopy(pipe)(value, max_new_tokens=4) == pipe(value, max_new_tokens=4)


def test_commands(tmp_path: Path) -> None:
    model = str(cached_bundle("vilt", TASK, ("fp32", "int8")))
    paths = [str(write(name, tmp_path)) for name in ("photo", "second")]
    best = [answer[0]["answer"] for answer in _pipe("vilt")(paths, QUESTION)]
    run = CliRunner().invoke(main, ["run", "vqa", *paths, "--question", QUESTION, "--model", model])
    assert run.exit_code == 0, run.output
    assert all(f" {answer}" in run.stdout for answer in best)
    table, answers = tmp_path / "photos.csv", tmp_path / "answers.csv"
    table.write_text("image,question\n" + "".join(f"{path},{QUESTION}\n" for path in paths) + f"{paths[0]},\n")
    call = ["--input", str(table), "--output", str(answers), "--on-error", "return"]
    run = CliRunner().invoke(main, ["run", TASK, "--model", model, *call])
    assert run.exit_code == 3, run.output
    rows = list(csv.DictReader(answers.open(newline="")))
    assert [row["answer"] for row in rows] == [*best, ""]
    assert "question" in rows[2]["error"]
