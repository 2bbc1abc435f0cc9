"""Export HiFi-GAN vocoders, from a log-mel spectrogram to a waveform: one graph of convolutions."""

from __future__ import annotations

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_FRAMES = (1, 2, 13, 60)
"""Lengths that are verified: a single frame, and more than the widest convolution covers."""


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graph `model`: spectrogram float32 (batch, frames, mels) to waveform (batch, samples)."""
    mels = int(checkpoint.config.model_in_dim)
    return [
        WrappedExport(
            checkpoint,
            "model",
            ("spectrogram",),
            ("waveform",),
            {"spectrogram": {0: BATCH, 1: "frames"}, "waveform": {0: BATCH, 1: "samples"}},
            lambda tensors: {"waveform": checkpoint.model(tensors["spectrogram"])},
            lambda: {"spectrogram": synthetic_mels(2, 9, mels)},
            lambda tokenizer: _cases(mels),
            makers.WAVEFORM,
            eager=False,
        )
    ]


def _cases(mels: int) -> list[Case]:
    short = [Case({"spectrogram": synthetic_mels(1, frames, mels, seed)}, golden=frames < 20, calibrates=True)
             for seed, frames in enumerate(_FRAMES)]  # fmt: skip
    return [*short, Case({"spectrogram": synthetic_mels(3, 20, mels, 9)})]


def synthetic_mels(batch: int, frames: int, mels: int, seed: int = 0) -> np.ndarray:
    """Make spectrograms somewhat like those of speech: bands that move, over a floor, with pauses.

    Natural logarithms, float32 (batch, frames, mels).
    """
    generator = np.random.default_rng(seed)
    place = np.arange(mels) / mels
    time = np.arange(frames)[:, None] / 20
    spectrograms = np.empty((batch, frames, mels), np.float32)
    for row in spectrograms:
        energy = np.full((frames, mels), 1e-5)
        for centre in (0.1, 0.3, 0.6):
            moving = centre + 0.05 * np.sin(time * generator.uniform(1, 6) + generator.uniform(0, 6))
            loud = np.maximum(np.sin(time * generator.uniform(1, 4) + generator.uniform(0, 6)), 0)
            energy += generator.uniform(0.2, 3) * loud * np.exp(-(((place - moving) / 0.06) ** 2))
        row[:] = np.log(energy) + 0.3 * generator.standard_normal((frames, mels))
    return spectrograms
