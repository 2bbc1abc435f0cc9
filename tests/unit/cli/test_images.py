"""`onnxpipe run` on images, with a fake pipeline: its inputs, what is printed, drawn and written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from odd_names import odd_folder
from onnxpipe.cli.run.image_lines import image_lines
from onnxpipe.cli.run.outputs import stem_of
from onnxpipe.processing.images.io.load import load_image
from unit.cli.fakes import FakeCLI

Image = pytest.importorskip("PIL.Image")

SIZE = (40, 30)
BOX = {"xmin": 2, "ymin": 3, "xmax": 20, "ymax": 25}
DETECTED = [{"score": 0.98765, "label": "cat", "box": BOX}, {"score": 0.5, "label": "sofa", "box": BOX}]


@pytest.fixture
def cli(cli: FakeCLI) -> FakeCLI:
    cli.answer, cli.labels = lambda value: DETECTED, {0: "cat", 1: "sofa", 2: "dog"}
    return cli


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.png", tmp_path / "sub" / "a.png", tmp_path / "b c.jpg"]
    paths[1].parent.mkdir()
    for path, colour in zip(paths, ("red", "green", "blue"), strict=True):
        Image.new("RGB", SIZE, colour).save(path)
    return paths


def mask(*columns: int) -> Any:
    array = np.zeros(SIZE[::-1], np.uint8)
    array[:, list(columns)] = 255
    return Image.fromarray(array)


def depth(value: Any) -> Any:
    numbers = np.linspace(0.5, 2, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE[::-1])
    return {"predicted_depth": numbers, "depth": Image.new("L", SIZE)}


# -- what reaches the pipeline, what is printed ---
def test_a_file_whose_name_is_not_utf8(cli: FakeCLI, tmp_path: Path) -> None:
    folder = odd_folder(tmp_path)
    Image.new("RGB", SIZE).save(folder / "a.png")
    result = cli.run("object-detection", folder / "a.png", "--draw", folder / "drawn.png")
    assert cli.inputs == [folder / "a.png"]
    assert (folder / "drawn.png").is_file()
    result.stdout.encode()  # what is printed has no half of a surrogate pair
    assert "is not UTF-8" in cli.run("object-detection", folder / "none.png", code=1).stderr
    assert cli.inputs == []


def test_detection_is_shown(cli: FakeCLI, photos: list[Path]) -> None:
    result = cli.run("object-detection", photos[0], "-", "-p", "threshold=0.3", stdin=f"{photos[2]}\n")
    assert cli.inputs == [str(photos[0]), str(photos[2])]
    assert cli.params == {"threshold": 0.3}
    assert result.stdout.splitlines()[:3] == [
        str(photos[0]),
        "  0.9877  cat   2,3 - 20,25",
        "  0.5000  sofa  2,3 - 20,25",
    ]


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ([{"score": None, "label": "sky", "mask": mask(*range(10))}], ["     -  sky   25.0% of the image"]),
        (depth(None), ["40x30 L, depth 0.5 to 2"]),
        (Image.new("RGBA", SIZE), ["40x30 RGBA"]),
        ({"masks": [np.ones((2, 2), bool)] * 12, "scores": np.linspace(1, 0.9, 12)}, ["12 masks", "1.0000  100.0% of"]),
        ([{"keypoint_image_0": {"x": 1, "y": 2}, "keypoint_image_1": {"x": 3, "y": 4}, "score": 0.5}],
         ["1 matches", "0.5000  1,2  ->  3,4"]),
        ([], None),
        ([{"label": "cat", "score": 0.5}], None),
    ],
)  # fmt: skip
def test_lines(answer: Any, lines: list[str] | None) -> None:
    shown = image_lines(answer)
    assert (shown is None) == (lines is None)
    for line, expected in zip(shown or [], lines or []):
        assert line.startswith(expected)
    assert len(shown or []) <= 12


def test_classification_and_nothing_found(cli: FakeCLI, photos: list[Path]) -> None:
    cli.answer = lambda value: [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}]
    assert cli.run("image-classification", photos[0]).stdout.splitlines()[1:] == ["  0.9000  cat", "  0.1000  dog"]
    cli.answer = lambda value: []
    assert "(nothing found)" in cli.run("object-detection", photos[0]).stdout


def test_labels(cli: FakeCLI, photos: list[Path]) -> None:
    cli.answer = lambda value: [{"score": 0.9, "label": "cat"}]
    cli.run("zero-shot-image-classification", photos[0], "--labels", "cat, dog")
    assert cli.params == {"candidate_labels": ["cat", "dog"]}
    cli.run("zero-shot-object-detection", photos[0], "--labels", "cat")
    dictionary = {"image": str(photos[0]), "candidate_labels": ["cat"]}
    cli.run("zero-shot-object-detection", json.dumps(dictionary))
    assert cli.inputs[-1] == dictionary
    assert "needs --labels" in cli.run("zero-shot-image-classification", photos[0], code=2).stderr
    wrong = cli.run("image-classification", photos[0], "--labels", "a", code=2)
    assert "--labels is not for image-classification" in wrong.stderr


def test_pairs(cli: FakeCLI, photos: list[Path]) -> None:
    cli.answer = lambda value: []
    a, b, c = map(str, photos)
    cli.run("keypoint-matching", a, b, c, a)
    assert cli.inputs == [[a, b], [c, a]]
    assert "has no partner" in cli.run("keypoint-matching", a, code=1).stderr


def test_json(cli: FakeCLI, photos: list[Path]) -> None:
    assert json.loads(cli.run("object-detection", photos[0], "--json").stdout) == DETECTED
    cli.answer = lambda value: [{"score": None, "label": "sky", "mask": mask(0)}]
    (segment,) = json.loads(cli.run("image-segmentation", photos[0], "--json").stdout)
    assert np.array_equal(np.asarray(load_image(segment["mask"]))[..., 0], np.asarray(mask(0)))
    cli.answer = depth
    document = json.loads(cli.run("depth-estimation", photos[0], "--json").stdout)
    assert np.shape(document["predicted_depth"]) == SIZE[::-1]


# -- drawings, and answers that are images ---
def test_draw_one(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    result = cli.run("object-detection", photos[0], "--draw", out)
    assert f"-> {out}" in result.stdout
    drawn = Image.open(out)
    assert drawn.size[0] >= SIZE[0]
    assert "exists; --overwrite" in cli.run("object-detection", photos[0], "--draw", out, code=1).stderr
    cli.run("object-detection", photos[0], "--draw", out, "--overwrite")
    both = cli.run("object-detection", *photos[:2], "--draw", out, "--overwrite", code=2)
    assert "name a folder" in both.stderr


def test_draw_several(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    result = cli.run("object-detection", *photos, "--draw", tmp_path / "new" / "drawn")
    assert sorted(path.name for path in (tmp_path / "new" / "drawn").iterdir()) == ["a-2.png", "a.png", "b_c.png"]
    assert result.stdout.count("->") == 3


def test_draw_what_cannot_be_drawn(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    for task in ("text-classification", "image-feature-extraction"):
        assert f"not for {task}" in cli.run(task, photos[0], "--draw", tmp_path / "o.png", code=2).stderr
    assert (
        "is not an image format" in cli.run("object-detection", photos[0], "--draw", tmp_path / "o.txt", code=2).stderr
    )
    assert cli.inputs == []
    assert "no folder" in cli.run("object-detection", photos[0], "--draw", tmp_path / "x" / "o.png", code=1).stderr


def test_answers_that_are_images(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    cli.answer = lambda value: Image.new("RGBA", SIZE, (1, 2, 3, 4))
    cli.run("background-removal", photos[0], "-o", tmp_path / "cut.png")
    assert Image.open(tmp_path / "cut.png").getpixel((0, 0)) == (1, 2, 3, 4)
    assert "name a .png" in cli.run("background-removal", photos[0], "-o", tmp_path / "cut.jpg", code=2).stderr
    assert not (tmp_path / "cut.jpg").exists()
    cli.answer = depth
    shown = cli.run("depth-estimation", *photos, "--output", tmp_path / "depths", "--json").stdout.splitlines()
    assert [json.loads(line)["depth"] for line in shown] == [
        str(tmp_path / "depths" / name) for name in ("a.png", "a-2.png", "b_c.png")
    ]
    assert "needs --input" in cli.run("object-detection", photos[0], "-o", tmp_path / "o.png", code=2).stderr


def test_bad_images_are_reported(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    def answer(value: str) -> Any:
        if value.endswith("b c.jpg"):
            raise ValueError("no such image")
        return DETECTED

    cli.answer = answer
    result = cli.run("object-detection", *photos, "--on-error", "return", "--draw", tmp_path / "d", code=3)
    assert "error: input 3: no such image" in result.stdout
    assert len(list((tmp_path / "d").iterdir())) == 2
    assert "input 3: no such image" in cli.run("object-detection", *photos, code=1).stderr


@pytest.mark.parametrize(
    ("value", "stem"),
    [
        ("photos/x.y.jpg", "x.y"),
        ("https://a.org/cat%20.png?size=1", "cat_20"),
        ("data:image/png;base64,AAAA", "image"),
        ("../../etc/..", "image"),
        (["a/1.png", "b/2.png"], "1-2"),
        ({"image": "c.png", "candidate_labels": []}, "c"),
        (r"C:\photos\d.png", "d"),
        ("x" * 300, "x" * 80),
    ],
)
def test_names(value: Any, stem: str) -> None:
    assert stem_of(value, "image") == stem


# -- tables ---
def table(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "images.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_column_of_paths(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    source = table(tmp_path, [{"id": 1, "path": "a.png"}, {"id": 2, "path": "sub/a.png"}])
    cli.run("object-detection", "--input", source, "--output", tmp_path / "out.csv", "--draw", tmp_path / "d")
    assert cli.inputs == [str(photos[0]), str(photos[1])]  # beside the table
    first, second = rows_of((tmp_path / "out.csv").read_text())
    assert list(first) == ["id", "path", "objects", "image_file"]
    assert json.loads(first["objects"]) == DETECTED
    assert [first["image_file"], second["image_file"]] == [str(tmp_path / "d" / name) for name in ("a.png", "a-2.png")]


def test_columns_of_answers(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    source = table(tmp_path, [{"image": str(photos[0])}])

    def cells(task: str, answer: Any, *options: Any) -> dict[str, str]:
        cli.answer = lambda value: answer
        (row,) = rows_of(cli.run(task, "--input", source, *options).stdout)
        return {name: cell for name, cell in row.items() if name != "image"}

    labels = [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}]
    assert cells("image-classification", labels[:1]) == {"label": "cat", "score": "0.9"}
    assert cli.params == {"top_k": 1}
    assert list(cells("image-classification", labels, "-p", "top_k=2")) == ["label_1", "score_1", "label_2", "score_2"]
    zero = cells("zero-shot-image-classification", labels, "--labels", "cat,dog")
    assert (zero["label"], json.loads(zero["scores"])) == ("cat", {"cat": 0.9, "dog": 0.1})
    assert cells("depth-estimation", depth(None)) == {"depth_min": "0.5", "depth_max": "2.0"}
    (segment,) = json.loads(
        cells("image-segmentation", [{"score": 0.5, "label": "sky", "mask": mask(0, 1)}])["segments"]
    )
    assert (segment["label"], segment["share"]) == ("sky", 0.05)
    masks = json.loads(cells("mask-generation", {"masks": [np.ones((2, 2), bool)], "scores": np.ones(1)})["masks"])
    assert (masks[0]["score"], masks[0]["share"]) == (1.0, 1.0)
    assert json.loads(cells("image-feature-extraction", [[[1.0, 2.0]]])["features"]) == [[1.0, 2.0]]


def test_tables_of_pairs_labels_and_images(cli: FakeCLI, photos: list[Path], tmp_path: Path) -> None:
    source = table(tmp_path, [{"one": "a.png", "two": "sub/a.png", "names": "cat, dog"}])
    cli.answer = lambda value: []
    cli.run("keypoint-matching", "--input", source, "--column", "image_0=one,image_1=two")
    assert cli.inputs == [[str(photos[0]), str(photos[1])]]
    cli.run("zero-shot-object-detection", "--input", source, "--column", "image=one,candidate_labels=names")
    assert cli.inputs[-1] == {"image": str(photos[0]), "candidate_labels": ["cat", "dog"]}
    cli.answer = lambda value: Image.new("RGB", SIZE)
    wanted = ["image-to-image", "--input", source, "--column", "one"]
    assert "--draw DIR" in cli.run(*wanted, code=2).stderr
    (row,) = rows_of(cli.run(*wanted, "--draw", tmp_path / "made").stdout)
    assert row["image_file"] == str(tmp_path / "made" / "a.png")
    assert "name a folder" in cli.run(*wanted, "--draw", tmp_path / "made.png", code=2).stderr
    assert "name the column to read" in cli.run("image-classification", "--input", source, code=1).stderr


def test_cells_without_an_image(cli: FakeCLI, tmp_path: Path) -> None:
    source = table(tmp_path, [{"image": "", "id": 1}, {"image": "x.png", "id": 2}])
    first, second = rows_of(cli.run("object-detection", "--input", source, "--on-error", "return", code=3).stdout)
    assert first["error"] == "nothing in the column 'image'"
    assert json.loads(second["objects"]) == DETECTED
