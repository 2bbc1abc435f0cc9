"""Format answers about images for people: labels, boxes, sizes of masks, matched points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxpipe.cli.run.plain import record_of
from onnxpipe.cli.terminal import printable
from onnxpipe.processing.plain_values import is_image

#: Lines of a list of matches or masks.
_LINES = 10
#: Longest title: base64 has no end.
_TITLE = 120


def image_lines(answer: Any) -> list[str] | None:
    """Format the lines under an input's title; None where the answer is not one about images."""
    if is_image(answer):
        return [_generated(answer)]
    if isinstance(answer, list) and answer and all(map(is_image, answer)):
        return list(map(_generated, answer))
    if isinstance(answer, Mapping) and "predicted_depth" in answer:
        depth = answer["predicted_depth"]
        return [f"{_size(answer['depth'])}, depth {float(depth.min()):.4g} to {float(depth.max()):.4g}"]
    if isinstance(answer, Mapping) and "masks" in answer:
        return list(_masks(answer))
    if isinstance(answer, Mapping) and "words" in answer and "lines" in answer:
        return list(_read_lines(answer))
    if not isinstance(answer, list) or not answer or not isinstance(answer[0], Mapping):
        return None
    if "mask" in answer[0]:
        return _aligned([[_score(each["score"]), _name(each), _share(each["mask"])] for each in answer])
    if "box" in answer[0]:
        return _aligned([[_score(each["score"]), _name(each), _box(each["box"])] for each in answer])
    if "keypoint_image_0" in answer[0]:
        return list(_matches(answer))
    return None


def image_title(value: Any) -> str:
    """Name an input in one line: its path, or both paths of a pair."""
    if isinstance(value, Mapping):
        value = value.get("prompt", value.get("image"))
    if isinstance(value, (list, tuple)):
        return "  |  ".join(image_title(each) for each in value)
    text = printable(str(value))
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"


def _generated(image: Any) -> str:
    """Format the size of an image, and how it was generated if it was."""
    record = record_of(image)
    settings = [f"{name.replace('_', ' ')} {record[name]}" for name in ("seed", "image", "scheduler") if name in record]
    return ", ".join([_size(image), *settings])


def _masks(answer: Mapping[str, Any]) -> Iterator[str]:
    masks = answer["masks"]
    yield f"{len(masks)} masks"
    yield from _aligned(
        [[_score(float(score)), _share(mask)] for mask, score in zip(masks[:_LINES], answer["scores"][:_LINES])]
    )
    if len(masks) > _LINES:
        yield f"… and {len(masks) - _LINES} more"


def _read_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Format the text that was read, a line of the image a line; the boxes are for --json and --draw."""
    lines = [printable(line["text"]) for line in answer["lines"]]
    yield from lines or ["(no text found)"]


def _matches(answer: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{len(answer)} matches"
    places = ("keypoint_image_0", "keypoint_image_1")
    yield from _aligned(
        [
            [_score(each["score"]), "  ->  ".join(f"{each[name]['x']:.0f},{each[name]['y']:.0f}" for name in places)]
            for each in answer[:_LINES]
        ]
    )
    if len(answer) > _LINES:
        yield f"… and {len(answer) - _LINES} more"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _score(score: float | None) -> str:
    return "     -" if score is None else f"{score:.4f}"


def _name(entry: Mapping[str, Any]) -> str:
    return printable(str(entry["label"]))


def _box(box: Mapping[str, int]) -> str:
    return f"{box['xmin']},{box['ymin']} - {box['xmax']},{box['ymax']}"


def _share(mask: Any) -> str:
    from onnxpipe.tasks.base.columns import mask_share

    return f"{mask_share(mask):6.1%} of the image"


def _size(image: Any) -> str:
    return f"{image.width}x{image.height} {image.mode}"
