"""The base class of the image tasks: load a source, turn the image into a row; rows of one shape share a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.processing.model_output import ModelOutput
from onnxpipe.tasks.base.call_types import Box
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import TypeVar

    ImageOptionsT = TypeVar("ImageOptionsT", bound="ImageOptions", default=Any)
else:  # a default is known to Python from 3.13 on
    from typing import TypeVar

    ImageOptionsT = TypeVar("ImageOptionsT")

#: The factor by which an accelerator gets larger batches: small ones leave most of it idle.
_AT_ONCE = 4


class Size(NamedTuple):
    """The size of an image in pixels, in the order of arrays and of `target_sizes`."""

    height: int
    width: int


@dataclass(frozen=True)
class ImageOptions:
    """Options that every image task has.

    Attributes:
        timeout: seconds that fetching an image from the web may take; None for the loader's own limit.
    """

    timeout: float | None = number_option(None, least=0)


class ImagePipeline(Pipeline[ImageOptionsT]):
    """The base class of the tasks whose input is an image.

    An image is a path, a URL, base64, bytes, a PIL image or an array. Its pixels are dropped once they are a row: what
    the answer needs of it (its size) goes with the row.
    """

    Options = ImageOptions
    _load_tokenizer: ClassVar[bool | None] = False
    _load_image_processor: ClassVar[bool | None] = True
    input_modalities = "image"
    #: Four images of 224 x 224 a run, or one larger: on two cores ResNet-50 takes 32.3 ms an image one by one, 29.2 in
    #: fours and 28.9 in eights (int8 14.5, 12.6, 12.2).
    token_budget = 4 * 224 * 224
    #: Images are large: a stream reads few ahead.
    window = 4
    #: Older names of the first argument, which transformers' tasks take or took.
    input_names: ClassVar[tuple[str, ...]] = ("images", "image")

    def prepare(self) -> None:
        self.at_once = 1 if self.device.type == "cpu" else _AT_ONCE
        self.check_processor()

    def check_processor(self) -> None:
        """Refuse a pipeline without an image processor."""
        check_image_processor(self)

    if not TYPE_CHECKING:  # to type checkers the first argument has one name, and is needed

        def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
            """See `Pipeline.__call__`."""
            return super().__call__(self.first_argument(inputs, kwargs), *args, **kwargs)

    def first_argument(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        """Find the input, by whichever of its names it was passed; older names are removed from `kwargs`.

        Raises:
            ValueError: there is none.
            TypeError: there are two.
        """
        return first_argument(self, self.input_names, inputs, kwargs)

    def padding(self) -> Padding:
        """No padding: only rows of equal shapes share a batch."""
        return Padding(None)

    # -- one image ----------------------------------------------------------------------------------------------------
    def load(self, source: Any, options: ImageOptionsT) -> Image:
        """Load the image of a source, in RGB, upright."""
        from onnxpipe.processing.images.io.load import load_image

        return load_image(source, options.timeout)

    def encode(self, value: Any, options: ImageOptionsT) -> Iterable[Row]:
        image = self.load(value, options)
        return [self.image_row(self.image_processor(image, return_tensors="np"), size_of(image))]

    def image_row(self, processed: Mapping[str, Any], extra: Any = None) -> Row:
        """Build the row of one processed image (arrays with a leading axis of 1)."""
        feeds = {name: value[0] for name, value in self.known_feeds(processed).items()}
        return Row(feeds, max(int(np.prod(array.shape[-2:])) for array in feeds.values()), extra)

    def known_feeds(self, processed: Mapping[str, Any]) -> dict[str, Array]:
        """Select the image processor's outputs that the graph reads; masks that it does not need are left out."""
        return known_feeds(processed, self.model.session.inputs, self.model.name_or_path)


def check_image_processor(pipe: Pipeline[Any]) -> None:
    """Refuse a pipeline without an image processor."""
    if pipe.image_processor is None:
        raise ValueError(
            f"{type(pipe).__name__} needs an image processor, and {pipe.model.name_or_path} has no "
            "preprocessor_config.json: pass image_processor="
        )


def first_argument(pipe: Pipeline[Any], names: Iterable[str], inputs: Any, kwargs: dict[str, Any]) -> Any:
    """Find the input of a call: the first argument, or whichever of `names` it was passed by; those leave `kwargs`.

    Raises:
        ValueError: there is none.
        TypeError: there are two.
    """
    for name in names:
        if name in kwargs:
            if inputs is not None:
                raise TypeError(f"{type(pipe).__name__} got its input twice: by position and as {name}=")
            inputs = kwargs.pop(name)
    if inputs is None:
        raise ValueError(f"Cannot call the {pipe.task} pipeline without an inputs argument!")
    return inputs


def size_of(image: Image) -> Size:
    """The size of a PIL image."""
    return Size(image.height, image.width)


def known_feeds(processed: Mapping[str, Any], inputs: Iterable[str], name: str) -> dict[str, Array]:
    """Select the inputs of a graph among the outputs of a processor; graphs of one input take the pixels by any name.

    Args:
        processed: arrays by name, `pixel_values` among them.
        inputs: names of the graph's inputs.
        name: the model's name, for the error.

    Raises:
        BundleError: none of them is an input.
    """
    known = list(inputs)
    feeds = {key: np.asarray(value) for key, value in processed.items() if key in known}
    if not feeds and len(known) == 1 and "pixel_values" in processed:
        feeds = {known[0]: np.asarray(processed["pixel_values"])}
    if not feeds:
        raise BundleError(f"{name} reads {', '.join(known)}, and its image processor returns {', '.join(processed)}")
    return feeds


def batch_of_one(outputs: Mapping[str, Array]) -> ModelOutput:
    """Add the batch axis that post-processing expects to a row's outputs."""
    return ModelOutput({name: value[None] for name, value in outputs.items()})


def post_processor(image_processor: Any, names: Sequence[str], purpose: str) -> Any:
    """Find the first of the methods `names` that the image processor has.

    Raises:
        UnsupportedError: it has none.
    """
    for name in names:
        method = getattr(image_processor, name, None)
        if method is not None:
            return method
    raise UnsupportedError(f"{type(image_processor).__name__} has no {' or '.join(names)}, which {purpose} needs")


def box_of(box: Any) -> Box:
    """Convert a box to whole pixels, cut towards zero, as transformers does."""
    xmin, ymin, xmax, ymax = (int(edge) for edge in box)
    return {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}
