"""Audio models of one graph: take a recording's samples or spectrogram, give scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.models.base import Array
from onnxpipe.models.encoder import EncoderModel

#: Names of the input for recordings: raw samples (batch, samples), or features (batch, frames, ...).
_AUDIO_INPUTS = ("input_values", "input_features")


class AudioEncoderModel(EncoderModel):
    """One graph whose input is `input_values` or `input_features`.

    Attributes:
        main_input_name: which of the two.
        masked: whether the graph takes an `attention_mask`. Without one padding would change the result: a group norm
            is computed over the whole row.
        supports_padding: whether recordings of different lengths may share a batch: if `masked`, but not in 8 bits, as
            padding moves the last bit of a sum over the frames, and rounding makes that a step of 8 bits.
    """

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        self.main_input_name = next((name for name in _AUDIO_INPUTS if name in session.inputs), self.main_input_name)
        self.masked = "attention_mask" in session.inputs
        self.supports_padding = self.masked and precision in ("fp32", "fp16")

    @property
    def min_samples(self) -> int:
        """The fewest samples that the convolutions of a model of raw samples need; 1 for a model of spectrograms."""
        config, length = self.config, 1
        sizes = zip(config.get("conv_kernel") or (), config.get("conv_stride") or (), strict=True)
        for kernel, stride in reversed(list(sizes)):
            length = (length - 1) * int(stride) + int(kernel)
        return length

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph for a batch; without an `attention_mask` nothing counts as padding."""
        inputs: dict[str, Any] = dict(feeds)
        recordings = inputs.get(self.main_input_name)
        if self.masked and "attention_mask" not in inputs and recordings is not None:
            inputs["attention_mask"] = np.ones(recordings.shape[:2], np.int64)
        elif not self.masked and "attention_mask" in inputs:
            if not np.asarray(inputs["attention_mask"]).all():
                raise ValueError(
                    f"{self.name_or_path} does not support attention_mask, so padding would change the result. Pass "
                    "recordings of different lengths one at a time"
                )
            del inputs["attention_mask"]
        return super().run(inputs)
