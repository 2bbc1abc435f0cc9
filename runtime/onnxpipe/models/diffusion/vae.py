"""The autoencoder of a diffusion pipeline: images to latents and back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.models.base import Array
from onnxpipe.models.diffusion.graphs import ComponentGraphs
from onnxpipe.models.diffusion.tiling import Tiles, in_tiles

logger = logging.getLogger("onnxpipe")

_ENCODER, _DECODER = "vae_encoder", "vae_decoder"
#: What exports of optimum that leave it out mean.
_SCALING = 0.18215
_TINY = "AutoencoderTiny"

#: Draws standard normal numbers of a shape, float32.
Draw = Callable[[tuple[int, ...]], Array]


class Vae:
    """Encodes images to latents and decodes latents to images, one after the other to bound memory.

    Args:
        graphs: the pipeline's.

    Attributes:
        graphs: as passed.
        config: its config.json.
        factor: pixels of a latent's side, 8 for most.
        channels: of latents.
        tiling: work on overlapping tiles where an image is larger than those it was trained with.
        tile_side: the side of a tile in pixels.
    """

    def __init__(self, graphs: ComponentGraphs) -> None:
        self.graphs = graphs
        self.config = graphs.config(_DECODER, "vae", _ENCODER)
        blocks = self.config.get("block_out_channels") or self.config.get("decoder_block_out_channels") or [0] * 4
        self.factor: int = 2 ** (len(blocks) - 1)
        self.channels = int(self.config.get("latent_channels", 4))
        self.tiling = False
        size = self.config.get("sample_size") or 512
        self.tile_side = int(max(size) if isinstance(size, (list, tuple)) else size)
        tiny = self.config.get("_class_name") == _TINY
        self._scaling = float(self.config.get("scaling_factor", 1.0 if tiny else _SCALING))
        shift = None if tiny else self.config.get("shift_factor")
        self._shift = np.float32(0.0 if shift is None else shift)
        self._mean = self._statistic("latents_mean")
        self._std = self._statistic("latents_std")

    def encode(self, images: Array, draws: Sequence[Draw]) -> Array:
        """Encode images to latents.

        Args:
            images: float32 (images, 3, height, width) in [-1, 1].
            draws: what draws the latents' noise: of all images together, or one for each.

        Returns:
            float32 (images, channels, height / factor, width / factor), scaled as the denoiser takes them.
        """
        session = self.graphs.session(_ENCODER)
        run = self._tiled(_only(session), decode=False)
        encoded = np.concatenate([run(image[None]) for image in images])
        if encoded.shape[1] == 2 * self.channels:
            mean, log_variance = np.split(encoded, 2, axis=1)
            spread = np.exp(np.float32(0.5) * np.clip(log_variance, -30.0, 20.0))
            if len(draws) == 1:
                noise = draws[0](mean.shape)
            else:
                noise = np.concatenate([draw((1, *mean.shape[1:])) for draw in draws])
            encoded = mean + spread * noise
        elif encoded.shape[1] != self.channels:
            raise BundleError(
                f"{session.path} returns {encoded.shape[1]} channels; latents have {self.channels}, or twice that with "
                "their variances"
            )
        elif self.config.get("_class_name") != _TINY:
            logger.warning(
                "%s draws the latents of an image itself, so that no seed governs that noise. A model that onnxpipe "
                "export wrote leaves it to the seed.",
                session.path,
            )
        return np.asarray(self._normalized(encoded), np.float32)

    def decode(self, latents: Array) -> Array:
        """Decode latents, float32 (images, channels, height, width), to images in about [-1, 1]."""
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise UnsupportedError(
                f"latents of the shape {latents.shape}: pass (images, {self.channels}, height, width)"
            )
        run = self._tiled(_only(self.graphs.session(_DECODER)), decode=True)
        return np.concatenate([run(each[None]) for each in self._plain(latents)])

    def enable_tiling(self) -> None:
        """Work on overlapping tiles where an image is larger than those it was trained with."""
        self.tiling = True

    def disable_tiling(self) -> None:
        """Work on whole images."""
        self.tiling = False

    def enable_slicing(self) -> None:
        """Decode images one by one, which is always done here."""

    disable_slicing = enable_slicing

    def release(self) -> None:
        """Close the graphs, if memory is scarce."""
        self.graphs.release(_ENCODER, _DECODER)

    def _statistic(self, name: str) -> Array | None:
        value = self.config.get(name)
        return None if value is None else np.asarray(value, np.float32).reshape(1, -1, 1, 1)

    def _normalized(self, latents: Array) -> Array:
        if self._mean is not None and self._std is not None:
            return np.asarray((latents - self._mean) * np.float32(self._scaling) / self._std)
        return np.asarray((latents - self._shift) * np.float32(self._scaling))

    def _plain(self, latents: Array) -> Array:
        """Undo what `encode` does to latents."""
        if self._mean is not None and self._std is not None:
            return np.asarray(latents * self._std / np.float32(self._scaling) + self._mean)
        return np.asarray(latents / np.float32(self._scaling) + self._shift)

    def _tiled(self, run: Callable[[Array], Array], decode: bool) -> Callable[[Array], Array]:
        if not self.tiling:
            return run
        tiles = Tiles(self.tile_side, self.factor, decode)
        return lambda value: in_tiles(value, run, tiles)


def _only(session: Any) -> Callable[[Array], Array]:
    """Return a function that runs a graph of one input and one output."""
    (name,) = session.inputs
    return lambda value: np.asarray(next(iter(session.run({name: value}).values())))
