"""image-feature-extraction: return the bare model's features of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from numpy.typing import NDArray

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModel
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ImageFeatureExtractionOptions(ImageOptions):
    """Options of image-feature-extraction.

    Attributes:
        pool: return the model's pooled vector instead of the features of every patch.
        return_tensors: return a numpy array instead of nested lists.
        image_processor_kwargs: keywords of the image processor's call, e.g. `{"size": {"height": 448, "width": 448}}`.
    """

    pool: bool = False
    return_tensors: bool | str = False
    image_processor_kwargs: Mapping[str, Any] | None = None


class ImageFeatureCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ImageFeatureExtractionOptions`."""

    pool: bool | None
    image_processor_kwargs: Mapping[str, Any] | None


class ImageFeatureExtractionPipeline(ImagePipeline[ImageFeatureExtractionOptions]):
    """Return an image's features, with a leading axis of 1: (1, patches, hidden), or of convolutions (1, hidden, h, w).

    Its options are those of `ImageFeatureExtractionOptions`.
    """

    Options = ImageFeatureExtractionOptions

    if TYPE_CHECKING:

        @overload
        def __call__(
            self,
            inputs: ImageInput,
            *,
            return_tensors: Literal[False] | None = ...,
            **options: Unpack[ImageFeatureCallOptions],
        ) -> list[Any]: ...
        @overload
        def __call__(
            self,
            inputs: ImageInput,
            *,
            return_tensors: Literal[True] | str,
            **options: Unpack[ImageFeatureCallOptions],
        ) -> NDArray[Any]: ...
        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self,
            inputs: list[Any],
            *,
            return_tensors: bool | str | None = ...,
            **options: Unpack[ImageFeatureCallOptions],
        ) -> list[Any]: ...
        @overload
        def __call__(
            self,
            inputs: Stream,
            *,
            return_tensors: bool | str | None = ...,
            **options: Unpack[ImageFeatureCallOptions],
        ) -> PipelineIterator[Any]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def parse(
        self, kwargs: Mapping[str, Any], base: ImageFeatureExtractionOptions | None
    ) -> ImageFeatureExtractionOptions:
        options = super().parse(kwargs, base)
        before = (base.image_processor_kwargs if base else None) or {}  # a call adds to the constructor's
        return replace(options, image_processor_kwargs={**before, **(options.image_processor_kwargs or {})})

    def encode(self, value: Any, options: ImageFeatureExtractionOptions) -> Iterable[Row]:
        image = self.load(value, options)
        kwargs = {"return_tensors": "np", **(options.image_processor_kwargs or {})}
        return [self.image_row(self.image_processor(image, **kwargs))]

    def decode(self, rows: Answered, options: ImageFeatureExtractionOptions) -> Any:
        outputs = rows[0][1]
        if options.pool and "pooler_output" not in outputs:
            raise UnsupportedError(
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
