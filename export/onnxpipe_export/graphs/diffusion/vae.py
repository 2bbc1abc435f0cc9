"""The graphs of a pipeline's VAE: from images to latents and back.

The encoder gives the parameters of the latents' distribution, mean and logarithm of the variance, so that whoever draws
from it decides on the seed. AutoencoderTiny has no distribution: it gives the latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from onnxpipe_export.cases.images import synthetic_image
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.diffusion.samples import Samples
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision.makers import IMAGE_CODER

_SIZES = ((64, 64), (96, 40))
"""Heights and widths of the images of the cases; the VAE has no size of its own."""
_IMAGES = 6
"""How many images' latents the denoiser is verified with."""
_EXAMPLE = (72, 120)
"""Of the image that is traced: an odd number of latents either way."""
_SPATIAL = {0: BATCH, 2: "height", 3: "width"}
_LATENT_SPATIAL = {0: BATCH, 2: "latent_height", 3: "latent_width"}


def describe(checkpoint: Checkpoint, samples: Samples) -> list[WrappedExport]:
    """Describe the encoder and the decoder, and keep latents of images in `samples`."""
    samples.keep_latents(encoded(checkpoint, images(range(_IMAGES), _SIZES[0])))
    return [_encoder(checkpoint), _decoder(checkpoint, samples)]


def images(numbers: range, size: tuple[int, int]) -> np.ndarray:
    """Make synthetic images as the VAE takes them: float32 (count, 3, height, width) in [-1, 1]."""
    pixels = np.stack([synthetic_image(number, size) for number in numbers]).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(pixels / 127.5 - 1, -1, 1))


def _encoder(checkpoint: Checkpoint) -> WrappedExport:
    tiny = checkpoint.config.model_type == "AutoencoderTiny"
    output = "latent_sample" if tiny else "latent_parameters"

    def forward(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        encoded = checkpoint.model.encode(tensors["sample"])
        return {output: encoded.latents if tiny else encoded.latent_dist.parameters}

    return WrappedExport(
        checkpoint=checkpoint,
        name="vae_encoder",
        inputs=("sample",),
        outputs=(output,),
        axes={"sample": _SPATIAL, output: _LATENT_SPATIAL},
        forward=forward,
        example=lambda: {"sample": images(range(2), _EXAMPLE)},
        make_cases=lambda _: [
            Case({"sample": images(range(1), _SIZES[0])}, golden=True, calibrates=True),
            Case({"sample": images(range(1, 4), _SIZES[1])}),
        ],
        makers=IMAGE_CODER,
        eager=False,
    )


def _decoder(checkpoint: Checkpoint, samples: Samples) -> WrappedExport:
    def forward(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"sample": checkpoint.model.decode(tensors["latent_sample"], return_dict=False)[0]}

    @cache
    def cases() -> Sequence[Case]:
        return [
            Case({"latent_sample": encoded(checkpoint, images(range(1), _SIZES[0]))}, golden=True, calibrates=True),
            Case({"latent_sample": encoded(checkpoint, images(range(1, 4), _SIZES[1]))}),
            Case({"latent_sample": samples.noise(0, (1, samples.latent_channels, 8, 8))}, calibrates=True),
        ]

    return WrappedExport(
        checkpoint=checkpoint,
        name="vae_decoder",
        inputs=("latent_sample",),
        outputs=("sample",),
        axes={"latent_sample": _LATENT_SPATIAL, "sample": _SPATIAL},
        forward=forward,
        example=lambda: {"latent_sample": encoded(checkpoint, images(range(2), _EXAMPLE))},
        make_cases=lambda _: cases(),
        makers=IMAGE_CODER,
        eager=False,
    )


def encoded(checkpoint: Checkpoint, pixels: np.ndarray) -> np.ndarray:
    """Encode images to the means of their latents: float32 (count, channels, height, width)."""
    import torch

    with torch.inference_mode():
        answer = checkpoint.model.encode(torch.from_numpy(pixels))
    latents = answer.latents if hasattr(answer, "latents") else answer.latent_dist.mode()
    return np.ascontiguousarray(latents.numpy())
