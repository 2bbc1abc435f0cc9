"""Processors of models that hear and write: a feature extractor and a tokenizer under one roof.

processor(audio=samples, sampling_rate=16000, return_tensors="np")        # input_features
processor(audio=samples, text=["a dog barks"], sampling_rate=48000)       # of CLAP: both
processor.batch_decode(ids, skip_special_tokens=True)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.text.batch_encoding import check_tensor_type
from onnxpipe.processing.text.keywords import TokenizerCallOptions
from onnxpipe.processing.text.tokenizer import Tokenizer

#: What transformers' processors take over from their tokenizer.
_OF_TOKENIZER = ("get_decoder_prompt_ids", "get_prompt_ids")

#: Keywords of the tokenizer's call.
_OF_TEXT = frozenset({*TokenizerCallOptions.__annotations__, "add_special_tokens"})


class SpeechProcessor:
    """Whisper, wav2vec 2.0, Moonshine, SeamlessM4T, Speech2Text: of a recording what the encoder hears; of a text its
    tokens, which beside a recording are `labels`.

    Args:
        feature_extractor: for recordings.
        tokenizer: for texts.

    Attributes:
        feature_extractor, tokenizer: as above.
    """

    def __init__(self, feature_extractor: FeatureExtractor, tokenizer: Tokenizer) -> None:
        self.feature_extractor = feature_extractor
        self.tokenizer = tokenizer

    def __call__(
        self,
        audio: Any = None,
        text: Any = None,
        *,
        sampling_rate: int | None = None,
        return_tensors: Any = None,
        **options: Any,
    ) -> Any:
        """Arrays for the model.

        Args:
            audio: a recording or a list of them; see `FeatureExtractor`.
            text: a text or a list of them.
            sampling_rate: of the recordings.
            return_tensors: "np" for arrays; None for lists.
            **options: keywords of the extractor's and of the tokenizer's call; of both where both have them.

        Raises:
            UnknownArgumentError: a keyword of neither.
            UnsupportedError: neither recording nor text.
        """
        check_tensor_type(return_tensors)
        if audio is None and text is None:
            raise UnsupportedError("You need to specify either an `audio` or `text` input to process.")
        self._check(options)
        heard = None if audio is None else self._heard(audio, sampling_rate, return_tensors, options)
        written = None if text is None else self._written(text, return_tensors, options)
        return self._joined(heard, written)

    def _joined(self, heard: BatchFeature | None, written: Any) -> Any:
        if heard is None or written is None:
            return written if heard is None else heard
        return BatchFeature({**heard, "labels": written["input_ids"]})

    def _check(self, options: Mapping[str, Any]) -> None:
        known = {*self.feature_extractor.call_defaults, *_OF_TEXT}
        for name in options:
            if name not in known:
                named = {*known, "audio", "text", "sampling_rate", "return_tensors"}
                raise UnknownArgumentError.among(type(self).__name__, name, named)

    def _heard(self, audio: Any, rate: int | None, tensors: Any, options: Mapping[str, Any]) -> BatchFeature:
        own: Any = {name: value for name, value in options.items() if name in self.feature_extractor.call_defaults}
        return self.feature_extractor(audio, rate, return_tensors=tensors, **own)

    def _written(self, text: Any, tensors: Any, options: Mapping[str, Any]) -> Any:
        own: Any = {name: value for name, value in options.items() if name in _OF_TEXT}
        return self.tokenizer(text, **{**own, "return_tensors": tensors})

    @property
    def model_input_names(self) -> list[str]:
        """The arrays that a call with both may give."""
        return list(dict.fromkeys([*self.feature_extractor.model_input_names, *self.tokenizer.model_input_names]))

    def decode(self, *args: Any, **options: Any) -> Any:
        """The tokenizer's `decode`."""
        return self.tokenizer.decode(*args, **options)

    def batch_decode(self, *args: Any, **options: Any) -> Any:
        """The tokenizer's `batch_decode`."""
        return self.tokenizer.batch_decode(*args, **options)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Writes the files of both; returns their paths."""
        return [
            *self.tokenizer.save_pretrained(save_directory), *self.feature_extractor.save_pretrained(save_directory)
        ]  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name in _OF_TOKENIZER:
            return getattr(self.tokenizer, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


class ClapProcessor(SpeechProcessor):
    """CLAP: recordings and the texts that they are compared with."""

    def _joined(self, heard: BatchFeature | None, written: Any) -> Any:
        if heard is None or written is None:
            return super()._joined(heard, written)
        return BatchFeature({**written, **heard})


class SpeechT5Processor(SpeechProcessor):
    """SpeechT5: a text or a recording goes in, `text_target=` or `audio_target=` is to come out, as `labels`."""

    def __call__(
        self,
        audio: Any = None,
        text: Any = None,
        *,
        text_target: Any = None,
        audio_target: Any = None,
        sampling_rate: int | None = None,
        return_tensors: Any = None,
        **options: Any,
    ) -> Any:
        """Arrays for the model; see `SpeechProcessor` and `SpeechT5FeatureExtractor`.

        Raises:
            ValueError: two inputs, two targets, or none of all.
        """
        check_tensor_type(return_tensors)
        if audio is not None and text is not None:
            raise ValueError(
                "Cannot process both `audio` and `text` inputs. Did you mean `audio_target` or `text_target`?"
            )
        if audio_target is not None and text_target is not None:
            raise ValueError(
                "Cannot process both `audio_target` and `text_target` inputs. Did you mean `audio` or `text`?"
            )
        if audio is text is audio_target is text_target is None:
            raise UnsupportedError(
                "You need to specify either an `audio`, `audio_target`, `text`, or `text_target` input to process."
            )
        self._check(options)
        common = (sampling_rate, return_tensors)
        given = target = None
        if audio is not None:
            given = self._heard(audio, *common, options)
        elif text is not None:
            given = self._written(text, return_tensors, options)
        if audio_target is not None:
            target = self._heard(None, *common, {**options, "audio_target": audio_target})
        elif text_target is not None:
            target = self._written(text_target, return_tensors, options)
        return self._with_target(given, target)

    @staticmethod
    def _with_target(given: Any, target: Any) -> Any:
        if given is None or target is None:
            return target if given is None else given
        labels = target["input_ids"] if "input_ids" in target else target["input_values"]
        mask = {"decoder_attention_mask": target["attention_mask"]} if "attention_mask" in target else {}
        return BatchFeature({**given, "labels": labels, **mask})


_OF_FAMILY: Mapping[str, type[SpeechProcessor]] = {"clap": ClapProcessor, "speecht5": SpeechT5Processor}


def processor_of(model_type: str) -> type[SpeechProcessor]:
    """The class of a family's processor."""
    return _OF_FAMILY.get(model_type, SpeechProcessor)
