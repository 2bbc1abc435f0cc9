"""The task ocr: its answer, drawing and table, without a model."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import onnxpipe
from onnxpipe.cli import main
from onnxpipe.engine.scheduler import ItemError
from onnxpipe.errors import ImageError, UnknownArgumentError, UnknownChoiceError, UnsupportedError

Image = pytest.importorskip("PIL.Image")
from onnxpipe.processing.images.drawing.draw import draw  # noqa: E402
from zoo.documents import Page, receipt  # noqa: E402


@pytest.fixture(scope="module")
def page() -> Page:
    return receipt(400, 500, 12)


@pytest.fixture
def pipe(page: Page) -> Any:
    return onnxpipe.pipeline("ocr", ocr=lambda image: page.words)


def test_words_lines_and_text(pipe: Any, page: Page) -> None:
    answer = pipe(page.image)
    assert (answer["width"], answer["height"]) == (400, 500)
    assert [word["text"] for word in answer["words"]] == [word for word, _ in page.words]
    assert answer["text"].splitlines()[11] == answer["lines"][11]["text"] == "Total 27.83"
    (left, top, right, bottom), place = page.words[0][1], answer["words"][0]["box"]
    assert place == {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
    assert json.loads(json.dumps(answer)) == answer


def test_lists_streams_and_bad_items(pipe: Any, page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    inputs = [page.image, str(tmp_path / "broken.png"), page.image]
    first, broken, third = pipe(inputs, on_error="return")
    assert first == third == pipe(page.image) == next(iter(pipe(image for image in [page.image])))
    assert isinstance(broken, ItemError) and isinstance(broken.error, ImageError)
    with pytest.raises(ImageError):
        pipe(inputs)


def test_nothing_found_is_an_empty_text() -> None:
    answer = onnxpipe.pipeline("ocr", ocr=lambda image: [])(Image.new("RGB", (20, 10)))
    assert answer == {"text": "", "words": [], "lines": [], "width": 20, "height": 10}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_read_as_white_paper(mode: str) -> None:
    seen: list[Any] = []
    onnxpipe.pipeline("ocr", ocr=lambda image: seen.append(image) or [])(Image.new(mode, (20, 10)))
    assert (seen[0].mode, seen[0].getcolors()) == ("RGB", [(200, (255, 255, 255))])


@pytest.mark.parametrize("name", ["model", "tokenizer", "image_processor", "device", "dtype", "threads", "revision"])
def test_what_is_for_a_model_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"ocr runs without a model: leave {name}= out"):
        onnxpipe.pipeline("ocr", **{name: "x"})


def test_bad_options_are_refused_at_once(pipe: Any) -> None:
    with pytest.raises(UnknownChoiceError):
        onnxpipe.pipeline("ocr", ocr="tesserct")
    with pytest.raises(UnknownArgumentError, match="did you mean 'lang'"):
        onnxpipe.pipeline("ocr", langs="eng")
    with pytest.raises(UnsupportedError, match=r"lang='eng' is for ocr=\"tesseract\""):
        pipe(Image.new("RGB", (9, 9)), lang="eng")
    with pytest.raises(UnsupportedError, match="no graph"):
        pipe.placement()
    with pytest.raises(UnsupportedError, match="nothing to save"):
        pipe.save_pretrained("folder")


def test_the_drawing_marks_words(pipe: Any, page: Page) -> None:
    answer = pipe(page.image)
    answer["words"][0]["score"] = 0.2
    drawn = draw(page.image, answer)
    assert drawn.height > page.image.height  # the legend
    doubtful, sure = (
        np.asarray(drawn.crop(tuple(answer["words"][place]["box"].values())), np.int64) for place in (0, 1)
    )
    assert doubtful[..., 0].mean() > doubtful[..., 2].mean() and sure[..., 0].mean() < sure[..., 2].mean()
    blank = Image.new("RGB", (240, 100))
    assert draw(blank, {"words": [], "lines": []}).width == 480  # enlarged, for the legend


def test_the_command_line(pipe: Any, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "page.png"
    page.image.save(image)
    monkeypatch.setattr("onnxpipe.processing.ocr.tesseract.read", lambda *args: pipe.options.ocr and _ocr_words(page))

    def run(*words: Any) -> str:
        done = CliRunner().invoke(main, ["run", "ocr", *map(str, words)])
        assert done.exit_code in (0, 3), done.output
        return done.stdout

    lines = run(image, "--draw", tmp_path / "drawn.png").splitlines()
    assert lines[0] == str(image) and "  Total 27.83" in lines and (tmp_path / "drawn.png").is_file()
    assert json.loads(run(image, "--json"))["words"][0]["text"] == "CORNER"
    (tmp_path / "pages.csv").write_text("id,image\n1,page.png\n2,none.png\n", encoding="utf-8")
    table = run("--input", tmp_path / "pages.csv", "--on-error", "return", "--draw", tmp_path / "all")
    first, second = csv.DictReader(io.StringIO(table))
    assert "Total 27.83" in first["text"].splitlines() and json.loads(first["words"])[0]["text"] == "CORNER"
    assert Path(first["image_file"]).is_file() and "no such file" in second["error"] and not second["text"]


def _ocr_words(page: Page) -> Any:
    from onnxpipe.processing.ocr.reader import Ocr

    return Ocr(lambda image: page.words).read(page.image)
