"""Export models of one graph from a recording to a score a frame and token (CTC), or a score a label.

Input: input_values float32 (batch, samples), a spectrogram of one size (batch, frames, mels) for AST, or input_features
(batch, frames, width), (batch, mels, frames) for Whisper; attention_mask int64 (batch, samples or frames) where padding
can be hidden from the recording before it. Output: logits (batch, frames, vocabulary) or (batch, labels).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.cases import audio as audio_cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.audio.patches import plain_weights, traceable
from onnxpipe_export.graphs.encoder import attention
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run, SingleRun
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import makers

_BATCH = "batch_size"
_SECONDS = (1.0, 0.7, 2.3, 1.6, 0.41, 3.1)
"""Lengths that are verified alone; the first is the usual one."""
_LONG = 8.3
_SHORT = 0.12
_MORE_DECISIONS = 24
"""Further recordings where each is one decision: among the others alone, one that differs would be 5 %."""


@dataclass(frozen=True)
class AudioExport(SingleRun):
    """The export of an audio model: its graph's inputs and outputs, its cases, and how to run the original on them.

    Attributes:
        checkpoint: the model.
        inputs: names of the graph's inputs, in order.
        extractor: transformers' feature extractor.
        free: whether the model takes recordings of any length, or all are cut and padded to one.
        axes: input and output -> {axis: symbol} of the sizes that may change.
    """

    checkpoint: Checkpoint
    inputs: tuple[str, ...]
    extractor: Any
    free: bool
    axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...] = ("logits",)
    name: str = "model"
    max_length: int | None = None

    @property
    def decisions(self) -> frozenset[str]:
        """The outputs that are scores, of which the largest decides."""
        return frozenset(self.outputs)

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of graphs that take whole recordings."""
        return makers.RECORDING

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers."""
        optimise(graph, merge=False)

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of many lengths: alone, in batches of one length, and padded together where there is a mask."""
        alone = [self.feeds([self.recording(number, length)]) for number, length in enumerate(_SECONDS)]
        found = [Case(feeds, golden=number < 2, calibrates=True) for number, feeds in enumerate(alone)]
        usual = _SECONDS[0]
        found.append(Case(self.feeds([self.recording(20 + number, usual) for number in range(3)])))
        found.append(Case(self.feeds([audio_cases.silence(self._samples(usual))]), decides=False))
        if self.free:
            found += [Case(self.feeds([self.recording(30, length)])) for length in (_LONG, _SHORT)]
        if "attention_mask" in self.inputs:
            found += [Case(self.feeds(recordings)) for recordings in self._mixed()]
        if self.checkpoint.task.name == "audio-classification":
            found += [
                Case(self.feeds([self.recording(70 + n, usual)]), calibrates=n < 6) for n in range(_MORE_DECISIONS)
            ]
        return [*found, *self._user_cases()]

    def mask_of(self, feeds: Feeds) -> np.ndarray | None:
        """Return 1 where a frame of the logits belongs to a recording; None where all do, or there are no frames."""
        mask = feeds.get("attention_mask")
        if mask is None or bool(mask.all()) or not self.by_frame:
            return None
        frames = np.arange(self.frames(mask.shape[1]))
        lengths = [self.frames(int(length)) for length in mask.sum(1)]
        return np.asarray(frames[None] < np.array(lengths)[:, None], np.int64)

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compute the largest difference of a recording's answer alone and in batches, in two orders."""
        usual = [self.recording(40 + number, _SECONDS[0]) for number in range(3)]
        groups = [usual, *(self._mixed() if "attention_mask" in self.inputs else [])]
        worst = 0.0
        for recordings in groups:
            alone = [run(self.feeds([recording])) for recording in recordings]
            for order in (range(len(recordings)), range(len(recordings))[::-1]):
                feeds = self.feeds([recordings[number] for number in order])
                together = run(feeds)
                for place, number in enumerate(order):
                    worst = max(worst, self._difference(alone[number], together, place, feeds))
        return worst

    def reference(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Compute the original's answer (float32).

        A padded batch is run row by row without the padding, which the original's answers may depend on (see
        `patches`); behind a row's frames stand zeros. A model that uses padding by design gets the batch as it is.
        """
        if not self._is_padded(feeds) or self._leaks:
            return self._run_original(feeds)
        lengths = [int(length) for length in feeds["attention_mask"].sum(1)]
        rows = [
            self._run_original({name: array[row : row + 1, :length] for name, array in feeds.items()})["logits"]
            for row, length in enumerate(lengths)
        ]
        if not self.by_frame:
            return {"logits": np.concatenate(rows)}
        answer = np.zeros((len(rows), self.frames(feeds["attention_mask"].shape[1]), rows[0].shape[-1]), np.float32)
        for row, logits in enumerate(rows):
            answer[row, : logits.shape[1]] = logits[0]
        return {"logits": answer}

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        lengths = (1.0, 0.63, 0.8) if "attention_mask" in self.inputs else (0.9, 0.9)
        feeds = self.feeds([self.recording(60 + number, length) for number, length in enumerate(lengths)])
        example = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
        model = self.checkpoint.model
        module = tracing.flat(model, lambda tensors: model(**tensors), self.inputs, self.outputs)
        with attention(model, "eager"), traceable(model, masked="attention_mask" in self.inputs):
            tracing.trace(module, example, self.outputs, self.axes, path)

    def feeds(self, recordings: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Make the graph's feeds of recordings, float32 (samples,) each."""
        return audio_cases.extract_features(self.extractor, recordings, self.inputs)

    def recording(self, number: int, seconds: float) -> np.ndarray:
        """Make the synthetic recording with this number."""
        return audio_cases.synthetic_audio(number, self._samples(seconds), self.extractor.sampling_rate)

    def frames(self, length: int) -> int:
        """Count the frames of logits of a recording of `length` samples, or a spectrogram of `length` frames."""
        import torch

        model = self.checkpoint.model
        kind = "_get_subsampling_output_length"
        count = getattr(model, kind, None) or model._get_feat_extract_output_lengths
        return int(count(torch.tensor([length])))

    def _samples(self, seconds: float) -> int:
        return int(seconds * self.extractor.sampling_rate)

    @property
    def by_frame(self) -> bool:
        """Whether there are scores for every frame."""
        return self.checkpoint.task.name == "automatic-speech-recognition"

    @property
    def _leaks(self) -> bool:
        """Whether the original uses a padded frame as one of the recording: wav2vec 2.0 BERT's adapter does.

        Every other recording has such a frame even alone, so hiding padding would change the original's answer.
        """
        config = self.checkpoint.config
        return config.model_type == "wav2vec2-bert" and bool(config.add_adapter)

    def _is_padded(self, feeds: Feeds) -> bool:
        """Tell whether `feeds` has several recordings of different lengths. One alone is run with its padding."""
        mask = feeds.get("attention_mask")
        return mask is not None and len(mask) > 1 and not bool(mask.all())

    def _mixed(self) -> list[list[np.ndarray]]:
        """Make groups of recordings of different lengths, to be padded together."""
        lengths = ((1.0, 0.55, 1.37), (0.31, 2.2), (0.9, 0.9025, 0.905, 0.9075, _SHORT))
        return [
            [self.recording(50 + 10 * group + number, length) for number, length in enumerate(each)]
            for group, each in enumerate(lengths)
        ]

    def _difference(self, alone: Feeds, together: Feeds, place: int, feeds: Feeds) -> float:
        """Compare the answer to a recording alone with the row `place` of the answer to the batch `feeds`."""
        here, there = together["logits"][place], alone["logits"][0]
        if self.by_frame and "attention_mask" in feeds:
            kept = self.frames(int(feeds["attention_mask"][place].sum()))
            here, there = here[:kept], there[:kept]
        return float(np.abs(here - there).max(initial=0.0))

    def _user_cases(self) -> list[Case]:
        """Make a case of each of the user's own recordings."""
        folder = self.checkpoint.calibration
        if folder is None:
            return []
        recordings = audio_cases.user_audio(folder, self.extractor.sampling_rate)
        return [Case(self.feeds([recording]), calibrates=True) for recording in recordings]

    def _run_original(self, feeds: Feeds) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode(), tracing.quiet():
            answer = self.checkpoint.model(**{name: torch.from_numpy(feeds[name]) for name in self.inputs})
        return {name: answer[name].float().numpy() for name in self.outputs}


def describe(checkpoint: Checkpoint) -> list[AudioExport]:
    """Describe the one graph of `checkpoint`.

    Raises:
        ExportError: it has no feature extractor, or the original fails on the features.
    """
    plain_weights(checkpoint.model)
    extractor = audio_cases.load_extractor(checkpoint.folder)
    main_input = checkpoint.model.main_input_name
    probe = AudioExport(checkpoint, (main_input,), extractor, True, {})
    try:
        first, second = (probe.feeds([probe.recording(0, length)]) for length in _SECONDS[:2])
        probe.reference(first)
    except Exception as error:  # a model's forward can raise anything
        raise ExportError(f"the original model fails on a recording of {_SECONDS[0]:g} s: {error}") from error
    sizes = zip(first[main_input].shape, second[main_input].shape, strict=True)
    free = [axis for axis, (a, b) in enumerate(sizes) if a != b]
    inputs = (main_input, "attention_mask") if free and _hides_padding(checkpoint) else (main_input,)
    symbol = "num_samples" if main_input == "input_values" else "num_frames"
    axes = {name: {0: _BATCH, **dict.fromkeys(free, symbol)} for name in inputs}
    axes["logits"] = {0: _BATCH, 1: "sequence_length"} if probe.by_frame else {0: _BATCH}
    return [AudioExport(checkpoint, inputs, extractor, bool(free), axes)]


def _hides_padding(checkpoint: Checkpoint) -> bool:
    """Tell whether the model has a mask that hides all padding: a norm over all the time of a channel includes it."""
    takes = "attention_mask" in inspect.signature(checkpoint.model.forward).parameters
    return takes and getattr(checkpoint.config, "feat_extract_norm", "layer") == "layer"
