"""Export Segment Anything (SAM, SAM 2): an image is encoded once, then points become masks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, image_only
from onnxpipe_export.precision import makers

_POINTS = {"input_points": {0: BATCH, 1: "point_batch_size", 2: "nb_points_per_image"}}
_LABELS = {"input_labels": {0: BATCH, 1: "point_batch_size", 2: "nb_points_per_image"}}


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graphs `vision_encoder` and `prompt_encoder_mask_decoder`."""
    family = _Sam2(checkpoint.model) if checkpoint.config.model_type.startswith("sam2") else _Sam(checkpoint.model)
    side = int(checkpoint.config.prompt_encoder_config.image_size)
    encoder = WrappedExport(
        checkpoint,
        "vision_encoder",
        ("pixel_values",),
        family.encoded,
        {name: {0: BATCH} for name in ("pixel_values", *family.encoded)},
        family.encode,
        lambda: {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, side, side)},
        lambda tokenizer: _encoder_cases(checkpoint, side),
        makers.VISION,
        replacements=family.encoding,
        user_feeds=image_only,
    )

    def example() -> dict[str, np.ndarray]:
        embeddings = encoder.reference({"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, side, side)})
        return _prompts(side, 2, 3, 4, seed=1) | embeddings

    decoder = WrappedExport(
        checkpoint,
        "prompt_encoder_mask_decoder",
        ("input_points", "input_labels", *family.encoded),
        family.decoded,
        {**_POINTS, **_LABELS, **{name: {0: BATCH} for name in family.encoded}}
        | {name: {0: BATCH, 1: "point_batch_size"} for name in family.decoded},
        family.decode,
        example,
        lambda tokenizer: _decoder_cases(encoder, side),
        makers.VISION,
        replacements=family.decoding,
    )
    return [encoder, decoder]


class _Sam:
    """SAM: the position of each patch is encoded with the image."""

    encoded: tuple[str, ...] = ("image_embeddings", "image_positional_embeddings")
    decoded: tuple[str, ...] = ("iou_scores", "pred_masks")

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        embeddings = self.model.get_image_embeddings(tensors["pixel_values"])
        places = self.model.get_image_wide_positional_embeddings()
        return {
            "image_embeddings": embeddings,
            "image_positional_embeddings": places.expand(embeddings.shape[0], -1, -1, -1),
        }

    def decode(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        sparse, dense = self.model.prompt_encoder(tensors["input_points"], tensors["input_labels"], None, None)
        masks, scores = self.model.mask_decoder(
            image_embeddings=tensors["image_embeddings"],
            image_positional_embeddings=tensors["image_positional_embeddings"],
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return {"iou_scores": scores, "pred_masks": masks}

    def encoding(self) -> contextlib.AbstractContextManager[Any]:
        """Replace functions of the model while the encoder is traced."""
        return contextlib.nullcontext()

    def decoding(self) -> contextlib.AbstractContextManager[Any]:
        """Replace functions of the model while the decoder is traced."""
        return _repeated_by_shape()


class _Sam2(_Sam):
    """SAM 2: features of three sizes; positions are the decoder's own."""

    encoded = ("image_embeddings.0", "image_embeddings.1", "image_embeddings.2")
    decoded = ("iou_scores", "pred_masks", "object_score_logits")

    def encode(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(self.encoded, self.model.get_image_embeddings(tensors["pixel_values"]), strict=True))

    def decode(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        features = [tensors[name] for name in self.encoded]
        places = self.model.get_image_wide_positional_embeddings()
        sparse, dense = self.model.prompt_encoder(tensors["input_points"], tensors["input_labels"], None, None)
        masks, scores, _, objects = self.model.mask_decoder(
            image_embeddings=features[-1],
            image_positional_embeddings=places.expand(features[-1].shape[0], -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            high_resolution_features=features[:-1],
        )
        return {"iou_scores": scores, "pred_masks": masks, "object_score_logits": objects}

    def encoding(self) -> contextlib.AbstractContextManager[Any]:
        """Make the positions of the one size constant: their repetition over windows cannot be exported."""
        import torch

        backbone = self.model.vision_encoder.backbone
        config = backbone.config
        grid = tuple(side // stride for side, stride in zip(config.image_size, config.patch_stride, strict=True))
        with torch.no_grad():
            positions = backbone._get_pos_embed(grid)
        return tracing.replaced(backbone, "_get_pos_embed", lambda size: positions)


@contextlib.contextmanager
def _repeated_by_shape() -> Iterator[None]:
    """Replace `repeat_interleave` along the first axis by expand and reshape inside.

    Tracing makes its number of repetitions, the number of prompts, a constant.
    """
    import torch

    def repeat(self: Any, repeats: Any, dim: int | None = None) -> Any:
        assert dim == 0
        shape = self.shape
        return self.unsqueeze(1).expand(-1, repeats, *([-1] * (self.dim() - 1))).reshape(-1, *shape[1:])

    before = torch.Tensor.repeat_interleave
    torch.Tensor.repeat_interleave = repeat
    try:
        yield
    finally:
        torch.Tensor.repeat_interleave = before


def _encoder_cases(checkpoint: Checkpoint, side: int) -> list[Case]:
    one = [vision_cases.synthetic_pixels(checkpoint, 1, side, side, seed) for seed in range(3)]
    cases = [Case({"pixel_values": one[seed]}, golden=seed == 0, calibrates=True) for seed in range(3)]
    return [*cases, Case({"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, side, side, seed=1)})]


def _prompts(side: int, images: int, prompts: int, points: int, seed: int) -> dict[str, np.ndarray]:
    """Make points in the image with labels: inside (1), outside (0), nowhere (-1) and padding (-10)."""
    generator = np.random.default_rng([3, seed])
    shape = (images, prompts, points)
    labels = generator.choice(np.array([1, 0, -1, -10]), shape, p=[0.6, 0.2, 0.1, 0.1])
    labels[:, :, 0] = 1
    places = np.round(generator.uniform(0, side, (*shape, 2)), 1).astype(np.float32)
    return {"input_points": places, "input_labels": labels.astype(np.int64)}


def _decoder_cases(encoder: WrappedExport, side: int) -> list[Case]:
    """Make cases of one prompt and many, one point and several, one image and two."""
    first = encoder.reference({"pixel_values": vision_cases.synthetic_pixels(encoder.checkpoint, 1, side, side)})
    both = encoder.reference({"pixel_values": vision_cases.synthetic_pixels(encoder.checkpoint, 2, side, side, seed=1)})
    alone = [(1, 1), (1, 3), (5, 1), (2, 4), (16, 1)]
    cases = [
        Case(_prompts(side, 1, prompts, points, seed) | first, golden=seed == 2, calibrates=True)
        for seed, (prompts, points) in enumerate(alone)
    ]
    return [*cases, *(Case(_prompts(side, 2, prompts, points, 9) | both) for prompts, points in ((1, 2), (4, 1)))]
