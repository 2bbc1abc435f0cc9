"""Answers drawn into images: that everything in them is visible, where it should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

import onnxpipe  # noqa: E402
from onnxpipe.errors import UnsupportedError  # noqa: E402
from onnxpipe.processing.images.drawing import canvas  # noqa: E402
from onnxpipe.processing.images.drawing.draw import draw  # noqa: E402

SIZE = (640, 480)
GROUNDS = {"white": 255, "grey": 128, "black": 0}


def _plain(value: int = 128, size: tuple[int, int] = SIZE) -> Any:
    return Image.new("RGB", size, (value,) * 3)


def _box(
    label: str = "cat", score: float = 0.9, at: tuple[int, int, int, int] = (100, 120, 300, 350)
) -> dict[str, Any]:
    return {"score": score, "label": label, "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), at))}


def _pixels(image: Any) -> np.ndarray:
    return np.asarray(image).astype(int)


def _contrast(one: Any, other: Any) -> float:
    """As W3C has it: from 1 for none to 21 for black on white."""
    bright = sorted(float(np.dot((np.asarray(c) / 255) ** 2.2, (0.2126, 0.7152, 0.0722))) + 0.05 for c in (one, other))
    return bright[1] / bright[0]


@pytest.mark.parametrize("ground", GROUNDS)
def test_boxes_are_seen_on_every_ground(ground: str) -> None:
    drawn = _pixels(draw(_plain(GROUNDS[ground]), [_box()]))
    assert drawn.shape == (480, 640, 3)
    colour = np.asarray(canvas.colour(0))
    for y, x in ((120, 200), (350, 200), (200, 100), (200, 300)):
        assert np.abs(drawn[y, x] - colour).max() <= 8
    assert (drawn[10:90, 400:] == GROUNDS[ground]).all()  # what is far away stays as it was


def test_labels_are_legible_chips_above_their_boxes() -> None:
    drawn = _pixels(draw(_plain(), [_box()]))
    chip = drawn[98:118, 102:150].reshape(-1, 3)
    colours, counts = np.unique(chip, axis=0, return_counts=True)
    fill = colours[counts.argmax()]
    assert (fill == canvas.colour(0)).all()
    assert max(_contrast(fill, other) for other in colours) > 3


@pytest.mark.parametrize("number", range(40))
def test_text_is_legible_on_every_colour(number: int) -> None:
    fill = canvas.colour(number)
    assert _contrast(fill, canvas.ink_on(fill)) > 3


def test_colours_differ_and_belong_to_labels() -> None:
    assert len({canvas.colour(number) for number in range(60)}) == 60
    boxes = [
        _box("cat", at=(20, 60, 200, 200)),
        _box("dog", at=(300, 60, 500, 200)),
        _box("cat", at=(20, 300, 200, 400)),
    ]
    drawn = _pixels(draw(_plain(), boxes))
    assert np.abs(drawn[130, 20] - drawn[350, 20]).max() <= 8
    assert np.abs(drawn[130, 20] - drawn[130, 300]).max() > 50


def test_chips_of_boxes_at_one_place_do_not_hide_each_other() -> None:
    places = canvas.Places(SIZE)
    corners = [places.near([(100, 100), (100, 130), (100, 160)], (80, 20)) for _ in range(3)]
    assert len(set(corners)) == 3
    assert places.near([(635, -10)], (80, 20)) == (560, 0)  # inside the image


@pytest.mark.parametrize(
    "at", [(-50, -50, 700, 500), (0, 0, 640, 480), (10, 10, 11, 11), (300, 350, 100, 120), (630, 470, 640, 480)]
)
def test_boxes_beyond_the_image_and_of_no_size(at: tuple[int, int, int, int]) -> None:
    assert draw(_plain(), [_box("a label that is much longer than the image is wide " * 4, at=at)]).size == SIZE


def test_masks_are_tinted_outlined_and_named() -> None:
    mask = np.zeros((480, 640), np.uint8)
    mask[100:300, 200:400] = 255
    other = np.zeros((480, 640), np.uint8)
    other[310:330, 20:60] = 255
    answer = [
        {"score": 0.5, "label": "small", "mask": Image.fromarray(other)},
        {"score": None, "label": "large", "mask": Image.fromarray(mask)},
    ]
    image = draw(_plain(), answer)
    assert image.width == 640
    assert image.height > 480
    drawn = _pixels(image)
    expected = (np.asarray(canvas.colour(0)) + 128) / 2  # the largest has the first colour
    assert np.abs(drawn[200, 300] - expected).max() <= 2
    assert (drawn[50, 50] == 128).all()
    assert drawn[200, 200].sum() > drawn[200, 300].sum() + 60  # the line along the edge
    strip = drawn[480:].reshape(-1, 3)
    for number in range(2):
        assert (strip == canvas.colour(number)).all(1).any()


def test_masks_of_everything() -> None:
    masks = [np.zeros((480, 640), bool) for _ in range(3)]
    masks[0][100:140, 100:140] = True
    masks[1][50:400, 50:600] = True
    drawn = _pixels(draw(_plain(), {"masks": masks, "scores": np.ones(3)}))
    assert np.abs(drawn[120, 120] - drawn[300, 300]).max() > 40  # the small one is on top
    assert drawn.shape == (480, 640, 3)


def test_depths_are_next_to_the_image_with_their_values_below() -> None:
    depth = np.linspace(2, 7, 640, dtype=np.float32)[None].repeat(480, 0)
    drawn = _pixels(draw(_plain(), {"predicted_depth": depth, "depth": None}))
    assert drawn.shape[1] > 2 * 640
    assert drawn.shape[0] > 480
    row = drawn[240, -640:].sum(-1)
    assert row[0] < 60 < 500 < row[-1]
    assert np.corrcoef(row, np.arange(640))[0, 1] > 0.98
    draw(_plain(), {"predicted_depth": np.zeros((1, 480, 640))})  # one and the same depth


def test_labels_are_bars_below() -> None:
    answer = [
        {"label": "tabby, tabby cat " * 9, "score": 0.9},
        {"label": "dog", "score": 0.1},
        {"label": "0", "score": 0},
    ]
    drawn = _pixels(draw(_plain(), answer))
    bars = (drawn[480:] == canvas.colour(1)).all(-1).sum(1)
    rows = np.split(bars, np.flatnonzero(np.diff(bars > 0)) + 1)
    lengths = [int(row.max()) for row in rows if row.max()]
    assert len(lengths) == 2
    assert lengths[0] > 5 * lengths[1]


def test_matches_join_both_images() -> None:
    answer = [
        {"keypoint_image_0": {"x": 100, "y": 100}, "keypoint_image_1": {"x": 50, "y": 100}, "score": 1.0},
        {"keypoint_image_0": {"x": 200.5, "y": 300.0}, "keypoint_image_1": {"x": 90.0, "y": 310.5}, "score": 0.1},
    ]
    drawn = _pixels(draw([_plain(), _plain(90, (320, 240))], answer))
    assert drawn.shape[1] >= 640 + 640
    good = np.asarray(canvas.confidence(1.0))
    assert np.abs(drawn[100, 100] - good).max() < 40  # the small image is twice as large here
    assert (np.abs(drawn[:480] - good).max(-1) < 40).sum() > 300
    assert draw((_plain(), _plain()), [], task="keypoint-matching").width > 2 * 640


def test_removed_backgrounds_lie_on_squares() -> None:
    answer = _plain(10).convert("RGBA")
    answer.putalpha(Image.fromarray((np.arange(640) < 320)[None].repeat(480, 0).astype(np.uint8) * 255))
    drawn = _pixels(draw(_plain(), answer))
    assert (drawn[:, :320] == 10).all()
    assert set(np.unique(drawn[:, 320:])) == {232, 255}


def test_generated_images_are_next_to_their_inputs() -> None:
    assert draw(_plain(), _plain(50, (1280, 960))).width > 2 * 1280


def test_small_images_become_large_enough_for_text() -> None:
    image = draw(_plain(size=(32, 24)), [_box(at=(4, 6, 20, 18))])
    assert image.size == (480, 360)
    drawn = _pixels(image)
    assert np.abs(drawn[180, 60] - canvas.colour(0)).max() <= 8
    mask = np.zeros((24, 32), bool)
    mask[6:18, 4:20] = True
    segment = {"score": 1.0, "label": "cat", "mask": Image.fromarray(mask)}
    assert draw(_plain(size=(32, 24)), [segment]).width == 480
    assert draw(_plain(size=(32, 24)), [], task="object-detection").size == (480, 360)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3000, 40)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    plain = _plain(size=size)
    mask = Image.new("L", size, 255)
    for answer in (
        [_box(at=(0, 0, *size))],
        [{"score": 0.5, "label": "cat", "mask": mask}],
        [{"label": "cat", "score": 0.5}],
        {"predicted_depth": np.ones((size[1], size[0]))},
        {"masks": [np.asarray(mask) > 0], "scores": [1]},
    ):
        assert draw(plain, answer).mode == "RGB"


def test_text_scales_with_the_image() -> None:
    small, large = canvas.Scale.of((640, 480)), canvas.Scale.of((2560, 1920))
    assert small.text >= 12
    assert abs(large.text / small.text - 4) < 0.3


def test_the_input_image_is_left_as_it_is() -> None:
    image = _plain()
    draw(image, [_box()])
    assert (np.asarray(image) == 128).all()


@pytest.mark.parametrize("answer", [[[0.1, 0.2]], {"text": "x"}, 3, "cat", [{"label": "cat"}], None])
def test_what_cannot_be_drawn(answer: Any) -> None:
    with pytest.raises(UnsupportedError, match="cannot be drawn"):
        draw(_plain(), answer)


def test_pairs_are_needed_for_matches() -> None:
    with pytest.raises(TypeError, match="pair"):
        draw(_plain(), [], task="keypoint-matching")


def test_scores_for_people() -> None:
    scores = {0.0: "0%", 0.0001: "<0.1%", 0.0123: "1.2%", 0.0996: "10%", 0.5: "50%", 0.999: "100%", 1.0: "100%"}
    assert {score: canvas.percent(score) for score in scores} == scores


def test_it_is_a_name_of_the_package() -> None:
    assert onnxpipe.draw is draw
