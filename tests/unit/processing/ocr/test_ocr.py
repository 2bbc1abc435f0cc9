"""Words that are read off images: the programs, functions of the user's, lines, and boxes in both units."""

from __future__ import annotations

import shutil
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import MissingDependencyError, UnknownChoiceError, UnsupportedError
from onnxpipe.processing.ocr import rapidocr
from onnxpipe.processing.ocr.reader import Ocr
from onnxpipe.processing.ocr.words import lines_of, number_lines, to_edges, to_page, to_pixels

Image = pytest.importorskip("PIL.Image")
from zoo.documents import TOTAL, Page, receipt  # noqa: E402

#: Words of 100 that a program may read wrongly.
MOST_WRONG = {"tesseract": 8, "rapidocr": 3}


@pytest.fixture(scope="module")
def page() -> Page:
    return receipt()


@pytest.fixture(params=["tesseract", "rapidocr"])
def program(request: pytest.FixtureRequest) -> str:
    pytest.importorskip({"tesseract": "pytesseract"}.get(request.param, request.param))
    if request.param == "tesseract" and shutil.which("tesseract") is None:
        pytest.skip("the program tesseract is not installed")
    return str(request.param)


def wrong(expected: list[str], got: list[str]) -> int:
    """The number of words that were replaced, left out or made up: the edit distance in words."""
    row = list(range(len(got) + 1))
    for i, word in enumerate(expected, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


# -- programs ---
def test_a_drawn_receipt_is_read(program: str, page: Page) -> None:
    found = Ocr(program).read(page.image)
    expected = [word for word, _ in page.words]
    assert wrong(expected, [word.text for word in found]) * 100 <= MOST_WRONG[program] * len(expected)
    assert all(word.score is not None and 0 <= word.score <= 1 for word in found)
    (total,) = [word for word in found if word.text == TOTAL]
    drawn = dict(page.words)[TOTAL]
    assert np.abs(np.subtract(total.box, drawn)).max() < 28  # within the height of a letter
    assert f"Total {TOTAL}" in [line.text for line in lines_of(found)]


def test_an_empty_page_has_no_words(program: str) -> None:
    assert Ocr(program).read(Image.new("RGB", (300, 200), "white")) == []
    assert Ocr(program).read(Image.new("RGB", (1, 1), "white")) == []


def test_nothing_is_logged(program: str, page: Page, capfd: pytest.CaptureFixture[str]) -> None:
    Ocr(program).read(page.image.crop((0, 40, 300, 100)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "package"), [("tesseract", "pytesseract"), ("rapidocr", "rapidocr")], ids=["tesseract", "rapidocr"]
)
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    rapidocr._engine.cache_clear()
    with pytest.raises(MissingDependencyError, match=rf'pip install "onnxpipe\[{name}\]"'):
        Ocr(name).read(Image.new("RGB", (8, 8)))


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytesseract")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match=r"apt-get install tesseract-ocr.*ocr=\"rapidocr\""):
        Ocr("tesseract").read(Image.new("RGB", (8, 8)))


def test_what_tesseract_refuses_is_told(page: Page) -> None:
    pytest.importorskip("pytesseract")
    if shutil.which("tesseract") is None:
        pytest.skip("the program tesseract is not installed")
    with pytest.raises(UnsupportedError, match=r"lang='no-such'.*--list-langs"):
        Ocr("tesseract", lang="no-such").read(page.image)
    with pytest.raises(UnsupportedError, match="tesseract_config='--psm'"):
        Ocr("tesseract", tesseract_config="--psm").read(page.image)


def test_rows_of_tesseracts_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "text": ["", " ", "Total", "27.83", "Card"], "conf": [-1, 95, 96, 91, -1], "left": [0, 1, 10, 60, 10],
        "top": [0, 1, 20, 21, 50], "width": [99, 9, 40, 30, 30], "height": [99, 9, 11, 10, 12],
        "page_num": [1] * 5, "block_num": [1] * 5, "par_num": [1] * 5, "line_num": [0, 0, 1, 1, 2],
    }  # fmt: skip
    calls: list[dict[str, Any]] = []
    fake = SimpleNamespace(
        image_to_data=lambda image, **kwargs: calls.append(kwargs) or table,
        TesseractNotFoundError=OSError, TesseractError=RuntimeError,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pytesseract", fake)
    found = Ocr("tesseract", "deu", "--psm 6").read(Image.new("RGB", (99, 99)))
    assert calls == [{"lang": "deu", "config": "--psm 6", "output_type": "dict"}]
    assert [(word.text, word.box, word.line, word.score) for word in found] == [
        ("Total", (10, 20, 50, 31), 0, 0.96), ("27.83", (60, 21, 90, 31), 0, 0.91), ("Card", (10, 50, 40, 62), 1, 0.0),
    ]  # fmt: skip


def test_a_stretch_without_boxes_of_words_is_shared_out() -> None:
    corners = np.array([[10, 5], [110, 5], [110, 25], [10, 25]], np.float32)
    found = list(rapidocr._words("ab cd ef gh", 0.5, corners, ()))
    assert [(word.text, word.box) for word in found[:2]] == [("ab", (10, 5, 28, 25)), ("cd", (37, 5, 55, 25))]
    assert found[-1].box[2] == 110


# -- functions ---
def test_a_function_reads(page: Page) -> None:
    found = Ocr(lambda image: [*page.words, ("  ", (0, 0, 1, 1))]).read(page.image)
    assert [(word.text, word.box) for word in found] == list(page.words)
    assert found[0].score is None and lines_of(found)[0].score is None
    assert [line.text for line in lines_of(found)][3:6] == [
        "Date 2026-11-28 Till 3", "Coffee beans 500 g 12.40", "Oat milk 2.35"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given", ["words", None, ["word"], [("word",)], [(1, (0, 0, 1, 1))], [("w", (0, 0, 1))], [("w", (0, 0, "x", 1))],
              [("w", (0, 0, float("nan"), 1))], [("w", "0011")], [("w", b"0011")], [("w", (9, 0, 1, 1))],
              [("w", (0, 9, 1, 1))], [("w", {0, 1, 2, 3})], [("w", (0, 0, 1, "1"))]]
)  # fmt: skip
def test_what_a_function_gives_is_checked(given: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"the function passed as ocr= gave .* \(word, box\) pairs"):
        Ocr(lambda image: given).read(Image.new("RGB", (8, 8)))


@pytest.mark.parametrize("program", ["easyocr", "", 3, None])
def test_an_unknown_program_is_refused(program: Any) -> None:
    with pytest.raises(UnknownChoiceError, match="'tesseract', 'rapidocr'"):
        Ocr(program).check()


@pytest.mark.parametrize("options", [{"lang": "deu"}, {"tesseract_config": "--psm 6"}])
def test_options_of_tesseract_are_refused_elsewhere(options: dict[str, str]) -> None:
    for other in ("rapidocr", lambda image: []):
        with pytest.raises(UnsupportedError, match=r"is for ocr=\"tesseract\""):
            Ocr(other, **options).check()


# -- boxes and lines ---
def test_boxes_in_both_units() -> None:
    assert to_page((10, 20, 199, 400), 200, 400) == [50, 50, 995, 1000]
    assert to_page((-3, 0, 250, 1), 200, 400) == [0, 0, 1000, 2]
    assert to_pixels([50, 50, 995, 1000], 200, 400) == [10, 20, 199, 400]
    assert to_edges(np.array([0.2, 1.0, 3.1, 4.0])) == (0, 1, 4, 4)
    assert to_edges("1234") is None and to_edges((0, 0, 10**400, 1)) is None and to_edges((0, 0, 1, 1, "2")) is None
    assert to_edges("abcd") is None and to_edges([1, 2, 3]) is None and to_edges([0, 0, float("inf"), 1]) is None


def test_lines_by_boxes_alone() -> None:
    boxes = [(0, 0, 10, 10), (12, 2, 20, 11), (40, 4, 50, 9), (0, 20, 10, 30), (12, 26, 20, 36), (0, 26, 9, 36)]
    assert number_lines(boxes) == [0, 0, 0, 1, 2, 3]
    assert number_lines([]) == []
