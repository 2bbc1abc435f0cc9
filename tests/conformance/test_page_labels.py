"""Models that label the words of pages give in object-detection what transformers' pipeline gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxpipe
from onnxpipe.bundle import open_bundle
from onnxpipe.errors import UnsupportedError
from tolerances import MODEL
from zoo.cache import cached_bundle, cached_export
from zoo.documents import Page, receipt
from zoo.vision.document_models import write_labelling

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TASK = "object-detection"
PRECISIONS = ("fp32", "fp16", "int8")
FAMILIES = {"layoutlmv3": "LayoutLMv3", "lilt": "Lilt"}
FAMILY = pytest.mark.parametrize("family", FAMILIES)
Models = Callable[[str], Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    @cache
    def model(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family) / f"{family}-labels"
        write_labelling(family, folder)
        return folder

    return model


def few() -> Page:
    """A page that a single row of the tiny models holds."""
    page = receipt()
    return Page(page.image, page.words[:16])


def words_of(page: Page) -> Callable[[Image.Image], Any]:
    """What reads the words of a page, whatever the image."""
    return lambda image: page.words


class Reading:
    """The image processor for transformers' pipeline: it gives words and boxes, as LayoutLMv3's with tesseract does."""

    def __init__(self, page: Page) -> None:
        words, boxes = zip(*page.word_boxes)
        self.answer = {"words": [list(words)], "boxes": [[list(box) for box in boxes]]}

    def __call__(self, images: Any, return_tensors: str) -> Any:
        return transformers.BatchFeature(self.answer)


def theirs(family: str, folder: Path, page: Page) -> Any:
    model = getattr(transformers, f"{FAMILIES[family]}ForTokenClassification").from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return transformers.pipeline(TASK, model=model, tokenizer=tokenizer, image_processor=Reading(page), device="cpu")


def same(found: list[Any], expected: list[Any]) -> None:
    """The labels and boxes of transformers, in its order; scores near to its."""
    assert [(each["label"], each["box"]) for each in found] == [(each["label"], each["box"]) for each in expected]
    np.testing.assert_allclose([each["score"] for each in found], [each["score"] for each in expected], atol=MODEL)


@FAMILY
def test_labels_and_boxes_are_those_of_transformers(family: str, models: Models) -> None:
    page = few()
    pipe = onnxpipe.pipeline(TASK, model=str(cached_export(models(family), PRECISIONS)), dtype="fp32")
    other = theirs(family, models(family), page)
    for threshold in (0.0, 0.5, 0.9):
        expected = other(page.image, threshold=threshold)
        found = pipe(page.image, ocr=words_of(page), threshold=threshold)
        assert threshold or len(expected) > len(page.words)
        same(found, expected)
    assert len({each["label"] for each in other(page.image, threshold=0.0)}) > 2


@FAMILY
def test_a_page_without_words(family: str, models: Models) -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_export(models(family), PRECISIONS)), dtype="fp32")
    found = pipe(few().image, ocr=lambda image: [], threshold=0.0)
    assert [each["box"] for each in found] == [{"xmin": 0, "ymin": 0, "xmax": 0, "ymax": 0}] * 2  # the special tokens


def test_layoutlm_labels_as_the_model_does(models: Models) -> None:
    """Its tokenizer takes no boxes, so transformers' pipeline cannot run it: the model is called directly."""
    page, folder = few(), models("layoutlm")
    pipe = onnxpipe.pipeline(TASK, model=str(cached_export(folder, PRECISIONS)), dtype="fp32", threshold=0.0)
    model = transformers.LayoutLMForTokenClassification.from_pretrained(folder).eval()
    encoding = pipe.tokenizer([word for word, _ in page.words], is_split_into_words=True)
    boxes = [[0] * 4, *(page.word_boxes[word][1] for word in encoding.word_ids()[1:-1]), [1000] * 4]
    with torch.inference_mode():
        logits = model(torch.tensor([encoding["input_ids"]]), bbox=torch.tensor([boxes])).logits[0]
    scores, best = logits.softmax(-1).max(-1)
    found = pipe(page.image, ocr=words_of(page))
    assert [each["label"] for each in found] == [model.config.id2label[int(label)] for label in best]
    np.testing.assert_allclose([each["score"] for each in found], scores.numpy(), atol=MODEL)
    corner = found[-1]["box"]
    assert (corner["xmin"], corner["ymax"]) == page.image.size


@FAMILY
def test_a_page_longer_than_the_model_takes_is_read_in_windows(family: str, models: Models) -> None:
    """Each token is labelled once, by the window in which it has more neighbours on both sides."""
    page = receipt()
    pipe = onnxpipe.pipeline(TASK, model=str(cached_export(models(family), PRECISIONS)), dtype="fp32", threshold=0.0)
    longest = pipe.tokenizer.model_max_length
    tokens = pipe.tokenizer([word for word, _ in page.words], is_split_into_words=True, verbose=False)
    ids = tokens["input_ids"]
    assert longest < len(ids) < 2 * longest - longest // 4 - 2, "two windows"
    found = pipe(page.image, ocr=words_of(page))
    assert len(found) == len(ids)
    overlap, inner = longest // 4, longest - 2
    half, starts = overlap // 2, (0, inner - overlap)
    other = theirs(family, models(family), page)
    words = tokens.word_ids()
    expected: list[Any] = []
    for number, start in enumerate(starts):
        part = ids[1:-1][start : start + inner]
        boxes = [[0] * 4, *(page.word_boxes[word][1] for word in words[1:-1][start : start + inner]), [0] * 4]
        window = torch.tensor([[ids[0], *part, ids[-1]]])
        with torch.inference_mode():
            logits = other.model(window, bbox=torch.tensor([boxes])).logits
        answer = other.postprocess(
            {"logits": logits, "bbox": torch.tensor([boxes]), "target_size": torch.tensor([page.image.size[::-1]])}, 0.0
        )
        expected += answer[half + 1 :] if number else answer[: len(answer) - 1 - overlap + half]
    same(found, expected)


@FAMILY
def test_batches_and_streams(family: str, models: Models) -> None:
    pages = [few(), receipt(), Page(receipt().image, receipt().words[:3])]
    texts = iter(pages * 2)
    pipe = onnxpipe.pipeline(TASK, model=str(cached_export(models(family), PRECISIONS)), dtype="fp32", threshold=0.0)
    alone = [pipe(page.image, ocr=words_of(page)) for page in pages]
    reading = {"ocr": lambda image: next(texts).words}
    together = pipe([page.image for page in pages], batch_size=4, **reading)
    streamed = list(pipe((page.image for page in pages), batch_size=2, **reading))
    for found in (together, streamed):
        for answer, expected in zip(found, alone, strict=True):
            same(answer, expected)
    good, broken = pipe([pages[0].image, b"none"], ocr=words_of(pages[0]), on_error="return")
    same(good, alone[0])
    assert isinstance(broken, onnxpipe.ItemError)


@FAMILY
def test_the_task_is_known_by_the_class(family: str, models: Models) -> None:
    folder = cached_export(models(family), PRECISIONS)
    bundle = open_bundle(folder)
    assert bundle.tasks == (TASK,)
    assert set(bundle.certificate["graphs"]["model"]) == set(PRECISIONS)
    pipe = onnxpipe.pipeline(model=str(folder))
    assert pipe.task == TASK
    with pytest.raises(UnsupportedError, match="lang='deu' is for ocr=\"tesseract\""):
        pipe(few().image, ocr=words_of(few()), lang="deu")


def test_a_detector_reads_no_words() -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_bundle("detr", TASK)))
    with pytest.raises(UnsupportedError, match="reads no words: leave ocr= out"):
        pipe(few().image, ocr="rapidocr")
