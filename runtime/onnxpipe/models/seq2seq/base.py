"""The base of encoder-decoder models, which differ in what their encoder reads: texts, images, recordings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.generative import GenerativeModel
from onnxpipe.models.seq2seq.decoder import Seq2SeqDecoder
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs, encoder_states
from onnxpipe.models.seq2seq.uncached import UncachedSeq2SeqDecoder
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput

Array = NDArray[Any]


class EncoderDecoder(GenerativeModel, ABC):
    """An encoder with a decoder of text: call it for logits, or `generate()` text.

    A subclass encodes its inputs (`encode_inputs`), and names them in `input_names` and in the signature of a call.

    Args:
        bundle: the folder it came from.
        graphs: its graphs.
        name_or_path: what the user called it.
    """

    is_encoder_decoder: ClassVar[bool] = True

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str) -> None:
        super().__init__(bundle, graphs.steps, graphs.precision, name_or_path)
        self.graphs = graphs

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Self:
        """Load the model of a bundle's encoder and decoder."""
        return cls(bundle, Seq2SeqGraphs.load(bundle, opener), name_or_path)

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return frozenset({self.main_input_name, "encoder_outputs", "decoder_input_ids"})

    @abstractmethod
    def encode_inputs(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode the inputs of a batch, by name.

        Raises:
            ValueError: an input is missing, or has a wrong shape.
        """

    def encode(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode a batch, or take the encoder's output that was passed.

        Args:
            inputs: see `encode_inputs`; or `encoder_outputs`, with the `attention_mask` of the states. What the encoder
                of another model gave is left aside: an assistant model encodes the inputs itself.

        Raises:
            ValueError: neither is there, or an array has a wrong shape.
        """
        outputs = inputs.get("encoder_outputs")
        if isinstance(outputs, Encoded):
            return outputs if outputs.owner is self.graphs else self.encode_inputs(inputs)
        if outputs is None:
            return self.encode_inputs(inputs)
        return self.graphs.encoded(encoder_states(outputs), inputs.get("attention_mask"))

    def whole(self, inputs: Mapping[str, Any], decoder_input_ids: Any, *, return_dict: bool) -> Any:
        """Compute the logits of a batch, without a cache: what a call gives.

        Args:
            inputs: see `encode`.
            decoder_input_ids: the decoder's token ids, int, shape (batch, decoder sequence).
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, decoder sequence, vocabulary), and
            `encoder_last_hidden_state`, float32 (batch, sequence, width).

        Raises:
            ValueError: no input, or of a wrong shape.
        """
        if decoder_input_ids is None:
            raise ValueError("decoder_input_ids must be given: int, shape (batch, decoder sequence)")
        encoded = self.encode(inputs)
        tokens = np.asarray(to_array(decoder_input_ids), np.int64)
        logits = self.graphs.whole(tokens, encoded, ["logits"])["logits"]
        outputs = ModelOutput(logits=logits, encoder_last_hidden_state=encoded.states.numpy())
        return outputs if return_dict else outputs.to_tuple()

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> Seq2SeqDecoder | UncachedSeq2SeqDecoder:
        """Begin a decoding of a batch of prompts; see `onnxpipe.generation.protocols.GenerationModel`."""
        encoded = self.encode(inputs)
        tokens = np.asarray(prompt, np.int64)
        if len(tokens) != len(encoded):
            raise ValueError(f"decoder_input_ids has {len(tokens)} rows and the encoder's input {len(encoded)}")
        if self.graphs.uncached:
            return UncachedSeq2SeqDecoder(self.graphs, tokens, encoded, copies, hidden=hidden)
        return Seq2SeqDecoder(self.graphs, tokens, encoded, copies, hidden=hidden)

    def main_input(self, inputs: Mapping[str, Any]) -> Array:
        """Take the images or recordings of a call, under `main_input_name`.

        Raises:
            ValueError: there are none.
        """
        name = self.main_input_name
        if inputs.get(name) is None:
            raise ValueError(f"{name} must be given: float32, shape {self.graphs.encoder.inputs[name].shape}")
        return to_array(inputs[name])


def find_main_input(encoder: Session, names: Sequence[str], modality: str) -> str:
    """Find which of some names the encoder's input of images or audio has.

    Raises:
        UnsupportedError: none of them.
    """
    found = next((name for name in names if name in encoder.inputs), None)
    if found is None:
        raise UnsupportedError(
            f"{encoder.path} is not an encoder of {modality}: its inputs are {', '.join(encoder.inputs)}"
        )
    return found
