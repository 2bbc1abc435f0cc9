"""The differences between families of vision-language models: what their vision encoder takes and gives, and how a
prompt names its images. Everything else is `graph.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.causal_lm.graph import ExtraInput
from onnxpipe_export.graphs.graph import Feeds, GraphExport

Join = Callable[[Sequence[Sequence[Feeds]]], Feeds]
"""From the images of each row of a batch to the model's inputs for all of them."""


def join_images(rows: Sequence[Sequence[Feeds]]) -> dict[str, np.ndarray]:
    """Join images row after row along the first axis: the plain `Join`; nothing where there are none."""
    images = [image for row in rows for image in row]
    names = images[0] if images else ()
    return {name: np.concatenate([image[name] for image in images]) for name in names}


def no_token_inputs(ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return no further inputs: the plain `token_inputs`."""
    return {}


def original_features(model: Any, images: Feeds) -> np.ndarray:
    """Compute the original's features of images, float32 (features, width), in the order of their placeholders."""
    return np.concatenate(original_images(model, images))


def original_images(model: Any, images: Feeds) -> list[np.ndarray]:
    """Compute the original's features of images, float32 (features, width) each; of some families of each row."""
    import torch

    with torch.inference_mode(), tracing.quiet():
        found = model.get_image_features(**{name: torch.from_numpy(value) for name, value in images.items()})
        return [np.asarray(part.float().flatten(0, -2).numpy()) for part in found.pooler_output]


@dataclass(frozen=True)
class Videos:
    """Synthetic videos of a family in which these have a placeholder of their own.

    Attributes:
        make: from a number to the model's inputs for that video, as its processor would make them.
        placeholders: from these to the ids that stand for the video in a prompt.
    """

    make: Callable[[int], Feeds]
    placeholders: Callable[[Feeds], list[int]]


@dataclass(frozen=True)
class Family:
    """What a family's file says of a checkpoint.

    Attributes:
        vision: the export of `vision_encoder`.
        image: from a number to the model's inputs for that synthetic image, as its processor would make them.
        join: joins the images of a batch's rows.
        features: from the model and the inputs of images to the original's features, float32 (features, width).
        placeholders: from the inputs of an image and the number of its features to the ids that stand for it in a
            prompt; None: the image token as often.
        token_inputs: from ids int64 (rows, length) to what the original's forward takes beside them, by token.
        text: from the model to the causal language model that it has inside; None: that which transformers has for it.
        position_axes, extras: of the decoder, see `CausalLMExport`.
        videos: its videos; None where it has none, or their frames are images to the model.
        graphs: from the checkpoint and the export of `embed_tokens` to all graphs, of a family that has others than
            these three.
    """

    vision: GraphExport
    image: Callable[[int], Feeds]
    join: Join = join_images
    features: Callable[[Any, Feeds], np.ndarray] = original_features
    placeholders: Callable[[Feeds, int], list[int]] | None = None
    token_inputs: Callable[[np.ndarray], Feeds] = no_token_inputs
    text: Callable[[Any], Any] | None = None
    position_axes: int = 1
    extras: tuple[ExtraInput, ...] = ()
    videos: Videos | None = None
    graphs: Callable[[Checkpoint, GraphExport], list[GraphExport]] | None = None
