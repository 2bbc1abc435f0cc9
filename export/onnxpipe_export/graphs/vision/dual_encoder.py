"""Export dual encoders of images and text (CLIP, SigLIP, ALIGN): a graph for either side.

`vision_model` computes `image_embeds`, `text_model` computes `text_embeds` with the two numbers that turn their cosine
into a score, so that labels are encoded once for any number of images. Embeddings are not normalised, as
`get_image_features` and `get_text_features` return them.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision.multihead import plain_attention
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, image_only
from onnxpipe_export.precision import makers

_LENGTH = "sequence_length"
_PATCHES = "num_patches"


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graphs `vision_model` and `text_model`."""
    longest = int(checkpoint.config.text_config.max_position_embeddings)
    padded = checkpoint.config.model_type.startswith("siglip")
    return [_vision(checkpoint), text_graph(checkpoint, longest, _scale(checkpoint.model), padded=padded)]


def _vision(checkpoint: Checkpoint) -> WrappedExport:
    model = checkpoint.model
    return _patch_vision(checkpoint) if _takes_patches(model) else _pixel_vision(checkpoint)


def _image_embeds(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"image_embeds": model.get_image_features(**inputs).pooler_output}


def _pixel_vision(checkpoint: Checkpoint) -> WrappedExport:
    """Describe the graph from pixel_values (batch, 3, height, width); of one size if positions are learnt for it."""
    model = checkpoint.model
    fixed = _has_positions(model.vision_model)
    height = width = int(checkpoint.config.vision_config.image_size)
    sizes = [(height, width)] if fixed else vision_cases.sizes(height, width, multiple=1)
    axes: dict[int, str] = {0: BATCH} if fixed else {0: BATCH, 2: "height", 3: "width"}
    return WrappedExport(
        checkpoint,
        "vision_model",
        ("pixel_values",),
        ("image_embeds",),
        {"pixel_values": axes, "image_embeds": {0: BATCH}},
        lambda inputs: _image_embeds(model, inputs),
        lambda: {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, *sizes[-1])},
        lambda tokenizer: vision_cases.cases_per_size(checkpoint, sizes),
        makers.VISION,
        user_feeds=image_only,
    )


def text_graph(
    checkpoint: Checkpoint, longest: int, scale: Mapping[str, float], *, padded: bool = False
) -> WrappedExport:
    """Describe the graph from input_ids (batch, length), and the mask and types where the tokenizer returns them.

    Args:
        checkpoint: a model with `get_text_features`.
        longest: tokens of the longest text.
        scale: `logit_scale`, the factor of a cosine, and `logit_bias`, which is added.
        padded: whether every text is padded to the longest, as in the model's training.
    """
    model, config = checkpoint.model, checkpoint.config.text_config
    inputs = _text_inputs(checkpoint)
    axes = {name: {0: BATCH, 1: _LENGTH} for name in inputs} | {"text_embeds": {0: BATCH}}

    return WrappedExport(
        checkpoint,
        "text_model",
        inputs,
        ("text_embeds", "logit_scale", "logit_bias"),
        axes,
        lambda tensors: {"text_embeds": model.get_text_features(**tensors).pooler_output},
        lambda: vision_cases.token_example(config, inputs, min(longest, 11)),
        lambda tokenizer: vision_cases.text_cases(tokenizer, inputs, longest, padded=padded),
        makers.ENCODER,
        max_length=longest,
        constants=scale,
    )


def _text_inputs(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Name the text inputs that the tokenizer returns: SigLIP was trained without a mask, and has none.

    If the mask were an input all the same, a runtime that makes one would hide the padding that SigLIP attends to.
    """
    accepted = inspect.signature(checkpoint.model.get_text_features).parameters
    path = checkpoint.folder / "tokenizer_config.json"
    known = json.loads(path.read_text("utf-8")).get("model_input_names") if path.is_file() else None
    types = int(getattr(checkpoint.config.text_config, "type_vocab_size", 0) or 0)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types > 1 else [])]
    return tuple(name for name in names if name in accepted and (known is None or name in known))


def _scale(model: Any) -> dict[str, float]:
    """Return the factor of a cosine, and what is added."""
    scale = 1 / model.temperature if hasattr(model, "temperature") else model.logit_scale.exp()
    bias = getattr(model, "logit_bias", None)
    return {"logit_scale": scale.item(), "logit_bias": 0.0 if bias is None else bias.item()}


def _has_positions(vision: Any) -> bool:
    """Tell whether there is a table of positions, one for each patch of one size: in transformers, not convolutions."""
    parts = (*vision.named_modules(), *vision.named_parameters())  # GroupViT's table is a parameter
    return any(name.endswith(("position_embedding", "position_embeddings")) for name, _ in parts)


# NaFlex: images of any shape, as patches


def _takes_patches(model: Any) -> bool:
    return "spatial_shapes" in inspect.signature(model.get_image_features).parameters


def _patch_vision(checkpoint: Checkpoint) -> WrappedExport:
    """Describe SigLIP 2 NaFlex's graph: pixel_values (batch, patches, patch * patch * 3), a mask and image grids."""
    model = checkpoint.model
    inputs = ("pixel_values", "pixel_attention_mask", "spatial_shapes")
    axes = {
        "pixel_values": {0: BATCH, 1: _PATCHES},
        "pixel_attention_mask": {0: BATCH, 1: _PATCHES},
        "spatial_shapes": {0: BATCH},
        "image_embeds": {0: BATCH},
    }
    return WrappedExport(
        checkpoint,
        "vision_model",
        inputs,
        ("image_embeds",),
        axes,
        lambda tensors: _image_embeds(model, tensors),
        lambda: _patches(checkpoint, [(2, 3), (4, 1), (3, 3)], 11),
        lambda tokenizer: _patch_cases(checkpoint),
        makers.VISION,
        replacements=lambda: _resized_positions(model),
        user_feeds=image_only,
    )


def _patches(checkpoint: Checkpoint, shapes: list[tuple[int, int]], length: int) -> dict[str, np.ndarray]:
    """Cut synthetic images of `shapes` (rows, columns of patches each) to patches, padded with zeros to `length`."""
    config = checkpoint.config.vision_config
    side, channels = int(config.patch_size), int(config.num_channels)
    values = np.zeros((len(shapes), length, side * side * channels), np.float32)
    mask = np.zeros((len(shapes), length), np.int64)
    for row, (height, width) in enumerate(shapes):
        pixels = vision_cases.synthetic_pixels(checkpoint, 1, height * side, width * side, seed=row)
        cut = pixels.reshape(channels, height, side, width, side).transpose(1, 3, 2, 4, 0)
        values[row, : height * width] = cut.reshape(height * width, -1)
        mask[row, : height * width] = 1
    return {"pixel_values": values, "pixel_attention_mask": mask, "spatial_shapes": np.array(shapes, np.int64)}


def _patch_cases(checkpoint: Checkpoint) -> list[Case]:
    """Make cases of square, wide and tall grids, smaller and larger than the learnt one, alone and padded together."""
    side = int(int(checkpoint.config.vision_config.num_patches) ** 0.5)
    shapes = [(side, side), (side // 2 or 1, side + 1), (side + 2, side // 2 or 1), (1, side), (2 * side, side + 1)]
    cases = [
        Case(_patches(checkpoint, [shape], shape[0] * shape[1] + 3 * number), golden=number == 1, calibrates=True)
        for number, shape in enumerate(shapes)
    ]
    longest = max(height * width for height, width in shapes)
    together = (_patches(checkpoint, shapes[1:4], longest), _patches(checkpoint, shapes, longest + 2))
    return [*cases, *(Case(feeds) for feeds in together)]


@contextlib.contextmanager
def _resized_positions(model: Any) -> Any:
    """Resize the table of positions to each image's grid by sums of products inside.

    The original does it in a loop over images, with sizes read from their values.
    """
    embeddings = model.vision_model.embeddings
    with plain_attention(model), tracing.replaced(embeddings, "resize_positional_embeddings", resize_positions):
        yield


def resize_positions(table: Any, grids: Any, max_length: int) -> Any:
    """Interpolate the table of positions for each patch of each image.

    What `interpolate(mode="bilinear", antialias=True)` does is a product with one matrix for the rows and one for the
    columns; patch i of an image of `width` columns takes row i // width of the one and i % width of the other.
    (For a single column torch 2.13 gives every row the first one's answer where the height changes too; this does not.)

    Args:
        table: positions (rows, columns, width).
        grids: int64 (images, 2): rows and columns of patches of each image.
        max_length: patches of a row of the batch; those beyond rows * columns get the position of the first.

    Returns:
        (images, max_length, width).
    """
    import torch

    height, width = grids[:, :1], grids[:, 1:]
    place = torch.arange(max_length, device=grids.device)[None]
    place = torch.where(place < height * width, place, 0)
    rows = _triangle(place // width, height, table.shape[0])
    columns = _triangle(place % width, width, table.shape[1])
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(2).to(table.dtype)
    return weights @ table.flatten(0, 1)


def _triangle(index: Any, size: Any, source: int) -> Any:
    """Compute weights of `source` cells for the cell `index` of `size`: a triangle as wide as the larger cells.

    In double precision, as half precision cannot distinguish cells.

    Args:
        index: int64 (images, patches).
        size: int64 (images, 1).

    Returns:
        float64 (images, patches, source), its sums 1.
    """
    import torch

    scale = source / size.double()
    support = scale.clamp(min=1.0)[..., None]
    centre = ((index.double() + 0.5) * scale)[..., None]
    distance = (torch.arange(source, device=index.device).double() + 0.5 - centre).abs() / support
    weights = (1 - distance).clamp(min=0.0)
    return weights / weights.sum(-1, keepdim=True)
