"""Export SpeechT5 for text-to-speech as three graphs: the text encoder, a step of the spectrogram decoder, the postnet.

The layers before the decoder drop half of their units at every step, in use as in training, and the speech depends on
it. The dropped units are an input, so that a seed decides and not a generator inside the graph. A text is one row
without padding: there are no masks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.cases import text as cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds
from onnxpipe_export.graphs.text_to_audio.vocoder import synthetic_mels
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_LENGTHS = (1, 2, 7, 40, 128)
_STEPS = 30
_SEED = 17

_DECODER = {"fp32": makers.keep, "fp16": makers.to_fp16, "int8": makers.to_int8_weights}


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graphs `encoder_model`, `decoder_model` and `decoder_postnet`.

    - encoder_model: input_ids int64 (batch, tokens). Outputs: keys and values for the decoder's cross attention,
      present.N.encoder.key and .value (batch, heads, tokens, width).
    - decoder_model: output_sequence float32 (batch, 1, mels), the last frame; prenet_masks float32 (batch, layers,
      units), 1 for units that are kept; speaker_embeddings (batch, size); past_key_values.N.decoder.key and .value
      (batch, heads, steps so far, width), past_key_values.N.encoder.* from the encoder. Outputs: spectrum (batch,
      frames, mels), prob (batch, frames) whose sum says whether it is the end, present.N.decoder.*.
    - decoder_postnet: spectrogram (batch, frames, mels) to the same, refined.
    """
    parts = _Parts(checkpoint)
    return [parts.encoder, parts.decoder, parts.postnet]


@dataclass(frozen=True)
class _Parts:
    """The three graphs of a checkpoint."""

    checkpoint: Checkpoint

    @property
    def _model(self) -> Any:
        return self.checkpoint.model

    @property
    def _layers(self) -> Any:
        return self._model.speecht5.decoder.wrapped_decoder.layers

    def _caches(self, side: str) -> list[str]:
        return [f"{number}.{side}.{kind}" for number in range(len(self._layers)) for kind in ("key", "value")]

    # -- the text ---------------------------------------------------------------------------------------------------
    @cached_property
    def encoder(self) -> WrappedExport:
        outputs = tuple(f"present.{cache}" for cache in self._caches("encoder"))
        length = {0: BATCH, 2: "encoder_sequence_length"}
        longest = min(int(self.checkpoint.config.max_text_positions), 600)
        return WrappedExport(
            self.checkpoint,
            "encoder_model",
            ("input_ids",),
            outputs,
            {"input_ids": {0: BATCH, 1: "encoder_sequence_length"}, **dict.fromkeys(outputs, length)},
            self._encode,
            lambda: {"input_ids": self._random_ids(2, 9)},
            lambda tokenizer: self._encoder_cases(tokenizer, longest),
            makers.ENCODER,
            max_length=longest,
        )

    def _encode(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        states = self._model.speecht5.encoder(input_values=tensors["input_ids"], return_dict=True).last_hidden_state
        outputs = {}
        for number, layer in enumerate(self._layers):
            attention = layer.encoder_attn
            for kind, product in (("key", attention.k_proj), ("value", attention.v_proj)):
                heads = product(states).unflatten(-1, (attention.num_heads, attention.head_dim))
                outputs[f"present.{number}.encoder.{kind}"] = heads.transpose(1, 2)
        return outputs

    def _encoder_cases(self, tokenizer: Any, longest: int) -> list[Case]:
        texts = [np.array([tokenizer(text)["input_ids"][:longest]], np.int64) for text in cases.SENTENCES[:6]]
        real = [Case({"input_ids": ids}, golden=ids.size < 20, calibrates=True) for ids in texts]
        noise = [Case({"input_ids": self._random_ids(1, n)}, golden=n < 3) for n in _LENGTHS if n <= longest]
        return [*real, *noise, Case({"input_ids": self._random_ids(3, 11)})]

    def _random_ids(self, batch: int, length: int) -> np.ndarray:
        vocabulary = int(self.checkpoint.config.vocab_size)
        return np.random.default_rng(_SEED + length).integers(4, max(vocabulary, 5), (batch, length))

    # -- a step -----------------------------------------------------------------------------------------------------
    @cached_property
    def decoder(self) -> WrappedExport:
        first = ("output_sequence", "prenet_masks", "speaker_embeddings")
        own, text = self._caches("decoder"), self._caches("encoder")
        inputs = (*first, *(f"past_key_values.{cache}" for cache in (*own, *text)))
        outputs = ("spectrum", "prob", *(f"present.{cache}" for cache in own))
        axes: dict[str, Mapping[int, str]] = {name: {0: BATCH} for name in (*first, "spectrum", "prob")}
        for cache in own:
            axes[f"past_key_values.{cache}"] = {0: BATCH, 2: "past_sequence_length"}
            axes[f"present.{cache}"] = {0: BATCH, 2: "total_sequence_length"}
        for cache in text:
            axes[f"past_key_values.{cache}"] = {0: BATCH, 2: "encoder_sequence_length"}
        return WrappedExport(
            self.checkpoint,
            "decoder_model",
            inputs,
            outputs,
            axes,
            self._step,
            lambda: self._walk(self._random_ids(2, 7), 4)[-1],
            self._decoder_cases,
            _DECODER,
            replacements=_unmasked,
        )

    def _step(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        import torch
        from transformers.cache_utils import EncoderDecoderCache

        from onnxpipe_export.graphs.causal_lm.cache import growing_cache, pairs

        config, decoder = self.checkpoint.config, self._model.speecht5.decoder
        past = tensors["past_key_values.0.decoder.key"].shape[2]
        hidden = self._prenet(tensors, past)
        own, text = (
            growing_cache(
                [
                    (tensors[f"past_key_values.{n}.{side}.key"], tensors[f"past_key_values.{n}.{side}.value"])
                    for n in range(len(self._layers))
                ]
            )
            for side in ("decoder", "encoder")
        )
        cache = EncoderDecoderCache(own, text)
        cache.is_updated = dict.fromkeys(range(len(self._layers)), True)
        with _unmasked():
            states = decoder.wrapped_decoder(
                hidden_states=hidden, encoder_hidden_states=hidden, past_key_values=cache, use_cache=True,
                return_dict=True,
            ).last_hidden_state[:, -1]  # fmt: skip
        net = self._model.speech_decoder_postnet
        outputs = {
            "spectrum": net.feat_out(states).unflatten(-1, (config.reduction_factor, config.num_mel_bins)),
            "prob": torch.sigmoid(net.prob_out(states)),
        }
        for number, (key, value) in enumerate(pairs(own)):
            outputs |= {f"present.{number}.decoder.key": key, f"present.{number}.decoder.value": value}
        return outputs

    def _prenet(self, tensors: Mapping[str, Any], past: Any) -> Any:
        """Compute the decoder's input from the last frame, (batch, 1, width)."""
        import torch

        prenet = self._model.speecht5.decoder.prenet
        kept = 1 - self.checkpoint.config.speech_decoder_prenet_dropout
        frame = tensors["output_sequence"]
        for number, layer in enumerate(prenet.layers):
            frame = torch.relu(layer(frame)) * tensors["prenet_masks"][:, number : number + 1] / kept
        places = prenet.encode_positions
        frame = prenet.final_layer(frame) + places.alpha * places.pe[:, past : past + 1]
        speaker = torch.nn.functional.normalize(tensors["speaker_embeddings"]).unsqueeze(1)
        return torch.relu(prenet.speaker_embeds_layer(torch.cat([frame, speaker], dim=-1)))

    def _walk(self, ids: np.ndarray, steps: int) -> list[Feeds]:
        """Make the feeds of the first steps for the text `ids` (batch, tokens)."""
        config, generator = self.checkpoint.config, np.random.default_rng(_SEED)
        text = self.encoder.reference({"input_ids": ids})
        heads, batch = int(config.decoder_attention_heads), len(ids)
        nothing = np.zeros((batch, heads, 0, int(config.hidden_size) // heads), np.float32)
        units = (batch, int(config.speech_decoder_prenet_layers), int(config.speech_decoder_prenet_units))
        current: dict[str, np.ndarray] = {
            "output_sequence": np.zeros((batch, 1, int(config.num_mel_bins)), np.float32),
            "speaker_embeddings": generator.standard_normal((batch, config.speaker_embedding_dim)).astype(np.float32),
            **{f"past_key_values.{cache}": nothing for cache in self._caches("decoder")},
            **{f"past_key_values.{cache}": text[f"present.{cache}"] for cache in self._caches("encoder")},
        }
        walk: list[Feeds] = []
        for _ in range(steps):
            masks = generator.random(units) < config.speech_decoder_prenet_dropout
            walk.append(current | {"prenet_masks": masks.astype(np.float32)})
            answer = self.decoder.reference(walk[-1])
            current |= {f"past_key_values.{cache}": answer[f"present.{cache}"] for cache in self._caches("decoder")}
            current["output_sequence"] = answer["spectrum"][:, -1:]
        return walk

    def _decoder_cases(self, tokenizer: Any) -> list[Case]:
        steps = []
        for text in (cases.SENTENCES[0], cases.SENTENCES[4]):
            walk = self._walk(np.array([tokenizer(text)["input_ids"]], np.int64), _STEPS)
            steps += [Case(walk[step], golden=step == 1, calibrates=True) for step in (0, 1, 5, _STEPS - 1)]
        together = self._walk(self._random_ids(3, 8), 3)
        return [*steps, Case(together[0]), Case(together[-1])]

    # -- the postnet ------------------------------------------------------------------------------------------------
    @cached_property
    def postnet(self) -> WrappedExport:
        mels = int(self.checkpoint.config.num_mel_bins)

        def feeds(batch: int, frames: int) -> Feeds:
            return {"spectrogram": synthetic_mels(batch, frames, mels, frames) / 4}  # logarithms to the base 10

        frames = {0: BATCH, 1: "frames"}
        return WrappedExport(
            self.checkpoint,
            "decoder_postnet",
            ("spectrogram",),
            ("refined",),
            {"spectrogram": frames, "refined": frames},
            lambda tensors: {"refined": self._model.speech_decoder_postnet.postnet(tensors["spectrogram"])},
            lambda: feeds(2, 9),
            lambda tokenizer: [Case(feeds(b, n), golden=n < 9, calibrates=True) for b, n in ((1, 2), (1, 30), (3, 20))],
            makers.WAVEFORM,
        )


@contextlib.contextmanager
def _unmasked() -> Iterator[None]:
    """Let the model make no masks inside: a step sees all earlier ones and the whole text."""
    from transformers.models.speecht5 import modeling_speecht5

    with contextlib.ExitStack() as stack:
        for name in ("create_causal_mask", "create_bidirectional_mask"):
            stack.enter_context(tracing.replaced(modeling_speecht5, name, lambda *args, **kwargs: None))
        yield
