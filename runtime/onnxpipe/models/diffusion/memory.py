"""Estimate the memory that a run needs, and warn before it begins where that is more than there is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from onnxpipe.bundle.external import file_size
from onnxpipe.engine.memory import available_memory

if TYPE_CHECKING:
    from onnxpipe.models.diffusion.model import DiffusionModel

logger = logging.getLogger("onnxpipe")

#: Arrays of the widest layer that a decoder holds at a time, and the bytes of a number.
_ARRAYS, _BYTES = 3, 4
#: Channels of a decoder's widest layer at the image's size, if its config does not say.
_CHANNELS = 256
_GB = 1e9


def needed_memory(model: DiffusionModel, height: int, width: int) -> int:
    """Estimate the bytes that a run needs: its graphs (with `low_memory` the largest), and the decoder's layers.

    Args:
        model: the model.
        height, width: of an image in pixels; images are decoded one by one.
    """
    sizes = [file_size(model.graphs.file(name), model.bundle.folder) for name in model.graphs.names]
    channels = model.vae.config.get("block_out_channels") or [_CHANNELS]
    pixels = height * width
    if model.vae.tiling:
        pixels = min(pixels, model.vae.tile_side**2)
    layers = pixels * int(channels[min(1, len(channels) - 1)]) * _ARRAYS * _BYTES
    return (max(sizes) if model.graphs.low_memory else sum(sizes)) + layers


def warn_of_memory(model: DiffusionModel, height: int, width: int) -> None:
    """Log a warning if a run needs more memory than this process may use."""
    available = available_memory()
    needed = needed_memory(model, height, width)
    if available is not None and needed > available:
        logger.warning(
            "an image of %d x %d needs about %.1f GB of memory with %s, and %.1f GB may be used. low_memory=True, "
            "enable_vae_tiling(), a smaller size or a smaller dtype need less.",
            width, height, needed / _GB, model.name_or_path, available / _GB,
        )  # fmt: skip
