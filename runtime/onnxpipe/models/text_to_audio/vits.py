"""VITS (Kim et al. 2021, arXiv:2106.06103) and MMS-TTS: turn a text into speech in one pass, varied by noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.text_to_audio.protocol import check_names, tokenize_text
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput

_PARAMS = ("speaker_id", "speaking_rate", "noise_scale", "noise_scale_duration")

#: No text has more frames than this (some minutes): a wrong duration must not fill the memory.
_MOST_FRAMES = 1 << 16


class Vits(Model):
    """The graphs `text_encoder` and `decoder`; or, of other exporters, the graph `model`, which draws its own noise.

    Args:
        bundle: the folder it came from.
        encoder: the graph `text_encoder`; None where there is one graph.
        decoder: the graph `decoder`, or the one graph.
        precision: of the decoder.
        name_or_path: what the user called it.

    Attributes:
        noise_scale: how much the audio varies; 0 for not at all.
        noise_scale_duration: how much durations vary.
        speaking_rate: above 1 is faster.
    """

    gives_spectrogram = False

    def __init__(
        self, bundle: Bundle, encoder: Session | None, decoder: Session, precision: str, name_or_path: str
    ) -> None:
        super().__init__(bundle, decoder, precision, name_or_path)
        self.encoder = encoder
        self.noise_scale = float(self.config.get("noise_scale", 0.667))
        self.noise_scale_duration = float(self.config.get("noise_scale_duration", 0.8))
        self.speaking_rate = float(self.config.get("speaking_rate", 1.0))

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Vits:
        """Load the model of a bundle."""
        if "text_encoder" not in bundle.graphs:
            decoder, precision = opener("model")
            return cls(bundle, None, decoder, precision, name_or_path)
        encoder, _ = opener("text_encoder")
        decoder, precision = opener("decoder")
        return cls(bundle, encoder, decoder, precision, name_or_path)

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return int(self.config.get("sampling_rate", 16000))

    @property
    def takes_seed(self) -> bool:
        """Whether a seed determines the noise: not if the one graph of another exporter draws it."""
        return self.encoder is not None

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
        """See `TextToAudioModel.synthesize`: float32 (1, samples). Parameters: `speaker_id`, `speaking_rate`,
        `noise_scale`, `noise_scale_duration`."""
        check_names("text-to-audio with VITS: forward_params", forward_params, _PARAMS)
        outputs = self(inputs["input_ids"], inputs.get("attention_mask"), **forward_params, seed=seed)
        return np.asarray(outputs.waveform)

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        speaker_id: int | None = None,
        speaking_rate: float | None = None,
        noise_scale: float | None = None,
        noise_scale_duration: float | None = None,
        return_dict: bool = True,
        *,
        seed: int | None = None,
        duration_noise: Any = None,
        noise: Any = None,
    ) -> Any:
        """Turn texts into speech.

        Args:
            input_ids: int (batch, tokens).
            attention_mask: 1 for tokens, 0 for padding; all ones by default.
            speaker_id: one of the speakers, for models with several.
            speaking_rate, noise_scale, noise_scale_duration: instead of the model's attributes.
            return_dict: False gives a tuple.
            seed: of the noise; None for fresh noise.
            duration_noise, noise: standard normal numbers instead of drawn ones, (batch, 2, tokens) and (batch,
                flow_size, frames or more).

        Returns:
            `waveform` float32 (batch, samples), zeros after the shorter ones; `sequence_lengths` int64 (batch,).

        Raises:
            ValueError: a speaker that the model does not have.
            UnsupportedError: a parameter that the one graph of another exporter does not have.
        """
        ids = np.atleast_2d(np.asarray(to_array(input_ids), np.int64))
        mask = np.ones_like(ids) if attention_mask is None else np.atleast_2d(to_array(attention_mask))
        rate = self.speaking_rate if speaking_rate is None else float(speaking_rate)
        scales = (
            self.noise_scale if noise_scale is None else float(noise_scale),
            self.noise_scale_duration if noise_scale_duration is None else float(noise_scale_duration),
        )
        if rate <= 0:
            raise UnsupportedError(f"speaking_rate must be above 0, got {rate}")
        self._check_speaker(speaker_id)
        if self.encoder is None:
            options = (speaker_id, speaking_rate, noise_scale, noise_scale_duration, duration_noise, noise)
            waveforms = self._in_one_graph(ids, mask, options)
        else:
            source = np.random.Generator(np.random.Philox(seed))
            waveforms = []
            for row, real in enumerate(mask.astype(bool)):
                drawn = _Noise(
                    source, *(None if each is None else to_array(each)[row] for each in (duration_noise, noise))
                )
                waveforms.append(self._synthesize(ids[row][real], speaker_id, rate, scales, drawn))
        lengths = np.array([len(one) for one in waveforms], np.int64)
        waveform = np.zeros((len(waveforms), lengths.max(initial=0)), np.float32)
        for row, one in zip(waveform, waveforms, strict=True):
            row[: len(one)] = one
        outputs = ModelOutput({"waveform": waveform, "sequence_lengths": lengths})
        return outputs if return_dict else outputs.to_tuple()

    def _check_speaker(self, speaker_id: int | None) -> None:
        count = int(self.config.get("num_speakers", 1))
        if speaker_id is not None and count > 1 and not 0 <= speaker_id < count:
            raise UnsupportedError(f"Set `speaker_id` in the range 0-{count - 1}.")

    def _synthesize(
        self, ids: Array, speaker_id: int | None, rate: float, scales: tuple[float, float], noise: _Noise
    ) -> Array:
        """Turn the token ids (tokens,) of one text into float32 (samples,)."""
        assert self.encoder is not None
        if not ids.size:
            raise UnsupportedError("the text has no letter that the model knows: there is nothing to say")
        scale, scale_duration = scales
        speaker = np.array([-1 if speaker_id is None else speaker_id], np.int64)
        feeds = {"input_ids": ids[None]}
        if "speaker_id" in self.encoder.inputs:
            feeds["speaker_id"] = speaker
        if "duration_noise" in self.encoder.inputs:
            feeds["duration_noise"] = noise.of_durations(len(ids))[None] * np.float32(scale_duration)
        prior = self.encoder.run(feeds)
        durations = np.ceil(np.exp(prior["log_duration"][0]) * np.float32(1.0 / rate))
        total = float(durations.sum())
        if not total <= _MOST_FRAMES:
            raise UnsupportedError(f"the text would last {total:.0f} frames, more than {_MOST_FRAMES}: split it")
        times = durations.astype(np.int64)
        if not times.any():  # at least one frame, which then belongs to no token
            shape = (1, prior["prior_means"].shape[2])
            means, log_variances = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        else:
            means, log_variances = (
                np.repeat(prior[name][0], times, axis=0) for name in ("prior_means", "prior_log_variances")
            )
        latents: Array = means.T
        if scale:
            latents = latents + noise.of_frames(*latents.shape) * np.exp(log_variances.T) * np.float32(scale)
        feeds = {"latents": np.ascontiguousarray(latents, np.float32)[None]}
        if "speaker_id" in self.session.inputs:
            feeds["speaker_id"] = speaker
        waveform: Array = self.session.run(feeds)["waveform"][0]
        return waveform

    def _in_one_graph(self, ids: Array, mask: Array, options: tuple[Any, ...]) -> list[Array]:
        """Turn rows into speech by the one graph of another exporter."""
        if any(option is not None for option in options):
            raise UnsupportedError(
                f"{self.name_or_path} has one graph with speed, voice and noise fixed inside: leave these "
                "parameters out, or export the model: onnxpipe export MODEL -o DIR"
            )
        waveforms = []
        for row, real in zip(ids, mask.astype(bool), strict=True):
            feeds = {"input_ids": row[real][None], "attention_mask": np.ones((1, int(real.sum())), np.int64)}
            fed = {name: array for name, array in feeds.items() if name in self.session.inputs}
            waveforms.append(self.session.run(fed, ["waveform"])["waveform"].reshape(-1))
        return waveforms


class _Noise:
    """Standard normal numbers for one text: passed by the user, or drawn, those of durations first."""

    def __init__(self, source: np.random.Generator, durations: Array | None, frames: Array | None) -> None:
        self._source = source
        self._durations = durations
        self._frames = frames

    def of_durations(self, tokens: int) -> Array:
        """float32 (2, tokens)."""
        if self._durations is not None:
            return np.asarray(self._durations[:, :tokens], np.float32)
        return self._source.standard_normal((2, tokens), np.float32)

    def of_frames(self, size: int, frames: int) -> Array:
        """float32 (size, frames)."""
        if self._frames is not None:
            return np.asarray(self._frames[:, :frames], np.float32)
        return self._source.standard_normal((frames, size), np.float32).T
