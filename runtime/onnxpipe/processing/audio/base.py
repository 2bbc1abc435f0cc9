"""FeatureExtractor: recordings to the arrays of a model, in what all families share.

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
    """Settings as attributes, recordings to arrays as a call. Threads may share one.

    Args:
        **settings: instead of the class's defaults.

    Raises:
        UnknownArgumentError: a keyword that this class has not.
        UnsupportedError: a value that means nothing.

    Attributes:
        feature_size: features of a time step.
        sampling_rate: samples a second that the model hears.
        padding_value: what is put where there is no sound.
        padding_side: "right" or "left".
        return_attention_mask: whether a call tells padding from sound if it says nothing of it.
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
    #: What a call may be told, and what holds where it is not.
    call_defaults: ClassVar[Mapping[str, Any]] = {
        "padding": False,
        "truncation": False,
        "max_length": None,
        "pad_to_multiple_of": None,
        "return_attention_mask": None,
    }
    #: What transformers calls the first argument of the call.
    argument: ClassVar[str] = "raw_speech"
    #: The type that samples are brought to.
    dtype: ClassVar[Any] = np.float32
    #: The arrays of a call.
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
            **keywords: the Hub's (`FileKeywords`), and settings instead of what the files say.

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
            config: the file's object. What this class does not know is kept, as attributes and for `to_dict`.
            **overrides: instead of what the file says.

        Raises:
            BundleError: a value that means nothing.
            UnknownArgumentError: an override that this class has not.
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
        """Arrays for the model.

        Args:
            raw_speech: a recording, or a list of them: arrays, tensors or lists of numbers, (samples,) each, of one
                channel, at the model's rate. A matrix is a batch of its rows.
            sampling_rate: of the recordings; checked.
            return_tensors: "np" for arrays of the batch; None for lists, one entry a recording, where the family has
                no arrays of the batch anyway.
            **options: see `ResolvedFeatureCall`; those that the class takes are in its `call_defaults`.

        Returns:
            `input_values` or `input_features` float32, and what else the family has; masks are int32, 1 for sound.

        Raises:
            AudioError: no recording, one of another rate, shape or type, or one that is too short for the model.
            UnknownArgumentError: a keyword that the class has not.
            ValueError: rows of unlike length as arrays, or padding to a length that is not told.
        """
        check_tensor_type(return_tensors)
        given: dict[str, Any] = dict(options)
        source = given.pop(self.argument, None) if raw_speech is None else raw_speech
        call = self._checked(given)
        self._check_rate(sampling_rate)
        if source is None and call.audio_target is None:
            raise AudioError(f"{type(self).__name__} needs {self.argument}=, a recording or a list of them")
        data = self.features([] if source is None else self.rows(source), call)
        return BatchFeature(data if return_tensors is None else {k: stack_rows(k, v) for k, v in data.items()})

    def _checked(self, options: Mapping[str, Any]) -> ResolvedFeatureCall:
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
        """The recordings of a call, (samples,) each.

        Raises:
            AudioError: one of several channels, or nothing at all.
        """
        rows = as_recordings(source, self.dtype)
        for row in rows:
            if row.ndim != 1:
                raise AudioError(
                    f"Only mono-channel audio is supported for input to {type(self).__name__}; this recording has the "
                    f"shape {row.shape}: give the mean of its channels"
                )
        return rows

    def pad(self, rows: Sequence[Array], call: ResolvedFeatureCall) -> PaddedRows:
        """Rows cut and filled up, as the call and the settings say."""
        return pad(rows, call, self.padding_value, self.padding_side)

    def wants_mask(self, call: ResolvedFeatureCall) -> bool:
        """Whether a call gives masks."""
        return self.return_attention_mask if call.return_attention_mask is None else bool(call.return_attention_mask)

    @abstractmethod
    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """The arrays by name; a list with one entry a recording, or an array of all."""


_COMMON = frozenset({"feature_size", "sampling_rate", "padding_value", "padding_side", "return_attention_mask"})
#: Keys of files that say which class they are for, or hold what is computed anyway.
_NOT_KEPT = frozenset(
    {"feature_extractor_type", "image_processor_type", "processor_class", "_processor_class", "transformers_version",
     "mel_filters", "mel_filters_slaney", "window", "return_tensors"}
)  # fmt: skip


def check_not_empty(rows: Sequence[Array]) -> None:
    """Raises where a recording has no samples.

    Raises:
        AudioError: it has none.
    """
    if any(not len(row) for row in rows):
        raise AudioError("a recording has no samples")


def stack_rows(name: str, rows: Any) -> Array:
    """One array of the rows.

    Raises:
        ValueError: rows of unlike length.
    """
    if isinstance(rows, np.ndarray):
        return rows
    shapes = sorted({np.shape(row) for row in rows})
    if len(shapes) > 1:
        raise ValueError(
            f"Unable to convert output '{name}' to tensor: the recordings come out in the shapes "
            f"{', '.join(map(str, shapes[:3]))}. Give padding=True, or return_tensors=None for lists"
        )
    return np.stack([np.asarray(row) for row in rows])
