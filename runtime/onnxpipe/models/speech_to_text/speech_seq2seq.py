"""Encoder-decoder models of speech recognition: transcribe recordings by `generate()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.logs import logger
from onnxpipe.models.seq2seq.base import EncoderDecoder, find_main_input
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs, encoder_states
from onnxpipe.models.seq2seq.inputs import full_mask
from onnxpipe.models.speech_to_text.base import SpeechToTextModel
from onnxpipe.processing.arrays import to_array

#: Names of the encoder's input for recordings: features (batch, ...), or samples (batch, samples).
AUDIO_INPUTS = ("input_features", "input_values")

#: Kernel and stride of the convolutions over raw samples, which are not in the config.
_CONVOLUTIONS: Mapping[str, tuple[tuple[int, int], ...]] = {"moonshine": ((127, 64), (7, 3), (3, 2))}


class SpeechSeq2Seq(EncoderDecoder, SpeechToTextModel):
    """An encoder of audio with a decoder of text: Moonshine, Speech2Text, SeamlessM4T; Whisper is a subclass.

    Attributes:
        main_input_name: "input_features" or "input_values".
        supports_padding: whether recordings of different lengths may share a batch: the encoder takes an
            `attention_mask`.
    """

    #: Whether the model was trained on recordings padded with silence, so that it needs no mask.
    _trained_with_silence: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str) -> None:
        super().__init__(bundle, graphs, name_or_path)
        self.main_input_name = find_main_input(graphs.encoder, AUDIO_INPUTS, "audio")
        self.supports_padding = "attention_mask" in graphs.encoder.inputs

    def __call__(
        self,
        input_features: Any = None,
        input_values: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        encoder_outputs: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Compute the logits of a batch, without a cache.

        Args:
            input_features, input_values: the recordings, float32, under the model's `main_input_name`.
            attention_mask: 1 except for padding; all ones by default.
            decoder_input_ids: the decoder's token ids, int, shape (batch, decoder sequence).
            encoder_outputs: the encoder's output (its first entry is `last_hidden_state`), instead of the recordings.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, decoder sequence, vocabulary), and
            `encoder_last_hidden_state`, float32 (batch, sequence, width).

        Raises:
            ValueError: no input, or of a wrong shape.
        """
        recordings = {"input_features": input_features, "input_values": input_values}
        given = {**recordings, "attention_mask": attention_mask, "encoder_outputs": encoder_outputs}
        return self.whole(given, decoder_input_ids, return_dict=return_dict)

    @property
    def min_samples(self) -> int:
        """The fewest samples that a recording may have; 1 for a model of spectrograms."""
        length = 1
        for kernel, stride in reversed(_CONVOLUTIONS.get(str(self.config.model_type), ())):
            length = (length - 1) * stride + kernel
        return length

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | {"attention_mask"}

    def generate(self, inputs: Any = None, *args: Any, tgt_lang: str | None = None, **kwargs: Any) -> Any:
        """Transcribe recordings to token ids; see `GenerativeModel.generate`.

        Args:
            inputs: the recordings, under this name or the model's `main_input_name`.
            *args: see `GenerativeModel.generate`.
            tgt_lang: the language of the text, for models of several languages (SeamlessM4T): "fra" or "__fra__".
            **kwargs: see `GenerativeModel.generate`.

        Raises:
            ValueError: a language that the model does not know.
        """
        codes = getattr(self.generation_config, "text_decoder_lang_to_code_id", None)
        if tgt_lang is not None:
            recordings = kwargs.get(self.main_input_name) if inputs is None else inputs
            outputs = kwargs.get("encoder_outputs")
            rows = len(to_array(recordings)) if recordings is not None else len(encoder_states(outputs))
            kwargs["decoder_input_ids"] = np.full((rows, 1), _language(tgt_lang, codes), np.int64)
        elif codes is not None and kwargs.get("decoder_input_ids") is None:
            logger.warning(
                "%s has several languages: without `tgt_lang` (one of %s) the text is probably meaningless.",
                self.name_or_path,
                ", ".join(codes),
            )
        return super().generate(inputs, *args, **kwargs)

    def encode_inputs(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode recordings: `main_input_name`; `attention_mask`.

        Raises:
            ValueError: there are none, or padding that this encoder does not mask.
        """
        recordings, mask = self.main_input(inputs), inputs.get("attention_mask")
        feeds = {self.main_input_name: recordings}
        if self.supports_padding:
            feeds["attention_mask"] = full_mask(recordings.shape[:2], mask)
        elif mask is not None and not self._trained_with_silence and not to_array(mask).all():
            raise ValueError(
                f"{self.name_or_path} does not support attention_mask, so padding would change the result. Pass "
                "recordings of different lengths one at a time"
            )
        return self.graphs.encode(feeds, None)


def _language(name: str, codes: Any) -> int:
    """Look up the token of a language."""
    if codes is None:
        raise UnsupportedError(
            "tgt_lang is not supported by this model: its generation_config.json has no "
            "`text_decoder_lang_to_code_id`, the tokens of its languages. Leave it out"
        )
    plain = name.replace("__", "")
    if plain not in codes:
        raise UnsupportedError(
            f"tgt_lang={name!r} is not supported by this model; its languages are {', '.join(codes)}"
        )
    return int(codes[plain])
