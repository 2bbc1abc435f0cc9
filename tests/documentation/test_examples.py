"""Every file of examples/ does its job on a real model, as a command, as a reader would run it."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from documentation.blocks import ROOT
from documentation.hub import model_package

Find = Callable[[str], Path]
pytestmark = pytest.mark.xdist_group("real")


def run(name: str, *words: object, folder: Path, stdin: str | None = None) -> str:
    """What an example prints, run in a folder."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, words)],
        cwd=folder, capture_output=True, text=True, encoding="utf-8", input=stdin,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def data(name: str) -> Path:
    root = os.environ.get("ONNXPIPE_TEST_DATA")
    if not root:
        pytest.skip("no data: set ONNXPIPE_TEST_DATA to the folder of labelled sets")
    return Path(root) / name


def test_every_example_has_a_test_and_a_line() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")} - {"__init__"}
    assert names - {"demo"} == {name.removeprefix("test_") for name in globals() if name.startswith("test_")} - {
        "every_example_has_a_test_and_a_line"
    }
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"[{name}.py]({name}.py)" in table for name in names)


def test_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_model: Find) -> None:
    packages = model_package(tmp_path / "packages", real_model)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]))
    near, far = run("quickstart", folder=tmp_path).strip(" []\n").split(", ")
    assert float(near) > 0.5 > 0.2 > float(far)
    assert (tmp_path / "minilm" / "onnx" / "model_int8.onnx").is_file()


def test_review_table(tmp_path: Path, real_bundle: Find) -> None:
    texts = ["What a wonderful film.", "A dull and endless mess.", "I loved every minute."]
    with (tmp_path / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows({"id": i, "text": text} for i, text in enumerate(texts))
    run("review_table", "reviews.csv", "labelled.csv", "--model", real_bundle("minilm-sst2"), folder=tmp_path)
    with (tmp_path / "labelled.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == texts
    assert [row["label"] for row in rows] == ["POSITIVE", "NEGATIVE", "POSITIVE"]


def test_semantic_search(tmp_path: Path, real_bundle: Find) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "pets.md").write_text("# Pets\n\nThe cat sleeps on the mat.\n\nDogs bark.\n", "utf-8")
    (tmp_path / "notes" / "money.txt").write_text("Shares fell on Monday.\n", "utf-8")
    question = "Where does the kitten rest?"
    answer = run(
        "semantic_search", "notes", question, "--model", real_bundle("all-MiniLM-L6-v2"), "--top", 2, folder=tmp_path
    )
    first, second = answer.splitlines()
    assert "pets.md:3" in first and "The cat sleeps" in first and "pets.md" in second


def test_hide_names(tmp_path: Path, real_bundle: Find) -> None:
    (tmp_path / "letter.txt").write_text("Angela Merkel lives in Berlin.\n\nShe likes tea.\n", encoding="utf-8")
    answer = run("hide_names", "letter.txt", "--model", real_bundle("minilm-conll"), folder=tmp_path)
    assert answer == "[PER] lives in [LOC].\n\nShe likes tea.\n"


def test_translate_file(tmp_path: Path, real_bundle: Find) -> None:
    (tmp_path / "english.txt").write_text("The train goes to Lyon.\n\nGood morning.\n", encoding="utf-8")
    model = real_bundle("opus-mt-en-fr")
    run("translate_file", "english.txt", "french.txt", "--model", model, "--dtype", "int8", folder=tmp_path)
    lines = (tmp_path / "french.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Le train va à Lyon." and lines[1] == "" and lines[2].startswith("Bonjour")


def test_chat(tmp_path: Path, real_bundle: Find) -> None:
    """A model that tells stories, with the simplest chat template there is."""
    model = shutil.copytree(real_bundle("stories15M"), tmp_path / "model")
    (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }} {% endfor %}", "utf-8")
    (model / "bundle.json").unlink()  # its list of files does not have the template
    answer = run("chat", "--model", model, "--max-new-tokens", 12, folder=tmp_path, stdin="Once upon a time\nThen\n")
    assert answer.count("> ") == 3 and len(answer.split()) > 12


def test_video_subtitles(tmp_path: Path, real_bundle: Find) -> None:
    video = data("speech/jfk.flac")
    run("video_subtitles", video, "video.srt", "--model", real_bundle("whisper-tiny.en"), folder=tmp_path)
    text = (tmp_path / "video.srt").read_text(encoding="utf-8")
    assert text.startswith("1\n00:00:00,000 --> ") and "ask not what your country can do for you" in text.replace(
        "\n", " "
    )


def test_draw_lines(tmp_path: Path, bundles: Callable[..., Path]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "story.txt").write_text("A cat sleeps.\n\nIt dreams of fish.\nIt wakes.\n", encoding="utf-8")
    model = bundles("turbo", "diffusion")
    shown = run("draw_lines", "story.txt", "sheet.png", "--model", model, "--steps", 1, folder=tmp_path)
    assert shown.splitlines() == ["seed 0: A cat sleeps.", "seed 1: It dreams of fish.", "seed 2: It wakes."]
    assert pillow.open(tmp_path / "sheet.png").size == (128, 128)


def test_image_sorter(tmp_path: Path, real_bundle: Find) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("n02391049_zebra.JPEG", "n07747607_orange.JPEG"):
        shutil.copy(data("imagenet") / name, tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"not an image")
    run("image_sorter", "photos", "sorted", "--model", real_bundle("resnet-50"), folder=tmp_path)
    found = {path.relative_to(tmp_path / "sorted").as_posix() for path in (tmp_path / "sorted").rglob("*.JPEG")}
    assert found == {"zebra/n02391049_zebra.JPEG", "orange/n07747607_orange.JPEG"}
