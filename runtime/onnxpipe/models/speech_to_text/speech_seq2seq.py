"""Encoder-decoder models that hear: what is said in a recording, by `generate()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.logs import logger
from onnxpipe.models.base import Opener, as_array
from onnxpipe.models.generating import GeneratingModel
from onnxpipe.models.seq2seq.decoder import Seq2SeqDecoder
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs, encoder_states
from onnxpipe.processing.model_output import ModelOutput

Array = NDArray[Any]

#: What recordings are called among an encoder's inputs: features (batch, ...), or samples (batch, samples).
SOUNDS = ("input_features", "input_values")


#: Kernel and stride of the convolutions over raw samples, which a config does not tell.
_CONVOLUTIONS: Mapping[str, tuple[tuple[int, int], ...]] = {"moonshine": ((127, 64), (7, 3), (3, 2))}


class SpeechSeq2Seq(GeneratingModel):
    """An encoder that hears and a decoder that writes: Moonshine, Speech2Text, SeamlessM4T; Whisper is a subclass.

    Args:
        bundle: the folder it came from.
        graphs: its graphs.
        name_or_path: what the user called it.

    Attributes:
        main_input_name: "input_features" or "input_values".
        pads: whether rows of unlike length may share a batch: the encoder is told by `attention_mask` what is padding.
    """

    is_encoder_decoder: ClassVar[bool] = True

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str) -> None:
        super().__init__(bundle, graphs.steps, graphs.precision, name_or_path)
        self.graphs = graphs
        known = graphs.encoder.inputs
        sound = next((name for name in SOUNDS if name in known), None)
        if sound is None:
            raise UnsupportedError(f"{graphs.encoder.path} does not hear: its inputs are {', '.join(known)}")
        self.main_input_name = sound
        self.pads = "attention_mask" in known

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> SpeechSeq2Seq:
        """The model of a bundle's encoder and decoder."""
        return cls(bundle, Seq2SeqGraphs.load(bundle, opener), name_or_path)

    def __call__(
        self,
        input_features: Any = None,
        input_values: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        encoder_outputs: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """The logits of a batch, without a cache.

        Args:
            input_features, input_values: the recordings, float32, under the model's `main_input_name`.
            attention_mask: 1 for what is no padding; all ones by default.
            decoder_input_ids: the decoder's token ids, int, shape (batch, decoder sequence).
            encoder_outputs: what the encoder gave (its first entry is `last_hidden_state`), instead of the recordings.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, decoder sequence, vocabulary), and
            `encoder_last_hidden_state`, float32 (batch, sequence, width).

        Raises:
            ValueError: no input, or of a wrong shape.
        """
        if decoder_input_ids is None:
            raise ValueError("decoder_input_ids must be given: int, shape (batch, decoder sequence)")
        given = {"input_features": input_features, "input_values": input_values, "encoder_outputs": encoder_outputs}
        encoded = self.encode({**given, "attention_mask": attention_mask})
        tokens = np.asarray(as_array(decoder_input_ids), np.int64)
        logits = self.graphs.whole(tokens, encoded, ["logits"])["logits"]
        outputs = ModelOutput(logits=logits, encoder_last_hidden_state=encoded.states.numpy())
        return outputs if return_dict else outputs.to_tuple()

    @property
    def shortest(self) -> int:
        """Samples that a recording needs at least; 1 where the model hears spectrograms."""
        length = 1
        for kernel, stride in reversed(_CONVOLUTIONS.get(str(self.config.model_type), ())):
            length = (length - 1) * stride + kernel
        return length

    @property
    def input_names(self) -> frozenset[str]:
        """What `generate()` takes besides generation parameters."""
        return frozenset({self.main_input_name, "attention_mask", "encoder_outputs", "decoder_input_ids"})

    def generate(self, inputs: Any = None, *args: Any, tgt_lang: str | None = None, **kwargs: Any) -> Any:
        """Token ids of what is said; see `GeneratingModel.generate`.

        Args:
            inputs: the recordings, under this name or the model's `main_input_name`.
            *args: see `GeneratingModel.generate`.
            tgt_lang: the language to write, of models that know several (SeamlessM4T), as "fra" or "__fra__".
            **kwargs: see `GeneratingModel.generate`.

        Raises:
            ValueError: a language that the model does not know.
        """
        codes = getattr(self.generation_config, "text_decoder_lang_to_code_id", None)
        if tgt_lang is not None:
            sounds = kwargs.get(self.main_input_name) if inputs is None else inputs
            outputs = kwargs.get("encoder_outputs")
            rows = len(as_array(sounds)) if sounds is not None else len(encoder_states(outputs))
            kwargs["decoder_input_ids"] = np.full((rows, 1), _language(tgt_lang, codes), np.int64)
        elif codes is not None and kwargs.get("decoder_input_ids") is None:
            logger.warning(
                "%s writes several languages: without `tgt_lang` (one of %s) what it writes makes probably no sense.",
                self.name_or_path,
                ", ".join(codes),
            )
        return super().generate(inputs, *args, **kwargs)

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> Seq2SeqDecoder:
        """A decoding of a batch of prompts; see `onnxpipe.generation.protocols.GenerationModel`."""
        encoded = self.encode(inputs)
        tokens = np.asarray(prompt, np.int64)
        if len(tokens) != len(encoded):
            raise ValueError(f"decoder_input_ids has {len(tokens)} rows and the encoder's input {len(encoded)}")
        return Seq2SeqDecoder(self.graphs, tokens, encoded, copies, hidden=hidden)

    def encode(self, inputs: Mapping[str, Any]) -> Encoded:
        """What the encoder makes of recordings, or what it made of them already.

        Args:
            inputs: the recordings under `main_input_name`, `attention_mask`; or `encoder_outputs`.

        Raises:
            ValueError: neither is there, or padding that this encoder would hear.
        """
        outputs = inputs.get("encoder_outputs")
        if isinstance(outputs, Encoded) and outputs.owner is self.graphs:
            return outputs
        name, mask = self.main_input_name, inputs.get("attention_mask")
        if outputs is not None and not isinstance(outputs, Encoded):
            return self.graphs.encoded(encoder_states(outputs), None if mask is None else _int(mask))
        if inputs.get(name) is None:
            raise ValueError(f"{name} must be given: float32, shape {self.graphs.encoder.inputs[name].shape}")
        sounds = as_array(inputs[name])
        feeds = {name: sounds}
        if self.pads:
            feeds["attention_mask"] = np.ones(sounds.shape[:2], np.int64) if mask is None else _int(mask)
        elif mask is not None and not self._may_hear_padding and not as_array(mask).all():
            raise ValueError(
                f"{self.name_or_path} takes no attention_mask: it would hear the padding. Run recordings of unlike "
                "length one by one"
            )
        return self.graphs.encode(feeds, None)

    #: Whether silence after the recording is what the model was trained with.
    _may_hear_padding: ClassVar[bool] = False


def _int(mask: Any) -> Array:
    return np.asarray(as_array(mask), np.int64)


def _language(name: str, codes: Any) -> int:
    """The token of a language."""
    if codes is None:
        raise ValueError(
            "tgt_lang: the model's generation_config.json has no `text_decoder_lang_to_code_id`, which says the tokens "
            "of its languages. Leave it out"
        )
    plain = name.replace("__", "")
    if plain not in codes:
        raise ValueError(f"tgt_lang={name!r} is not supported by this model; its languages are {', '.join(codes)}")
    return int(codes[plain])
