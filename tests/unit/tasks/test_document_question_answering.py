"""document-question-answering over a fake model that reads: it answers with what stands right of the word asked for."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors

import onnxpipe
from onnxpipe import DocumentQuestionAnsweringPipeline, ItemError, KeyDataset
from onnxpipe.bundle import Config
from onnxpipe.cli import main
from onnxpipe.errors import (
    ImageError,
    MissingDependencyError,
    UnknownArgumentError,
    UnknownChoiceError,
    UnsupportedError,
)
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.pages import PageTokenizer
from onnxpipe.processing.text.tokenizer import Tokenizer

Image = pytest.importorskip("PIL.Image")
from onnxpipe.processing.images.drawing.draw import draw  # noqa: E402
from onnxpipe.processing.images.layoutlm import LayoutLMv2ImageProcessor, LayoutLMv3ImageProcessor  # noqa: E402
from zoo.documents import TOTAL, Page, receipt  # noqa: E402

CLS, SEP = 1, 2
QUESTION = "where is the total"


def words_tokenizer(kind: type[Tokenizer] = Tokenizer, **settings: Any) -> Tokenizer:
    """A token a word, in lower case; numbers are unknown."""
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    names += sorted({word.lower() for word, _ in receipt().words if word.isalpha()} | {"where", "is", "the", "sun"})
    backend = Backend(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    backend.add_special_tokens(names[:4])
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", CLS), ("[SEP]", SEP)]
    )
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return kind(backend, TokenizerSettings(named, **settings))


class Reader:
    """Points at what stands right of the last word of the question, in its line on the page."""

    device = SimpleNamespace(type="cpu")
    name_or_path = "reader"
    dtype = "float32"
    per_token: frozenset[str] = frozenset()

    def __init__(self, *more: str) -> None:
        self.config = Config({"model_type": "layoutlm"})
        self.session = SimpleNamespace(inputs=dict.fromkeys(["input_ids", "bbox", "attention_mask", *more]))
        self.feeds: list[Mapping[str, Any]] = []

    def can_generate(self) -> bool:
        return False

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.feeds.append(feeds)
        assert set(feeds) == set(self.session.inputs)
        patches = 3 if "pixel_values" in feeds else 0  # whose scores stand behind those of the tokens
        scores = np.full((len(feeds["input_ids"]), feeds["input_ids"].shape[1] + patches), -5.0, np.float32)
        scores[:, scores.shape[1] - patches :] = 50
        for row, (ids, boxes) in enumerate(zip(feeds["input_ids"].tolist(), feeds["bbox"].tolist())):
            page = ids.index(SEP) + 1
            found = [i for i in range(page, len(ids)) if ids[i] == ids[page - 2]]
            for i in found:
                middle = (boxes[i][1] + boxes[i][3]) / 2
                beside = [j for j in range(i + 1, len(ids)) if boxes[j][1] <= middle <= boxes[j][3] and ids[j] != SEP]
                scores[row, beside[-1:]] = 5
            scores[row, 0] = -5 if found else 5
        return {"start_logits": scores, "end_logits": scores}


@pytest.fixture(scope="module")
def page() -> Page:
    return receipt()


@pytest.fixture
def qa() -> Any:
    return DocumentQuestionAnsweringPipeline(Reader(), words_tokenizer(), task="document-question-answering")


# -- answers ---
def test_the_words_right_of_the_question(qa: Any, page: Page) -> None:
    (answer,) = qa(image=page.image, question=QUESTION, word_boxes=page.word_boxes)
    place = [word for word, _ in page.words].index(TOTAL)
    assert answer == {"score": pytest.approx(1, abs=0.05), "answer": TOTAL, "start": place, "end": place}
    assert qa(None, QUESTION, page.word_boxes) == [answer]


@pytest.mark.parametrize("program", ["tesseract", "rapidocr"])
def test_the_total_is_found_on_what_programs_read(qa: Any, program: str) -> None:
    pytest.importorskip({"tesseract": "pytesseract"}.get(program, program))
    if program == "tesseract" and shutil.which("tesseract") is None:
        pytest.skip("the program tesseract is not installed")
    page = receipt(560, 640, 20)
    (answer,) = qa(page.image, QUESTION, ocr=program)
    assert answer["answer"] == TOTAL and answer["score"] > 0.9
    read = onnxpipe.pipeline("ocr", ocr=program)(page.image)
    assert qa(None, QUESTION, read) == [answer]


def test_words_of_a_function_and_of_the_task_ocr(qa: Any, page: Page) -> None:
    calls: list[Any] = []
    qa.options = qa.parse({"ocr": lambda image: calls.append(image) or page.words}, None)
    expected = qa(page.image, QUESTION)
    assert calls[0].size == page.image.size and expected[0]["answer"] == TOTAL
    read = onnxpipe.pipeline("ocr", ocr=lambda image: page.words)(page.image)
    columns = {"words": [word for word, _ in page.word_boxes], "boxes": [box for _, box in page.word_boxes]}
    assert qa(None, QUESTION, read) == qa(None, QUESTION, columns) == expected
    assert len(calls) == 1


def test_many_inputs(qa: Any, page: Page) -> None:
    one = {"question": QUESTION, "word_boxes": page.word_boxes}
    expected = qa(None, **one)
    other = qa(None, "where is the bread", page.word_boxes)
    assert other[0]["answer"] == "3.80"
    assert qa([one, {**one, "question": "where is the bread"}]) == [expected, other]
    assert qa(None, [QUESTION, "where is the bread"], page.word_boxes) == [expected, other]
    assert qa([None, None], [QUESTION, "where is the bread"], page.word_boxes) == [expected, other]
    assert qa([page.image] * 2, QUESTION, page.word_boxes) == [expected] * 2
    assert list(qa(dict(one) for _ in range(3))) == [expected] * 3
    assert list(qa((page.image for _ in range(2)), QUESTION, page.word_boxes)) == [expected] * 2
    assert list(qa(KeyDataset([{"image": page.image}], "image"), QUESTION, page.word_boxes)) == [expected]
    for size in (1, 2, 3):
        assert qa([one] * 4, batch_size=size) == [expected] * 4
    with pytest.raises(ValueError, match="2 images and 1 questions"):
        qa([page.image] * 2, [QUESTION])


def test_windows_of_a_long_page(qa: Any, page: Page) -> None:
    long = [(f"x{i}", [0, 0, 9, 9]) for i in range(300)] + page.word_boxes
    (answer,) = qa(None, QUESTION, long, max_seq_len=64, doc_stride=16)
    assert answer["answer"] == TOTAL and answer["start"] == answer["end"] == 300 + [
        word for word, _ in page.words
    ].index(TOTAL)
    assert max(feeds["input_ids"].shape[1] for feeds in qa.model.feeds) == 64
    assert len(qa(None, QUESTION, long, max_seq_len=64, doc_stride=16, top_k=4)) == 4


def test_no_answer(qa: Any, page: Page) -> None:
    absent = qa(None, "where is the sun", page.word_boxes, handle_impossible_answer=True)
    assert absent[0]["answer"] == "" and absent[0]["score"] > 0.5
    assert qa(None, QUESTION, page.word_boxes, handle_impossible_answer=True)[0]["answer"] == TOTAL
    assert qa(None, QUESTION, []) == [] == qa(page.image, QUESTION, ocr=lambda image: [])
    assert qa(None, QUESTION, [], handle_impossible_answer=True) == [{"score": 1.0, "answer": "", "start": 0, "end": 0}]


def test_a_long_question_is_cut(qa: Any, page: Page) -> None:
    longer = f"{QUESTION} {' '.join(['where'] * 30)}"
    assert qa(None, longer, page.word_boxes, max_question_len=4)[0]["answer"] == TOTAL
    assert qa.model.feeds[-1]["input_ids"][0, 5] == SEP
    assert qa(None, QUESTION, page.word_boxes, max_question_len=50)[0]["answer"] == TOTAL


def test_boxes_of_answers(qa: Any, page: Page) -> None:
    drawn = dict(page.words)[TOTAL]
    (answer,) = qa(page.image, QUESTION, page.word_boxes, return_boxes=True)
    (box,) = answer["boxes"]
    assert np.abs(np.subtract([*box.values()], drawn)).max() <= 1
    (alone,) = qa(None, QUESTION, page.word_boxes, return_boxes=True)
    assert [*alone["boxes"][0].values()] == dict(page.word_boxes)[TOTAL]
    marked = np.asarray(draw(page.image, [answer]), np.int64)[drawn[1] : drawn[3], drawn[0] : drawn[2]]
    plain = np.asarray(page.image, np.int64)[drawn[1] : drawn[3], drawn[0] : drawn[2]]
    assert marked.mean() < plain.mean() - 10
    twice = draw(page.image, [answer, {**answer, "score": 0.1}]).crop(drawn)
    assert np.array_equal(np.asarray(twice), marked)  # marked once, in the colour of the best
    none = qa(None, "where is the sun", page.word_boxes, handle_impossible_answer=True, return_boxes=True)
    assert none[0]["boxes"] == [] and draw(page.image, none).height > page.image.height


# -- the tokens' boxes ---
@pytest.mark.parametrize(
    ("kind", "settings", "separator"),
    [
        (Tokenizer, {}, 1000),
        (PageTokenizer, {"tokenizer_class": "LayoutLMv2TokenizerFast"}, 1000),
        (PageTokenizer, {"tokenizer_class": "LayoutLMv3Tokenizer"}, 0),
        (PageTokenizer, {"tokenizer_class": "LayoutLMv3Tokenizer", "config": {"sep_token_box": [7] * 4}}, 7),
    ],
)
def test_boxes_of_special_tokens(page: Page, kind: Any, settings: dict[str, Any], separator: int) -> None:
    qa = DocumentQuestionAnsweringPipeline(
        Reader(), words_tokenizer(kind, **settings), task="document-question-answering"
    )
    assert qa(None, QUESTION, page.word_boxes)[0]["answer"] == TOTAL
    boxes = qa.model.feeds[0]["bbox"][0].tolist()
    assert boxes[:5] == [[0] * 4] * 5 and boxes[5] == boxes[-1] == [separator] * 4
    assert boxes[6:-1] == [box for _, box in page.word_boxes]


@pytest.mark.parametrize(
    ("name", "processor", "kind"),
    [("pixel_values", LayoutLMv3ImageProcessor, np.float32), ("image", LayoutLMv2ImageProcessor, np.float32)],
)
def test_models_that_look_at_the_image(page: Page, name: str, processor: Callable[..., Any], kind: Any) -> None:
    """LayoutLMv3's image is `pixel_values`, LayoutLMv2's is `image`; the processor does not read words again."""
    model = Reader(name)
    qa = DocumentQuestionAnsweringPipeline(
        model, words_tokenizer(), image_processor=processor(size=8), task="document-question-answering"
    )
    (answer,) = qa(page.image, QUESTION, page.word_boxes)
    assert answer["answer"] == TOTAL
    assert model.feeds[0][name].shape == (1, 3, 8, 8) and model.feeds[0][name].dtype == kind
    long = [(f"x{i}", [0, 0, 9, 9]) for i in range(100)]
    qa(page.image, QUESTION, long, max_seq_len=32, doc_stride=4)
    assert len({feeds[name].tobytes() for feeds in model.feeds[1:] if len(feeds[name]) == 1}) <= 1
    with pytest.raises(UnsupportedError, match="looks at the image too: pass image="):
        qa(None, QUESTION, page.word_boxes)
    with pytest.raises(ValueError, match=r"no preprocessor_config\.json"):
        DocumentQuestionAnsweringPipeline(model, words_tokenizer(), task="document-question-answering")


def test_a_processors_own_settings_of_tesseract(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("onnxpipe.processing.ocr.tesseract.read", lambda image, *how: calls.append(how) or [])
    processor = LayoutLMv3ImageProcessor(size=8, ocr_lang="deu", tesseract_config="--psm 6")
    qa = DocumentQuestionAnsweringPipeline(
        Reader("pixel_values"), words_tokenizer(), image_processor=processor, task="document-question-answering"
    )
    assert qa(page.image, QUESTION) == qa(page.image, QUESTION, lang="fra") == []
    assert calls == [("deu", "--psm 6"), ("fra", "--psm 6")]


def test_a_model_that_takes_no_boxes_is_refused() -> None:
    model = Reader()
    del model.session.inputs["bbox"]
    with pytest.raises(UnsupportedError, match="takes no boxes"):
        DocumentQuestionAnsweringPipeline(model, words_tokenizer(), task="document-question-answering")


# -- bad input ---
SIDES = ("xmin", "ymin", "xmax", "ymax")
READ = {"words": [], "width": 9, "height": 9}


def bad_inputs() -> Iterator[tuple[dict[str, Any], type[Exception], str]]:
    box = [0, 0, 10, 10]
    for boxes, message in (
        ([("a", [0, 0, 10, 1001])], r"word_boxes\[0\] \('a'\).*0 to 1000; from pixels"),
        ([("a", box), ("b", [-1, 0, 10, 10])], r"word_boxes\[1\] \('b'\)"),
        ([("a", [10, 0, 5, 10])], "left must not be beyond its right"),
        ([("a", [0, 10, 5, 1])], "top below its bottom"),
        ([("a", [0, 0, 5])], "four numbers"),
        ([("a", "box")], "four numbers"),
        ([("a", [0, 0, float("nan"), 1])], "four numbers"),
        ([("a",)], r"word_boxes\[0\] is \('a',\)"),
        ([(1, box)], r"word_boxes\[0\]"),
        (["ab"], r"word_boxes\[0\] is 'ab'"),
        ("a b", "word_boxes is 'a b'"),
        (3, "word_boxes is 3"),
        ({"words": ["a", "b"], "boxes": [box]}, "2 words and 1 boxes"),
        ({"words": "ab"}, "word_boxes is a dict of words"),
        ([("a", "1234")], "four numbers"),
        ([("a", {0, 1, 2, 3})], "four numbers"),
        ([("a", [0.1, 0.1, 0.5, 1]), ("b", [0, 0.5, 1, 1])], "fractions of the page: multiply them by 1000"),
        ({**READ, "width": 0}, "width 0: it must be the image's"),
        ({**READ, "height": None}, "height None: it must be the image's"),
        ({**READ, "words": "ab"}, "has the words 'ab'"),
        ({**READ, "words": [{"text": "a"}]}, r"words'\]\[0\] is .* a 'box' of xmin, ymin, xmax, ymax in pixels"),
        ({**READ, "words": [{"text": None, "box": dict.fromkeys(SIDES, 1)}]}, r"words'\]\[0\] is"),
        ({**READ, "words": [{"text": "a", "box": {**dict.fromkeys(SIDES, 1), "xmin": float("nan")}}]}, "a 'box' of"),
    ):
        yield {"question": QUESTION, "word_boxes": boxes}, UnsupportedError, message
    words = [("a", box)]
    yield {"question": "", "word_boxes": words}, ValueError, "question is empty"
    yield {"question": " \n", "word_boxes": words}, ValueError, "question is empty"
    yield {"question": None, "word_boxes": words}, ValueError, "question is missing"
    yield {"word_boxes": words}, ValueError, "question is missing"
    yield {"question": 3, "word_boxes": words}, ValueError, "question is of type int"
    yield {"question": "\ud800", "word_boxes": words}, ValueError, "surrogate"
    yield {"question": QUESTION}, ValueError, "an image or word_boxes"
    yield {"question": QUESTION, "image": b"broken", "word_boxes": words}, ImageError, "image"
    yield {"question": QUESTION, "image": "none.png"}, ImageError, "no such file"
    yield {"question": QUESTION, "words": words}, UnknownArgumentError, "did you mean 'word_boxes'"
    yield (
        {"question": " ".join(["where"] * 600), "word_boxes": words},
        ValueError,
        "600 tokens leaves no room for the page",
    )


@pytest.mark.parametrize(("bad", "kind", "message"), list(bad_inputs()))
def test_a_bad_input_takes_no_other_down(
    qa: Any, page: Page, bad: dict[str, Any], kind: type[Exception], message: str
) -> None:
    good = {"question": QUESTION, "word_boxes": page.word_boxes}
    first, wrong, third = qa([good, bad, good], on_error="return")
    assert first == third and first[0]["answer"] == TOTAL
    assert isinstance(wrong, ItemError) and isinstance(wrong.error, kind)
    with pytest.raises(kind, match=message):
        qa(bad)


def test_every_question_of_a_call_reads_the_words_of_an_iterator(qa: Any, page: Page) -> None:
    answers = qa(None, [QUESTION] * 2, iter(page.word_boxes))
    assert [answer["answer"] for (answer,) in answers] == [TOTAL, TOTAL]


def test_words_stand_on_white_where_an_image_is_transparent(page: Page) -> None:
    """Models see the colours beneath the transparency, as in transformers; black words on such black have no shape."""
    seen: list[Any] = []
    processor = LayoutLMv3ImageProcessor(size=8, apply_ocr=False)
    model = Reader("pixel_values")
    qa = DocumentQuestionAnsweringPipeline(
        model, words_tokenizer(), image_processor=processor, task="document-question-answering"
    )
    clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    qa(clear, QUESTION, ocr=lambda image: seen.append((image.mode, image.getpixel((0, 0)))) or page.words)
    assert seen == [("RGB", (255, 255, 255))]
    expected = processor(Image.new("RGB", (20, 10)), return_tensors="np")["pixel_values"]
    assert (model.feeds[0]["pixel_values"] == expected).all()


def test_what_is_not_an_input(qa: Any, page: Page) -> None:
    for value in (page.image, "receipt.png", 3, None):
        with pytest.raises(ValueError, match=r"pass an image with question="):
            qa(value)


def test_bad_options(qa: Any, page: Page) -> None:
    with pytest.raises(UnknownChoiceError, match="'tesseract', 'rapidocr'"):
        qa(page.image, QUESTION, ocr="easyocr")
    with pytest.raises(UnsupportedError, match="top_k=0"):
        qa(None, QUESTION, page.word_boxes, top_k=0)
    with pytest.raises(UnknownArgumentError, match="doc_stride"):
        qa(None, QUESTION, page.word_boxes, doc_strde=3)
    with pytest.raises(ValueError, match="stride=60 is too large"):
        qa(None, QUESTION, page.word_boxes * 9, max_seq_len=64, doc_stride=60)
    qa.tokenizer.padding_side = "left"
    with pytest.raises(ValueError, match="padding side is 'right'"):
        qa(None, QUESTION, page.word_boxes)


def test_a_missing_program_is_an_error_of_the_items_that_need_it(
    qa: Any, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytesseract")
    monkeypatch.setenv("PATH", "")
    inputs = [{"image": page.image, "question": QUESTION, "word_boxes": page.word_boxes},
              {"image": page.image, "question": QUESTION}]  # fmt: skip
    first, second = qa(inputs, on_error="return")
    assert first[0]["answer"] == TOTAL
    assert isinstance(second.error, MissingDependencyError) and "apt-get install" in str(second.error)


# -- the command line ---
@pytest.fixture
def run(qa: Any, page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    qa.options = qa.parse({"ocr": lambda image: page.words}, None)
    monkeypatch.setattr("onnxpipe.factory.pipeline", lambda *args, **kwargs: qa)
    page.image.save(tmp_path / "receipt.png")

    def run(*args: Any, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["run", "document-question-answering", *map(str, args)])
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_questions_from_the_command_line(run: Callable[..., str], tmp_path: Path) -> None:
    image, drawn = tmp_path / "receipt.png", tmp_path / "drawn.png"
    shown = run(image, "--question", QUESTION, "--draw", drawn)
    assert QUESTION in shown and f"  {TOTAL}" in shown and drawn.is_file()
    assert np.any(np.asarray(Image.open(drawn).convert("RGB"))[:1000] != np.asarray(Image.open(image)))
    (answer,) = json.loads(run(image, "--question", QUESTION, "--json"))
    assert answer["answer"] == TOTAL and "boxes" not in answer
    own = json.dumps({"image": str(image), "question": "where is the bread"})
    both = run(own, image, "--question", QUESTION, "--json").splitlines()
    assert [json.loads(line)[0]["answer"] for line in both] == ["3.80", TOTAL]
    assert "needs --question" in run(image, code=2)


def test_a_table_of_pages(run: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "pages.csv").write_text("id,image\n1,receipt.png\n2,none.png\n", encoding="utf-8")
    options = ("--input", tmp_path / "pages.csv", "--on-error", "return", "--output")
    run(*options, tmp_path / "out.csv", "--question", QUESTION, "--draw", tmp_path / "all", code=3)
    first, second = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8")))
    assert first["answer"] == TOTAL and Path(first["image_file"]).is_file() and first["start"] == first["end"]
    assert "no such file" in second["error"] and not second["answer"]
    (tmp_path / "asked.csv").write_text(f"scan,ask\nreceipt.png,{QUESTION}\nreceipt.png,where is the bread\n", "utf-8")
    asked = ("--input", tmp_path / "asked.csv", "--output", tmp_path / "answers.csv")
    run(*asked, "--column", "image=scan,question=ask")
    rows = csv.DictReader(io.StringIO((tmp_path / "answers.csv").read_text("utf-8")))
    assert [row["answer"] for row in rows] == [TOTAL, "3.80"]
    assert "name the column to read: --column image=NAME,question=NAME" in run(*asked, code=1)
    assert "--column image=NAME,question=NAME" in run(*asked, "--column", "scan", code=2)
    run(*asked, "--column", "scan", "--question", QUESTION, "--overwrite")
    assert (tmp_path / "answers.csv").read_text("utf-8").count(TOTAL) == 2
