"""Encoder-decoder models of text: logits for pairs of rows, and text by `generate()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.generative import GenerativeModel
from onnxpipe.models.seq2seq.decoder import Seq2SeqDecoder
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs, encoder_states
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput

Array = NDArray[Any]


class Seq2SeqLM(GenerativeModel):
    """An encoder-decoder language model: call it for logits, or `generate()` text.

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
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Seq2SeqLM:
        """Load the model of a bundle's encoder and decoder."""
        return cls(bundle, Seq2SeqGraphs.load(bundle, opener), name_or_path)

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Compute the logits of a batch, without a cache.

        Args:
            input_ids: the encoder's token ids, int, shape (batch, sequence).
            attention_mask: 1 for tokens, 0 for padding, same shape; all ones by default.
            decoder_input_ids: the decoder's token ids, int, shape (batch, decoder sequence).
            encoder_outputs: the encoder's output (its first entry is `last_hidden_state`), instead of `input_ids`.
            past_key_values: refused: the cache is `generate()`'s own.
            use_cache: without effect; no cache is given back.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, decoder sequence, vocabulary), and
            `encoder_last_hidden_state`, float32 (batch, sequence, width).

        Raises:
            UnsupportedError: an argument that is refused.
            ValueError: no input, or of a wrong shape.
        """
        if past_key_values is not None:
            raise UnsupportedError("past_key_values= is not supported: generate() keeps the cache itself")
        if decoder_input_ids is None:
            raise ValueError("decoder_input_ids must be given: int, shape (batch, decoder sequence)")
        encoded = self._encode(
            {"input_ids": input_ids, "attention_mask": attention_mask, "encoder_outputs": encoder_outputs}
        )
        tokens = np.asarray(to_array(decoder_input_ids), np.int64)
        logits = self.graphs.whole(tokens, encoded, ["logits"])["logits"]
        outputs = ModelOutput(logits=logits, encoder_last_hidden_state=encoded.states.numpy())
        return outputs if return_dict else outputs.to_tuple()

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return frozenset({"input_ids", "attention_mask", "encoder_outputs", "decoder_input_ids"})

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> Seq2SeqDecoder:
        """Begin a decoding of a batch of prompts; see `onnxpipe.generation.protocols.GenerationModel`."""
        encoded = self._encode(inputs)
        tokens = np.asarray(prompt, np.int64)
        if len(tokens) != len(encoded):
            raise ValueError(f"decoder_input_ids has {len(tokens)} rows and the encoder's input {len(encoded)}")
        return Seq2SeqDecoder(self.graphs, tokens, encoded, copies, hidden=hidden)

    def _encode(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode a batch, or take the encoder's output that was passed."""
        input_ids, outputs = inputs.get("input_ids"), inputs.get("encoder_outputs")
        if input_ids is None and outputs is None:
            raise ValueError("input_ids must be given: int, shape (batch, sequence)")
        mask = inputs.get("attention_mask")
        if outputs is not None:
            states = encoder_states(outputs)
            return self.graphs.encoded(states, _mask(states.shape[:2], mask))
        ids = np.asarray(to_array(input_ids), np.int64)
        if ids.ndim != 2:
            raise ValueError(f"input_ids has the shape {ids.shape}; the model takes (batch, sequence)")
        ones = _mask(ids.shape, mask)
        known = self.graphs.encoder.inputs
        feeds = {name: value for name, value in (("input_ids", ids), ("attention_mask", ones)) if name in known}
        return self.graphs.encode(feeds, ones)


def _mask(shape: tuple[int, ...], attention_mask: Any) -> Array:
    mask = np.ones(shape, np.int64) if attention_mask is None else np.asarray(to_array(attention_mask), np.int64)
    if mask.shape != shape:
        raise ValueError(f"attention_mask has the shape {mask.shape}; the input has {shape}")
    return mask
