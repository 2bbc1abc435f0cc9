"""What the tasks of pictures share: a source becomes a picture, a picture a row; rows of one shape share a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.processing.model_output import ModelOutput
from onnxpipe.tasks.base.pipeline import Pipeline

if TYPE_CHECKING:
    from PIL.Image import Image


#: How many times as many an accelerator gets at once: a few leave most of it idle.
_AT_ONCE = 4


class Size(NamedTuple):
    """A picture's size in pixels, in the order of arrays and of `target_sizes`."""

    height: int
    width: int


@dataclass(frozen=True)
class ImageOptions:
    """Parameters that every task of pictures has.

    Attributes:
        timeout: seconds that fetching a picture from the web may take; None for the loader's own limit.
    """

    timeout: float | None = None


class ImagePipeline(Pipeline):
    """The base of the tasks whose input is a picture.

    A picture is a path, a URL, base64, bytes, a PIL image or an array. Its pixels are dropped once they are a row: what
    the answer needs of it (its size) goes with the row.
    """

    Options = ImageOptions
    _load_tokenizer: ClassVar[bool | None] = False
    _load_image_processor: ClassVar[bool | None] = True
    input_modalities = "image"
    #: Four pictures of 224 x 224 a run, or one larger: on two cores ResNet-50 takes 32.3 ms a picture one by one, 29.2
    #: in fours and 28.9 in eights (int8 14.5, 12.6, 12.2).
    token_budget = 4 * 224 * 224
    #: Pictures are large: a stream reads few ahead.
    window = 4
    #: Older names of the first argument, which transformers' tasks take or took.
    input_names: ClassVar[tuple[str, ...]] = ("images", "image")

    def prepare(self) -> None:
        self.at_once = 1 if self.device.type == "cpu" else _AT_ONCE
        self.check_processor()

    def check_processor(self) -> None:
        """Refuses a pipeline without what turns pictures into numbers."""
        if self.image_processor is None:
            raise ValueError(
                f"{type(self).__name__} needs an image processor, and {self.model.name_or_path} has no "
                "preprocessor_config.json: pass image_processor="
            )

    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`."""
        return super().__call__(self.first_argument(inputs, kwargs), *args, **kwargs)

    def first_argument(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        """The input, by whichever of its names it was passed; older names are taken out of `kwargs`.

        Raises:
            ValueError: there is none.
            TypeError: there are two.
        """
        for name in self.input_names:
            if name in kwargs:
                if inputs is not None:
                    raise TypeError(f"{type(self).__name__} got its input twice: once by position, once as {name}=")
                inputs = kwargs.pop(name)
        if inputs is None:
            raise ValueError(f"Cannot call the {self.task} pipeline without an inputs argument!")
        return inputs

    def padding(self) -> Padding:
        """Nothing pads pictures: only rows of equal shapes share a batch."""
        return Padding(None)

    # -- one picture --------------------------------------------------------------------------------------------------
    def load(self, source: Any, options: Any) -> Image:
        """The picture that a source names, in RGB, upright."""
        from onnxpipe.processing.images.io.load import load_image

        return load_image(source, options.timeout)

    def encode(self, value: Any, options: Any) -> Iterable[Row]:
        image = self.load(value, options)
        return [self.image_row(self.image_processor(image, return_tensors="np"), size_of(image))]

    def image_row(self, processed: Mapping[str, Any], extra: Any = None) -> Row:
        """The row of what the image processor made of one picture (arrays with a leading axis of 1)."""
        feeds = {name: value[0] for name, value in self.known_feeds(processed).items()}
        return Row(feeds, max(int(np.prod(array.shape[-2:])) for array in feeds.values()), extra)

    def known_feeds(self, processed: Mapping[str, Any]) -> dict[str, Array]:
        """Those of the image processor's outputs that the graph reads; masks that it does not need are left out."""
        return known_feeds(processed, self.model.session.inputs, self.model.name_or_path)


def size_of(image: Image) -> Size:
    """The size of a PIL image."""
    return Size(image.height, image.width)


def known_feeds(processed: Mapping[str, Any], inputs: Iterable[str], name: str) -> dict[str, Array]:
    """The inputs of a graph among what an image processor made; graphs of one input take the pixels by any name.

    Args:
        processed: arrays by name, `pixel_values` among them.
        inputs: names of the graph's inputs.
        name: the model's, for the error.

    Raises:
        BundleError: none of them is an input.
    """
    known = list(inputs)
    feeds = {key: np.asarray(value) for key, value in processed.items() if key in known}
    if not feeds and len(known) == 1 and "pixel_values" in processed:
        feeds = {known[0]: np.asarray(processed["pixel_values"])}
    if not feeds:
        raise BundleError(f"{name} reads {', '.join(known)}, and its image processor makes {', '.join(processed)}")
    return feeds


def batch_of_one(outputs: Mapping[str, Array]) -> ModelOutput:
    """A row's outputs with the batch axis that post-processing expects."""
    return ModelOutput({name: value[None] for name, value in outputs.items()})


def post_processor(image_processor: Any, names: Sequence[str], purpose: str) -> Any:
    """The first of the image processor's methods `names` that it has.

    Raises:
        UnsupportedError: it has none.
    """
    for name in names:
        method = getattr(image_processor, name, None)
        if method is not None:
            return method
    raise UnsupportedError(f"{type(image_processor).__name__} has no {' or '.join(names)}, which {purpose} needs")


def box_of(box: Any) -> dict[str, int]:
    """A box in whole pixels, cut towards zero, as transformers has it."""
    return dict(zip(("xmin", "ymin", "xmax", "ymax"), (int(edge) for edge in box), strict=True))
