"""Bark by suno, in the form that transformers gave it: turns a text into speech, laughter and music."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.generation import GenerationConfig
from onnxpipe.generation.fields import FIELDS
from onnxpipe.generation.seed import derived_seeds
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.text_to_audio.bark.settings import BarkSettings, with_parameters
from onnxpipe.models.text_to_audio.bark.stages import CausalStage, FineStage, StageGraph, coarse_codes, semantic_tokens
from onnxpipe.models.text_to_audio.bark.voice import PROMPTS, voice, voices
from onnxpipe.models.text_to_audio.encodec import EncodecDecoder
from onnxpipe.models.text_to_audio.protocol import tokenize_text
from onnxpipe.processing.arrays import to_array

_GRAPHS = ("semantic", "coarse_acoustics", "fine_acoustics")
_PREFIXES = ("semantic_", "coarse_", "fine_")


class Bark(Model):
    """Bark: the graphs `semantic`, `coarse_acoustics`, `fine_acoustics` and `encodec_decode`.

    Attributes:
        generation_config: the folder's generation_config.json, with a part for each stage.
        sampling_rate: samples per second.
    """

    gives_spectrogram = False

    def __init__(
        self, bundle: Bundle, sessions: Sequence[Session], precision: str, codec: EncodecDecoder, name_or_path: str
    ) -> None:
        semantic, coarse, fine = sessions
        super().__init__(bundle, semantic, precision, name_or_path)
        self.generation_config = GenerationConfig.from_folder(bundle.folder, bundle.config)
        self.settings = BarkSettings.of(self.generation_config, bundle.config)
        self.semantic, self.coarse_acoustics = (
            CausalStage(StageGraph(session, session, precision, config), config, name_or_path)
            for session, config in (
                (semantic, self.config.semantic_config),
                (coarse, self.config.coarse_acoustics_config),
            )
        )
        self.fine_acoustics = FineStage(fine, self.settings)
        self.codec = codec

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Bark:
        """Load the model of a bundle's graphs."""
        missing = [name for name in (*_GRAPHS, "encodec_decode") if name not in bundle.graphs]
        if missing:
            has = ", ".join(sorted(bundle.graphs))
            raise UnsupportedError(f"{bundle.folder} is not a Bark model: it has {has}, but not {', '.join(missing)}")
        opened = [opener(name) for name in _GRAPHS]
        sessions = [session for session, _ in opened]
        return cls(bundle, sessions, opened[0][1], EncodecDecoder.load(opener), name_or_path)

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        own = getattr(self.generation_config, "sample_rate", None)
        return int(own or self.config.codec_config.get("sampling_rate", 24_000))

    @property
    def available_voice_presets(self) -> list[str]:
        """Names of the folder's own voices."""
        return list(voices(self.bundle.folder))

    def can_generate(self) -> bool:
        """Whether the model generates: yes."""
        return True

    def encode_text(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Encode a text as transformers' BarkProcessor does; see `TextToAudioModel.encode_text`.

        Args:
            tokenizer: the model's.
            text: the text.
            keywords: for the tokenizer's call, and `voice_preset`: see `generate`'s `history_prompt`.
            forward_params: not used.
        """
        kwargs = dict(keywords)
        preset = voice(kwargs.pop("voice_preset", None), self.bundle.folder)
        options = {
            "padding": "max_length",
            "max_length": int(self.settings.semantic.max_input_semantic_length),
            "add_special_tokens": False,
            "return_attention_mask": True,
            "return_token_type_ids": False,
            **kwargs,
        }
        rows = tokenize_text(tokenizer, text, options)
        if preset is not None:
            rows |= dict(zip(PROMPTS, (preset.semantic, preset.coarse, preset.fine), strict=True))
        return rows

    def synthesize(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """Turn one text into float32 (1, samples); see `TextToAudioModel.synthesize`."""
        params: dict[str, Any] = {"seed": seed, **forward_params, **generate_kwargs}
        prompts = {name: inputs[name] for name in PROMPTS if name in inputs}
        if prompts:
            params.setdefault("history_prompt", prompts)
        params |= {name: array for name, array in inputs.items() if name not in PROMPTS}
        audio = self.generate(**params)
        return np.asarray(audio[0] if isinstance(audio, tuple) else audio)

    def generate(
        self,
        input_ids: Any = None,
        history_prompt: Any = None,
        return_output_lengths: bool | None = None,
        *,
        attention_mask: Any = None,
        min_eos_p: float | None = None,
        seed: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Turn texts into audio.

        Args:
            input_ids: token ids, int (texts, length): padded to 256, of which more are cut off.
            history_prompt: the voice: a mapping with `semantic_prompt` (tokens,), `coarse_prompt` and `fine_prompt`
                (codebooks, frames); the name of a voice of the folder (`available_voice_presets`); or an .npz file.
            return_output_lengths: give the length of each row's audio, and decode each row by itself.
            attention_mask: 1 for tokens, same shape as `input_ids`.
            min_eos_p: speech ends where the probability of the end is above this.
            seed: of sampling: one number, or one per text. The same seed gives the same audio.
            **kwargs: parameters of generation for all stages (`do_sample`, `temperature`, ...; the fine one takes only
                the temperature), or for one by a prefix: `semantic_max_new_tokens`, `coarse_top_k`, `fine_temperature`.

        Returns:
            float32 (texts, samples): as long as the longest; with `return_output_lengths` a tuple with the samples of
            each, list[int].

        Raises:
            UnknownArgumentError: a parameter that no stage has.
            ValueError: no ids, or ids, mask or voice of a wrong shape.
        """
        text = self._text(input_ids, attention_mask)
        history = voice(history_prompt, self.bundle.folder)
        seeds = derived_seeds(seed, len(text))
        semantic, coarse, fine = self._parameters(kwargs)
        ends = semantic.pop("min_eos_p", min_eos_p)
        settings = self.settings
        config = with_parameters(settings.semantic, semantic)
        meaning = semantic_tokens(self.semantic, settings, config, text, history, seeds, ends)
        copies = len(meaning) // len(text)
        if copies > 1:
            seeds = derived_seeds(seeds, len(text), copies)
        config = with_parameters(settings.coarse, coarse)
        codes, lengths = coarse_codes(self.coarse_acoustics, settings, config, meaning, history, seeds)
        if not lengths.any():
            raise UnsupportedError("the model ended before it had said anything: try another text, or another seed")
        every = self.fine_acoustics.codes(codes, history, fine.get("temperature", settings.fine["temperature"]), seeds)
        if not return_output_lengths:
            return self.codec(every)[:, 0]
        frames = lengths // int(settings.coarse.n_coarse_codebooks)
        pieces = [self.codec(row[None, :, :length])[0, 0] for row, length in zip(every, frames, strict=True)]
        return _padded(pieces), [len(piece) for piece in pieces]

    def _text(self, input_ids: Any, attention_mask: Any) -> Array:
        """Renumber and pad tokens for the semantic stage: int64 (texts, max_input_semantic_length)."""
        if input_ids is None:
            raise ValueError("input_ids must be given: int, shape (texts, length)")
        ids = np.asarray(to_array(input_ids), np.int64)
        if ids.ndim != 2:
            raise ValueError(f"input_ids has the shape {ids.shape}; the model takes (texts, length)")
        config = self.settings.semantic
        ids = ids + int(config.text_encoding_offset)
        if attention_mask is not None:
            mask = to_array(attention_mask).astype(bool)
            if mask.shape != ids.shape:
                raise ValueError(f"attention_mask has the shape {mask.shape} and input_ids {ids.shape}")
            ids = np.where(mask, ids, int(config.text_pad_token))
        length = int(config.max_input_semantic_length)
        missing = max(length - ids.shape[1], 0)
        return np.pad(ids[:, :length], ((0, 0), (0, missing)), constant_values=int(config.text_pad_token))

    def _parameters(self, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Split the parameters by stage: its own, and those without a prefix.

        Raises:
            UnknownArgumentError: a name that is not a parameter; or `max_new_tokens` of all stages.
        """
        stages: dict[str, dict[str, Any]] = {prefix: {} for prefix in _PREFIXES}
        for name, value in kwargs.items():
            prefix = next((one for one in _PREFIXES if name.startswith(one)), None)
            if prefix is None:
                for stage in ("semantic_", "coarse_"):
                    stages[stage].setdefault(name, value)
                if name == "temperature":
                    stages["fine_"].setdefault(name, value)
            else:
                stages[prefix][name.removeprefix(prefix)] = value
        known = {"semantic_": {*FIELDS, "min_eos_p"}, "coarse_": set(FIELDS), "fine_": {"temperature"}}
        for prefix, parameters in stages.items():
            for name in parameters:
                if name not in known[prefix]:
                    full = kwargs.keys() & {name, prefix + name}
                    every = [one + field for one in _PREFIXES for field in known[one]]
                    raise UnknownArgumentError.among("Bark.generate", next(iter(full)), [*FIELDS, *every])
        if "max_new_tokens" in stages["coarse_"]:
            raise UnknownArgumentError(
                "Bark.generate: max_new_tokens cannot be that of every stage, as the length of the coarse one follows "
                "from the semantic one's; did you mean 'semantic_max_new_tokens'?"
            )
        return stages["semantic_"], stages["coarse_"], stages["fine_"]


def _padded(pieces: Sequence[Array]) -> Array:
    """Pad pieces of audio to one length: float32 (pieces, samples), zeros after each."""
    padded = np.zeros((len(pieces), max(len(piece) for piece in pieces)), np.float32)
    for row, piece in zip(padded, pieces, strict=True):
        row[: len(piece)] = piece
    return padded
