"""Models of one graph that hear: a recording's samples or spectrogram in, scores out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.models.base import Array
from onnxpipe.models.encoder import EncoderModel

#: What recordings are called among a graph's inputs: raw samples (batch, samples), or features (batch, frames, ...).
_SOUNDS = ("input_values", "input_features")


class HearingModel(EncoderModel):
    """One graph whose input is `input_values` or `input_features`.

    Attributes:
        main_input_name: which of the two.
        masked: whether the graph is told by `attention_mask` what is padding. Without it padding would be heard: a
            group norm looks at the whole row.
        pads: whether rows of unlike length may share a batch: where it is told. Not in 8 bits: padding moves the last
            bit of a sum over the frames, and rounding makes that a step of 8 bits.
    """

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        self.main_input_name = next((name for name in _SOUNDS if name in session.inputs), self.main_input_name)
        self.masked = "attention_mask" in session.inputs
        self.pads = self.masked and precision in ("fp32", "fp16")

    @property
    def shortest(self) -> int:
        """Samples that the convolutions of a model of raw samples need at least; 1 for spectrograms."""
        config, length = self.config, 1
        sizes = zip(config.get("conv_kernel") or (), config.get("conv_stride") or (), strict=True)
        for kernel, stride in reversed(list(sizes)):
            length = (length - 1) * int(stride) + int(kernel)
        return length

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The graph's outputs for a batch; without an `attention_mask` everything is heard."""
        given: dict[str, Any] = dict(feeds)
        sounds = given.get(self.main_input_name)
        if self.masked and "attention_mask" not in given and sounds is not None:
            given["attention_mask"] = np.ones(sounds.shape[:2], np.int64)
        elif not self.masked and "attention_mask" in given:
            if not np.asarray(given["attention_mask"]).all():
                raise ValueError(
                    f"{self.name_or_path} takes no attention_mask: it would hear the padding. Run recordings of unlike "
                    "length one by one"
                )
            del given["attention_mask"]
        return super().run(given)
