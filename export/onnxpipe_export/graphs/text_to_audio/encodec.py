"""Export EnCodec's decoder, from the codes of frames to a waveform. MusicGen and Bark end in it.

Its LSTM and its convolutions use neighbours in time, so a row is not padded: its waveform would change.
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
from onnxpipe_export.graphs.audio.patches import plain_weights
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, replaced_in
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import makers

NAME = "encodec_decode"
_FRAMES = (1, 2, 5, 8, 23, 60)
"""Numbers of frames that are verified: fewer than the widest convolution covers, and more."""
_GOLDEN = 8
"""The most frames of a golden case: 5,120 samples at 32 kHz."""


def in_full(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Save float32 under another name: 8 bits would be audible as noise, and the codec is a hundredth of the work."""
    OnnxGraph.load(full).save(path)


MAKERS: Mapping[str, Maker] = {"fp32": makers.keep, "fp16": makers.to_fp16, "int8": in_full, "q4": in_full}


@dataclass(frozen=True)
class CodecExport(WrappedExport):
    """The export of `encodec_decode`: audio_codes int64 (1, batch, codebooks, frames) to audio_values float32 (batch,
    channels, samples).

    The leading 1 is transformers' axis of chunks.
    """

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compute the largest difference of a row alone and in its batch."""
        worst = 0.0
        for case in self.make_cases(tokenizer):
            codes = case.feeds["audio_codes"]
            together = run(case.feeds)["audio_values"]
            for row in range(codes.shape[1] if codes.shape[1] > 1 else 0):
                alone = run({"audio_codes": np.ascontiguousarray(codes[:, row : row + 1])})["audio_values"]
                worst = max(worst, float(np.abs(alone[0] - together[row]).max()))
        return worst


def describe(checkpoint: Checkpoint, codec: Any, codebooks: int, size: int) -> CodecExport:
    """Describe the graph of a model's codec.

    Args:
        checkpoint: the model that the codec is part of.
        codec: a transformers EncodecModel.
        codebooks: how many codebooks the model fills.
        size: how many codes of a codebook the model uses.

    Raises:
        ExportError: the codec is of another type, or decodes in overlapping chunks.
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
    return CodecExport(
        checkpoint,
        NAME,
        ("audio_codes",),
        ("audio_values",),
        {"audio_codes": {1: BATCH, 3: "frames"}, "audio_values": {0: BATCH, 2: "samples"}},
        lambda tensors: {"audio_values": codec._decode_frame(tensors["audio_codes"][0])},
        lambda: {"audio_codes": _codes(2, codebooks, 9, size, seed=0)},
        lambda tokenizer: _cases(codebooks, size),
        MAKERS,
        replacements=lambda: padding_of_any_length(codec.decoder),
        eager=False,
    )


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
    """Let the convolutions of `decoder` pad inputs of any length inside, without a branch or a constant length.

    Reflection differs for inputs that are shorter than the padding, for which transformers has a branch.
    """
    reflecting = [
        module for module in decoder.modules() if hasattr(module, "padding_total") and module.pad_mode == "reflect"
    ]
    with replaced_in(*((module, "forward", _reflecting(module)) for module in reflecting)):
        yield


def _reflecting(module: Any) -> Callable[[Any], Any]:
    """Make the forward of a convolution of stride 1 that pads by reflection."""
    total = int(module.padding_total)
    right = 0 if module.causal else total // 2

    def forward(states: Any) -> Any:
        states = module.conv(reflected(states, total - right, right))
        return module.norm(states) if module.norm_type == "time_group_norm" else states

    return forward


def reflected(states: Any, left: int, right: int) -> Any:
    """Extend `states` (batch, channels, length) by `left` and `right` at its ends, mirrored.

    Where the length is not above both, transformers appends zeros until it is, mirrors, and removes as many at the end
    again.
    """
    if not left and not right:
        return states
    most = max(left, right)
    length = torch._shape_as_tensor(states)[2]
    at_end = length + torch.arange(right)
    whole = torch.maximum(length, torch.tensor(most + 1))
    mirrored = torch.where(at_end >= whole, 2 * (whole - 1) - at_end, at_end)
    ends = partial(_select, states, length, most + 1)
    return torch.cat([ends(torch.arange(left, 0, -1), first=True), states, ends(mirrored, first=False)], dim=2)


def _select(states: Any, length: Any, count: int, places: Any, *, first: bool) -> Any:
    """Select the states at `places`, zeros where there are none; all are within the first or the last `count`."""
    count = torch.minimum(length, torch.tensor(count))
    start = torch.zeros_like(count) if first else length - count
    few = torch.nn.functional.pad(states[:, :, start : start + count], (0, 1))
    return few.index_select(2, torch.minimum(places, length) - start)
