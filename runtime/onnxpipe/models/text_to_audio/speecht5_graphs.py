"""How SpeechT5's graphs are run for one text: those of our exporter, and those of optimum and transformers.js."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.engine import Session
from onnxpipe.models.base import Array

Limits = tuple[int, int]
"""Least and most steps."""


class Loop(Protocol):
    """The graphs of a model.

    Attributes:
        gives_spectrogram: whether what is spoken needs a vocoder.
    """

    @property
    def gives_spectrogram(self) -> bool:
        """See the class."""
        ...

    def speak(self, ids: Array, speaker: Array, threshold: float, limits: Limits, seed: int) -> Array:
        """The spectrogram of a text, float32 (frames, mels), or its sound, (samples,).

        Args:
            ids: int64 (tokens,).
            speaker: float32 (1, size).
            threshold: see `ended`.
            limits: see `ended`.
            seed: of what is dropped.
        """
        ...


def ended(step: int, probabilities: Array, threshold: float, limits: Limits) -> bool:
    """Whether the text has ended with a step, counted from 1: the probabilities of its frames to be the last sum up to
    the threshold, or it is the last step; but not before the least."""
    least, most = limits
    return step >= least and (step >= most or float(probabilities.sum(dtype=np.float32)) >= threshold)


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

    def speak(self, ids: Array, speaker: Array, threshold: float, limits: Limits, seed: int) -> Array:
        """See `Loop`."""
        config = self._config
        _check_length("tokens", ids.size, config.get("max_text_positions"))
        noise = np.random.Generator(np.random.Philox(seed))
        units = (1, int(config.speech_decoder_prenet_layers), int(config.speech_decoder_prenet_units))
        text = self._encoder.run({"input_ids": ids[None]})
        heads = int(config.decoder_attention_heads)
        nothing = np.zeros((1, heads, 0, int(config.hidden_size) // heads), np.float32)
        feeds: dict[str, Array] = {
            "speaker_embeddings": speaker,
            "output_sequence": np.zeros((1, 1, int(config.num_mel_bins)), np.float32),
            **{f"past_key_values.{cache}": nothing for cache in self._caches},
            **{name.replace("present", "past_key_values", 1): array for name, array in text.items()},
        }
        frames: list[Array] = []
        while True:
            _check_length("steps", len(frames), config.get("max_speech_positions"))
            # in transformers the unit is *kept* with the probability that the config calls that of dropping it
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
    """The graphs of optimum and transformers.js, which draw what they drop themselves: no seed reaches them.

    Args:
        config: the model's.
        encoder: its graph of texts.
        first, later: its graphs of the first step and of those after it, which may be one (a merged graph).
        vocoder: the graph that refines the spectrogram and makes it sound; None where it is another model's.
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

    def speak(self, ids: Array, speaker: Array, threshold: float, limits: Limits, seed: int) -> Array:
        """See `Loop`."""
        config = self._config
        _check_length("tokens", ids.size, config.get("max_text_positions"))
        text = self._encoder.run({"input_ids": ids[None]})
        heads = int(config.decoder_attention_heads)
        nothing = np.zeros((1, heads, 0, int(config.hidden_size) // heads), np.float32)
        feeds = {name: nothing for name in self._first.inputs if name.startswith("past_key_values.")}
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
        """The feeds of the next step. Keys of the text are made in the first one and are nothing in those after it."""
        feeds["output_sequence"] = answer["output_sequence_out"]
        feeds["use_cache_branch"] = np.array([True])
        for name, array in answer.items():
            if name.startswith("present.") and (first or ".encoder." not in name):
                feeds[name.replace("present", "past_key_values", 1)] = array


def _check_length(what: str, length: int, limit: object) -> None:
    if isinstance(limit, int) and length >= limit + (what == "tokens"):
        raise ValueError(f"the text has {length} {what} and the model takes at most {limit}: split it into sentences")
