"""image-feature-extraction: the bare model's features of a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModel
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ImageFeatureExtractionOptions(ImageOptions):
    """Parameters of image-feature-extraction.

    Attributes:
        pool: give the model's pooled vector instead of the features of every place.
        return_tensors: give a numpy array instead of nested lists.
        image_processor_kwargs: keywords of the image processor's call, e.g. `{"size": {"height": 448, "width": 448}}`.
    """

    pool: bool = False
    return_tensors: bool | str = False
    image_processor_kwargs: Mapping[str, Any] | None = None


class ImageFeatureExtractionPipeline(ImagePipeline):
    """A picture's features, with a leading axis of 1: (1, places, hidden), or of convolutions (1, hidden, h, w).

    Its parameters are those of `ImageFeatureExtractionOptions`.
    """

    Options = ImageFeatureExtractionOptions

    def parse(
        self, given: Mapping[str, Any], base: ImageFeatureExtractionOptions | None
    ) -> ImageFeatureExtractionOptions:
        options: ImageFeatureExtractionOptions = super().parse(given, base)
        before = (base.image_processor_kwargs if base else None) or {}  # those of a call are added to them
        return replace(options, image_processor_kwargs={**before, **(options.image_processor_kwargs or {})})

    def encode(self, value: Any, options: ImageFeatureExtractionOptions) -> Iterable[Row]:
        image = self.load(value, options)
        keywords = {"return_tensors": "np", **(options.image_processor_kwargs or {})}
        return [self.image_row(self.image_processor(image, **keywords))]

    def decode(self, rows: Answered, options: ImageFeatureExtractionOptions) -> Any:
        outputs = rows[0][1]
        if options.pool and "pooler_output" not in outputs:
            raise ValueError(
                "No pooled output was returned. Make sure the model has a `pooler` layer when using the `pool` option."
            )
        first = "last_hidden_state" if "last_hidden_state" in outputs else next(iter(outputs))
        features = outputs["pooler_output" if options.pool else first][None]
        return features if options.return_tensors else features.tolist()


TASK = TaskSpec(
    name="image-feature-extraction",
    pipeline=ImageFeatureExtractionPipeline,
    auto_classes=(AutoModel,),
    help="Give the model's features of an image.",
    example='"photo.jpg"',
    default_model=("google/vit-base-patch16-224", "3f49326"),
    input="image",
    export_as="image-feature-extraction",
    columns=one_column("features", lambda answer: answer[0]),
)
