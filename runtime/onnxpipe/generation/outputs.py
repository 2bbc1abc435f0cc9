"""The results of `generate` with `return_dict_in_generate=True`."""

from __future__ import annotations

from typing import Any, ClassVar

from onnxpipe.processing.model_output import ModelOutput


class GenerateOutput(ModelOutput):
    """Named results: by attribute, by name or by position; a field that was not requested is None and has no position.

    Attributes:
        sequences: int64 (rows, length).
        scores: one float32 (rows, vocab) per step, after the processors; with `output_scores=True`.
        logits: one float32 (rows, vocab) per step, before them; with `output_logits=True`.
    """

    _fields: ClassVar[tuple[str, ...]] = ("sequences", "scores", "logits")

    def __init__(self, **fields: Any) -> None:
        unknown = [name for name in fields if name not in self._fields]
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {unknown[0]!r}")
        super().__init__({name: fields[name] for name in self._fields if fields.get(name) is not None})

    def __getattr__(self, name: str) -> Any:
        if name in self._fields:
            return self.get(name)
        return super().__getattr__(name)


class GenerateDecoderOnlyOutput(GenerateOutput):
    """Results of greedy search, sampling, assisted and contrastive search; the sequences include the prompt."""

    _fields = ("sequences", "scores", "logits", "attentions", "hidden_states", "past_key_values")


class GenerateEncoderDecoderOutput(GenerateOutput):
    """The same for an encoder-decoder; the sequences begin with the decoder's start token."""

    _fields = (
        "sequences", "scores", "logits", "encoder_attentions", "encoder_hidden_states", "decoder_attentions",
        "cross_attentions", "decoder_hidden_states", "past_key_values",
    )  # fmt: skip


class GenerateBeamDecoderOnlyOutput(GenerateOutput):
    """Results of searches with beams.

    Attributes:
        sequences_scores: float32 (rows,): sum of log-probabilities over length ** length_penalty; with output_scores.
        beam_indices: int32 (rows, generated): the beam row that each token was chosen in; -1 after the end.
    """

    _fields = (
        "sequences", "sequences_scores", "scores", "logits", "beam_indices", "attentions", "hidden_states",
        "past_key_values",
    )  # fmt: skip


class GenerateBeamEncoderDecoderOutput(GenerateOutput):
    """The same for an encoder-decoder."""

    _fields = (
        "sequences", "sequences_scores", "scores", "logits", "beam_indices", "encoder_attentions",
        "encoder_hidden_states", "decoder_attentions", "cross_attentions", "decoder_hidden_states", "past_key_values",
    )  # fmt: skip
