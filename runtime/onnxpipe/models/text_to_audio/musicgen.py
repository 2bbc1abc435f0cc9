"""MusicGen: turns a text into music (Copet et al. 2023, arXiv:2306.05284)."""

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
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.seq2seq.graph import Seq2SeqGraphs, encoder_states
from onnxpipe.models.seq2seq.inputs import full_mask, text_inputs
from onnxpipe.models.text_to_audio.encodec import EncodecDecoder
from onnxpipe.models.text_to_audio.musicgen_decoder import EncodedTexts, MusicDecoder
from onnxpipe.models.text_to_audio.protocol import tokenize_text
from onnxpipe.processing.arrays import to_array

_MERGED, _PAIR = "decoder_model_merged", ("decoder_model", "decoder_with_past_model")
#: New tokens in transformers' pipeline if neither the user nor the model says how many.
_NEW_TOKENS = 256


class Musicgen(Model):
    """MusicGen, mono or stereo: the graphs `text_encoder`, `decoder_model_merged` and `encodec_decode`.

    Folders of transformers.js and optimum (which may have `decoder_model` and `decoder_with_past_model` instead) load
    as they are.

    Attributes:
        generation_config: the folder's generation_config.json, else what config.json says of generation.
        codebooks: number of codebooks that the decoder fills.
        channels: 1, or 2 for stereo.
        sampling_rate: samples per second.
    """

    is_encoder_decoder: ClassVar[bool] = True
    gives_spectrogram = False
    #: Inputs that `generate()` takes besides generation parameters.
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
        """Load the model of a bundle's graphs."""
        available = bundle.graphs.keys()
        decoder = (_MERGED,) if _MERGED in available else _PAIR
        missing = [name for name in ("text_encoder", *decoder, "encodec_decode") if name not in available]
        if missing:
            raise UnsupportedError(
                f"{bundle.folder} is not a MusicGen model: it has {', '.join(sorted(available))}, but not "
                f"{', '.join(missing)}"
            )
        encoder, _ = opener("text_encoder")
        steps, precision = opener(decoder[-1])
        first: Session = steps if len(decoder) == 1 else opener(decoder[0])[0]
        graphs = Seq2SeqGraphs(encoder, first, steps, precision, _decoder_config(bundle.config))
        if graphs.uncached:
            raise UnsupportedError(f"{steps.path} has no cache (past_key_values), which MusicGen needs: export again")
        return cls(bundle, graphs, EncodecDecoder.load(opener), name_or_path)

    def can_generate(self) -> bool:
        """Whether the model generates: yes."""
        return True

    def encode_text(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """See `TextToAudioModel.encode_text`."""
        rows = tokenize_text(tokenizer, text, keywords)
        return {name: rows[name] for name in ("input_ids", "attention_mask") if name in rows}

    def synthesize(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """Turn one text into float32 (1, channels, samples); see `TextToAudioModel.synthesize`."""
        params: dict[str, Any] = {"seed": seed, **forward_params, **generate_kwargs}
        config = params.get("generation_config") or GenerationConfig()
        set_by = (params.get, *(lambda name, one=one: getattr(one, name) for one in (config, self.generation_config)))
        if all(value_of(name) is None for value_of in set_by for name in ("max_new_tokens", "max_length")):
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
        """Generate music, by greedy search or sampling.

        Args:
            inputs: token ids of texts, int (texts, length); they may also come as `input_ids`.
            generation_config: parameters; what it leaves unset is the model's `generation_config`'s.
            logits_processor, stopping_criteria: more of them; rows are the codebooks of each text in turn.
            streamer: takes the first codes, (texts * codebooks, length), and then every step's, (texts * codebooks,).
            seed: of sampling: one number, or one per text. The same seed gives the same music.
            **kwargs: `input_ids`, `attention_mask` int (texts, length); `encoder_outputs`, the encoded texts, instead;
                `decoder_input_ids` int (texts * codebooks, frames), codes to continue; fields of GenerationConfig,
                which win. `guidance_scale` above 1 follows the text more closely, at twice the work.

        Returns:
            float32 (texts * num_return_sequences, channels, samples). With `return_dict_in_generate` a
            `GenerateEncoderDecoderOutput` whose `sequences` they are.

        Raises:
            ValueError: an unknown argument, beams, or a contradiction.
            UnsupportedError: an argument that this runtime does not support.
        """
        config = _merged(generation_config, self.generation_config, kwargs)
        own = {name: value for name, value in kwargs.items() if not config.has(name) and value is not None}
        if inputs is not None:
            if "input_ids" in own:
                raise UnsupportedError(
                    "`inputs` were passed alongside input_ids, which is not allowed: pass one of them"
                )
            own["input_ids"] = inputs
        check_names(self, own)  # type: ignore[arg-type]  # it uses the names alone
        guidance = _check(config)
        codes = self._start(own, texts := self._texts(own), config)
        _resolve_lengths(config, kwargs, codes.shape[2])
        music = MusicDecoder(
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
        audio = self._decode(music.codes(ids, int(config.max_length or 0)))
        return audio if isinstance(answer, np.ndarray) else _with_audio(answer, audio)

    def get_unconditional_inputs(self, num_samples: int = 1) -> dict[str, Any]:
        """Arguments of `generate()` for music without a text."""
        width = self.graphs.first.inputs["encoder_hidden_states"].shape[-1]
        if not isinstance(width, int):
            width = int(_inner(self.config, "text_encoder")["d_model"])
        return {
            "encoder_outputs": (np.zeros((num_samples, 1, width), np.float32),),
            "attention_mask": np.zeros((num_samples, 1), np.int64),
            "guidance_scale": 1.0,
        }

    def _texts(self, inputs: Mapping[str, Any]) -> EncodedTexts:
        """Encode the texts of a call, or take the encoder's output that was passed.

        Raises:
            ValueError: neither is there, or a mask of another shape.
        """
        outputs, mask = inputs.get("encoder_outputs"), inputs.get("attention_mask")
        if outputs is not None:
            states = np.asarray(encoder_states(outputs), np.float32)
            return EncodedTexts(states, full_mask(states.shape[:2], mask))
        ids, mask = text_inputs(inputs)
        session = self.graphs.encoder
        feeds = {"input_ids": ids, "attention_mask": mask}
        known = {name: value for name, value in feeds.items() if name in session.inputs}
        return EncodedTexts(session.run(known, ["last_hidden_state"])["last_hidden_state"], mask)

    def _start(self, inputs: Mapping[str, Any], texts: EncodedTexts, config: GenerationConfig) -> Array:
        """Make the first codes, int64 (texts, codebooks, length): the start token, and `decoder_input_ids` if passed.

        Raises:
            ValueError: `decoder_input_ids` of a wrong shape, or the start token is not known.
        """
        start = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
        if not isinstance(start, int):
            raise UnsupportedError(
                "`decoder_start_token_id` or `bos_token_id` has to be defined for MusicGen, as one number."
            )
        first = np.full((len(texts.mask), self.codebooks, 1), start, np.int64)
        if inputs.get("decoder_input_ids") is None:
            return first
        codes = np.asarray(to_array(inputs["decoder_input_ids"]), np.int64)
        if codes.ndim != 2 or len(codes) != len(texts.mask) * self.codebooks:
            wanted = (len(texts.mask) * self.codebooks, "frames")
            raise UnsupportedError(
                f"decoder_input_ids has the shape {codes.shape}; {wanted} is needed: one row per codebook"
            )
        split = codes.reshape(*first.shape[:2], -1)
        return np.concatenate([first, split], axis=2) if (codes[:, 0] != start).all() else split

    def _decode(self, codes: Array) -> Array:
        """Decode int64 (pieces, codebooks, frames) to float32 (pieces, channels, samples)."""
        sides = [self.codec(codes[:, side :: self.channels]) for side in range(self.channels)]
        return np.concatenate(sides, axis=1)


def _inner(config: Config, name: str) -> Mapping[str, Any]:
    """A nested object of config.json."""
    inner = config.get(name)
    return inner if isinstance(inner, Mapping) else {}


def _decoder_config(config: Config) -> Config:
    return Config(_inner(config, "decoder"), config.name_or_path)


def _merged(passed: GenerationConfig | None, own: GenerationConfig, kwargs: Mapping[str, Any]) -> GenerationConfig:
    """Merge the call's keywords before the config it passes before the model's; other fields stay unset."""
    config = GenerationConfig() if passed is None else copy.deepcopy(passed)
    for name in FIELDS:
        if getattr(config, name) is None:
            setattr(config, name, copy.deepcopy(getattr(own, name)))
    config.update(**{name: value for name, value in kwargs.items() if config.has(name)})
    return config


def _check(config: GenerationConfig) -> float | None:
    """Check that MusicGen supports `config`; gives its guidance, if there is any, and removes it there.

    Raises:
        ValueError: beams, or guidance away from the text.
        UnsupportedError: an end token.
    """
    if generation_mode(config.filled(), assistant=False) not in (GenerationMode.SAMPLE, GenerationMode.GREEDY_SEARCH):
        raise UnsupportedError(
            "Got incompatible mode for generation, should be one of greedy or sampling. Ensure that beam search is "
            "de-activated by setting `num_beams=1`."
        )
    if config.eos_token_id is not None:
        raise UnsupportedError(
            "eos_token_id: MusicGen has no end token, and its codebooks cannot end one by one. Leave it out; "
            "`max_new_tokens` determines how long the music is"
        )
    scale, config.guidance_scale = config.guidance_scale, None
    if scale is not None and scale < 1:
        raise UnsupportedError(f"`guidance_scale` has to be 1 (no guidance) or more, but is {scale}")
    return None if scale is None or scale == 1 else float(scale)


def _resolve_lengths(config: GenerationConfig, kwargs: Mapping[str, Any], length: int) -> None:
    """Let `max_length` of `config` count whole rows, as transformers does for MusicGen: only a `max_length` among the
    call's own keywords includes the first `length` codes already."""
    if config.max_new_tokens is not None:
        config.max_length = config.max_new_tokens + length
    elif kwargs.get("max_length") is None:
        config.max_length = (config.max_length or int(DEFAULTS["max_length"])) + length
    config.max_new_tokens = None


def _with_audio(answer: GenerateDecoderOnlyOutput, audio: Array) -> GenerateEncoderDecoderOutput:
    return GenerateEncoderDecoderOutput(sequences=audio, scores=answer.scores, logits=answer.logits)
