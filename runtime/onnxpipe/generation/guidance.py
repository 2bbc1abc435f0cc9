"""Classifier-free guidance: away from the text that would be generated without the prompt (Sanchez et al. 2023)."""

from __future__ import annotations

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.numerics import log_softmax
from onnxpipe.generation.processors import LogitsProcessor
from onnxpipe.generation.protocols import Array, Decoder, GenerationModel


class UnbatchedClassifierFreeGuidanceLogitsProcessor(LogitsProcessor):
    """`guidance_scale` times the distance from the scores without the prompt, added to those.

    The model runs a second time on the negative prompt, or without one on the prompt's last token, extended by every
    new token. With beams that second run is not reordered; transformers does not do it either.

    Args:
        guidance_scale: 1 changes nothing, more follows the prompt more closely.
        model: a decoder-only model.
        unconditional_ids: int64 (rows or 1, length): the negative prompt.
        unconditional_attention_mask: its mask.
        max_length: most tokens that a row will have.
    """

    def __init__(
        self,
        guidance_scale: float,
        model: GenerationModel,
        unconditional_ids: Array | None = None,
        unconditional_attention_mask: Array | None = None,
        max_length: int = 0,
    ) -> None:
        if model.is_encoder_decoder:
            raise UnsupportedError("guidance_scale needs a decoder-only model; this one has an encoder")
        self.guidance_scale = guidance_scale
        self._model = model
        self._ids = unconditional_ids
        self._mask = unconditional_attention_mask
        self._max_length = max_length
        self._decoder: Decoder | None = None

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        scores = log_softmax(scores)
        if self.guidance_scale == 1:
            return scores
        other = log_softmax(self._unconditional(input_ids))
        return np.asarray(np.float32(self.guidance_scale) * (scores - other) + other)

    def _unconditional(self, input_ids: Array) -> Array:
        """Compute the logits of the second run: float32 (rows, vocab)."""
        if self._decoder is not None:
            return self._decoder.step(input_ids[:, -1:])[:, 0]
        ids = input_ids[:, -1:] if self._ids is None else np.asarray(self._ids, np.int64)
        mask = np.ones(ids.shape, np.int64) if self._mask is None else np.asarray(self._mask, np.int64)
        if len(ids) not in (1, len(input_ids)):
            raise UnsupportedError(
                f"`negative_prompt_ids` has {len(ids)} rows, but {len(input_ids)} are generated: pass one for each, "
                "or one for all"
            )
        ids, mask = (np.repeat(part, len(input_ids) // len(part), axis=0) for part in (ids, mask))
        longest = ids.shape[1] + max(1, self._max_length)
        self._decoder = self._model.start(ids, {"attention_mask": mask}, max_length=longest)
        return self._decoder.prefill()
