"""Wav2Vec2FeatureExtractor: the samples themselves, for wav2vec 2.0, HuBERT, WavLM, Moonshine and others."""

from __future__ import annotations

from typing import Any

from onnxpipe.processing.audio.base import FeatureExtractor, check_not_empty
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.pad import normalize
from onnxpipe.processing.audio.settings import ResolvedFeatureCall
from onnxpipe.processing.padding_strategy import padding_strategy
from onnxpipe.processing.processor_config import MOONSHINE, ProcessorConfig


class Wav2Vec2FeatureExtractor(FeatureExtractor):
    """Returns `input_values` (samples,) each, and `attention_mask`.

    Attributes:
        do_normalize: whether samples are scaled to mean 0 and variance 1: without the padding if there is a mask; else
            the padding counts too, as models without a mask (group norm) were trained.
    """

    return_attention_mask: bool = False
    do_normalize: bool = True

    @classmethod
    def _settings_in(cls, config: ProcessorConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        settings, others = super()._settings_in(config)
        if config.values.get(cls.type_key) == MOONSHINE:
            settings = {"do_normalize": False, "return_attention_mask": True, **settings}
        return settings, others

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        check_not_empty(rows)
        padded = self.pad(rows, call)
        masks = self.wants_mask(call)
        values = padded.rows
        if self.do_normalize:
            masked = masks and padding_strategy(call.padding) != "do_not_pad"
            values = normalize(padded, masked, self.padding_value)
        return {"input_values": values, **({"attention_mask": padded.masks} if masks else {})}
