"""Models of one graph from a recording to a score a frame and token (CTC), or a score a label.

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
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import makers

_BATCH = "batch_size"
_SECONDS = (1.0, 0.7, 2.3, 1.6, 0.41, 3.1)
"""Lengths that are proved alone; the first is the usual one."""
_LONG = 8.3
_SHORT = 0.12
_MORE_DECISIONS = 24
"""Further sounds where each is but one decision: of the others alone, one that falls the other way would be 5 %."""


@dataclass(frozen=True)
class AudioGraph:
    """What the graph of a checkpoint takes and gives, and how to run the original the same way.

    Attributes:
        checkpoint: the model.
        inputs: names of the graph's inputs, in order.
        extractor: transformers' feature extractor.
        free: whether recordings of any length are heard, or all are cut and padded to one.
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
        """The scores, of which the largest decides."""
        return frozenset(self.outputs)

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions for whole recordings."""
        return makers.RECORDING

    def optimise(self, graph: OnnxGraph) -> None:
        """Fewer nodes, the same numbers."""
        optimise(graph, merge=False)

    def cases(self, tokenizer: Any) -> list[Case]:
        """Recordings of many lengths, alone, in batches of one length, and padded together where there is a mask."""
        alone = [self.feeds([self.sound(number, length)]) for number, length in enumerate(_SECONDS)]
        found = [Case(feeds, golden=number < 2, calibrates=True) for number, feeds in enumerate(alone)]
        usual = _SECONDS[0]
        found.append(Case(self.feeds([self.sound(20 + number, usual) for number in range(3)])))
        found.append(Case(self.feeds([audio_cases.silence(self._samples(usual))]), decides=False))
        if self.free:
            found += [Case(self.feeds([self.sound(30, length)])) for length in (_LONG, _SHORT)]
        if "attention_mask" in self.inputs:
            found += [Case(self.feeds(sounds)) for sounds in self._mixed()]
        if self.checkpoint.task.name == "audio-classification":
            found += [Case(self.feeds([self.sound(70 + n, usual)]), calibrates=n < 6) for n in range(_MORE_DECISIONS)]
        return [*found, *self._users_cases()]

    def mask_of(self, feeds: Feeds) -> np.ndarray | None:
        """1 where a frame of the logits belongs to a recording; None where all do, or where there are no frames."""
        mask = feeds.get("attention_mask")
        if mask is None or bool(mask.all()) or not self.by_frame:
            return None
        frames = np.arange(self.frames(mask.shape[1]))
        lengths = [self.frames(int(length)) for length in mask.sum(1)]
        return np.asarray(frames[None] < np.array(lengths)[:, None], np.int64)

    def chains(self, run: Run, tokenizer: Any) -> tuple[()]:
        """None: a recording is one run."""
        return ()

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Largest difference of a recording's answer alone and among others, in two orders."""
        usual = [self.sound(40 + number, _SECONDS[0]) for number in range(3)]
        groups = [usual, *(self._mixed() if "attention_mask" in self.inputs else [])]
        worst = 0.0
        for sounds in groups:
            alone = [run(self.feeds([sound])) for sound in sounds]
            for order in (range(len(sounds)), range(len(sounds))[::-1]):
                feeds = self.feeds([sounds[number] for number in order])
                together = run(feeds)
                for place, number in enumerate(order):
                    worst = max(worst, self._difference(alone[number], together, place, feeds))
        return worst

    def reference(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """The original's answer (float32).

        A padded batch is asked row by row without the padding, as the original may look at it (see `audio_module`);
        behind a row's frames stand zeros. What looks at it by design is asked as it is.
        """
        if not self._is_padded(feeds) or self._leaks:
            return self._ask(feeds)
        lengths = [int(length) for length in feeds["attention_mask"].sum(1)]
        rows = [
            self._ask({name: array[row : row + 1, :length] for name, array in feeds.items()})["logits"]
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
        feeds = self.feeds([self.sound(60 + number, length) for number, length in enumerate(lengths)])
        example = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
        model = self.checkpoint.model
        with attention(model, "eager"), traceable(model, masked="attention_mask" in self.inputs):
            tracing.trace(_module(self), example, self.outputs, self.axes, path)

    def feeds(self, sounds: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Sounds (samples,) as the graph takes them."""
        return audio_cases.prepared(self.extractor, sounds, self.inputs)

    def sound(self, number: int, seconds: float) -> np.ndarray:
        """The made sound with this number."""
        return audio_cases.sound(number, self._samples(seconds), self.extractor.sampling_rate)

    def frames(self, length: int) -> int:
        """How many frames of logits a recording of so many samples, or a spectrogram of so many frames, gets."""
        import torch

        model = self.checkpoint.model
        kind = "_get_subsampling_output_length"
        count = getattr(model, kind, None) or model._get_feat_extract_output_lengths
        return int(count(torch.tensor([length])))

    def _samples(self, seconds: float) -> int:
        return int(seconds * self.extractor.sampling_rate)

    @property
    def by_frame(self) -> bool:
        """Whether it gives scores for every frame."""
        return self.checkpoint.task.name == "automatic-speech-recognition"

    @property
    def _leaks(self) -> bool:
        """wav2vec 2.0 BERT's adapter takes a padded frame for one of the recording, of which there is one in every
        other recording that is alone: what it gives for those would not be the original's if padding were hidden."""
        config = self.checkpoint.config
        return config.model_type == "wav2vec2-bert" and bool(config.add_adapter)

    def _is_padded(self, feeds: Feeds) -> bool:
        """More than one recording, of several lengths. One alone is answered as it is, with what pads it."""
        mask = feeds.get("attention_mask")
        return mask is not None and len(mask) > 1 and not bool(mask.all())

    def _mixed(self) -> list[list[np.ndarray]]:
        """Recordings of several lengths, to be padded together."""
        lengths = ((1.0, 0.55, 1.37), (0.31, 2.2), (0.9, 0.9025, 0.905, 0.9075, _SHORT))
        return [
            [self.sound(50 + 10 * group + number, length) for number, length in enumerate(each)]
            for group, each in enumerate(lengths)
        ]

    def _difference(self, alone: Feeds, together: Feeds, place: int, feeds: Feeds) -> float:
        """Between the answer to a recording alone and the row `place` of that to the batch `feeds`."""
        here, there = together["logits"][place], alone["logits"][0]
        if self.by_frame and "attention_mask" in feeds:
            kept = self.frames(int(feeds["attention_mask"][place].sum()))
            here, there = here[:kept], there[:kept]
        return float(np.abs(here - there).max(initial=0.0))

    def _users_cases(self) -> list[Case]:
        """The user's own recordings, one by one."""
        folder = self.checkpoint.calibration
        if folder is None:
            return []
        sounds = audio_cases.users_sounds(folder, self.extractor.sampling_rate)
        return [Case(self.feeds([sound]), calibrates=True) for sound in sounds]

    def _ask(self, feeds: Feeds) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode(), tracing.quiet():
            answer = self.checkpoint.model(**{name: torch.from_numpy(feeds[name]) for name in self.inputs})
        return {name: answer[name].float().numpy() for name in self.outputs}


def describe(checkpoint: Checkpoint) -> list[AudioGraph]:
    """The one graph of `checkpoint`.

    Raises:
        ExportError: it has no feature extractor, or the original does not take what that gives.
    """
    plain_weights(checkpoint.model)
    extractor = audio_cases.load_extractor(checkpoint.folder)
    recording = checkpoint.model.main_input_name
    probe = AudioGraph(checkpoint, (recording,), extractor, True, {})
    try:
        first, second = (probe.feeds([probe.sound(0, length)]) for length in _SECONDS[:2])
        probe.reference(first)
    except Exception as error:  # a model's forward can raise anything
        raise ExportError(f"the original itself fails on a recording of {_SECONDS[0]:g} s: {error}") from error
    sizes = zip(first[recording].shape, second[recording].shape, strict=True)
    free = [axis for axis, (a, b) in enumerate(sizes) if a != b]
    inputs = (recording, "attention_mask") if free and _hides_padding(checkpoint) else (recording,)
    symbol = "num_samples" if recording == "input_values" else "num_frames"
    axes = {name: {0: _BATCH, **dict.fromkeys(free, symbol)} for name in inputs}
    axes["logits"] = {0: _BATCH, 1: "sequence_length"} if probe.by_frame else {0: _BATCH}
    return [AudioGraph(checkpoint, inputs, extractor, bool(free), axes)]


def _hides_padding(checkpoint: Checkpoint) -> bool:
    """Whether the model has a mask, and it does all: a norm over all the time of a channel hears padding."""
    takes = "attention_mask" in inspect.signature(checkpoint.model.forward).parameters
    return takes and getattr(checkpoint.config, "feat_extract_norm", "layer") == "layer"


def _module(graph: AudioGraph) -> Any:
    """The model as a module of positional tensors to a tuple of tensors, which is what tracing wants."""
    import torch

    class Flat(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = graph.checkpoint.model

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            answer = self.model(**dict(zip(graph.inputs, tensors, strict=True)))
            return tuple(answer[name] for name in graph.outputs)

    return Flat().eval()
