"""EnCodec's decoder: the codes of some frames become sound. MusicGen and Bark end in it.

Its LSTM and its convolutions look at neighbours in time, so a row is not padded: its sound would be another's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxpipe.errors import ExportError
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run
from onnxpipe_export.graphs.wrapped import BATCH, WrappedGraph, replaced_in
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import makers

NAME = "encodec_decode"
_FRAMES = (1, 2, 5, 8, 23, 60)
"""Numbers of frames that are proved: fewer than the widest convolution sees, and more."""
_GOLDEN = 8
"""Frames of a golden case at most: 5,120 samples at 32 kHz."""


def in_full(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """float32 under another name: 8 bits would be heard as noise, and the codec is a hundredth of the work."""
    OnnxGraph.load(full).save(path)


MAKERS: Mapping[str, Maker] = {"fp32": makers.keep, "fp16": makers.to_fp16, "int8": in_full, "q4": in_full}


@dataclass(frozen=True)
class CodecGraph(WrappedGraph):
    """`encodec_decode`: audio_codes int64 (1, batch, codebooks, frames) to audio_values float32 (batch, channels,
    samples). The leading 1 is transformers' axis of chunks."""

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Largest difference of a row alone and in its batch."""
        worst = 0.0
        for case in self.questions(tokenizer):
            codes = case.feeds["audio_codes"]
            together = run(case.feeds)["audio_values"]
            for row in range(codes.shape[1] if codes.shape[1] > 1 else 0):
                alone = run({"audio_codes": np.ascontiguousarray(codes[:, row : row + 1])})["audio_values"]
                worst = max(worst, float(np.abs(alone[0] - together[row]).max()))
        return worst


def describe(checkpoint: Checkpoint, codec: Any, codebooks: int, size: int) -> CodecGraph:
    """The graph of a model's codec.

    Args:
        checkpoint: the model that the codec is part of.
        codec: a transformers EncodecModel.
        codebooks: how many codebooks the model fills.
        size: codes of a codebook that the model gives.

    Raises:
        ExportError: the codec is of another kind, or decodes in overlapping chunks.
    """
    kind = codec.config.model_type
    if kind != "encodec" or codec.config.chunk_length is not None:
        how = f"of the type '{kind}'" if kind != "encodec" else "one that decodes in chunks (chunk_length_s)"
        raise ExportError(f"the codec of {checkpoint.name} is {how}; only EnCodec without chunks can be exported")
    if codebooks > len(codec.quantizer.layers):
        raise ExportError(
            f"{checkpoint.name} fills {codebooks} codebooks and its codec has {len(codec.quantizer.layers)}"
        )
    plain_weights(codec)
    return CodecGraph(
        checkpoint,
        NAME,
        ("audio_codes",),
        ("audio_values",),
        {"audio_codes": {1: BATCH, 3: "frames"}, "audio_values": {0: BATCH, 2: "samples"}},
        lambda given: {"audio_values": codec._decode_frame(given["audio_codes"][0])},
        lambda: {"audio_codes": _codes(2, codebooks, 9, size, seed=0)},
        lambda tokenizer: _cases(codebooks, size),
        MAKERS,
        replacements=lambda: padding_of_any_length(codec.decoder),
        eager=False,
    )


def plain_weights(codec: Any) -> None:
    """Replace weights that are a direction and a length by their product, in place."""
    from torch.nn.utils import parametrize

    for module in codec.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _codes(batch: int, codebooks: int, frames: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng([5, seed]).integers(0, size, (1, batch, codebooks, frames))


def _cases(codebooks: int, size: int) -> list[Case]:
    alone = [
        Case({"audio_codes": _codes(1, codebooks, frames, size, seed)}, golden=frames <= _GOLDEN)
        for seed, frames in enumerate(_FRAMES)
    ]
    return [*alone, *(Case({"audio_codes": _codes(3, codebooks, frames, size, 9)}) for frames in (3, 17))]


@contextlib.contextmanager
def padding_of_any_length(decoder: Any) -> Iterator[None]:
    """The convolutions of `decoder` pad so that tracing writes no length down: reflection is another matter for inputs
    that are shorter than the padding, and transformers tells them apart by a branch."""
    reflecting = [
        module for module in decoder.modules() if hasattr(module, "padding_total") and module.pad_mode == "reflect"
    ]
    with replaced_in(*((module, "forward", _reflecting(module)) for module in reflecting)):
        yield


def _reflecting(module: Any) -> Callable[[Any], Any]:
    """The forward of a convolution of stride 1 that pads by reflection."""
    total = int(module.padding_total)
    right = 0 if module.causal else total // 2

    def forward(states: Any) -> Any:
        states = module.conv(reflected(states, total - right, right))
        return module.norm(states) if module.norm_type == "time_group_norm" else states

    return forward


def reflected(states: Any, left: int, right: int) -> Any:
    """`states` (batch, channels, length) with `left` and `right` more at its ends, mirrored.

    Where the length is not above both, transformers appends zeros until it is, mirrors, and takes as many away at the
    end again.
    """
    if not left and not right:
        return states
    most = max(left, right)
    length = torch._shape_as_tensor(states)[2]
    at_end = length + torch.arange(right)
    whole = torch.maximum(length, torch.tensor(most + 1))
    mirrored = torch.where(at_end >= whole, 2 * (whole - 1) - at_end, at_end)
    ends = partial(_taken, states, length, most + 1)
    return torch.cat([ends(torch.arange(left, 0, -1), first=True), states, ends(mirrored, first=False)], dim=2)


def _taken(states: Any, length: Any, count: int, places: Any, *, first: bool) -> Any:
    """The states at `places`, zeros where there are none, all of which are within the first or the last `count`."""
    count = torch.minimum(length, torch.tensor(count))
    start = torch.zeros_like(count) if first else length - count
    few = torch.nn.functional.pad(states[:, :, start : start + count], (0, 1))
    return few.index_select(2, torch.minimum(places, length) - start)
