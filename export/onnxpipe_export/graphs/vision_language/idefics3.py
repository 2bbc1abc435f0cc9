"""Idefics 3 and SmolVLM: `vision_encoder` takes tiles with a mask of their pixels.

pixel_values (batch, tiles, 3, side, side) and pixel_attention_mask bool (batch, tiles, side, side) give image_features
(batch * tiles, features, width), as in the Hub's folders. What tracing gets wrong of the original is computed anew
here: the positions of patches (`bucketize`) and the mask of patches (`unfold`), with the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision_language.family import Family
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_TILES = (1, 3, 1, 5)
"""Tiles of the synthetic images."""


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of an Idefics 3 or SmolVLM checkpoint."""
    model = checkpoint.model

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        import torch

        parts = torch.cat(list(model.get_image_features(**tensors).pooler_output))
        tiles = tensors["pixel_values"].shape[0] * tensors["pixel_values"].shape[1]
        return {"image_features": parts.reshape(tiles, -1, parts.shape[-1])}

    vision = WrappedExport(
        checkpoint,
        "vision_encoder",
        ("pixel_values", "pixel_attention_mask"),
        ("image_features",),
        {
            "pixel_values": {0: BATCH, 1: "num_images"},
            "pixel_attention_mask": {0: BATCH, 1: "num_images"},
            "image_features": {0: BATCH},
        },
        forward,
        lambda: _tiles(checkpoint, 2, 3, cut=1),
        lambda tokenizer: _cases(checkpoint),
        makers.VISION_ENCODER,
        traced=lambda tensors: {"image_features": _features(model, **tensors)},
    )
    return Family(vision, lambda number: _image(checkpoint, number), _join)


def _cases(checkpoint: Checkpoint) -> list[Case]:
    alone = [Case(_tiles(checkpoint, 1, 1, seed), golden=seed == 0, calibrates=True) for seed in range(4)]
    masked = [Case(_tiles(checkpoint, 1, 1, 10, cut=2))]
    together = [_tiles(checkpoint, 2, 1, 20), _tiles(checkpoint, 1, 2, 30), _tiles(checkpoint, 2, 1, 40, cut=1)]
    return [*alone, *masked, *map(Case, together)]


def _tiles(checkpoint: Checkpoint, rows: int, count: int, seed: int = 0, cut: int = 0) -> dict[str, np.ndarray]:
    """Make tiles (rows, count, 3, side, side); the last `cut` rows of patches and half as many columns are padding."""
    tower = checkpoint.config.vision_config
    side, patch = int(tower.image_size), int(tower.patch_size)
    pixels = vision_cases.synthetic_pixels(checkpoint, rows * count, side, side, seed=seed)
    mask = np.ones((rows * count, side, side), bool)
    mask[:, side - cut * patch :] = False
    mask[:, :, side - cut // 2 * patch :] = False
    return {
        "pixel_values": pixels.reshape(rows, count, *pixels.shape[1:]),
        "pixel_attention_mask": mask.reshape(rows, count, side, side),
    }


def _image(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    return _tiles(checkpoint, 1, _TILES[number % len(_TILES)], seed=20 * number)


def _join(rows: Sequence[Sequence[Feeds]]) -> dict[str, np.ndarray]:
    """Join the tiles of each row's images, with tiles of zeros behind those of rows that have fewer."""
    images = [image for row in rows for image in row]
    if not images:
        return {}
    most = max(sum(image["pixel_values"].shape[1] for image in row) for row in rows)
    joined = {}
    for name, like in images[0].items():
        filled = np.zeros((len(rows), most, *like.shape[2:]), like.dtype)
        for number, row in enumerate(rows):
            parts = [image[name][0] for image in row]
            if parts:
                filled[number, : sum(map(len, parts))] = np.concatenate(parts)
        joined[name] = filled
    return joined


def _features(model: Any, pixel_values: Any, pixel_attention_mask: Any) -> Any:
    """Compute the features of tiles, (tiles, features, width)."""
    import torch

    pixels, marks = pixel_values.flatten(0, 1), pixel_attention_mask.flatten(0, 1)
    tower, patch = model.model.vision_model, int(model.config.vision_config.patch_size)
    across = int(model.config.vision_config.image_size) // patch
    marks = marks.to(torch.float32).reshape(-1, across, patch, across, patch)
    inside = marks.amax(dim=(2, 4)) > 0
    embedded = tower.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    embedded = embedded + tower.embeddings.position_embedding(_positions(inside, across))
    kept = inside.flatten(1)[:, None, None, :]
    bias = torch.where(kept, torch.zeros(()), torch.full((), torch.finfo(torch.float32).min))
    states = tower.encoder(inputs_embeds=embedded, attention_mask=bias).last_hidden_state
    return model.model.connector(tower.post_layernorm(states))


def _positions(inside: Any, across: int) -> Any:
    """Number the place of each patch, int64 (tiles, patches), as if what is inside filled the whole grid.

    Source: NaViT (Dehghani et al. 2023), as transformers 5.23 has it for these models.

    Args:
        inside: bool (tiles, across, across): patches that are not padding.
        across: patches along a side.
    """
    import torch

    numbers = torch.arange(across, dtype=torch.float32)
    edges = torch.arange(1 / across, 1.0, 1 / across)
    places = []
    for counted in (inside[:, :, 0], inside[:, 0, :]):
        share = numbers[None] * (1.0 / counted.sum(dim=1).to(torch.float32))[:, None]
        places.append((edges[None, None] <= share.clamp(max=1.0 - 1e-6)[:, :, None]).sum(dim=2))
    ids = places[0][:, :, None] * across + places[1][:, None, :]
    return torch.where(inside, ids, torch.zeros_like(ids)).flatten(1)
