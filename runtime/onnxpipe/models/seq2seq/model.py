"""Encoder-decoder models of text: logits for pairs of rows, and text by `generate()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import UnsupportedError
from onnxpipe.models.seq2seq.base import EncoderDecoder
from onnxpipe.models.seq2seq.graph import Encoded
from onnxpipe.models.seq2seq.inputs import text_inputs


class Seq2SeqLM(EncoderDecoder):
    """An encoder-decoder language model: call it for logits, or `generate()` text."""

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
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "encoder_outputs": encoder_outputs}
        return self.whole(given, decoder_input_ids, return_dict=return_dict)

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | {"attention_mask"}

    def encode_inputs(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode texts: `input_ids`, `attention_mask`."""
        ids, mask = text_inputs(inputs)
        known = self.graphs.encoder.inputs
        feeds = {name: value for name, value in (("input_ids", ids), ("attention_mask", mask)) if name in known}
        return self.graphs.encode(feeds, mask)
