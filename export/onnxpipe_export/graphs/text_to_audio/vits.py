"""Export VITS (and MMS-TTS) as two graphs: the text encoder with the duration of each token, and the waveform decoder.

Between them, in the runtime, each token's state is repeated as often as it lasts and noise is added. All noise is an
input, so that a seed decides and not a generator inside the graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.cases import text as cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.audio.patches import plain_weights
from onnxpipe_export.graphs.graph import Case, Feeds
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_LENGTHS = (1, 2, 5, 9, 40)
_FRAMES = (1, 7, 50)
_SEED = 13


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graphs `text_encoder` and `decoder`.

    - text_encoder: input_ids int64 (batch, tokens); speaker_id int64 (batch,) if there are several speakers, -1 for
      none of them; duration_noise float32 (batch, 2, tokens) if durations are drawn. Outputs: log_duration (batch,
      tokens), prior_means and prior_log_variances (batch, tokens, flow_size).
    - decoder: latents float32 (batch, flow_size, frames), speaker_id. Output: waveform (batch, samples).
    """
    model = checkpoint.model
    plain_weights(model)
    several = int(checkpoint.config.num_speakers) > 1
    if several and not checkpoint.config.speaker_embedding_size:
        raise ExportError(f"{checkpoint.folder.name} has several speakers but no speaker embeddings")
    speaker = ("speaker_id",) if several else ()
    noise = ("duration_noise",) if checkpoint.config.use_stochastic_duration_prediction else ()
    tokens = {0: BATCH, 1: "sequence_length"}
    encoder_inputs, decoder_inputs = ("input_ids", *speaker, *noise), ("latents", *speaker)
    states = ("prior_means", "prior_log_variances")
    encoder = WrappedExport(
        checkpoint,
        "text_encoder",
        encoder_inputs,
        ("log_duration", *states),
        {"input_ids": tokens, "speaker_id": {0: BATCH}, "duration_noise": {0: BATCH, 2: "sequence_length"},
         "log_duration": tokens, **dict.fromkeys(states, tokens)},
        partial(_encode, model),
        lambda: _encoder_feeds(checkpoint, [[0, 1], [-1, 0]][several], 6, encoder_inputs),
        lambda tokenizer: _encoder_cases(checkpoint, encoder_inputs, tokenizer),
        makers.WAVEFORM,
        max_length=max(_LENGTHS),
        replacements=lambda: _traceable(model),
    )  # fmt: skip
    decoder = WrappedExport(
        checkpoint,
        "decoder",
        decoder_inputs,
        ("waveform",),
        {"latents": {0: BATCH, 2: "frames"}, "speaker_id": {0: BATCH}, "waveform": {0: BATCH, 1: "samples"}},
        partial(_decode, model),
        lambda: _decoder_feeds(encoder, [0, -1], 8, decoder_inputs),
        lambda tokenizer: _decoder_cases(encoder, decoder_inputs),
        makers.WAVEFORM,
    )
    return [encoder, decoder]


# -- the original's computation -------------------------------------------------------------------------------------
def _encode(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    ids, noise = tensors["input_ids"], tensors.get("duration_noise")
    everywhere = torch_ones_like(ids)
    states = model.text_encoder(input_ids=ids, padding_mask=everywhere.unsqueeze(-1))
    hidden, mask = states.last_hidden_state.transpose(1, 2), everywhere.unsqueeze(1)
    with _conditioned(model, tensors) as speaker:
        if noise is None:
            duration = model.duration_predictor(hidden, mask, speaker)
        else:
            duration = _drawn_duration(model.duration_predictor, hidden, mask, speaker, noise)
    return {
        "log_duration": duration.squeeze(1),
        "prior_means": states.prior_means,
        "prior_log_variances": states.prior_log_variances,
    }


def torch_ones_like(ids: Any) -> Any:
    """Make float32 ones of the shape of `ids`, a mask without padding."""
    import torch

    return torch.ones_like(ids, dtype=torch.float32)


def _drawn_duration(predictor: Any, hidden: Any, mask: Any, speaker: Any, noise: Any) -> Any:
    """Run the predictor's own forward with `noise` in place of what it draws."""
    import torch

    with tracing.replaced(torch, "randn", lambda *shape, **_: noise):
        return predictor(hidden, mask, speaker, reverse=True, noise_scale=1.0)


def _decode(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    latents = tensors["latents"]
    mask = torch_ones_like(latents[:, :1])
    with _conditioned(model, tensors) as speaker:
        spectrogram = model.flow(latents, mask, speaker, reverse=True)
        return {"waveform": model.decoder(spectrogram, speaker).squeeze(1)}


@contextlib.contextmanager
def _conditioned(model: Any, tensors: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the speakers' embeddings (batch, size, 1), None where the model has one speaker.

    Inside, layers contribute 0 for the speaker -1, as if there were no speaker.
    """
    speaker = tensors.get("speaker_id")
    if speaker is None:
        yield None
        return
    known = (speaker >= 0).float()[:, None, None]

    def silenced(layer: Any) -> Any:
        plain = layer.forward
        return lambda embeddings: plain(embeddings) * known

    with contextlib.ExitStack() as stack:
        for name, layer in model.named_modules():
            if name.rpartition(".")[2] in ("cond", "cond_layer"):
                stack.enter_context(tracing.replaced(layer, "forward", silenced(layer)))
        yield model.embed_speaker(speaker.clamp(min=0)).unsqueeze(-1)


@contextlib.contextmanager
def _traceable(model: Any) -> Iterator[None]:
    from onnxpipe_export.graphs.text_to_audio.vits_patches import traceable

    with traceable(model):
        yield


# -- the cases ------------------------------------------------------------------------------------------------------
def _encoder_feeds(checkpoint: Checkpoint, speakers: list[int], length: int, inputs: tuple[str, ...]) -> Feeds:
    ids = np.random.default_rng(_SEED + length).integers(0, checkpoint.config.vocab_size, (len(speakers), length))
    return _with_noise(ids, speakers, inputs)


def _with_noise(ids: np.ndarray, speakers: list[int], inputs: tuple[str, ...]) -> Feeds:
    generator = np.random.default_rng(_SEED)
    noise = 0.8 * generator.standard_normal((len(ids), 2, ids.shape[1]))
    feeds = {"input_ids": ids, "speaker_id": np.array(speakers), "duration_noise": noise.astype(np.float32)}
    return {name: feeds[name] for name in inputs}


def _speakers(checkpoint: Checkpoint, count: int) -> list[int]:
    """Number the speakers of `count` rows: -1 (none), 0, 1, ... where the model has several."""
    return [number % (int(checkpoint.config.num_speakers) + 1) - 1 for number in range(count)]


def _encoder_cases(checkpoint: Checkpoint, inputs: tuple[str, ...], tokenizer: Any) -> list[Case]:
    real = []
    for number, sentence in enumerate(cases.SENTENCES[:8]):
        ids = np.array([tokenizer(sentence)["input_ids"]], np.int64)
        if ids.size:
            feeds = _with_noise(ids, _speakers(checkpoint, number + 1)[-1:], inputs)
            real.append(Case(feeds, golden=ids.size < 40, calibrates=True))
    noise = [Case(_encoder_feeds(checkpoint, [0], length, inputs), golden=length < 6) for length in _LENGTHS]
    return [*real, *noise, Case(_encoder_feeds(checkpoint, _speakers(checkpoint, 3), 11, inputs))]


def _decoder_feeds(encoder: WrappedExport, speakers: list[int], frames: int, inputs: tuple[str, ...]) -> Feeds:
    """Make latents as the model does: of random tokens, with noise."""
    prior = encoder.reference(_encoder_feeds(encoder.checkpoint, speakers, frames, encoder.inputs))
    noise = 0.667 * np.random.default_rng(_SEED).standard_normal(prior["prior_means"].shape)
    latents = prior["prior_means"] + noise * np.exp(prior["prior_log_variances"])
    feeds = {"latents": latents.transpose(0, 2, 1).astype(np.float32), "speaker_id": np.array(speakers)}
    return {name: np.ascontiguousarray(feeds[name]) for name in inputs}


def _decoder_cases(encoder: WrappedExport, inputs: tuple[str, ...]) -> list[Case]:
    checkpoint = encoder.checkpoint
    single = [Case(_decoder_feeds(encoder, _speakers(checkpoint, n + 1)[-1:], frames, inputs), golden=frames < 10,
                   calibrates=True) for n, frames in enumerate(_FRAMES)]  # fmt: skip
    return [*single, Case(_decoder_feeds(encoder, _speakers(checkpoint, 3), 10, inputs))]
