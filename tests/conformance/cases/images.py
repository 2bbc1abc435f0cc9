"""What the cases of every image task share: the images, and the ways of passing them."""

from __future__ import annotations

from typing import Any

from conformance.cases.common import BATCHES, Case, Generator, Image, Keyed, PipeImageProcessor, case_of
from zoo.vision.images import ODD, ORDINARY, SAME_SIZE

PHOTO = Image("photo")
PHOTOS = [Image(name) for name in ORDINARY]
MATES = [Image(name) for name in SAME_SIZE] * 2
ROWS = [{"image": image, "name": image.name} for image in PHOTOS]

CORE_ODD = ("grey", "rgba", "exif 6")
"""Troublesome images that every family gets; the others are for the families of the full list."""

_DAMAGED = ("grey 16",)
"""Images that the reference turns white; what is right is in tests/unit/processing/images/test_load.py."""


def at_construction(task: str, name: str, ctor: dict[str, Any], *args: object, **kwargs: object) -> Case:
    """A call of `task` on a pipeline that was constructed with arguments."""
    return Case(f"{name} at construction", task, args, kwargs, ctor=ctor)


def inputs(task: str, skip: tuple[str, ...] = (), *, alone: str = "", **kwargs: Any) -> tuple[Case, ...]:
    """List every form of input that a task on single images takes, and every kind of image.

    Args:
        skip: images that the reference cannot handle in this task.
        alone: why the reference takes the images of a batch one by one; "" where it takes the batch.
        kwargs: what each call needs beside the image.
    """
    case = case_of(task)

    def in_batches(name: str, images: Any, size: int, core: bool = False) -> Case:
        reference = kwargs if alone else None
        return Case(name, task, (images,), {**kwargs, "batch_size": size}, core=core, reference=reference, why=alone)

    forms = (
        case("image", PHOTO, core=True, **kwargs),
        case("path", Image("jpeg", "path"), **kwargs),
        case("path of a png", Image("palette", "path"), **kwargs),
        case("base64", Image("odd", "base64"), **kwargs),
        case("base64 with its prefix", Image("odd", "data"), **kwargs),
        case("list", PHOTOS, core=True, **kwargs),
        case("list of paths", [Image(name, "path") for name in ("webp", "bmp", "gif")], **kwargs),
        case("list of one", PHOTOS[:1], **kwargs),
        case("mixed list", [PHOTO, Image("second", "path"), Image("third", "base64")], **kwargs),
        case("generator", Generator(PHOTOS), **kwargs),
        case("dataset", Keyed(ROWS, "image"), **kwargs),
        case("timeout", PHOTO, timeout=3.0, **kwargs),
        *(in_batches(f"batch_size {size}", MATES, size, core=size == 4) for size in BATCHES),
        in_batches("batches of a generator", Generator(MATES), 4),
        in_batches("batches of a dataset", Keyed([{"image": image} for image in MATES], "image"), 2),
        *(() if alone else (Case("batch_size at construction", task, (MATES,), kwargs, ctor={"batch_size": 4}),)),
        Case("own image processor", task, (PHOTO,), kwargs, ctor={"image_processor": PipeImageProcessor()}),
    )
    names = [name for name in ODD if name not in (*skip, *_DAMAGED)]
    odd = (case(f"image, {name}", Image(name), core=name in CORE_ODD, **kwargs) for name in names)
    return (*forms, *odd)


def errors(task: str, *, none: bool = True, **kwargs: Any) -> tuple[Case, ...]:
    """List inputs that are not an image.

    Args:
        none: the reference says of None what it says of no argument at all, as ours does everywhere.
    """
    case = case_of(task)
    return (
        case("text that is not an image", "no such picture", message=False, core=True, **kwargs),
        case("number", 3, message=False, **kwargs),
        *((case("none", None, message=False, **kwargs),) if none else ()),
        case("a list with a number", [PHOTO, 3], message=False, **kwargs),
        case("tuple of images", (PHOTO, Image("second")), message=False, **kwargs),
    )
