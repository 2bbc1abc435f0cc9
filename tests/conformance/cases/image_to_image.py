"""Calls of image-to-image, as transformers documents ImageToImagePipeline.

transformers 5 dropped the task. Small images: the answers are recorded.
"""

from __future__ import annotations

from conformance.cases.common import Case, Generator, Image, Keyed, PipeImageProcessor

TASK = "image-to-image"
SMALL = Image("small")
BOTH = [SMALL, Image("smaller")]
ODD = ("one grey", "tiny grey", "tiny rgba", "tiny palette", "tiny exif", "square")
"""4.57 takes one pixel in colours for three pixels in a row."""


def _case(name: str, *args: object, core: bool = False, message: bool = True, **kwargs: object) -> Case:
    return Case(name, TASK, args, kwargs, core=core, dropped=True, message=message)


CASES = (
    _case("image", SMALL, core=True),
    _case("path", Image("smaller", "path")),
    _case("base64", Image("smaller", "base64")),
    _case("base64 with its prefix", Image("smaller", "data")),
    _case("list", BOTH, core=True),
    _case("list of one", BOTH[:1]),
    _case("generator", Generator(BOTH)),
    _case("dataset", Keyed([{"image": image} for image in BOTH], "image")),
    _case("timeout", SMALL, timeout=3.0),
    *(_case(f"batch_size {size}", [SMALL, SMALL], batch_size=size) for size in (1, 2)),
    Case("own image processor", TASK, (SMALL,), ctor={"image_processor": PipeImageProcessor()}, dropped=True),
    *(_case(f"image, {name}", Image(name)) for name in ODD),
    _case("empty list", []),
    _case("text that is not an image", "no such picture", message=False),
    _case("number", 3, message=False),
)
