"""Run an autoencoder on overlapping tiles, so that memory does not grow with the image.

Source: `AutoencoderKL.tiled_decode` and `_tiled_encode` of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxpipe.models.base import Array

#: The part of a tile's side that its neighbour covers too.
_OVERLAP = 0.25


@dataclass(frozen=True)
class Tiles:
    """The sizes of tiles.

    Attributes:
        side: of a tile in pixels.
        factor: pixels of a latent's side.
        decode: latents to images; else images to latents.
    """

    side: int
    factor: int
    decode: bool

    @property
    def read(self) -> int:
        """The side of what is read."""
        return self.side // self.factor if self.decode else self.side

    @property
    def written(self) -> int:
        """The side of what is written."""
        return self.side if self.decode else self.side // self.factor


def in_tiles(value: Array, run: Callable[[Array], Array], tiles: Tiles) -> Array:
    """Run a graph on the tiles of (1, channels, height, width), and blend what they share; whole if it is one tile."""
    height, width = value.shape[2:]
    if height <= tiles.read and width <= tiles.read:
        return run(value)
    stride = int(tiles.read * (1 - _OVERLAP))
    shared = int(tiles.written * _OVERLAP)
    kept = tiles.written - shared
    above: list[Array] = []
    bands = []
    for top in range(0, height, stride):
        row: list[Array] = []
        for number, left in enumerate(range(0, width, stride)):
            tile = np.array(run(value[:, :, top : top + tiles.read, left : left + tiles.read]))
            if above:
                _blend(above[number], tile, shared, axis=2)
            if row:
                _blend(row[-1], tile, shared, axis=3)
            row.append(tile)
        above = row
        bands.append(np.concatenate([tile[:, :, :kept, :kept] for tile in row], axis=3))
    return np.concatenate(bands, axis=2)


def _blend(before: Array, tile: Array, shared: int, axis: int) -> None:
    """Fade from the end of one tile into the beginning of the next, in place."""
    shared = min(before.shape[axis], tile.shape[axis], shared)
    shape = [1] * tile.ndim
    shape[axis] = shared
    share = (np.arange(shared, dtype=np.float32) / np.float32(shared)).reshape(shape)
    start = [slice(None)] * tile.ndim
    start[axis] = slice(0, shared)
    end = [slice(None)] * tile.ndim
    end[axis] = slice(before.shape[axis] - shared, None)
    tile[tuple(start)] = before[tuple(end)] * (1 - share) + tile[tuple(start)] * share
