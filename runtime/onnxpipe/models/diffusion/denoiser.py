"""The graph that denoises: a UNet, or SD 3's transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.errors import BundleError
from onnxpipe.models.base import Array
from onnxpipe.models.diffusion.graphs import ComponentGraphs

#: The latents' channels that a UNet has if its config does not say, and the width of its latents.
_CHANNELS = 4
_SAMPLE_SIZE = {"unet": 64, "transformer": 128}


class Denoiser:
    """Predicts the noise, or what the scheduler takes, of latents.

    Args:
        graphs: the pipeline's.
        name: its component, "unet" or "transformer".

    Attributes:
        config: its config.json.
        in_channels: channels that it reads: 4, with a mask and an image 9, and 16 for SD 3.
        sample_size: height and width of the latents that it was trained with.
        patch_size: what the latents' sides must divide by; 1 for a UNet.
        guidance_width: width of the embedded guidance scale (latent consistency models); None without one.
    """

    def __init__(self, graphs: ComponentGraphs, name: str) -> None:
        self._graphs = graphs
        self.name = name
        self.config = graphs.config(name)
        self.in_channels = _whole(self.config.get("in_channels"), _CHANNELS)
        size = self.config.get("sample_size")
        sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
        self.sample_size = tuple(_whole(side, _SAMPLE_SIZE[name]) for side in sides)
        self.patch_size = _whole(self.config.get("patch_size"), 2) if name == "transformer" else 1
        width = self.config.get("time_cond_proj_dim")
        self.guidance_width = None if width is None else _whole(width, 256)

    def __call__(self, latents: Array, timestep: float, others: Mapping[str, Array]) -> Array:
        """Run one step.

        Args:
            latents: float32 (batch, channels, height, width).
            timestep: of the whole batch; graphs that take whole numbers get it cut, as optimum does.
            others: the graph's other inputs, by name; those that it does not have are dropped.

        Returns:
            float32, of the latents' shape (or with twice the channels, where a variance is learned).
        """
        session = self._graphs.session(self.name)
        sample = "sample" if self.name == "unet" else "hidden_states"
        feeds = {sample: latents, **{name: value for name, value in others.items() if name in session.inputs}}
        spec = session.inputs.get("timestep")
        if spec is None:
            raise BundleError(f"{session.path} has no input 'timestep'; its inputs are {', '.join(session.inputs)}")
        time = np.asarray(timestep, np.float32).astype(spec.dtype)
        batched = self.name == "transformer" or (spec.shape and spec.shape[0] != 1)
        feeds["timestep"] = np.full(len(latents), time) if batched else time.reshape((1,) * len(spec.shape))
        return next(iter(session.run(feeds).values()))

    def release(self) -> None:
        """Close the graph, if memory is scarce."""
        self._graphs.release(self.name)


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
