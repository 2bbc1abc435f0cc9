"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL: images and videos of any size in patches, decoders with positions of three axes.

`vision_encoder` runs one image or video at a time: pixel_values (patches, values of a patch) and image_grid_thw (1, 3),
its patches in time, height and width, to image_features (tokens, width); of Qwen3-VL also deepstack_features (tokens,
layers, width). The decoder's position_ids are (3, batch, length).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.causal_lm.graph import ExtraInput
from onnxpipe_export.graphs.graph import Case, Feeds
from onnxpipe_export.graphs.vision_language import qwen_attention, text_models
from onnxpipe_export.graphs.vision_language.family import Family, Videos
from onnxpipe_export.graphs.wrapped import WrappedExport, replaced_in
from onnxpipe_export.precision import makers

_GRIDS = ((2, 3), (3, 1), (1, 1), (4, 2), (2, 5))
"""Heights and widths of synthetic images, in tokens."""


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a Qwen-VL checkpoint."""
    config = checkpoint.config
    marks = [int(config.vision_start_token_id), int(config.vision_end_token_id)]
    deep = _deep_layers(config)
    return Family(
        _vision(checkpoint),
        lambda number: _image(checkpoint, number),
        placeholders=lambda image, count: [marks[0], *[int(config.image_token_id)] * count, marks[1]],
        token_inputs=lambda ids: {"mm_token_type_ids": _types(config, ids)},
        videos=Videos(lambda number: _video(checkpoint, number), lambda video: _video_placeholders(config, video)),
        text=text_models.with_own_positions,
        position_axes=3,
        extras=(ExtraInput("deepstack_embeds", (deep, int(config.text_config.hidden_size))),) if deep else (),
    )


def _deep_layers(config: Any) -> int:
    return len(getattr(config.vision_config, "deepstack_visual_indexes", ()))


def _image(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    """Make a synthetic image: noise, of a size that no other has."""
    vision = checkpoint.config.vision_config
    height, width = (side * vision.spatial_merge_size for side in _GRIDS[number % len(_GRIDS)])
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = np.random.default_rng(number).standard_normal((height * width, values)).astype(np.float32)
    return {"pixel_values": pixels, "image_grid_thw": np.array([[1, height, width]], np.int64)}


def _video(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    """Make a synthetic video of two or three moments, of the size of an image."""
    image, moments = _image(checkpoint, number), 2 + number % 2
    shape = (moments * len(image["pixel_values"]), image["pixel_values"].shape[1])
    pixels = np.random.default_rng(100 + number).standard_normal(shape).astype(np.float32)
    video = {"pixel_values_videos": pixels, "video_grid_thw": image["image_grid_thw"] * np.array([moments, 1, 1])}
    if checkpoint.config.model_type == "qwen2_5_vl":
        video["second_per_grid_ts"] = np.array([0.6 + number], np.float32)
    return video


def _video_placeholders(config: Any, video: Feeds) -> list[int]:
    """Return the ids of a video; of Qwen3-VL those of its moments, between which a prompt says their times."""
    time, height, width = (int(side) for side in video["video_grid_thw"][0])
    moment = [int(config.video_token_id)] * (height * width // config.vision_config.spatial_merge_size**2)
    start, end = int(config.vision_start_token_id), int(config.vision_end_token_id)
    if config.model_type == "qwen3_vl":
        return [start, *[token for _ in range(time) for token in (start, *moment, end)], end]
    return [start, *moment * time, end]


def _types(config: Any, ids: np.ndarray) -> np.ndarray:
    """Return 1 for tokens of images and 2 for those of videos."""
    return np.where(ids == config.image_token_id, 1, np.where(ids == config.video_token_id, 2, 0))


def _vision(checkpoint: Checkpoint) -> WrappedExport:
    tower, deep = checkpoint.model.model.visual, _deep_layers(checkpoint.config)
    outputs = ("image_features", "deepstack_features") if deep else ("image_features",)
    free = {0: "num_tokens"}

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return _answer(tower(tensors["pixel_values"], grid_thw=tensors["image_grid_thw"]))

    def traced(tensors: Mapping[str, Any]) -> dict[str, Any]:
        given = qwen_attention.precomputed(tower, tensors["pixel_values"], tensors["image_grid_thw"])
        return _answer(tower(tensors["pixel_values"], grid_thw=tensors["image_grid_thw"], **given))

    def cases() -> list[Case]:
        images = [_image(checkpoint, number) for number in range(len(_GRIDS))]
        frames = {
            "pixel_values": np.concatenate([images[0]["pixel_values"]] * 3)[:, ::-1].copy(),
            "image_grid_thw": images[0]["image_grid_thw"] * np.array([3, 1, 1]),
        }
        return [Case(image, golden=number == 0, calibrates=True) for number, image in enumerate([*images, frames])]

    return WrappedExport(
        checkpoint,
        "vision_encoder",
        ("pixel_values", "image_grid_thw"),
        outputs,
        {"pixel_values": {0: "num_patches"}, **dict.fromkeys(outputs, free)},
        forward,
        lambda: _image(checkpoint, 3),
        lambda tokenizer: cases(),
        makers.VISION_ENCODER,
        replacements=lambda: replaced_in((type(tower.blocks[0].attn), "forward", qwen_attention.attend)),
        traced=traced,
        user_feeds=_of_user,
    )


def _answer(found: Any) -> dict[str, Any]:
    """Return the features of a tower's answer; those for the decoder's layers as (tokens, layers, width)."""
    answer = {"image_features": found.pooler_output}
    deep = getattr(found, "deepstack_features", None)
    return answer if not deep else {**answer, "deepstack_features": torch.stack(list(deep), dim=1)}


def _of_user(prepared: Feeds, tokenizer: Any) -> Feeds:
    return {name: prepared[name] for name in ("pixel_values", "image_grid_thw")}
