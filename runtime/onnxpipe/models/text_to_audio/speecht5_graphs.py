"""Run SpeechT5's graphs for one text: those of our exporter, and those of optimum and transformers.js."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array

Limits = tuple[int, int]
"""Fewest and most steps."""


class Loop(Protocol):
    """The graphs of a model.

    Attributes:
        gives_spectrogram: whether the answer is a spectrogram, which needs a vocoder.
    """

    @property
    def gives_spectrogram(self) -> bool:
        """See the class."""
        ...

    def synthesize(self, ids: Array, speaker: Array, threshold: float, limits: Limits, seed: int) -> Array:
        """Turn a text into a spectrogram, float32 (frames, mels), or into audio, (samples,).

        Args:
            ids: int64 (tokens,).
            speaker: float32 (1, size).
            threshold: see `ended`.
            limits: see `ended`.
            seed: of the dropout.
        """
        ...


def ended(step: int, probabilities: Array, threshold: float, limits: Limits) -> bool:
    """Whether the speech ends with a step, counted from 1: the probabilities that its frames are the last sum up to the
    threshold, or it is the last step allowed; but not before the fewest steps."""
    fewest, most = limits
    return step >= fewest and (step >= most or float(probabilities.sum(dtype=np.float32)) >= threshold)


class OwnLoop:
    """The graphs of our exporter; see `onnxpipe_export.graphs.text_to_audio.speecht5`.

    Args:
        config: the model's.
        encoder, decoder, postnet: its graphs.
    """

    gives_spectrogram = True

    def __init__(self, config: Config, encoder: Session, decoder: Session, postnet: Session) -> None:
        self._config = config
        self._encoder, self._decoder, self._postnet = encoder, decoder, postnet
        self._caches = [name.removeprefix("present.") for name in decoder.outputs if name.startswith("present.")]

    def synthesize(self, ids: Array, speaker: Array, threshold: float, limits: Limits, seed: int) -> Array:
        """See `Loop`."""
        config = self._config
        _check_length("tokens", ids.size, config.get("max_text_positions"))
        noise = np.random.Generator(np.random.Philox(seed))
        units = (1, int(config.speech_decoder_prenet_layers), int(config.speech_decoder_prenet_units))
        text = self._encoder.run({"input_ids": ids[None]})
        heads = int(config.decoder_attention_heads)
        empty = np.zeros((1, heads, 0, int(config.hidden_size) // heads), np.float32)
        feeds: dict[str, Array] = {
            "speaker_embeddings": speaker,
            "output_sequence": np.zeros((1, 1, int(config.num_mel_bins)), np.float32),
            **{f"past_key_values.{cache}": empty for cache in self._caches},
            **{name.replace("present", "past_key_values", 1): array for name, array in text.items()},
        }
        frames: list[Array] = []
        while True:
            _check_length("steps", len(frames), config.get("max_speech_positions"))
            # transformers *keeps* a unit with the probability that the config calls its dropout
            masks = noise.random(units) < config.speech_decoder_prenet_dropout
            answer = self._decoder.run({**feeds, "prenet_masks": masks})
            frames.append(answer["spectrum"])
            if ended(len(frames), answer["prob"], threshold, limits):
                break
            feeds |= {f"past_key_values.{cache}": answer[f"present.{cache}"] for cache in self._caches}
            feeds["output_sequence"] = answer["spectrum"][:, -1:]
        refined: Array = self._postnet.run({"spectrogram": np.concatenate(frames, axis=1)})["refined"][0]
        return refined


class ForeignLoop:
    """The graphs of optimum and transformers.js, which draw their dropout themselves: no seed reaches them.

    Args:
        config: the model's.
        encoder: its encoder.
        first, later: its decoders for the first step and for those after it, which may be one merged graph.
        vocoder: the graph that refines the spectrogram and turns it into audio; None where that is another model.
    """

    def __init__(
        self, config: Config, encoder: Session, first: Session, later: Session, vocoder: Session | None
    ) -> None:
        self._config = config
        self._encoder, self._first, self._later, self._vocoder = encoder, first, later, vocoder

    @property
    def gives_spectrogram(self) -> bool:
        """See `Loop`."""
        return self._vocoder is None

    def synthesize(self, ids: Array, speaker: Array, threshold: float, limits: Limits, seed: int) -> Array:
        """See `Loop`."""
        config = self._config
        _check_length("tokens", ids.size, config.get("max_text_positions"))
        text = self._encoder.run({"input_ids": ids[None]})
        heads = int(config.decoder_attention_heads)
        empty = np.zeros((1, heads, 0, int(config.hidden_size) // heads), np.float32)
        feeds = {name: empty for name in self._first.inputs if name.startswith("past_key_values.")}
        feeds |= {
            "speaker_embeddings": speaker,
            "output_sequence": np.zeros((1, 1, int(config.num_mel_bins)), np.float32),
            "encoder_hidden_states": text["encoder_outputs"],
            "encoder_attention_mask": text["encoder_attention_mask"],
            "use_cache_branch": np.array([False]),
        }
        frames: list[Array] = []
        decoder = self._first
        while True:
            _check_length("steps", len(frames), config.get("max_speech_positions"))
            answer = decoder.run({name: feeds[name] for name in decoder.inputs})
            frames.append(answer["spectrum"].reshape(-1, int(config.num_mel_bins)))
            if ended(len(frames), answer["prob"], threshold, limits):
                break
            self._advance(feeds, answer, first=len(frames) == 1)
            decoder = self._later
        spectrogram = np.concatenate(frames)
        if self._vocoder is None:
            return spectrogram
        return self._vocoder.run({"spectrogram": spectrogram})["waveform"].reshape(-1)

    def _advance(self, feeds: dict[str, Array], answer: dict[str, Array], first: bool) -> None:
        """Make the feeds of the next step. Only the first step gives the cross-attention's keys and values."""
        feeds["output_sequence"] = answer["output_sequence_out"]
        feeds["use_cache_branch"] = np.array([True])
        for name, array in answer.items():
            if name.startswith("present.") and (first or ".encoder." not in name):
                feeds[name.replace("present", "past_key_values", 1)] = array


def _check_length(what: str, length: int, limit: object) -> None:
    if isinstance(limit, int) and length >= limit + (what == "tokens"):
        raise UnsupportedError(
            f"the text has {length} {what} and the model takes at most {limit}: split it into sentences"
        )
