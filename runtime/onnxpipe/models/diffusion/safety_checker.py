"""The safety checker of Stable Diffusion 1: it finds images that should not be shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe.models.base import Array
from onnxpipe.models.diffusion.graphs import ComponentGraphs

_NAME = "safety_checker"


class SafetyChecker:
    """Tells which images hold what the checker knows.

    Args:
        graphs: the pipeline's.
        feature_extractor: the image processor that prepares images for it.
    """

    def __init__(self, graphs: ComponentGraphs, feature_extractor: Any) -> None:
        self._graphs = graphs
        self.feature_extractor = feature_extractor

    def __call__(self, images: Array) -> list[bool]:
        """Check images, float32 (images, height, width, 3) in [0, 1]; true for those that should not be shown."""
        from PIL.Image import fromarray

        session = self._graphs.session(_NAME)
        shown = [fromarray(pixels) for pixels in (images * 255).round().astype(np.uint8)]
        features = self.feature_extractor(shown, return_tensors="np")["pixel_values"]
        feeds = {"clip_input": features, "images": images}
        outputs = session.run({name: value for name, value in feeds.items() if name in session.inputs})
        flags = outputs.get("has_nsfw_concepts", next(reversed(outputs.values())))
        return [bool(flag) for flag in np.ravel(flags)]

    def release(self) -> None:
        """Close the graph, if memory is scarce."""
        self._graphs.release(_NAME)
