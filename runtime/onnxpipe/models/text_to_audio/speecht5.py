"""SpeechT5 (Ao et al. 2021, arXiv:2110.07205): turns a text into a spectrogram, a few frames per step, in a voice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.seed import next_seed
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.text_to_audio.protocol import check_names, tokenize_text
from onnxpipe.models.text_to_audio.speecht5_graphs import ForeignLoop, Loop, OwnLoop
from onnxpipe.processing.arrays import to_array

_PARAMS = ("speaker_embeddings", "threshold", "minlenratio", "maxlenratio")


class SpeechT5(Model):
    """The graphs `encoder_model`, `decoder_model` and `decoder_postnet`; or those of optimum and transformers.js,
    `encoder_model`, `decoder_model_merged` (or `decoder_model` and `decoder_with_past_model`) and
    `decoder_postnet_and_vocoder`.

    Args:
        bundle: the folder it came from.
        loop: runs the graphs.
        session: the decoder's graph.
        precision: of the decoder's graph.
        name_or_path: what the user called it.
    """

    is_encoder_decoder = True

    def __init__(self, bundle: Bundle, loop: Loop, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        self._loop = loop

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> SpeechT5:
        """Load the model of a bundle."""
        graphs, config = bundle.graphs, bundle.config
        encoder, _ = opener("encoder_model")
        decoder, precision = opener("decoder_model_merged" if "decoder_model_merged" in graphs else "decoder_model")
        loop: Loop
        if "decoder_postnet" in graphs:
            loop = OwnLoop(config, encoder, decoder, opener("decoder_postnet")[0])
        else:
            later, last = "decoder_with_past_model", "decoder_postnet_and_vocoder"
            split = "decoder_model_merged" not in graphs
            vocoder = opener(last)[0] if last in graphs else None
            loop = ForeignLoop(config, encoder, decoder, opener(later)[0] if split else decoder, vocoder)
        return cls(bundle, loop, decoder, precision, name_or_path)

    @property
    def gives_spectrogram(self) -> bool:
        """Whether a vocoder is needed: not if the folder's last graph has one inside."""
        return self._loop.gives_spectrogram

    @property
    def takes_seed(self) -> bool:
        """Whether a seed determines the dropout: not in graphs of other exporters, which draw it themselves."""
        return isinstance(self._loop, OwnLoop)

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return int(self.config.get("sampling_rate", 16000))

    def can_generate(self) -> bool:
        """Whether there is a loop: yes."""
        return True

    def encode_text(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """See `TextToAudioModel.encode_text`."""
        return tokenize_text(tokenizer, text, keywords)

    def synthesize(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """See `TextToAudioModel.synthesize`: float32 (frames, mels), or (samples,) where a vocoder is inside.
        Parameters: those of `generate`."""
        params = {**forward_params, **generate_kwargs}
        check_names("text-to-audio with SpeechT5: forward_params", params, _PARAMS)
        answer: Array = self.generate(inputs["input_ids"], inputs.get("attention_mask"), **params, seed=seed)
        return answer

    def generate(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        speaker_embeddings: Any = None,
        threshold: float = 0.5,
        minlenratio: float = 0.0,
        maxlenratio: float = 20.0,
        vocoder: Any = None,
        output_cross_attentions: bool = False,
        return_output_lengths: bool = False,
        *,
        seed: int | None = None,
    ) -> Any:
        """Turn texts into spectrograms, or with a vocoder into speech.

        Args:
            input_ids: int (batch, tokens).
            attention_mask: 1 for tokens, 0 for padding; by default padding is where the padding token is.
            speaker_embeddings: float (1 or batch, size): the voice (an x-vector).
            threshold: speech ends where the model gives the end at least this probability.
            minlenratio, maxlenratio: fewest and most frames per token.
            vocoder: turns spectrograms into audio; see `SpeechT5HifiGan`.
            output_cross_attentions: refused when true.
            return_output_lengths: give the lengths too.
            seed: of the dropout in every step, which is the same for all rows of a batch. None for
                `onnxpipe.set_seed`'s.

        Returns:
            float32 (frames, mels) of one text, (batch, frames, mels) with zeros after the shorter ones of several; with
            a vocoder (samples,) or (batch, samples). With `return_output_lengths` a pair: batched always, and a list of
            the lengths.

        Raises:
            ValueError: no speaker, or another number of them than texts; a text too long for the model.
            UnsupportedError: an argument that the graphs do not support.
        """
        if output_cross_attentions:
            raise UnsupportedError("output_cross_attentions=True: the graphs give no attentions; leave it out")
        ids = np.atleast_2d(np.asarray(to_array(input_ids), np.int64))
        speakers = _speakers(speaker_embeddings, len(ids), int(self.config.speaker_embedding_dim))
        mask = ids != self.config.pad_token_id if attention_mask is None else np.atleast_2d(to_array(attention_mask))
        limits = (
            int(ids.shape[1] * minlenratio / self.config.reduction_factor),
            int(ids.shape[1] * maxlenratio / self.config.reduction_factor),
        )
        seed = next_seed() if seed is None else seed
        answers = [
            self._loop.synthesize(row[real], speaker[None], threshold, limits, seed)
            for row, real, speaker in zip(ids, mask.astype(bool), speakers, strict=True)
        ]
        lengths = [len(one) for one in answers]
        if len(answers) == 1 and not return_output_lengths:
            return answers[0] if vocoder is None else vocoder(answers[0])
        together = np.zeros((len(answers), max(lengths), *answers[0].shape[1:]), np.float32)
        for row, one in zip(together, answers, strict=True):
            row[: len(one)] = one
        if vocoder is not None:
            together = vocoder(together)
            samples = together.shape[1] // max(lengths)
            lengths = [samples * length for length in lengths]
        return (together, lengths) if return_output_lengths else together

    generate_speech = generate


def _speakers(embeddings: Any, count: int, size: int) -> Array:
    """Check the voices: float32 (count, size)."""
    if embeddings is None:
        raise UnsupportedError(
            "`speaker_embeddings` must be specified: a voice as float32 of shape (1, "
            f"{size}), e.g. forward_params={{'speaker_embeddings': array}}. Voices for SpeechT5 are in the data set "
            "https://huggingface.co/datasets/Matthijs/cmu-arctic-xvectors"
        )
    speakers = np.asarray(to_array(embeddings), np.float32)
    if speakers.ndim != 2 or speakers.shape[1] != size:
        raise UnsupportedError(f"speaker_embeddings must be float32 of shape (1, {size}), got {speakers.shape}")
    if len(speakers) not in (1, count):
        raise UnsupportedError("The first dimension of speaker_embeddings must be either 1 or the same as batch_size.")
    return np.broadcast_to(speakers, (count, size))
