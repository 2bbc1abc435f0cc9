"""Draw the answers of vision tasks into their images, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.images.drawing import canvas, documents
from onnxpipe.processing.images.io.load import load_image
from onnxpipe.processing.images.io.pillow import import_pillow

import_pillow()  # if Pillow is missing, this error has the line to install it

from PIL import Image, ImageDraw, ImageFilter  # noqa: E402

Mask = NDArray[np.bool_]

#: Opacity of the colour of a mask.
_TINT = 0.5
#: Lines on images of at most this many pixels are drawn twice as large and shrunk, which smooths slanted ones.
_SMOOTH = 4_000_000

_DRAWABLE = (
    "answers of object-detection, image-segmentation, depth-estimation, image-classification, mask-generation, "
    "keypoint-matching, background-removal, image-to-image, ocr and (with return_boxes=True) "
    "document-question-answering for one input can"
)


def draw(image: Any, answer: Any, *, task: str | None = None) -> Image.Image:
    """Draw an answer into its image: boxes, masks, matches, depths, labels, words.

    Args:
        image: the input of the pipeline: whatever `load_image` takes; for keypoint-matching the pair.
        answer: the pipeline's answer for it. Its form decides what is drawn.
        task: name of the task, which is needed if the answer is an empty list.

    Returns:
        A new RGB image. Small images are enlarged; legends and bars are below the image, depths and output images
        next to it.

    Raises:
        UnsupportedError: an answer that cannot be drawn.
        ImageError, TypeError: not an image, or not a pair of images (`load_image`).
    """
    if task == "keypoint-matching" or _has(answer, "keypoint_image_0"):
        return _matches(_pair(image), answer)
    image = load_image(image)
    for fits, drawn in _DRAWERS:
        if fits(answer):
            return drawn(image, answer)
    if isinstance(answer, (list, tuple)) and not answer:
        return canvas.enlarged(image)[0]
    raise UnsupportedError(f"this answer ({_described(answer)}) cannot be drawn; {_DRAWABLE}")


def _has(answer: Any, *names: str) -> bool:
    """Return whether an answer is a list of mappings that have these keys."""
    return (
        isinstance(answer, (list, tuple))
        and bool(answer)
        and all(isinstance(one, Mapping) and all(name in one for name in names) for one in answer)
    )


def _described(answer: Any) -> str:
    if isinstance(answer, Mapping):
        return f"a mapping of {', '.join(map(str, answer))}"
    if isinstance(answer, (list, tuple)) and answer:
        return f"a list whose first item is {_described(answer[0])}"
    return f"a {type(answer).__name__}"


# Boxes


def _boxes(image: Image.Image, answer: Sequence[Mapping[str, Any]]) -> Image.Image:
    image, times = canvas.enlarged(image)
    scale = canvas.Scale.of(image.size)
    colours = _by_label(answer)
    boxes = [tuple(one["box"][side] * times for side in ("xmin", "ymin", "xmax", "ymax")) for one in answer]
    # Large ones first, so that small ones are on top.
    order = sorted(range(len(answer)), key=lambda i: -_area(boxes[i]))
    for i in order:
        _frame(image, boxes[i], colours[answer[i]["label"]], scale)
    places, pen = canvas.Places(image.size), ImageDraw.Draw(image)
    for i in sorted(order, key=lambda i: -answer[i]["score"]):
        text = canvas.fitted(_caption(answer[i]), scale.text, image.width * 0.9)
        corner = places.near(_corners(boxes[i], canvas.chip_size(text, scale)), canvas.chip_size(text, scale))
        canvas.draw_chip(pen, corner, text, scale, colours[answer[i]["label"]])
    return image


def _by_label(answer: Sequence[Mapping[str, Any]]) -> dict[str, canvas.Colour]:
    labels = dict.fromkeys(one["label"] for one in answer)
    return {label: canvas.colour(number) for number, label in enumerate(labels)}


def _caption(one: Mapping[str, Any]) -> str:
    return str(one["label"]) if one.get("score") is None else f"{one['label']}  {canvas.percent(one['score'])}"


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _frame(image: Image.Image, box: Sequence[float], colour: canvas.Colour, scale: canvas.Scale) -> None:
    """Draw a frame with dark edges, which is visible on a bright, a dark and an equally coloured background."""
    pen = ImageDraw.Draw(image, "RGBA")
    left, top, right, bottom = min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])
    edge = max(1, scale.line // 2)
    pen.rectangle((left - edge, top - edge, right + edge, bottom + edge), outline=(*canvas.INK, 150), width=edge)
    inner = edge + scale.line
    if right - left > 2 * inner and bottom - top > 2 * inner:
        dark = (left + scale.line, top + scale.line, right - scale.line, bottom - scale.line)
        pen.rectangle(dark, fill=(*colour, 26), outline=(*canvas.INK, 110), width=edge)
    pen.rectangle((left, top, right, bottom), outline=(*colour, 255), width=scale.line)


def _corners(box: Sequence[float], chip: tuple[float, float]) -> list[tuple[float, float]]:
    """List the places for the label of a box, the best first: above, inside, below."""
    left, top, right, bottom = box
    wide, high = chip
    return [
        (left, top - high), (left, top), (right - wide, top - high), (right - wide, top), (left, bottom),
        (left, bottom - high), (right - wide, bottom - high), (right - wide, bottom), (left, (top + bottom - high) / 2),
    ]  # fmt: skip


# Masks


def _segments(image: Image.Image, answer: Sequence[Mapping[str, Any]]) -> Image.Image:
    things = [(one, _mask(one["mask"], image.size)) for one in answer if not _is_background(one)]
    things.sort(key=lambda thing: -np.count_nonzero(thing[1]))
    image, times = canvas.enlarged(image)
    scale = canvas.Scale.of(image.size)
    painted = _painted(image, [_grown(mask, times) for _, mask in things], scale)
    entries = [canvas.Entry(_caption(one), canvas.colour(place)) for place, (one, _) in enumerate(things)]
    entries += [canvas.Entry(_caption(one), None) for one in answer if _is_background(one)]
    return canvas.with_legend(painted, entries, scale)


def _is_background(segment: Mapping[str, Any]) -> bool:
    """Return whether a segment is the background, the rest of the image, which is not painted."""
    return str(segment["label"]).lower() == "background"


def _everything(image: Image.Image, answer: Mapping[str, Any]) -> Image.Image:
    masks = sorted((_mask(mask, image.size) for mask in answer["masks"]), key=np.count_nonzero, reverse=True)
    image, times = canvas.enlarged(image)
    return _painted(image, [_grown(mask, times) for mask in masks], canvas.Scale.of(image.size))


def _mask(mask: Any, size: tuple[int, int]) -> Mask:
    """Convert a mask to (H, W) bool of the image's size (width, height)."""
    if not isinstance(mask, Image.Image):
        mask = Image.fromarray(np.asarray(mask).astype(bool))
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.NEAREST)
    return np.asarray(mask).astype(bool)


def _grown(mask: Mask, times: int) -> Mask:
    """Enlarge a mask by a factor, with smooth edges."""
    if times == 1:
        return mask
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    size = (grey.width * times, grey.height * times)
    return np.asarray(grey.resize(size, Image.Resampling.BICUBIC)) > 127


def _painted(image: Image.Image, masks: Sequence[Mask], scale: canvas.Scale) -> Image.Image:
    """Paint masks over an image, later ones on top: tinted, and with a light line along their edges."""
    owners = np.zeros((image.height, image.width), np.uint16)
    for number, mask in enumerate(masks, 1):
        np.copyto(owners, number, where=mask)
    colours = np.asarray([(0, 0, 0), *(canvas.colour(number) for number in range(len(masks)))], np.uint8)
    flat = Image.fromarray(colours[owners])
    covered = Image.fromarray((owners > 0) * np.uint8(255 * _TINT))
    tinted = Image.composite(flat, image, covered)
    lines = Image.blend(flat, Image.new("RGB", image.size, canvas.PAPER), 0.6)
    return Image.composite(lines, tinted, _edges(owners, scale.line))


def _edges(owners: NDArray[np.uint16], width: int) -> Image.Image:
    """Draw white lines along the edges between areas of different numbers, inside all areas but number 0."""
    edges = np.zeros(owners.shape, bool)
    for one, other, mine, its in (
        (owners[1:], owners[:-1], edges[1:], edges[:-1]),
        (owners[:, 1:], owners[:, :-1], edges[:, 1:], edges[:, :-1]),
    ):
        different = one != other
        mine |= different
        its |= different
    drawn = Image.fromarray(edges)
    if width > 2:
        blurred = drawn.convert("L").filter(ImageFilter.BoxBlur(width // 2 - 0.5))
        drawn = Image.fromarray(np.asarray(blurred) > 0)
    return Image.fromarray((np.asarray(drawn) & (owners > 0)) * np.uint8(255))


# Images next to the image


def _depth(image: Image.Image, answer: Mapping[str, Any]) -> Image.Image:
    image, _ = canvas.enlarged(image)
    values = np.asarray(answer["predicted_depth"], np.float32)
    values = values.reshape(values.shape[-2:])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    colours = Image.fromarray(canvas.heat((values - low) / max(high - low, 1e-12)))
    whole, _ = canvas.beside(image, colours.resize(image.size, Image.Resampling.BILINEAR))
    return _with_ramp(whole, low, high, canvas.Scale.of(image.size))


def _with_ramp(image: Image.Image, low: float, high: float, scale: canvas.Scale) -> Image.Image:
    """Add a strip below an image with the colours from the lowest value to the highest."""
    texts = [f"{low:.3g}", f"{high:.3g}"]
    margin, thick = scale.text, max(4, round(scale.text * 0.6))
    strip = Image.new("RGB", (image.width, scale.text + 2 * margin), canvas.SLATE)
    left = round(margin + canvas.width_of(texts[0], scale.text) + 2 * scale.gap)
    right = round(image.width - margin - canvas.width_of(texts[1], scale.text) - 2 * scale.gap)
    pen, middle = ImageDraw.Draw(strip), strip.height // 2
    canvas.write(pen, (margin, middle), texts[0], scale.text, canvas.PAPER)
    canvas.write(pen, (right + 2 * scale.gap, middle), texts[1], scale.text, canvas.PAPER)
    if right > left:
        ramp = canvas.heat(np.broadcast_to(np.linspace(0, 1, right - left), (thick, right - left)))
        strip.paste(Image.fromarray(ramp), (left, middle - thick // 2))
    whole = Image.new("RGB", (image.width, image.height + strip.height))
    whole.paste(image, (0, 0))
    whole.paste(strip, (0, image.height))
    return whole


def _output_image(image: Image.Image, answer: Image.Image) -> Image.Image:
    """Place an output image next to its input; a transparent one alone, over a chequered background."""
    if answer.mode not in ("RGBA", "LA", "PA"):
        output = answer.convert("RGB")
        return canvas.beside(image.resize(output.size, Image.Resampling.BICUBIC), output)[0]
    side = max(4, round(max(answer.size) / 64))
    rows, columns = np.indices((answer.height, answer.width), sparse=True)
    squares = np.where((rows // side + columns // side) % 2, 232, 255).astype(np.uint8)
    ground = Image.fromarray(squares).convert("RGBA")
    return canvas.enlarged(Image.alpha_composite(ground, answer.convert("RGBA")).convert("RGB"))[0]


def _labels(image: Image.Image, answer: Sequence[Mapping[str, Any]]) -> Image.Image:
    image, _ = canvas.enlarged(image)
    rows = [(str(one["label"]), float(one["score"])) for one in answer]
    return canvas.with_bars(image, rows, canvas.Scale.of(image.size))


# Matches


def _pair(image: Any) -> tuple[Image.Image, Image.Image]:
    if not isinstance(image, (list, tuple)) or len(image) != 2:
        raise TypeError("matches are drawn into a pair of images: pass [first, second]")
    return load_image(image[0]), load_image(image[1])


def _matches(pair: tuple[Image.Image, Image.Image], answer: Sequence[Mapping[str, Any]]) -> Image.Image:
    height = max(480, *(image.height for image in pair))
    times = [height / image.height for image in pair]
    sized = [
        image.resize((max(1, round(image.width * by)), height), Image.Resampling.BICUBIC)
        for image, by in zip(pair, times)
    ]
    whole, corner = canvas.beside(sized[0], sized[1])
    scale = canvas.Scale.of(whole.size)
    ends = [
        (
            one["keypoint_image_0"]["x"] * times[0],
            one["keypoint_image_0"]["y"] * times[0],
            one["keypoint_image_1"]["x"] * times[1] + corner[0],
            one["keypoint_image_1"]["y"] * times[1] + corner[1],
        )
        for one in answer
    ]
    order = sorted(range(len(ends)), key=lambda i: answer[i]["score"])
    _lines(whole, [ends[i] for i in order], [canvas.confidence(answer[i]["score"]) for i in order], scale)
    count = "1 match" if len(ends) == 1 else f"{len(ends)} matches"
    legend = [canvas.Entry(count, None)]
    legend += [canvas.Entry(f"score {score}", canvas.confidence(score)) for score in (0.0, 0.5, 1.0)] if ends else []
    return canvas.with_legend(whole, legend, scale)


def _lines(
    image: Image.Image, ends: Sequence[Sequence[float]], colours: Sequence[canvas.Colour], scale: canvas.Scale
) -> None:
    """Draw lines with a dot at each end into an image; the more there are, the finer."""
    sharp = 2 if image.width * image.height <= _SMOOTH else 1
    layer = Image.new("RGBA", (image.width * sharp, image.height * sharp))
    pen = ImageDraw.Draw(layer)
    crowd = 1.0 if len(ends) < 60 else max(0.35, (60 / len(ends)) ** 0.5)
    wide = max(1, round(scale.line * sharp * 0.6 * crowd))
    dot = max(2.0, scale.line * sharp * 1.3 * crowd**0.5)
    alpha = round(255 * max(0.35, crowd))
    for line, colour in zip(ends, colours):
        pen.line([at * sharp for at in line], fill=(*colour, alpha), width=wide)
    for line, colour in zip(ends, colours):
        for x, y in (line[:2], line[2:]):
            for radius, fill in ((dot * 1.45, canvas.INK), (dot, colour)):
                box = (x * sharp - radius, y * sharp - radius, x * sharp + radius, y * sharp + radius)
                pen.ellipse(box, fill=(*fill, 255))
    layer = layer.resize(image.size, Image.Resampling.BOX)
    image.paste(layer, (0, 0), layer)


_DRAWERS: tuple[tuple[Callable[[Any], bool], Callable[[Image.Image, Any], Image.Image]], ...] = (
    (lambda answer: _has(answer, "label", "box"), _boxes),
    (lambda answer: _has(answer, "label", "mask"), _segments),
    (lambda answer: _has(answer, "label", "score"), _labels),
    (lambda answer: isinstance(answer, Mapping) and "predicted_depth" in answer, _depth),
    (lambda answer: isinstance(answer, Mapping) and "masks" in answer, _everything),
    (lambda answer: isinstance(answer, Mapping) and "words" in answer and "lines" in answer, documents.words),
    (lambda answer: _has(answer, "answer", "boxes"), documents.answers),
    (lambda answer: isinstance(answer, Image.Image), _output_image),
)
"""A test for the form of an answer, and the function that draws it."""
