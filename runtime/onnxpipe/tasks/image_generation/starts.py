"""What a run of the loop starts from: noise alone, an image with noise, or an image to paint into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpipe.diffusion.random import NoiseSource, draw
from onnxpipe.diffusion.schedulers.base import Scheduler
from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.images.generated import (
    Box,
    Target,
    are_latents,
    crop_around,
    nearest,
    repeat_to,
    to_mask,
    to_pixels,
)
from onnxpipe.tasks.image_generation.denoising import Painting
from onnxpipe.tasks.image_generation.request import ImageRequest

if TYPE_CHECKING:
    from onnxpipe.models.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Start:
    """What the loop starts with.

    Attributes:
        latents: float32 (images, channels, height, width), with noise.
        mask, masked: of inpainting: the mask, (images, 1, height, width), and the latents of the image without what is
            painted over.
        painting: what is put back after each step; None for nothing.
    """

    latents: Array
    mask: Array | None = None
    masked: Array | None = None
    painting: Painting | None = None


@dataclass(frozen=True)
class Starter:
    """Makes the start of a request.

    Attributes:
        model: the model.
        request: the request.
        scheduler: its timesteps are set.
        generators: the sources of noise.
        first: the timestep that the loop starts with, as an array of one; empty if there is none.
        size: height and width of the images in pixels.
    """

    model: DiffusionModel
    request: ImageRequest
    scheduler: Scheduler[Any]
    generators: Sequence[NoiseSource]
    first: Array
    size: tuple[int, int]

    def from_noise(self, flow: bool) -> Start:
        """Start from noise; latents that were passed are taken for noise of standard deviation 1.

        Args:
            flow: the scheduler matches flows: passed latents are taken as they are.
        """
        latents = self._given(self._shape())
        if latents is None:
            latents = self.draw(self._shape())
        return Start(latents if flow else self._scaled(latents))

    def from_image(self, size: tuple[int, int] | None) -> Start:
        """Start from an image with the noise of the first timestep, or from the latents of a run that was cut short.

        Args:
            size: height and width that the image is resized to; None for its own.
        """
        if self.request.latents is not None:
            return Start(_as_latents(self.request.latents, "latents", self.model.vae.channels))
        latents = self._encoded(self.request.image, "image", size)
        latents = repeat_to(latents, self.request.images, "images", "image")
        if self.request.denoising_start is not None:
            return Start(latents)
        noise = self.draw(latents.shape)
        return Start(self.scheduler.add_noise(latents, noise, self._timesteps(len(latents))))

    def inpaint(self) -> Start:
        """Start from an image, part of which is painted over."""
        request, channels, vae = self.request, self.model.denoiser.in_channels, self.model.vae
        inside = channels == vae.channels  # else the UNet reads the mask and the masked image
        if not inside and channels != 2 * vae.channels + 1:
            raise UnsupportedError(
                f"{self.model.name_or_path} reads {channels} channels: inpainting needs {vae.channels}, or "
                f"{2 * vae.channels + 1} with the mask and the masked image"
            )
        crop = self.crop()
        target = Target(vae.factor, *self.size, crop)
        whole = request.strength == 1.0
        given = self._given(self._shape())
        image: Array | None = None
        in_latents = are_latents(request.image, vae.channels)
        pixels = None if in_latents else to_pixels(request.image, target)
        if inside or request.denoising_start is not None or (given is None and not whole):
            image = self._latents_of(request.image if in_latents else pixels, "image")
            image = repeat_to(image, request.images, "images", "image")
        noise = self.draw(self._shape()) if given is None else given
        if request.denoising_start is not None and image is not None:
            latents = image
        elif whole or given is not None:
            latents = self._scaled(noise)
        else:
            assert image is not None
            latents = self.scheduler.add_noise(image, noise, self._timesteps(len(image)))
        mask, masked = self._masks(pixels, target)
        return Start(latents, mask, masked, Painting(image, noise) if inside and image is not None else None)

    def crop(self) -> Box | None:
        """Find the part of the image that is worked on, where a margin around the mask was asked for."""
        request = self.request
        if request.padding_mask_crop is None:
            return None
        for name in ("image", "mask_image"):
            if not hasattr(getattr(request, name), "getbands"):
                raise UnsupportedError(f"padding_mask_crop needs {name} as one PIL image")
        return crop_around(request.mask_image, *self.size, request.padding_mask_crop)

    def draw(self, shape: tuple[int, ...]) -> Array:
        """Draw noise."""
        return draw(shape, self.generators)

    def _masks(self, pixels: Array | None, target: Target) -> tuple[Array, Array | None]:
        """Make the mask in the latents' size, and the latents of the image without what is painted over."""
        request, vae = self.request, self.model.vae
        shape = self._shape()
        mask = to_mask(request.mask_image, target)
        masked: Array | None = None
        if request.masked_image_latents is not None:
            masked = self._latents_of(request.masked_image_latents, "masked_image_latents")
        elif pixels is not None:
            masked = self._latents_of(pixels * (mask < 0.5), "image")
        small = repeat_to(nearest(mask, *shape[2:]), request.images, "masks", "mask_image")
        if masked is None and self.model.denoiser.in_channels != vae.channels:
            raise UnsupportedError("image is latents, in which nothing can be masked: pass masked_image_latents too")
        return small, None if masked is None else repeat_to(masked, request.images, "images", "image")

    def _encoded(self, image: Any, name: str, size: tuple[int, int] | None) -> Array:
        if are_latents(image, self.model.vae.channels):
            return _as_latents(image, name, self.model.vae.channels)
        pixels = to_pixels(image, Target(self.model.vae.factor, *(size or (None, None))))
        if len(self.generators) > 1:
            pixels = repeat_to(pixels, len(self.generators), "images", name)
        return self._latents_of(pixels, name)

    def _latents_of(self, value: Any, name: str) -> Array:
        """Encode pixels, the latents of each by its own generator if there is one; latents stay as they are."""
        if are_latents(value, self.model.vae.channels):
            return _as_latents(value, name, self.model.vae.channels)
        pixels = np.asarray(value, np.float32)
        sources = self.generators if len(self.generators) == 1 else self.generators[: len(pixels)]
        draws: list[Callable[[tuple[int, ...]], Array]] = [partial(draw, generators=[each]) for each in sources]
        return self.model.vae.encode(pixels, draws)

    def _shape(self) -> tuple[int, int, int, int]:
        vae, (height, width) = self.model.vae, self.size
        return self.request.images, vae.channels, height // vae.factor, width // vae.factor

    def _given(self, shape: tuple[int, ...]) -> Array | None:
        """Return the latents that were passed.

        Raises:
            UnsupportedError: they have another shape.
        """
        latents: Array | None = self.request.array("latents")
        if latents is not None and latents.shape != shape:
            raise UnsupportedError(f"latents has the shape {latents.shape}; the images need {shape}")
        return latents

    def _scaled(self, noise: Array) -> Array:
        return np.asarray(noise * np.float32(self.scheduler.init_noise_sigma), np.float32)

    def _timesteps(self, count: int) -> Array:
        return np.repeat(self.first, count)


def _as_latents(value: Any, name: str, channels: int) -> Array:
    array = to_array(value).astype(np.float32)
    if array.ndim != 4 or array.shape[1] != channels:
        raise UnsupportedError(f"{name} has the shape {array.shape}: latents are (images, {channels}, height, width)")
    return array
