"""Whisper's `generate`, option by option: a bundle gives what transformers gives, by PyTorch, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from onnxpipe.models.auto import AutoModelForSpeechSeq2Seq
from zoo.audio.recordings import samples
from zoo.cache import cached_bundle, cached_model

torch = pytest.importorskip("torch")

TASK = "automatic-speech-recognition"
#: Names of what transformers gives with a window's result without an option for it, and that is not kept here.
_UNASKED = {"scores", "encoder_attentions", "decoder_attentions", "cross_attentions", "past_key_values"}
_WORDS = np.array([300, 411, 302, 350])

_SHORT: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "timestamps": {"return_timestamps": True},
    "segments": {"return_timestamps": True, "return_segments": True},
    "segments without timestamps": {"return_segments": True},
    "beams": {"num_beams": 4},
    "beams with a length penalty": {"num_beams": 3, "length_penalty": 2.0, "return_timestamps": True},
    "beams that end early": {"num_beams": 3, "early_stopping": True},
    "language by name": {"language": "french"},
    "language by code": {"language": "de", "task": "translate"},
    "language by token": {"language": "<|en|>", "return_timestamps": True},
    "task alone": {"task": "translate"},
    "words": {"return_token_timestamps": True},
    "words and segments": {"return_token_timestamps": True, "return_timestamps": True, "return_segments": True},
    "words of beams": {"return_token_timestamps": True, "num_beams": 3},
    "scores": {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    "scores of beams": {"return_dict_in_generate": True, "output_scores": True, "num_beams": 3},
    "segments with results": {"return_dict_in_generate": True, "return_timestamps": True},
    "one call": {"force_unique_generate_call": True, "return_timestamps": True},
    "one call with words": {"force_unique_generate_call": True, "return_token_timestamps": True},
    "thresholds": {"temperature": (0.0,), "logprob_threshold": -1.0, "compression_ratio_threshold": 1.35,
                   "no_speech_threshold": 0.6, "return_timestamps": True, "return_segments": True},
    "thresholds with beams": {"temperature": (0.0,), "logprob_threshold": -1.0, "num_beams": 3,
                              "no_speech_threshold": 0.6, "return_timestamps": True, "return_segments": True},
    "silence": {"temperature": (0.0,), "logprob_threshold": -1e-9, "no_speech_threshold": 0.0, "return_segments": True},
    "a prompt": {"prompt_ids": _WORDS},
    "a prompt and timestamps": {"prompt_ids": _WORDS, "return_timestamps": True, "return_segments": True},
    "few tokens": {"max_new_tokens": 5},
    "a short row": {"max_length": 6},
    "at least": {"min_new_tokens": 12, "max_new_tokens": 20},
    "no repetition": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "return_timestamps": True},
    "suppressed": {"suppress_tokens": [300, 301, 302], "begin_suppress_tokens": [303]},
    "some tokens only": {"prefix_allowed_tokens_fn": lambda row, ids: list(range(256, 400 + row))},
    "first timestamps": {"max_initial_timestamp_index": 3, "return_timestamps": True},
    "decoder's start": {"decoder_input_ids": np.array([[266, 267]])},
}  # fmt: skip

_CONDITIONED = {"condition_on_prev_tokens": True, "return_segments": True}
_LONG: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "segments": {"return_segments": True},
    "beams": {"return_segments": True, "num_beams": 3},
    "conditioned": _CONDITIONED,
    "conditioned beams": {**_CONDITIONED, "num_beams": 3},
    "thresholds": {**_CONDITIONED, "temperature": (0.0,), "logprob_threshold": -2.0, "no_speech_threshold": 0.9,
                   "compression_ratio_threshold": 2.4},
    "silence": {"temperature": (0.0,), "logprob_threshold": -1e-9, "no_speech_threshold": 0.0, "return_segments": True},
    "words": {"return_token_timestamps": True, "return_segments": True},
    "prompt": {"prompt_ids": _WORDS, "return_segments": True},
    "prompt for the first": {**_CONDITIONED, "prompt_ids": _WORDS},
    "prompt for all": {**_CONDITIONED, "prompt_ids": _WORDS, "prompt_condition_type": "all-segments"},
    "named": {"return_dict_in_generate": True, "output_scores": True},
    "a short row": {"max_length": 8, "return_segments": True},
}  # fmt: skip


@cache
def _original(family: str) -> Any:
    import transformers

    return transformers.WhisperForConditionalGeneration.from_pretrained(
        cached_model(family, TASK), attn_implementation="eager"
    ).eval()


@cache
def _bundle(family: str) -> Any:
    return AutoModelForSpeechSeq2Seq.from_pretrained(cached_bundle(family, TASK))


@cache
def _features(family: str, *recordings: str, long: bool = False) -> tuple[np.ndarray, np.ndarray]:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor.from_pretrained(cached_model(family, TASK))
    options = {"truncation": False, "padding": "longest"} if long else {}
    features = extractor(
        [samples(recording) for recording in recordings],
        sampling_rate=16_000,
        return_tensors="np",
        return_attention_mask=True,
        **options,
    )
    return features.input_features, features.attention_mask


def _both(family: str, features: np.ndarray, mask: np.ndarray | None, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Ours and transformers'."""
    given = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in options.items()
    }
    attention_mask = None if mask is None else torch.from_numpy(mask)
    with torch.inference_mode():
        expected = _original(family).generate(torch.from_numpy(features), attention_mask=attention_mask, **given)
    return _bundle(family).generate(features, attention_mask=mask, **options), expected


def _same(ours: Any, theirs: Any, where: str = "") -> None:
    """Fails where they differ: other tokens, numbers by more than 0.002, names that one of them lacks."""
    if isinstance(theirs, Mapping):
        missing = {name for name in theirs if name not in ours} - _UNASKED
        extra = {name for name in ours if name not in theirs}
        assert not missing and not extra, f"{where}: missing {missing}, extra {extra}"
        for name in ours:
            _same(ours[name], theirs[name], f"{where}.{name}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        for place, pair in enumerate(zip(ours, theirs, strict=True)):
            _same(*pair, f"{where}[{place}]")
    else:
        found, expected = np.asarray(ours), np.asarray(theirs)
        assert found.shape == expected.shape, where
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3, err_msg=where)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=where)


@pytest.mark.parametrize("name", _SHORT)
def test_one_window(name):
    features, mask = _features("whisper", "speech")
    _same(*_both("whisper", features, mask, _SHORT[name]))


@pytest.mark.parametrize("name", _LONG)
def test_several_windows(name):
    features, mask = _features("whisper", "long", long=True)
    assert features.shape[2] > 600
    _same(*_both("whisper", features, mask, {"return_timestamps": True, **_LONG[name]}))


@pytest.mark.parametrize(
    "options", [{}, {"return_timestamps": True}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}]
)
def test_a_batch(options):
    features, _ = _features("whisper", "speech", "second", "third", "brief")
    _same(*_both("whisper", features, None, options))


def test_languages_of_a_batch():
    features, _ = _features("whisper", "speech", "second")
    _same(*_both("whisper", features, None, {"language": ["en", "fr"], "task": "transcribe"}))


@pytest.mark.parametrize("options", [{"return_timestamps": True}, {"return_timestamps": True, "num_beams": 2}])
def test_a_batch_of_long_ones(options):
    features, mask = _features("whisper", "long", "speech", "third", long=True)
    _same(*_both("whisper", features, mask, options))


@pytest.mark.parametrize("options", [{}, {"return_timestamps": True, "return_segments": True}, {"num_beams": 3},
                                     {"return_token_timestamps": True}, {"prompt_ids": _WORDS}])  # fmt: skip
def test_english_only(options):
    features, mask = _features("whisper-en", "speech")
    _same(*_both("whisper-en", features, mask, options))


def test_language_that_is_detected():
    features, _ = _features("whisper", "speech", "second", "third")
    with torch.inference_mode():
        expected = _original("whisper").detect_language(torch.from_numpy(features), num_segment_frames=300)
    assert _bundle("whisper").detect_language(features).tolist() == expected.tolist()
    assert _bundle("whisper").detect_language(features, num_segment_frames=300).tolist() == expected.tolist()
    with pytest.raises(ValueError, match="must be 300 for this model"):
        _bundle("whisper").detect_language(features, num_segment_frames=3000)


@pytest.mark.parametrize(
    ("family", "options", "kind"),
    [
        ("whisper", {"language": "klingon"}, ValueError),
        ("whisper", {"language": ["en", "fr"]}, ValueError),
        ("whisper", {"language": [None]}, TypeError),
        ("whisper", {"task": "sing"}, ValueError),
        ("whisper", {"prompt_condition_type": "sometimes"}, ValueError),
        ("whisper", {"prompt_condition_type": "all-segments"}, ValueError),
        ("whisper", {"max_new_tokens": 400}, ValueError),
        ("whisper", {"max_new_tokenz": 4}, ValueError),
        ("whisper-en", {"language": "en"}, ValueError),
        ("whisper-en", {"task": "transcribe"}, ValueError),
    ],
)
def test_refused_by_both(family, options, kind):
    features, _ = _features(family, "speech")
    with pytest.raises(kind):
        _original(family).generate(torch.from_numpy(features), **options)
    with pytest.raises(kind):
        _bundle(family).generate(features, **options)


@pytest.mark.parametrize("options", [{"return_timestamps": False}, {}])
def test_long_without_timestamps_is_refused(options):
    features, _ = _features("whisper", "long", long=True)
    with pytest.raises(ValueError, match="return_timestamps=True"):
        _original("whisper").generate(torch.from_numpy(features), **options)
    with pytest.raises(ValueError, match="return_timestamps=True"):
        _bundle("whisper").generate(features, **options)


def test_several_long_ones_need_a_mask():
    features, _ = _features("whisper", "long", "third", long=True)
    for generate, given in (
        (_original("whisper").generate, torch.from_numpy(features)),
        (_bundle("whisper").generate, features),
    ):
        with pytest.raises(ValueError, match="attention_mask"):
            generate(given, return_timestamps=True)
