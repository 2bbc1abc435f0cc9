"""HiFi-GAN vocoders: a log-mel spectrogram becomes sound, one graph of convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.wrapped import BATCH, WrappedGraph
from onnxpipe_export.precision import makers

_FRAMES = (1, 2, 13, 60)
"""Lengths that are proved: a lone frame, and more than the widest convolution sees."""


def describe(checkpoint: Checkpoint) -> list[WrappedGraph]:
    """The graph `model`: spectrogram float32 (batch, frames, mels) to waveform (batch, samples)."""
    mels = int(checkpoint.config.model_in_dim)
    return [
        WrappedGraph(
            checkpoint,
            "model",
            ("spectrogram",),
            ("waveform",),
            {"spectrogram": {0: BATCH, 1: "frames"}, "waveform": {0: BATCH, 1: "samples"}},
            lambda given: _sound(checkpoint.model, given),
            lambda: {"spectrogram": made_mels(2, 9, mels)},
            lambda tokenizer: _cases(mels),
            makers.SOUND,
            eager=False,
        )
    ]


def _sound(model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    return {"waveform": model(given["spectrogram"])}


def _cases(mels: int) -> list[Case]:
    short = [Case({"spectrogram": made_mels(1, frames, mels, seed)}, golden=frames < 20, calibrates=True)
             for seed, frames in enumerate(_FRAMES)]  # fmt: skip
    return [*short, Case({"spectrogram": made_mels(3, 20, mels, 9)})]


def made_mels(batch: int, frames: int, mels: int, seed: int = 0) -> np.ndarray:
    """Spectrograms somewhat like those of speech, natural logarithms, float32 (batch, frames, mels): bands that move,
    over a floor, with pauses."""
    generator = np.random.default_rng(seed)
    place = np.arange(mels) / mels
    time = np.arange(frames)[:, None] / 20
    found = np.empty((batch, frames, mels), np.float32)
    for row in found:
        energy = np.full((frames, mels), 1e-5)
        for centre in (0.1, 0.3, 0.6):
            moving = centre + 0.05 * np.sin(time * generator.uniform(1, 6) + generator.uniform(0, 6))
            loud = np.maximum(np.sin(time * generator.uniform(1, 4) + generator.uniform(0, 6)), 0)
            energy += generator.uniform(0.2, 3) * loud * np.exp(-(((place - moving) / 0.06) ** 2))
        row[:] = np.log(energy) + 0.3 * generator.standard_normal((frames, mels))
    return found
