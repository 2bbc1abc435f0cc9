"""EncodecFeatureExtractor, DacFeatureExtractor: samples of one or two channels, for neural audio codecs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import AudioError
from onnxpipe.processing.audio.base import FeatureExtractor, check_not_empty
from onnxpipe.processing.audio.io.arrays import Array, as_samples
from onnxpipe.processing.audio.settings import ResolvedFeatureCall, bounded
from onnxpipe.processing.padding_strategy import padding_strategy


class CodecFeatureExtractor(FeatureExtractor):
    """The base of the codecs' extractors: a recording is (samples,), or (2, samples) in stereo; a batch is a list.

    Attributes:
        feature_size: channels.
    """

    argument: ClassVar[str] = "raw_audio"
    call_defaults: ClassVar = {"padding": None, "truncation": False, "max_length": None}

    def rows(self, source: Any) -> list[Array]:
        """Split a call's input into recordings, (samples,) or (samples, 2) each."""
        several = isinstance(source, (list, tuple)) and source and not isinstance(source[0], (int, float, np.number))
        rows = [as_samples(one).T for one in source] if several else [as_samples(source).T]
        for row in rows:
            channels = row.shape[-1] if row.ndim == 2 else row.ndim
            if row.ndim not in (1, 2) or channels != self.feature_size or (row.ndim == 2) != (self.feature_size > 1):
                kind = "mono" if self.feature_size == 1 else f"{self.feature_size} channels of"
                raise AudioError(f"Expected {kind} audio, (channels, samples), but example has shape {row.T.shape}")
        return rows

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        check_not_empty(rows)
        if call.padding and call.truncation:
            raise ValueError("Both padding and truncation were set. Make sure you only set one.")
        call = self.fitted(rows, replace(call, padding=True if call.padding is None else call.padding))
        padded = self.pad(rows, call)
        values = [row.T if row.ndim == 2 else row[None] for row in padded.rows]
        if padding_strategy(call.padding) == "do_not_pad":
            return {"input_values": values}
        return {"padding_mask": padded.masks, "input_values": values}

    def fitted(self, rows: Sequence[Array], call: ResolvedFeatureCall) -> ResolvedFeatureCall:
        """Set the call's length to one that the codec accepts."""
        return call


class EncodecFeatureExtractor(CodecFeatureExtractor):
    """Returns `input_values` (channels, samples) each, and `padding_mask` (samples,).

    Attributes:
        chunk_length_s: seconds of a chunk, which the codec encodes at once; None for the whole recording.
        overlap: the share of a chunk that the next one repeats.
    """

    feature_size: int = 1
    sampling_rate: int = 24_000
    chunk_length_s: float | None = None
    overlap: float | None = None

    derived: ClassVar[frozenset[str]] = frozenset({"chunk_length", "chunk_stride"})
    model_input_names: Sequence[str] = ("input_values", "padding_mask")

    @property
    def chunk_length(self) -> int | None:
        """Samples of a chunk."""
        if self.chunk_length_s is None:
            return None
        return bounded("chunk_length_s and sampling_rate", int(self.chunk_length_s * self.sampling_rate))

    @property
    def chunk_stride(self) -> int | None:
        """Samples from the start of a chunk to that of the next."""
        if self.chunk_length is None or self.overlap is None:
            return None
        return max(1, int((1.0 - self.overlap) * self.chunk_length))

    def fitted(self, rows: Sequence[Array], call: ResolvedFeatureCall) -> ResolvedFeatureCall:
        """Set the call's length to whole chunks."""
        length, stride = self.chunk_length, self.chunk_stride
        if length is None or stride is None or call.max_length is not None:
            return call
        lengths = [len(row) for row in rows]
        if call.truncation:
            return replace(call, max_length=(min(lengths) // stride - 1) * stride + length)
        if call.padding:
            steps = math.ceil(max(lengths) / stride)
            return replace(call, padding="max_length", max_length=(steps - 1) * stride + length)
        return call


class DacFeatureExtractor(CodecFeatureExtractor):
    """Returns `input_values` (1, samples) each, in whole steps of `hop_length`, and `padding_mask`.

    Attributes:
        hop_length: samples of a step.
    """

    sampling_rate: int = 16_000
    hop_length: int = 512

    model_input_names: Sequence[str] = ("input_values", "n_quantizers")

    def fitted(self, rows: Sequence[Array], call: ResolvedFeatureCall) -> ResolvedFeatureCall:
        """Set the call's length to whole steps."""
        return replace(call, pad_to_multiple_of=self.hop_length)
