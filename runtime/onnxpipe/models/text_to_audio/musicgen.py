"""MusicGen: music of a text (Copet et al. 2023, arXiv:2306.05284)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from onnxpipe.bundle import Bundle, Config
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput, GenerationConfig, generate
from onnxpipe.generation.fields import DEFAULTS, FIELDS
from onnxpipe.generation.mode import GenerationMode, generation_mode
from onnxpipe.generation.prepare import check_names
from onnxpipe.generation.seed import derived_seeds
from onnxpipe.models.base import Array, Model, Opener, as_array
from onnxpipe.models.seq2seq.graph import Seq2SeqGraphs, encoder_states
from onnxpipe.models.text_to_audio.encodec import EncodecDecoder
from onnxpipe.models.text_to_audio.musicgen_decoder import Music, Texts
from onnxpipe.models.text_to_audio.protocol import read_text

_MERGED, _PAIR = "decoder_model_merged", ("decoder_model", "decoder_with_past_model")
#: What transformers' pipeline asks for where neither the user nor the model says how long.
_NEW_TOKENS = 256


class Musicgen(Model):
    """MusicGen, mono or stereo: the graphs `text_encoder`, `decoder_model_merged` and `encodec_decode`.

    Folders of transformers.js and optimum (which may have `decoder_model` and `decoder_with_past_model` instead) load
    as they are.

    Attributes:
        generation_config: the folder's generation_config.json, else what config.json says of generation.
        codebooks: how many the decoder fills.
        channels: 1, or 2 for stereo.
        sampling_rate: samples a second.
    """

    is_encoder_decoder: ClassVar[bool] = True
    gives_spectrogram = False
    #: What `generate()` takes besides generation parameters.
    input_names: ClassVar[frozenset[str]] = frozenset(
        {"input_ids", "attention_mask", "encoder_outputs", "decoder_input_ids"}
    )

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, codec: EncodecDecoder, name_or_path: str) -> None:
        super().__init__(bundle, graphs.steps, graphs.precision, name_or_path)
        self.graphs, self.codec = graphs, codec
        self.generation_config = GenerationConfig.from_folder(bundle.folder, bundle.config)
        decoder = _decoder_config(bundle.config)
        self.codebooks = int(decoder.get("num_codebooks", 4))
        self.channels = int(decoder.get("audio_channels", 1))
        self.sampling_rate = int(_inner(bundle.config, "audio_encoder").get("sampling_rate", 32_000))

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Musicgen:
        """The model of a bundle's graphs."""
        available = bundle.graphs.keys()
        decoder = (_MERGED,) if _MERGED in available else _PAIR
        missing = [name for name in ("text_encoder", *decoder, "encodec_decode") if name not in available]
        if missing:
            raise UnsupportedError(
                f"{bundle.folder} is no MusicGen: it has {', '.join(sorted(available))}, and not {', '.join(missing)}"
            )
        encoder, _ = opener("text_encoder")
        steps, precision = opener(decoder[-1])
        first: Session = steps if len(decoder) == 1 else opener(decoder[0])[0]
        graphs = Seq2SeqGraphs(encoder, first, steps, precision, _decoder_config(bundle.config))
        return cls(bundle, graphs, EncodecDecoder.load(opener), name_or_path)

    def can_generate(self) -> bool:
        """Whether the model generates: yes."""
        return True

    def read(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """See `onnxpipe.models.text_to_audio.protocol.SpeechModel`."""
        rows = read_text(tokenizer, text, keywords)
        return {name: rows[name] for name in ("input_ids", "attention_mask") if name in rows}

    def speak(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """float32 (1, channels, samples); see `onnxpipe.models.text_to_audio.protocol.SpeechModel`."""
        params: dict[str, Any] = {"seed": seed, **forward_params, **generate_kwargs}
        config = params.get("generation_config") or GenerationConfig()
        set_by = (params.get, *(lambda name, one=one: getattr(one, name) for one in (config, self.generation_config)))
        if all(given(name) is None for given in set_by for name in ("max_new_tokens", "max_length")):
            params["max_new_tokens"] = _NEW_TOKENS
        answer = self.generate(**{**inputs, **params})
        return np.asarray(answer if isinstance(answer, np.ndarray) else answer.sequences)

    def generate(
        self,
        inputs: Any = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        streamer: Any = None,
        *,
        seed: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Music, by greedy search or sampling.

        Args:
            inputs: token ids of texts, int (texts, length); they may also come as `input_ids`.
            generation_config: parameters; what it leaves unset is the model's `generation_config`'s.
            logits_processor, stopping_criteria: more of them; rows are each text's codebooks, one after the other.
            streamer: takes the first codes, (texts * codebooks, length), and then every step's, (texts * codebooks,).
            seed: of sampling: one number, or one per text. The same seed gives the same music.
            **kwargs: `input_ids`, `attention_mask` int (texts, length); `encoder_outputs`, the states of texts instead;
                `decoder_input_ids` int (texts * codebooks, frames), codes to go on from; fields of GenerationConfig,
                which win. `guidance_scale` above 1 holds more to the text, at twice the work.

        Returns:
            float32 (texts * num_return_sequences, channels, samples). With `return_dict_in_generate` a
            `GenerateEncoderDecoderOutput` whose `sequences` they are.

        Raises:
            ValueError: an unknown argument, beams, or a contradiction.
            UnsupportedError: what this runtime cannot do.
        """
        config = _merged(generation_config, self.generation_config, kwargs)
        given = {name: value for name, value in kwargs.items() if not config.has(name) and value is not None}
        if inputs is not None:
            if "input_ids" in given:
                raise ValueError("`inputs` were passed alongside input_ids, which is not allowed: pass one of them")
            given["input_ids"] = inputs
        check_names(self, given)  # type: ignore[arg-type]  # it asks for the names alone
        guidance = _check(config)
        codes = self._start(given, texts := self._texts(given), config)
        _settle_lengths(config, kwargs, codes.shape[2])
        music = Music(
            self.graphs, _decoder_config(self.config), self.name_or_path, texts, codes, self.channels, guidance
        )
        flat = music.first(int(config.max_length or 0))
        answer = generate(
            music,
            flat,
            config,
            logits_processor,
            stopping_criteria,
            streamer=streamer,
            use_model_defaults=False,
            seed=derived_seeds(seed, len(codes), self.codebooks),
            attention_mask=np.ones_like(flat),
        )
        ids = answer if isinstance(answer, np.ndarray) else answer.sequences
        sound = self._sound(music.codes(ids, int(config.max_length or 0)))
        return sound if isinstance(answer, np.ndarray) else _with_sound(answer, sound)

    def get_unconditional_inputs(self, num_samples: int = 1) -> dict[str, Any]:
        """Arguments of `generate()` for music of no text."""
        width = self.graphs.first.inputs["encoder_hidden_states"].shape[-1]
        if not isinstance(width, int):
            width = int(_inner(self.config, "text_encoder")["d_model"])
        return {
            "encoder_outputs": (np.zeros((num_samples, 1, width), np.float32),),
            "attention_mask": np.zeros((num_samples, 1), np.int64),
            "guidance_scale": 1.0,
        }

    def _texts(self, given: Mapping[str, Any]) -> Texts:
        """The encoded texts of a call.

        Raises:
            ValueError: none, or a mask of another shape.
        """
        outputs, mask = given.get("encoder_outputs"), given.get("attention_mask")
        if outputs is not None:
            states = np.asarray(encoder_states(outputs), np.float32)
            return Texts(states, _mask(states.shape[:2], mask))
        if given.get("input_ids") is None:
            raise ValueError("input_ids must be given: int, shape (texts, length)")
        ids = np.asarray(as_array(given["input_ids"]), np.int64)
        if ids.ndim != 2:
            raise ValueError(f"input_ids has the shape {ids.shape}; the model takes (texts, length)")
        ones = _mask(ids.shape, mask)
        session = self.graphs.encoder
        feeds = {"input_ids": ids, "attention_mask": ones}
        known = {name: value for name, value in feeds.items() if name in session.inputs}
        return Texts(session.run(known, ["last_hidden_state"])["last_hidden_state"], ones)

    def _start(self, given: Mapping[str, Any], texts: Texts, config: GenerationConfig) -> Array:
        """The codes that are there already, int64 (texts, codebooks, length), the token for none first.

        Raises:
            ValueError: `decoder_input_ids` of a wrong shape, or nothing tells the token for none.
        """
        none = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
        if not isinstance(none, int):
            raise ValueError(
                "`decoder_start_token_id` or `bos_token_id` has to be defined for MusicGen, as one number."
            )
        first = np.full((len(texts.mask), self.codebooks, 1), none, np.int64)
        if given.get("decoder_input_ids") is None:
            return first
        codes = np.asarray(as_array(given["decoder_input_ids"]), np.int64)
        if codes.ndim != 2 or len(codes) != len(texts.mask) * self.codebooks:
            wanted = (len(texts.mask) * self.codebooks, "frames")
            raise ValueError(f"decoder_input_ids has the shape {codes.shape}; {wanted} is needed: a row a codebook")
        split = codes.reshape(*first.shape[:2], -1)
        return np.concatenate([first, split], axis=2) if (codes[:, 0] != none).all() else split

    def _sound(self, codes: Array) -> Array:
        """float32 (pieces, channels, samples) of int64 (pieces, codebooks, frames)."""
        sides = [self.codec(codes[:, side :: self.channels]) for side in range(self.channels)]
        return np.concatenate(sides, axis=1)


def _inner(config: Config, name: str) -> Mapping[str, Any]:
    """An object in config.json."""
    inner = config.get(name)
    return inner if isinstance(inner, Mapping) else {}


def _decoder_config(config: Config) -> Config:
    return Config(_inner(config, "decoder"), config.name_or_path)


def _mask(shape: tuple[int, ...], given: Any) -> Array:
    mask = np.ones(shape, np.int64) if given is None else np.asarray(as_array(given), np.int64)
    if mask.shape != shape:
        raise ValueError(f"attention_mask has the shape {mask.shape}; the input has {shape}")
    return mask


def _merged(given: GenerationConfig | None, own: GenerationConfig, kwargs: Mapping[str, Any]) -> GenerationConfig:
    """Call's keywords over the config passed over the model's; what none of them sets stays unset."""
    config = GenerationConfig() if given is None else copy.deepcopy(given)
    for name in FIELDS:
        if getattr(config, name) is None:
            setattr(config, name, copy.deepcopy(getattr(own, name)))
    config.update(**{name: value for name, value in kwargs.items() if config.has(name)})
    return config


def _check(config: GenerationConfig) -> float | None:
    """The guidance, if there is any, taken out of `config`, which is refused where MusicGen cannot do it.

    Raises:
        ValueError: beams, or guidance away from the text.
        UnsupportedError: an end token.
    """
    if generation_mode(config.filled(), assistant=False) not in (GenerationMode.SAMPLE, GenerationMode.GREEDY_SEARCH):
        raise ValueError(
            "Got incompatible mode for generation, should be one of greedy or sampling. Ensure that beam search is "
            "de-activated by setting `num_beams=1`."
        )
    if config.eos_token_id is not None:
        raise UnsupportedError(
            "eos_token_id: MusicGen has no end token, and its codebooks cannot end one by one. Leave it out; "
            "`max_new_tokens` says how long the music is"
        )
    scale, config.guidance_scale = config.guidance_scale, None
    if scale is not None and scale < 1:
        raise ValueError(f"`guidance_scale` has to be 1 (no guidance) or more, but is {scale}")
    return None if scale is None or scale == 1 else float(scale)


def _settle_lengths(config: GenerationConfig, kwargs: Mapping[str, Any], length: int) -> None:
    """Makes `max_length` of `config` count whole rows, as transformers does for MusicGen: only a `max_length` among the
    call's own keywords counts the first `length` codes already."""
    if config.max_new_tokens is not None:
        config.max_length = config.max_new_tokens + length
    elif kwargs.get("max_length") is None:
        config.max_length = (config.max_length or int(DEFAULTS["max_length"])) + length
    config.max_new_tokens = None


def _with_sound(answer: GenerateDecoderOnlyOutput, sound: Array) -> GenerateEncoderDecoderOutput:
    return GenerateEncoderDecoderOutput(sequences=sound, scores=answer.scores, logits=answer.logits)
