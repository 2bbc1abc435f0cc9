"""background-removal: make the background of images transparent, as transformers.js does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModel
from onnxpipe.processing.scores import sigmoid
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import no_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, size_of
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.image_segmentation import mask_of, semantic_map

if TYPE_CHECKING:
    from PIL.Image import Image

#: A matte whose values go further beyond 0 to 1 holds logits. Source: transformers.js.
_EPSILON = 1e-5
#: Names of the background among the labels of segmentation models.
_BACKGROUND = frozenset({"background", "__background__", "bg"})


@dataclass(frozen=True)
class BackgroundRemovalOptions(ImageOptions):
    """Options of background-removal."""


class BackgroundRemovalPipeline(ImagePipeline[BackgroundRemovalOptions]):
    """Make the background transparent: a PIL image in RGBA, of the image's size; alpha is the share of foreground,
    and where the image already has transparency never above its own.

    Two kinds of models work: those that return a matte, one channel of probabilities or logits (MODNet, RMBG,
    BiRefNet), and segmentation models one of whose labels is the background.
    """

    Options = BackgroundRemovalOptions

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ImageCallOptions]
        ) -> list[Image]: ...
        @overload
        def __call__(self, inputs: ImageInput, **options: Unpack[ImageCallOptions]) -> Image: ...
        @overload
        def __call__(self, inputs: Stream, **options: Unpack[ImageCallOptions]) -> PipelineIterator[Image]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def encode(self, value: Any, options: BackgroundRemovalOptions) -> Iterable[Row]:
        from onnxpipe.processing.images.io.load import load_with_alpha

        image = load_with_alpha(value, options.timeout)
        return [self.image_row(self.image_processor(image.convert("RGB"), return_tensors="np"), image)]

    def decode(self, rows: Answered, options: BackgroundRemovalOptions) -> Image:
        row, outputs = rows[0]
        image: Image = row.extra
        matte = next(iter(outputs.values()))
        alpha = _resized(matte, image) if _is_matte(matte) else mask_of(self._foreground(outputs, image))
        if image.mode == "RGBA":  # what was transparent before stays so
            from PIL import ImageChops

            alpha = ImageChops.darker(alpha, image.getchannel("A"))
        image.putalpha(alpha)
        return image

    def _foreground(self, outputs: Mapping[str, Array], image: Any) -> Array:
        labels = self.model.config.id2label
        background = [i for i, label in labels.items() if str(label).lower() in _BACKGROUND]
        if not background or not hasattr(self.image_processor, "post_process_semantic_segmentation"):
            raise UnsupportedError(
                f"{self.model.name_or_path} cannot remove a background: it returns no matte (one channel of "
                f"probabilities), and none of its {len(labels)} labels is 'background'"
            )
        return ~np.isin(semantic_map(self.image_processor, batch_of_one(outputs), size_of(image)), background)


def _is_matte(output: Array) -> bool:
    """Whether the first output of a row is one channel of an image: (1, height, width) or (height, width)."""
    return output.ndim == 2 or (output.ndim == 3 and output.shape[0] == 1)


def _resized(matte: Array, image: Any) -> Any:
    """Convert a matte to a grey PIL image of the size of `image`."""
    from PIL import Image

    values = matte.reshape(matte.shape[-2:]).astype(np.float32)
    if values.min() < -_EPSILON or values.max() > 1 + _EPSILON:
        values = sigmoid(values)
    grey = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    return grey.resize(image.size, Image.Resampling.BILINEAR)


TASK = TaskSpec(
    name="background-removal",
    pipeline=BackgroundRemovalPipeline,
    auto_classes=(AutoModel,),
    help="Make the background of images transparent.",
    example='"photo.jpg"',
    default_model=("Xenova/modnet", None),
    input="image",
    export_as="image-segmentation",
    columns=no_columns(),
    output="image",
    draws=True,
)
