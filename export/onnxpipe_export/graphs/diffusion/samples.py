"""What the denoiser's cases are made of: latents of images, mixed with noise, and prompts as the encoders answer them.

Noise alone would not show what a trained denoiser does with images, and its activations are those that smaller
precisions have to hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_SEED = 14
_TRAINING_STEPS = 1000


@dataclass
class Samples:
    """What is known of a pipeline's activations, gathered while its components are exported.

    Attributes:
        vae: the configuration of its VAE.
        latents: latents of synthetic images, scaled as the denoiser takes them: float32 (images, channels, height,
            width).
        encoders: component -> the encoder's answers to the prompts, one array an output, (prompts, ...).
    """

    vae: Mapping[str, Any]
    latents: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
    encoders: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    @property
    def latent_channels(self) -> int:
        """How many channels latents have."""
        return int(self.vae["latent_channels"])

    def keep_latents(self, latents: np.ndarray) -> None:
        """Keep the VAE's latents, scaled."""
        shift = self.vae.get("shift_factor") or 0.0
        self.latents = np.asarray((latents - shift) * self.vae["scaling_factor"], np.float32)

    @staticmethod
    def noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
        """Draw N(0, 1), float32; the same every time."""
        return np.random.default_rng((_SEED, seed)).standard_normal(shape, np.float32)

    def noisy(self, seed: int, count: int, size: tuple[int, int], timestep: float) -> np.ndarray:
        """Mix latents of images with the noise that they have about at this timestep, 0 to 999.

        Returns:
            float32 (count, channels, *size).
        """
        rows = np.arange(seed, seed + count) % len(self.latents)
        tiles = [-(-side // have) for side, have in zip(size, self.latents.shape[2:], strict=True)]
        clean = np.tile(self.latents[rows], (1, 1, *tiles))[:, :, : size[0], : size[1]]
        angle = np.float32(np.pi / 2 * timestep / _TRAINING_STEPS)
        return np.asarray(np.cos(angle) * clean + np.sin(angle) * self.noise(seed, clean.shape), np.float32)

    def prompt_states(self, width: int) -> np.ndarray:
        """Join the encoders' hidden states as the pipeline does: float32 (prompts, tokens, width).

        Stable Diffusion has one encoder, of which the last state counts; SDXL joins the last states but one of two
        along the width; SD 3 fills those with zeros to the width of T5's and joins both along the tokens.
        """
        states = [_states(answers, alone=len(self.encoders) == 1) for answers in self.encoders.values()]
        t5 = [states.pop()] if "text_encoder_3" in self.encoders else []
        joined = np.concatenate(states, axis=-1)
        wide = np.pad(joined, ((0, 0), (0, 0), (0, width - joined.shape[-1])))
        return np.concatenate([wide, *t5], axis=1)

    def pooled_states(self) -> np.ndarray:
        """Join the encoders' projections of whole prompts: float32 (prompts, width)."""
        projected = [answers["text_embeds"] for answers in self.encoders.values() if "text_embeds" in answers]
        return np.concatenate(projected, axis=-1)


def _states(answers: Mapping[str, np.ndarray], alone: bool) -> np.ndarray:
    layers = sum(name.startswith("hidden_states.") for name in answers)
    plain = layers == 0 or (alone and "text_embeds" not in answers)
    return answers["last_hidden_state" if plain else f"hidden_states.{layers - 2}"]
