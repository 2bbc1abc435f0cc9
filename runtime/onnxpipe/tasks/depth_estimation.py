"""depth-estimation: how far away each pixel of a picture is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnknownArgumentError
from onnxpipe.models.auto import AutoModelForDepthEstimation
from onnxpipe.tasks.base.columns import Cells, fixed_columns
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, post_processor
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class DepthEstimationOptions(ImageOptions):
    """Parameters of depth-estimation; `parameters={"timeout": ...}` is another way to give them."""


class DepthEstimationPipeline(ImagePipeline):
    """`{"predicted_depth": float32 (height, width), "depth": a grey PIL image}`, both of the picture's size.

    The image is the depth stretched from black (least) to white (most); what the numbers mean is the model's matter.
    """

    Options = DepthEstimationOptions

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_depth_estimation"], self.task)

    def parse(self, given: Mapping[str, Any], base: DepthEstimationOptions | None) -> DepthEstimationOptions:
        kept = dict(given)
        inner = kept.pop("parameters", None) or {}
        for name in inner:
            if name != "timeout":
                raise UnknownArgumentError.among(f"{type(self).__name__}(parameters=...)", name, ["timeout"])
        options: DepthEstimationOptions = super().parse({**kept, **inner}, base)
        return options

    def decode(self, rows: Answered, options: DepthEstimationOptions) -> dict[str, Any]:
        row, outputs = rows[0]
        # of ZoeDepth's post-processing the second argument is the source sizes, of every other's the target sizes
        depth = np.asarray(self._post_process(batch_of_one(outputs), [row.extra])[0]["predicted_depth"])
        return {"predicted_depth": depth, "depth": grey(depth)}


def grey(depth: Array) -> Any:
    """A grey PIL image of an array (height, width), its least value black and its largest white."""
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
