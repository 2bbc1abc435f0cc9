"""Find the sizes of images that a model takes: the one that its files name, and whether it takes others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxpipe_export.cases.images import Size
from onnxpipe_export.checkpoint import Checkpoint

_LARGEST = 640
"""A base size is cut to this: a detector of images of 1333 is verified with smaller ones, in less time."""
_DEFAULT = 224


@dataclass(frozen=True)
class Sizes:
    """Sizes of images (height, width) that a graph is verified with.

    Attributes:
        base: the size that the model is made for.
        others: further sizes; empty where the model takes only the base size.
    """

    base: Size
    others: tuple[Size, ...] = ()


def whole_size(checkpoint: Checkpoint) -> Size:
    """Find the size of the model's input from its processor, else from its config, for models that take no other.

    Where a processor crops nothing and keeps an image's shape, the model's config has the size.
    """
    config = checkpoint.config
    inner = next((each for name in ("encoder", "vision_config") if (each := getattr(config, name, None))), config)
    own = _pair(getattr(inner, "image_size", None)) or _pair(getattr(config, "image_size", None))
    size = _of_preprocessor(checkpoint.preprocessor)
    named = None if isinstance(size, Mapping) and "height" not in size else _pair(size)
    return named or own or _pair(size) or (_DEFAULT, _DEFAULT)


def base_size(checkpoint: Checkpoint) -> Size:
    """Find the size of the model's input from its processor; a square where the processor keeps an image's shape."""
    config = checkpoint.config
    image_size = _pair(getattr(config, "image_size", None))
    size = _pair(_of_preprocessor(checkpoint.preprocessor)) or image_size or (_DEFAULT, _DEFAULT)
    if max(size) > _LARGEST and image_size != size:
        return min(size[0], _LARGEST), min(size[1], _LARGEST)
    return size


def find_sizes(base: Size, run: Callable[[Size], Any]) -> Sizes:
    """Find which other sizes the original takes: any, or multiples of 8, 32 or 64, or squares only, or none.

    Args:
        base: the size that it is known to take.
        run: runs the original on an image of a size, and raises if it does not take it.
    """
    candidates = [_others(base, multiple) for multiple in (1, 8, 32, 64)]
    if base[0] == base[1]:
        candidates += [((base[0] + step, base[0] + step), (base[0] + 3 * step,) * 2) for step in (32, 64)]
    for others in candidates:
        if all(_accepts(run, size) for size in others):
            return Sizes(base, others)
    return Sizes(base)


def _others(base: Size, multiple: int) -> tuple[Size, ...]:
    """Choose a wide, a tall, and a larger size, of which only the last may be square."""
    height, width = base
    if multiple == 1:
        extra = max(height // 8, 5) | 1
        return (height - extra, width + extra + 4), (height + 3 * extra, width), (height + 2 * extra, width + 2 * extra)
    units = -(-height // multiple), -(-width // multiple)
    steps = ((units[0], units[1] + 1), (units[0] + 2, units[1]), (units[0] + 1, units[1] + 1))
    return tuple((multiple * h, multiple * w) for h, w in steps)


def _accepts(run: Callable[[Size], Any], size: Size) -> bool:
    try:
        run(size)
    except Exception:  # a model's forward can raise anything
        return False
    return True


def _of_preprocessor(content: Mapping[str, Any]) -> Any:
    """Return the size after the processor's last step that sets one."""
    if content.get("do_center_crop") and content.get("crop_size"):
        return content["crop_size"]
    if content.get("do_resize", True):
        return content.get("size")
    return content.get("pad_size")


def _pair(size: Any) -> Size | None:
    """Read (height, width) from any of the forms of a size."""
    if isinstance(size, bool) or not size:
        return None
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        if "height" in size and "width" in size:
            return int(size["height"]), int(size["width"])
        edge = size.get("shortest_edge") or size.get("longest_edge")
        return (int(edge), int(edge)) if edge else None
    height, width = size
    return int(height), int(width)
