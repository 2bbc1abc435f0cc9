"""Processors of models that take audio and text: a feature extractor and a tokenizer in one object.

processor(audio=samples, sampling_rate=16000, return_tensors="np")        # input_features
processor(audio=samples, text=["a dog barks"], sampling_rate=48000)       # CLAP: both
processor.batch_decode(ids, skip_special_tokens=True)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.text.keywords import TokenizerCallOptions
from onnxpipe.processing.text.tokenizer import Tokenizer

#: Methods of the tokenizer that transformers' processors have too.
_OF_TOKENIZER = ("get_decoder_prompt_ids", "get_prompt_ids")

#: Keywords of the tokenizer's call.
_OF_TEXT = frozenset({*TokenizerCallOptions.__annotations__, "add_special_tokens"})


class SpeechProcessor:
    """Whisper, wav2vec 2.0, Moonshine, SeamlessM4T, Speech2Text: a recording becomes the encoder's features, a text
    its tokens; passed together, the tokens are `labels`.

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
        """Make the arrays for the model.

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
        features = None if audio is None else self._features(audio, sampling_rate, return_tensors, options)
        tokens = None if text is None else self._tokens(text, return_tensors, options)
        return self._joined(features, tokens)

    def _joined(self, features: BatchFeature | None, tokens: Any) -> Any:
        if features is None or tokens is None:
            return tokens if features is None else features
        return BatchFeature({**features, "labels": tokens["input_ids"]})

    def _check(self, options: Mapping[str, Any]) -> None:
        known = {*self.feature_extractor.call_defaults, *_OF_TEXT}
        for name in options:
            if name not in known:
                named = {*known, "audio", "text", "sampling_rate", "return_tensors"}
                raise UnknownArgumentError.among(type(self).__name__, name, named)

    def _features(self, audio: Any, rate: int | None, tensors: Any, options: Mapping[str, Any]) -> BatchFeature:
        own: Any = {name: value for name, value in options.items() if name in self.feature_extractor.call_defaults}
        return self.feature_extractor(audio, rate, return_tensors=tensors, **own)

    def _tokens(self, text: Any, tensors: Any, options: Mapping[str, Any]) -> Any:
        own: Any = {name: value for name, value in options.items() if name in _OF_TEXT}
        return self.tokenizer(text, **{**own, "return_tensors": tensors})

    @property
    def model_input_names(self) -> list[str]:
        """The arrays that a call with both may return."""
        return list(dict.fromkeys([*self.feature_extractor.model_input_names, *self.tokenizer.model_input_names]))

    def decode(self, *args: Any, **options: Any) -> Any:
        """Call the tokenizer's `decode`."""
        return self.tokenizer.decode(*args, **options)

    def batch_decode(self, *args: Any, **options: Any) -> Any:
        """Call the tokenizer's `batch_decode`."""
        return self.tokenizer.batch_decode(*args, **options)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Write the files of both and return their paths."""
        return [
            *self.tokenizer.save_pretrained(save_directory), *self.feature_extractor.save_pretrained(save_directory)
        ]  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name in _OF_TOKENIZER:
            return getattr(self.tokenizer, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


class ClapProcessor(SpeechProcessor):
    """CLAP: recordings, and the texts that they are compared with."""

    def _joined(self, features: BatchFeature | None, tokens: Any) -> Any:
        if features is None or tokens is None:
            return super()._joined(features, tokens)
        return BatchFeature({**tokens, **features})


class SpeechT5Processor(SpeechProcessor):
    """SpeechT5: a text or a recording is the input; `text_target=` or `audio_target=` becomes `labels`."""

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
        features = target = None
        if audio is not None:
            features = self._features(audio, *common, options)
        elif text is not None:
            features = self._tokens(text, return_tensors, options)
        if audio_target is not None:
            target = self._features(None, *common, {**options, "audio_target": audio_target})
        elif text_target is not None:
            target = self._tokens(text_target, return_tensors, options)
        return self._with_target(features, target)

    @staticmethod
    def _with_target(features: Any, target: Any) -> Any:
        if features is None or target is None:
            return target if features is None else features
        labels = target["input_ids"] if "input_ids" in target else target["input_values"]
        mask = {"decoder_attention_mask": target["attention_mask"]} if "attention_mask" in target else {}
        return BatchFeature({**features, "labels": labels, **mask})
