"""The base class of the audio tasks: turn a source of any form into samples at the model's rate, and these into a row.

A source is a path, a URL, the bytes of a file, an array or tensor at the model's rate, torchcodec's decoder, or (if
the task accepts it) a dict of an array and its rate. Files and URLs can be read block by block, so that long ones are
never in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row
from onnxpipe.errors import AudioError, BundleError
from onnxpipe.processing.arrays import as_array
from onnxpipe.processing.audio.io.arrays import scale_samples
from onnxpipe.tasks.base.pipeline import OptionsT, Pipeline

#: Names of the feature extractors' outputs that hold the audio.
AUDIO_INPUT_NAMES = ("input_values", "input_features")


@dataclass(frozen=True)
class Recording:
    """An array of samples with its rate, or without one.

    Attributes:
        array: its samples, (n,) or (channels, n).
        rate: samples a second; None if they are at the model's rate.
        stride: samples at the left and right that are only context, at `rate`; None for none.
        extra: the other keys of the dict that held it.
    """

    array: Array
    rate: int | None = None
    stride: tuple[int, int] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class AudioPipeline(Pipeline[OptionsT]):
    """The base class of the tasks whose input is a recording and whose answer comes from one row.

    The samples are dropped once they are a row.
    """

    _load_tokenizer: ClassVar[bool | None] = False
    _load_feature_extractor: ClassVar[bool | None] = True
    _load_image_processor: ClassVar[bool | None] = False
    _load_video_processor: ClassVar[bool | None] = False
    input_modalities = "audio"
    #: Samples of a run on a CPU: four recordings of ten seconds, or one longer.
    token_budget = 4 * 10 * 16_000
    #: Recordings are large: a stream reads few ahead.
    window = 8
    #: Whether `{"raw" or "array": ..., "sampling_rate": ...}` is an input.
    accepts_dict: ClassVar[bool] = True

    def prepare(self) -> None:
        check_feature_extractor(self)

    @property
    def sampling_rate(self) -> int:
        """Samples a second that the model reads."""
        return int(self.feature_extractor.sampling_rate)

    def padding(self) -> Padding:
        """The padding with which rows of different lengths share a batch, if the graph reads a mask of it."""
        return Padding(0 if getattr(self.model, "supports_padding", False) else None)

    def load(self, source: Any) -> Array:
        """Load the samples of a source: one channel, at the model's rate: (n,).

        Raises:
            ValueError: an array of more than one axis, a dict without its array or rate.
            TypeError: no form that a recording has.
        """
        recording = recording_of(source, type(self).__name__, dicts=self.accepts_dict)
        if recording is None:
            return load_file(source, self.sampling_rate)
        if recording.array.ndim != 1:
            raise ValueError(
                f"We expect a single channel audio input for {type(self).__name__}, got an array of shape "
                f"{recording.array.shape}: pass the mean of its channels"
            )
        return at_rate(recording, self.sampling_rate)

    def encode(self, value: Any, options: OptionsT) -> Iterable[Row]:
        samples, rate = self.load(value), self.sampling_rate
        least = getattr(self.model, "shortest", 1)
        if len(samples) < least:
            raise AudioError(f"the recording has {len(samples)} samples, and {self.model.name_or_path} needs {least}")
        return [self.audio_row(self.feature_extractor(samples, sampling_rate=rate, return_tensors="np"), len(samples))]

    def audio_row(self, processed: Mapping[str, Any], cost: int, extra: Any = None) -> Row:
        """Build the row of one processed recording (arrays with a leading axis of 1)."""
        return audio_row(self.model, processed, cost, extra)


def check_feature_extractor(pipe: Pipeline) -> None:
    """Refuse a pipeline without a feature extractor."""
    if pipe.feature_extractor is None:
        raise ValueError(
            f"{type(pipe).__name__} needs a feature extractor, and {pipe.model.name_or_path} has no "
            "preprocessor_config.json: pass feature_extractor="
        )


def audio_row(model: Any, processed: Mapping[str, Any], cost: int, extra: Any = None) -> Row:
    """Build a row of the feature extractor's arrays (leading axis 1) that the model's graph reads.

    Args:
        model: a model of one graph.
        processed: the feature extractor's outputs for one recording.
        cost: the row's cost in a batch: its samples.
        extra: kept with the row for the task.

    Raises:
        BundleError: the graph reads none of them.
    """
    known = model.session.inputs
    feeds = {name: np.asarray(value)[0] for name, value in processed.items() if name in known}
    if not feeds.keys() & {model.main_input_name}:
        names = [name for name in AUDIO_INPUT_NAMES if name in processed]
        if len(known) != 1 or not names:  # a graph of one input takes the audio by any name
            raise BundleError(
                f"{model.name_or_path} reads {', '.join(known)}, and its feature extractor returns "
                f"{', '.join(processed)}"
            )
        feeds = {next(iter(known)): np.asarray(processed[names[0]])[0]}
    for name, value in feeds.items():
        if value.dtype.kind in "iu":
            feeds[name] = value.astype(np.int64)
    return Row(feeds, cost, extra)


# -- sources ----------------------------------------------------------------------------------------------------------
def is_file(source: Any) -> bool:
    """Whether a source is a path, a URL or the bytes of a file."""
    return isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview))


def load_file(source: Any, sampling_rate: int) -> Array:
    """Load the samples of a path, a URL or the bytes of a file: float32 (n,), one channel."""
    from onnxpipe.processing.audio.io.load import load_audio

    return np.asarray(load_audio(source, sampling_rate))


def recording_of(source: Any, who: str, *, dicts: bool = True) -> Recording | None:
    """Read the array that a source is or holds; None for files.

    Args:
        source: see the module.
        who: the class of the pipeline, for errors.
        dicts: whether dicts are accepted.

    Raises:
        ValueError: a dict without its array or rate.
        TypeError: not one of the forms that a recording has.
    """
    if is_file(source):
        return None
    if isinstance(source, dict) and dicts:
        return _from_dict(source, who)
    if hasattr(source, "get_all_samples"):  # torchcodec's AudioDecoder, which datasets gives
        decoded = source.get_all_samples()
        array = array_of(decoded.data, who)
        return Recording(array[0] if array.ndim == 2 and len(array) == 1 else array, int(decoded.sample_rate))
    return Recording(array_of(source, who))


def _from_dict(source: Mapping[str, Any], who: str) -> Recording:
    rest = dict(source)  # the caller's stays as it is
    stride = rest.pop("stride", None)
    if "sampling_rate" not in rest or not rest.keys() & {"raw", "array"}:
        raise ValueError(
            f"When passing a dictionary to {who}, the dict needs to contain a "
            '"raw" key containing the numpy array or torch tensor representing the audio and a "sampling_rate" key, '
            "containing the sampling_rate associated with that array"
        )
    array = rest.pop("raw", None)
    if array is None:
        rest.pop("path", None)  # of datasets, beside the array
        array = rest.pop("array", None)
    rate = rest.pop("sampling_rate")
    if not isinstance(rate, Real) or not float(rate) >= 1:
        raise ValueError(f"sampling_rate must be a positive number of samples a second, got {rate!r}")
    if stride is not None:
        if not isinstance(stride, (tuple, list)) or len(stride) != 2 or not all(isinstance(n, Real) for n in stride):
            raise ValueError(f"stride must be two numbers of samples, to the left and to the right, got {stride!r}")
        stride = (int(float(stride[0])), int(float(stride[1])))
    return Recording(array_of(array, who), int(float(rate)), stride, rest)


def array_of(value: Any, who: str) -> Array:
    """Convert an array or a tensor to an array of floats; integers are scaled by the range of their type.

    Raises:
        TypeError: something else, a list of numbers too (it would be a batch).
        AudioError: samples that are not finite numbers, or integers without a known range.
    """
    array = as_array(value)
    if array is None:
        raise TypeError(
            f"We expect a numpy ndarray or torch tensor as input, got `{type(value)}` ({who} also takes a path, a URL "
            "or the bytes of a file)"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise AudioError("the recording has samples that are infinite or not a number (NaN)")
    return scale_samples(array)


def at_rate(recording: Recording, sampling_rate: int) -> Array:
    """Resample (n,) samples to a rate, if they have another."""
    if recording.rate is None or recording.rate == sampling_rate:
        return recording.array
    from onnxpipe.processing.audio.io.load import resample

    return np.asarray(resample(recording.array, recording.rate, sampling_rate))
