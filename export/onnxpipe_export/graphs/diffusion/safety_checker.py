"""The graph of Stable Diffusion's safety checker: it names the images that show what it looks for, and blackens them.

Source: `StableDiffusionSafetyChecker` of diffusers. Its scores are rounded to three digits before they are compared
with 0, so the graph rounds too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe_export.cases.images import pixels, synthetic_image
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision.makers import FULL

_DIGITS = 1000.0
_CARE = 0.01
"""Added to the other scores of an image that is near one of the concepts that need special care."""
_SIDES = {0: BATCH, 1: "image_height", 2: "image_width", 3: "image_channels"}


def describe(checkpoint: Checkpoint, processor: Mapping[str, Any]) -> WrappedExport:
    """Describe the checker.

    Args:
        checkpoint: the checker.
        processor: the configuration of its feature extractor.
    """

    def forward(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        checked = tensors["images"].numpy().copy()
        images, found = checkpoint.model(tensors["clip_input"], checked)
        return _answer(images, found)

    def traced(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        found = _found(checkpoint.model, tensors["clip_input"])
        kept = (~found).to(tensors["images"].dtype).view(-1, 1, 1, 1)
        return {"out_images": tensors["images"] * kept, "has_nsfw_concepts": found}

    side = checkpoint.config.vision_config.image_size

    def feeds(numbers: range, level: float | None = None) -> dict[str, np.ndarray]:
        images = np.stack([synthetic_image(number, (side, side)) for number in numbers])
        if level is not None:
            images = np.full_like(images, round(255 * level))
        return {"clip_input": pixels(images, processor), "images": images.astype(np.float32) / 255}

    return WrappedExport(
        checkpoint=checkpoint,
        name="safety_checker",
        inputs=("clip_input", "images"),
        outputs=("out_images", "has_nsfw_concepts"),
        axes={"clip_input": {0: BATCH}, "images": _SIDES, "out_images": _SIDES, "has_nsfw_concepts": {0: BATCH}},
        forward=forward,
        traced=traced,
        example=lambda: feeds(range(2)),
        make_cases=lambda _: [
            Case(feeds(range(1)), golden=True),
            Case(feeds(range(1, 4))),
            Case(feeds(range(2), level=1.0), golden=True),
            Case(feeds(range(1), level=0.0)),
        ],
        makers=FULL,
    )


def _answer(images: Any, found: Any) -> dict[str, Any]:
    import torch

    return {"out_images": torch.from_numpy(images), "has_nsfw_concepts": torch.tensor(found)}


def _found(model: Any, clip_input: Any) -> Any:
    """Tell which images show what the checker looks for, all at once: bool (images,)."""
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import cosine_distance

    embedded = model.visual_projection(model.vision_model(clip_input)[1])
    special = cosine_distance(embedded, model.special_care_embeds) - model.special_care_embeds_weights
    near = (torch.round(special * _DIGITS) > 0).any(dim=1, keepdim=True)
    scores = cosine_distance(embedded, model.concept_embeds) - model.concept_embeds_weights + _CARE * near
    return (torch.round(scores * _DIGITS) > 0).any(dim=1)
