"""Encoder-decoder models that hear: the encoder's graph, and one graph for every call of the decoder."""

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
from onnxpipe_export.graphs.graph import Case, Feeds, Graph, Maker, Run
from onnxpipe_export.graphs.seq2seq.decoder import DecoderGraph
from onnxpipe_export.graphs.seq2seq.module import Form, find_layers
from onnxpipe_export.graphs.seq2seq.speech_patches import traceable
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import seq2seq

_SECONDS = (2.3, 0.7, 5.1, 1.6, 3.4, 0.9)
"""Lengths of the sounds that are heard; what hears 30 seconds at once hears silence after them."""
_TIMED = frozenset({"whisper"})
"""Types of models whose cross attentions tell when a word was said."""


def describe(checkpoint: Checkpoint) -> tuple[Graph, Graph]:
    """The graphs of the encoder and of the decoder.

    Raises:
        ExportError: the model is built in another way than those that can be exported.
    """
    model, kind = checkpoint.model, checkpoint.config.model_type
    layers = find_layers(model, Form(hears=True)) if model.config.is_encoder_decoder else None
    if layers is None:
        raise ExportError(
            f"{checkpoint.folder.name}: models of the type '{kind}' cannot be exported for "
            f"{checkpoint.task.name}: their decoder is not made of one attention over its own tokens and one over what "
            "was heard a layer"
        )
    extractor = audio_cases.load_extractor(checkpoint.folder)
    masked = _is_told_of_padding(model, extractor)
    encoder = SpeechEncoderGraph(checkpoint, extractor, masked)
    longest = getattr(model.config, "max_target_positions", None) or max_length(model)
    form = Form(hears=True, masked=masked, weights=kind in _TIMED)
    return encoder, DecoderGraph(checkpoint, layers, encoder, int(longest), form)


def _is_told_of_padding(model: Any, extractor: Any) -> bool:
    """Whether the decoder is told which of the encoder's states are padding; what is not, hears it as silence."""
    import torch

    name = model.main_input_name
    rate = int(extractor.sampling_rate)
    feeds = audio_cases.prepared(extractor, [audio_cases.sound(0, rate, rate)], (name, "attention_mask"))
    with torch.inference_mode(), tracing.quiet():
        _, mask = hear(model, {name: torch.from_numpy(feeds[name]) for name in feeds})
    return mask is not None


def hear(model: Any, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The encoder's states, and the mask of them that the model gives its decoder (None if it gives none).

    The model's own forward runs, as far as its decoder, so what each family does with a mask is done.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

    told: dict[str, Any] = {}

    def forward(*args: Any, **kwargs: Any) -> Any:
        told.update(kwargs)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=kwargs["encoder_hidden_states"][:, :1])

    with tracing.replaced(model.get_decoder(), "forward", forward):
        first = next(iter(inputs.values()))
        model(**inputs, decoder_input_ids=torch.zeros((first.shape[0], 1), dtype=torch.int64), use_cache=False)
    mask = told.get("encoder_attention_mask")
    return told["encoder_hidden_states"], None if mask is None else mask.to(torch.int64)


@dataclass(frozen=True)
class SpeechEncoderGraph:
    """`encoder_model`: recordings to last_hidden_state (batch, frames, width).

    Inputs: input_features float32 (batch, mel bands, 3000) of whisper, (batch, frames, features) of others, or
    input_values (batch, samples); attention_mask int64 (batch, frames or samples) where padding can be told.
    Then there is a second output, encoder_attention_mask int64 (batch, frames): where the states are no padding.

    Attributes:
        checkpoint: the model.
        extractor: transformers' feature extractor.
        masked: whether padding can be told.
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
        """See the class."""
        return (self.checkpoint.model.main_input_name, *(("attention_mask",) if self.masked else ()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """See the class."""
        return ("last_hidden_state", *(("encoder_attention_mask",) if self.masked else ()))

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions for whole recordings, and those of the decoder: a bundle has both graphs in each."""
        return seq2seq.HEARING_ENCODER

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        model, names = self.checkpoint.model, self.inputs

        class Flat(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, *tensors: Any) -> tuple[Any, ...]:
                states, mask = hear(self.model, dict(zip(names, tensors, strict=True)))
                return (states,) if mask is None else (states, mask)

        feeds = {name: torch.from_numpy(value) for name, value in self._batch(self.rows(None)[:3]).items()}
        with attention(model, "eager"), traceable(model):
            tracing.trace(Flat().eval(), feeds, self.outputs, self._axes(), path)

    def _axes(self) -> dict[str, dict[int, str]]:
        if not self.masked:
            return {name: {0: "batch_size"} for name in (*self.inputs, *self.outputs)}
        heard, made = {0: "batch_size", 1: "sequence_length"}, {0: "batch_size", 1: "encoder_sequence_length"}
        return {**dict.fromkeys(self.inputs, heard), **dict.fromkeys(self.outputs, made)}

    def optimise(self, graph: OnnxGraph) -> None:
        """Fewer nodes, the same numbers; of conformers there are twice as many distances as frames."""
        optimise(graph, merge=False)

    def cases(self, tokenizer: Any) -> list[Case]:
        """Made sounds and the user's, alone and padded; nothing at all; the shortest that there is."""
        rows = self.rows(tokenizer)
        shortest = sorted(range(len(rows)), key=lambda number: len(rows[number]))[0]
        found = [Case(self._batch([row]), golden=number == shortest, calibrates=True)
                 for number, row in enumerate(rows)]  # fmt: skip
        found += [Case(self._batch(rows[:2])), Case(self._batch(rows[2:5]))]
        # Speech2Text's extractor divides by the deviation of what it hears, so that silence is no number.
        with np.errstate(divide="ignore", invalid="ignore"):
            silence = self._batch([audio_cases.silence(self.extractor.sampling_rate)])
        return [*found, Case(silence)] if np.isfinite(silence[self.inputs[0]]).all() else found

    def rows(self, tokenizer: Any) -> list[np.ndarray]:
        """Sounds, float32 (samples,): made ones, then the user's."""
        return self._rows

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        rate = self.extractor.sampling_rate
        made = [audio_cases.sound(number, int(seconds * rate), rate) for number, seconds in enumerate(_SECONDS)]
        folder = self.checkpoint.calibration
        return made + ([] if folder is None else list(audio_cases.users_sounds(folder, rate)))

    def encode(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The original's states of a batch of sounds, and where they are no padding."""
        key = tuple(map(id, rows))  # they are kept in `_rows`
        if key not in self._encoded:
            answer = self.reference(self._batch(rows))
            states = answer["last_hidden_state"]
            self._encoded[key] = states, answer.get("encoder_attention_mask", np.ones(states.shape[:2], np.int64))
        states, mask = self._encoded[key]
        return states, mask

    def _batch(self, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return audio_cases.prepared(self.extractor, rows, self.inputs)

    def reference(self, feeds: Feeds) -> Feeds:
        """The original's states, and where they are no padding."""
        import torch

        with torch.inference_mode(), tracing.quiet():
            states, mask = hear(self.checkpoint.model, {name: torch.from_numpy(feeds[name]) for name in self.inputs})
        found = {"last_hidden_state": states.float().numpy()}
        return found if mask is None else found | {"encoder_attention_mask": mask.numpy()}

    def mask_of(self, feeds: Feeds) -> np.ndarray | None:
        """Where the states are no padding."""
        return self.reference(feeds)["encoder_attention_mask"] if self.masked else None

    def chains(self, run: Run, tokenizer: Any) -> tuple[()]:
        """None: a recording is one run."""
        return ()

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Largest absolute difference of a recording's states alone and among others."""
        rows = self.rows(tokenizer)[:4]
        worst = 0.0
        together = run(self._batch(rows))
        for place, row in enumerate(rows):
            alone = run(self._batch([row]))["last_hidden_state"][0]
            here = together["last_hidden_state"][place]
            shared = min(len(alone), len(here))
            worst = max(worst, float(np.abs(here[:shared] - alone[:shared]).max()))
        return worst
