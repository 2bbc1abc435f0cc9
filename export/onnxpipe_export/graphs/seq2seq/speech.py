"""Export encoder-decoder models for speech: the encoder's graph, and one graph for every call of the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.cases import audio as audio_cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import attention, max_length
from onnxpipe_export.graphs.graph import Case, Feeds, GraphExport, Maker, Run, SingleRun
from onnxpipe_export.graphs.seq2seq.decoder import Seq2SeqDecoderExport
from onnxpipe_export.graphs.seq2seq.decoder_kind import DecoderKind
from onnxpipe_export.graphs.seq2seq.layers import find_layers
from onnxpipe_export.graphs.seq2seq.speech_patches import traceable
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import seq2seq

_SECONDS = (2.3, 0.7, 5.1, 1.6, 3.4, 0.9)
"""Lengths of the synthetic recordings; a model that takes 30 seconds at once gets silence after them."""
_TIMED = frozenset({"whisper"})
"""Types of models whose cross attentions give the timestamps of words."""


def describe(checkpoint: Checkpoint) -> tuple[GraphExport, GraphExport]:
    """Describe the graphs of the encoder and of the decoder.

    Raises:
        ExportError: the model is not an encoder-decoder, or the decoder's layers are not supported.
    """
    model, family = checkpoint.model, checkpoint.config.model_type
    layers = find_layers(model, DecoderKind(takes_media=True)) if model.config.is_encoder_decoder else None
    if layers is None:
        raise ExportError(
            f"{checkpoint.folder.name}: models of the type '{family}' cannot be exported for "
            f"{checkpoint.task.name}: each layer of the decoder must have one self-attention and one cross-attention"
        )
    extractor = audio_cases.load_extractor(checkpoint.folder)
    masked = _masks_padding(model, extractor)
    encoder = SpeechEncoderExport(checkpoint, extractor, masked)
    longest = getattr(model.config, "max_target_positions", None) or max_length(model)
    kind = DecoderKind(takes_media=True, masked=masked, weights=family in _TIMED)
    return encoder, Seq2SeqDecoderExport(
        checkpoint=checkpoint, layers=layers, source=encoder, max_length=int(longest), kind=kind
    )


def _masks_padding(model: Any, extractor: Any) -> bool:
    """Tell whether the decoder gets a mask of the encoder's states; to a decoder without one padding is silence."""
    import torch

    name = model.main_input_name
    rate = int(extractor.sampling_rate)
    recording = audio_cases.synthetic_audio(0, rate, rate)
    feeds = audio_cases.extract_features(extractor, [recording], (name, "attention_mask"))
    with torch.inference_mode(), tracing.quiet():
        _, mask = run_encoder(model, {name: torch.from_numpy(feeds[name]) for name in feeds})
    return mask is not None


def run_encoder(model: Any, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Run the encoder: its states, and their mask as the model passes it to its decoder (None if it passes none).

    The model's own forward runs up to its decoder, so that each family treats the mask in its own way.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

    passed: dict[str, Any] = {}

    def forward(*args: Any, **kwargs: Any) -> Any:
        passed.update(kwargs)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=kwargs["encoder_hidden_states"][:, :1])

    with tracing.replaced(model.get_decoder(), "forward", forward):
        first = next(iter(inputs.values()))
        model(**inputs, decoder_input_ids=torch.zeros((first.shape[0], 1), dtype=torch.int64), use_cache=False)
    mask = passed.get("encoder_attention_mask")
    return passed["encoder_hidden_states"], None if mask is None else mask.to(torch.int64)


@dataclass(frozen=True)
class SpeechEncoderExport(SingleRun):
    """The export of `encoder_model`: recordings to last_hidden_state (batch, frames, width).

    Inputs: input_features float32 (batch, mel bands, 3000) of whisper, (batch, frames, features) of others, or
    input_values (batch, samples); attention_mask int64 (batch, frames or samples) where the model masks padding.
    Then there is a second output, encoder_attention_mask int64 (batch, frames): 1 where a state is not padding.

    Attributes:
        checkpoint: the model.
        extractor: transformers' feature extractor.
        masked: whether the model masks padding.
    """

    checkpoint: Checkpoint
    extractor: Any
    masked: bool
    _encoded: dict[Any, Any] = field(default_factory=dict, compare=False)

    name = "encoder_model"
    decisions: frozenset[str] = frozenset()
    max_length = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs; see the class."""
        return (self.checkpoint.model.main_input_name, *(("attention_mask",) if self.masked else ()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; see the class."""
        return ("last_hidden_state", *(("encoder_attention_mask",) if self.masked else ()))

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of graphs that take whole recordings, and the decoder's: a bundle has both graphs in each."""
        return seq2seq.SPEECH_ENCODER

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        model = self.checkpoint.model

        def run(tensors: Mapping[str, Any]) -> dict[str, Any]:
            return dict(zip(self.outputs, run_encoder(model, tensors)))  # there is no second output without a mask

        feeds = {name: torch.from_numpy(value) for name, value in self._batch(self.rows(None)[:3]).items()}
        module = tracing.flat(model, run, self.inputs, self.outputs)
        with attention(model, "eager"), traceable(model):
            tracing.trace(module, feeds, self.outputs, self._axes(), path)

    def _axes(self) -> dict[str, dict[int, str]]:
        if not self.masked:
            return {name: {0: "batch_size"} for name in (*self.inputs, *self.outputs)}
        inputs, outputs = {0: "batch_size", 1: "sequence_length"}, {0: "batch_size", 1: "encoder_sequence_length"}
        return {**dict.fromkeys(self.inputs, inputs), **dict.fromkeys(self.outputs, outputs)}

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers; conformers have twice as many distances as frames."""
        optimise(graph, merge=False)

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of synthetic recordings and the user's, alone and padded together, and of silence."""
        rows = self.rows(tokenizer)
        shortest = sorted(range(len(rows)), key=lambda number: len(rows[number]))[0]
        cases = [Case(self._batch([row]), golden=number == shortest, calibrates=True)
                 for number, row in enumerate(rows)]  # fmt: skip
        cases += [Case(self._batch(rows[:2])), Case(self._batch(rows[2:5]))]
        # Speech2Text's extractor divides by the standard deviation, so that silence becomes NaN.
        with np.errstate(divide="ignore", invalid="ignore"):
            silence = self._batch([audio_cases.silence(self.extractor.sampling_rate)])
        return [*cases, Case(silence)] if np.isfinite(silence[self.inputs[0]]).all() else cases

    def rows(self, tokenizer: Any) -> list[np.ndarray]:
        """Return recordings, float32 (samples,): synthetic ones, then the user's."""
        return self._rows

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        rate = self.extractor.sampling_rate
        lengths = [int(seconds * rate) for seconds in _SECONDS]
        synthetic = [audio_cases.synthetic_audio(number, length, rate) for number, length in enumerate(lengths)]
        folder = self.checkpoint.calibration
        return synthetic + ([] if folder is None else list(audio_cases.user_audio(folder, rate)))

    def encode(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original's encoder on a batch of recordings: the states, and their mask. Results are kept."""
        key = tuple(map(id, rows))  # they are kept in `_rows`
        if key not in self._encoded:
            answer = self.reference(self._batch(rows))
            states = answer["last_hidden_state"]
            self._encoded[key] = states, answer.get("encoder_attention_mask", np.ones(states.shape[:2], np.int64))
        states, mask = self._encoded[key]
        return states, mask

    def _batch(self, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return audio_cases.extract_features(self.extractor, rows, self.inputs)

    def reference(self, feeds: Feeds) -> Feeds:
        """Compute the original's states, and their mask."""
        import torch

        with torch.inference_mode(), tracing.quiet():
            tensors = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
            states, mask = run_encoder(self.checkpoint.model, tensors)
        outputs = {"last_hidden_state": states.float().numpy()}
        return outputs if mask is None else outputs | {"encoder_attention_mask": mask.numpy()}

    def mask_of(self, feeds: Feeds) -> np.ndarray | None:
        """Return 1 where a state is not padding; None where the model masks nothing."""
        return self.reference(feeds)["encoder_attention_mask"] if self.masked else None

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compute the largest absolute difference of a recording's states alone and in a batch."""
        rows = self.rows(tokenizer)[:4]
        worst = 0.0
        together = run(self._batch(rows))
        for place, row in enumerate(rows):
            alone = run(self._batch([row]))["last_hidden_state"][0]
            here = together["last_hidden_state"][place]
            shared = min(len(alone), len(here))
            worst = max(worst, float(np.abs(here[:shared] - alone[:shared]).max()))
        return worst
