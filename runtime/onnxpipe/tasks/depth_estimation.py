"""depth-estimation: estimate how far away each pixel of an image is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.batching import Array
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnknownArgumentError
from onnxpipe.models.auto import AutoModelForDepthEstimation
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import Cells, fixed_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, post_processor
from onnxpipe.tasks.base.spec import TaskSpec

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class DepthEstimationOptions(ImageOptions):
    """Options of depth-estimation; `parameters={"timeout": ...}` is another way to pass them."""


class DepthEstimationCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `DepthEstimationOptions`."""

    parameters: Mapping[str, Any] | None


class DepthMap(TypedDict):
    """The depth of an image, as float32 (height, width) and as a grey image."""

    predicted_depth: NDArray[np.float32]
    depth: Image


class DepthEstimationPipeline(ImagePipeline[DepthEstimationOptions]):
    """Estimate depth: `{"predicted_depth": float32 (height, width), "depth": a grey PIL image}`, of the image's size.

    The grey image is the depth stretched from black (least) to white (most); the unit of the numbers depends on the
    model.
    """

    Options = DepthEstimationOptions

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[DepthEstimationCallOptions]
        ) -> list[DepthMap]: ...
        @overload
        def __call__(self, inputs: ImageInput, **options: Unpack[DepthEstimationCallOptions]) -> DepthMap: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[DepthEstimationCallOptions]
        ) -> PipelineIterator[DepthMap]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_depth_estimation"], self.task)

    def parse(self, kwargs: Mapping[str, Any], base: DepthEstimationOptions | None) -> DepthEstimationOptions:
        kept = dict(kwargs)
        inner = kept.pop("parameters", None) or {}
        for name in inner:
            if name != "timeout":
                raise UnknownArgumentError.among(f"{type(self).__name__}(parameters=...)", name, ["timeout"])
        return super().parse({**kept, **inner}, base)

    def decode(self, rows: Answered, options: DepthEstimationOptions) -> DepthMap:
        row, outputs = rows[0]
        # the second argument of ZoeDepth's post-processing is the source sizes, of every other's the target sizes
        depth = np.asarray(self._post_process(batch_of_one(outputs), [row.extra])[0]["predicted_depth"])
        return {"predicted_depth": depth, "depth": grey(depth)}


def grey(depth: Array) -> Any:
    """Convert an array (height, width) to a grey PIL image, its least value black and its largest white."""
    from PIL import Image

    low, high = depth.min(), depth.max()
    stretched = (depth - low) / (high - low) if high > low else np.zeros_like(depth)
    return Image.fromarray((stretched * 255).astype(np.uint8))


def _range(answer: Mapping[str, Any]) -> Cells:
    depth = answer["predicted_depth"]
    return {"depth_min": float(depth.min()), "depth_max": float(depth.max())}


TASK = TaskSpec(
    name="depth-estimation",
    pipeline=DepthEstimationPipeline,
    auto_classes=(AutoModelForDepthEstimation,),
    help="Estimate how far away each pixel of an image is.",
    example='"street.jpg"',
    default_model=("Intel/dpt-large", "bc15f29"),
    input="image",
    columns=fixed_columns("depth_min", "depth_max", cells=_range),
    output="image",
    draws=True,
)
