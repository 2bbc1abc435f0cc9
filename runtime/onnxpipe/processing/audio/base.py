"""FeatureExtractor: convert recordings to the arrays of a model. This class holds what all families share.

    recordings ─rows─▶ samples of one channel ─features─▶ arrays ─stacked─▶ batch

A family's class names its settings, with their defaults, as attributes of the class, and overrides `features`.
"""

from __future__ import annotations

import inspect
import logging
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, Unpack

import numpy as np

from onnxpipe.errors import AudioError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.audio.io.arrays import Array, as_recordings
from onnxpipe.processing.audio.pad import PaddedRows, pad
from onnxpipe.processing.audio.settings import (
    FeatureExtractorCallOptions,
    FeatureExtractorKeywords,
    FeatureExtractorOverrides,
    ResolvedFeatureCall,
    parse_setting,
)
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.processor_base import ProcessorBase
from onnxpipe.processing.processor_config import Kind, ProcessorConfig

logger = logging.getLogger("onnxpipe")

_RATE = (
    "The model corresponding to this feature extractor: {name} was trained using a sampling rate of {right}. Please "
    "make sure that the provided `{argument}` input was sampled with {right} and not {wrong}."
)
_NO_RATE = (
    "It is strongly recommended to pass the `sampling_rate` argument to `{name}()`. Failing to do so can result in "
    "silent errors that might be hard to debug."
)


class FeatureExtractor(ProcessorBase):
    """Converts recordings to arrays when called; settings are attributes. Threads may share one.

    Args:
        **settings: settings that replace the class's defaults.

    Raises:
        UnknownArgumentError: a keyword that this class does not have.
        UnsupportedError: an invalid value.

    Attributes:
        feature_size: features of a time step.
        sampling_rate: samples per second that the model expects.
        padding_value: the value of padding.
        padding_side: "right" or "left".
        return_attention_mask: whether a call returns a mask of the padding by default.
    """

    feature_size: int = 1
    sampling_rate: int = 16_000
    padding_value: float = 0.0
    padding_side: str = "right"
    return_attention_mask: bool = True

    kind: ClassVar[Kind] = "audio"
    type_key: ClassVar[str] = "feature_extractor_type"
    #: Settings of the class that follow from others; files may have them.
    derived: ClassVar[frozenset[str]] = frozenset()
    #: The options of a call and their defaults.
    call_defaults: ClassVar[Mapping[str, Any]] = {
        "padding": False,
        "truncation": False,
        "max_length": None,
        "pad_to_multiple_of": None,
        "return_attention_mask": None,
    }
    #: The name of the call's first argument in transformers.
    argument: ClassVar[str] = "raw_speech"
    #: The type that samples are converted to.
    dtype: ClassVar[Any] = np.float32
    #: The names of the arrays that a call returns.
    model_input_names: Sequence[str] = ("input_values", "attention_mask")

    def __init_subclass__(cls) -> None:
        own = {name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)}
        cls.known_settings = (cls.known_settings or _COMMON) | (own - {"model_input_names"})

    def __init__(self, **settings: Unpack[FeatureExtractorOverrides]) -> None:
        super().__init__(**settings)

    # -- loading and saving -------------------------------------------------------------------------------------------
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **keywords: Unpack[FeatureExtractorKeywords]
    ) -> Self:
        """Load the extractor of a folder or of a Hub repository, from `preprocessor_config.json` or
        `processor_config.json`.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            **keywords: the Hub's (`FileKeywords`), and settings that replace those of the files.

        Raises:
            ModelNotFoundError: no such folder or repository, or it has no such file.
            BundleError: a damaged file.
            UnknownArgumentError, UnsupportedError: see the class.
        """
        return cls._load(pretrained_model_name_or_path, keywords)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Unpack[FeatureExtractorOverrides]) -> Self:
        """Make an extractor from what `preprocessor_config.json` holds.

        Args:
            config: the file's object. Keys that this class does not have are kept, as attributes and for `to_dict`.
            **overrides: settings that replace those of the file.

        Raises:
            BundleError: an invalid value in the file.
            UnknownArgumentError: an override that this class does not have.
        """
        return cls.from_config(ProcessorConfig(config), overrides)

    @classmethod
    def _settings_in(cls, config: ProcessorConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        known, dropped = cls.known_settings, _NOT_KEPT | cls.derived
        settings = {k: v for k, v in config.values.items() if k in known and v is not None}
        return settings, {k: v for k, v in config.values.items() if k not in known and k not in dropped}

    def _plain_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.known_settings}

    # -- settings -----------------------------------------------------------------------------------------------------
    def _apply(self, settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            if name not in self.known_settings:
                raise UnknownArgumentError.among(type(self).__name__, name, self.known_settings)
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = parse_setting(name, value) if name in self.known_settings else value

    # -- the call -----------------------------------------------------------------------------------------------------
    def __call__(
        self,
        raw_speech: Any = None,
        sampling_rate: int | None = None,
        *,
        return_tensors: Any = None,
        **options: Unpack[FeatureExtractorCallOptions],
    ) -> BatchFeature:
        """Convert recordings to arrays for the model.

        Args:
            raw_speech: a recording, or a list of them: arrays, tensors or lists of numbers, (samples,) each, of one
                channel, at the model's rate. A matrix is a batch of its rows.
            sampling_rate: of the recordings; checked.
            return_tensors: "np" for arrays of the batch; None for lists, one entry per recording, where the family does
                not return arrays of the batch anyway.
            **options: see `ResolvedFeatureCall`; those that the class takes are in its `call_defaults`.

        Returns:
            `input_values` or `input_features` float32, and the family's other arrays; masks are int32, 0 for padding.

        Raises:
            AudioError: no recording, a wrong rate, shape or type, or a recording that is too short for the model.
            UnknownArgumentError: a keyword that the class does not have.
            ValueError: rows of different lengths as arrays, or padding to a length that is not set.
        """
        check_tensor_type(return_tensors)
        kwargs: dict[str, Any] = dict(options)
        source = kwargs.pop(self.argument, None) if raw_speech is None else raw_speech
        call = self._resolve(kwargs)
        self._check_rate(sampling_rate)
        if source is None and call.audio_target is None:
            raise AudioError(f"{type(self).__name__} needs {self.argument}=, a recording or a list of recordings")
        data = self.features([] if source is None else self.rows(source), call)
        return BatchFeature(data if return_tensors is None else {k: stack_rows(k, v) for k, v in data.items()})

    def _resolve(self, options: Mapping[str, Any]) -> ResolvedFeatureCall:
        for name in options:
            if name not in self.call_defaults:
                known = {*self.call_defaults, self.argument, "sampling_rate", "return_tensors"}
                raise UnknownArgumentError.among(type(self).__name__, name, known)
        call = replace(ResolvedFeatureCall(), **{**self.call_defaults, **options})
        if call.device not in (None, "cpu"):
            raise UnsupportedError(f"device={call.device!r}: features are computed on the CPU; leave it out")
        for name in ("max_length", "pad_to_multiple_of"):
            value = getattr(call, name)
            if value is not None and not (isinstance(value, (int, np.integer)) and value > 0):
                raise UnsupportedError(f"{name} must be a whole number above 0, or None; got {value!r}")
        return call

    def _check_rate(self, rate: int | None) -> None:
        name = type(self).__name__
        if rate is None:
            logger.warning(_NO_RATE.format(name=name))
        elif rate != self.sampling_rate:
            raise AudioError(
                _RATE.format(name=name, right=self.sampling_rate, wrong=rate, argument=self.argument)
                + f" load_audio(file, {self.sampling_rate}) resamples it."
            )

    def rows(self, source: Any) -> list[Array]:
        """Split a call's input into recordings, (samples,) each.

        Raises:
            AudioError: a recording of several channels, or not an array of numbers.
        """
        rows = as_recordings(source, self.dtype)
        for row in rows:
            if row.ndim != 1:
                raise AudioError(
                    f"Only mono-channel audio is supported for input to {type(self).__name__}; this recording has the "
                    f"shape {row.shape}: pass the mean of its channels"
                )
        return rows

    def pad(self, rows: Sequence[Array], call: ResolvedFeatureCall) -> PaddedRows:
        """Truncate and pad rows by the call's options and the settings."""
        return pad(rows, call, self.padding_value, self.padding_side)

    def wants_mask(self, call: ResolvedFeatureCall) -> bool:
        """Decide whether a call returns masks."""
        return self.return_attention_mask if call.return_attention_mask is None else bool(call.return_attention_mask)

    @abstractmethod
    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays by name: a list with one entry per recording, or one array of all."""


_COMMON = frozenset({"feature_size", "sampling_rate", "padding_value", "padding_side", "return_attention_mask"})
#: Keys of files that name the file's class, or hold values that are computed here.
_NOT_KEPT = frozenset(
    {"feature_extractor_type", "image_processor_type", "processor_class", "_processor_class", "transformers_version",
     "mel_filters", "mel_filters_slaney", "window", "return_tensors"}
)  # fmt: skip


def check_not_empty(rows: Sequence[Array]) -> None:
    """Raise if a recording has no samples.

    Raises:
        AudioError: a recording has none.
    """
    if any(not len(row) for row in rows):
        raise AudioError("a recording has no samples")


def stack_rows(name: str, rows: Any) -> Array:
    """Stack rows into one array.

    Raises:
        ValueError: rows of different lengths.
    """
    if isinstance(rows, np.ndarray):
        return rows
    shapes = sorted({np.shape(row) for row in rows})
    if len(shapes) > 1:
        raise ValueError(
            f"Unable to convert output '{name}' to tensor: the recordings have different shapes "
            f"({', '.join(map(str, shapes[:3]))}). Pass padding=True, or return_tensors=None for lists"
        )
    return np.stack([np.asarray(row) for row in rows])
