"""background-removal: a picture whose background is transparent, as transformers.js has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModel
from onnxpipe.processing.scores import sigmoid
from onnxpipe.tasks.base.columns import no_columns
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, size_of
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.image_segmentation import mask_of, semantic_map

#: A matte whose values go further beyond 0 to 1 holds logits. Source: transformers.js.
_EPSILON = 1e-5
#: What segmentation models call the label of everything else.
_BACKGROUND = frozenset({"background", "__background__", "bg"})


@dataclass(frozen=True)
class BackgroundRemovalOptions(ImageOptions):
    """Parameters of background-removal."""


class BackgroundRemovalPipeline(ImagePipeline):
    """A PIL image in RGBA, of the picture's size, whose alpha is how much of a pixel is foreground.

    Two kinds of models do: those that give a matte, one channel of probabilities or logits (MODNet, RMBG, BiRefNet),
    and segmentation models one of whose labels is the background.
    """

    Options = BackgroundRemovalOptions

    def encode(self, value: Any, options: BackgroundRemovalOptions) -> Iterable[Row]:
        image = self.load(value, options)
        return [self.image_row(self.image_processor(image, return_tensors="np"), image)]

    def decode(self, rows: Answered, options: BackgroundRemovalOptions) -> Any:
        row, outputs = rows[0]
        image = row.extra
        matte = next(iter(outputs.values()))
        alpha = _resized(matte, image) if _is_matte(matte) else mask_of(self._foreground(outputs, image))
        image.putalpha(alpha)
        return image

    def _foreground(self, outputs: Mapping[str, Array], image: Any) -> Array:
        labels = self.model.config.id2label
        behind = [i for i, label in labels.items() if str(label).lower() in _BACKGROUND]
        if not behind or not hasattr(self.image_processor, "post_process_semantic_segmentation"):
            raise UnsupportedError(
                f"{self.model.name_or_path} gives no matte (one channel of probabilities), nor has it a label "
                f"'background' among {len(labels)}: its background cannot be told"
            )
        return ~np.isin(semantic_map(self.image_processor, batch_of_one(outputs), size_of(image)), behind)


def _is_matte(output: Array) -> bool:
    """Whether the first output of a row is one channel of a picture: (1, height, width) or (height, width)."""
    return output.ndim == 2 or (output.ndim == 3 and output.shape[0] == 1)


def _resized(matte: Array, image: Any) -> Any:
    """A matte as a grey PIL image of the size of `image`."""
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
