"""Speech encoder-decoders besides Whisper: `generate()` and a call give what transformers gives."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from onnxpipe.models.auto import AutoModelForSpeechSeq2Seq
from zoo.audio.recordings import samples
from zoo.cache import cached_bundle, cached_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TASK = "automatic-speech-recognition"
FAMILIES = ("moonshine", "speech_to_text", "seamless_m4t", "seamless_m4t_v2")
_KINDS = {
    "moonshine": "MoonshineForConditionalGeneration",
    "speech_to_text": "Speech2TextForConditionalGeneration",
    "seamless_m4t": "SeamlessM4TForSpeechToText",
    "seamless_m4t_v2": "SeamlessM4Tv2ForSpeechToText",
}
_TARGETS = {"seamless_m4t": {"tgt_lang": "fra"}, "seamless_m4t_v2": {"tgt_lang": "fra"}}


@cache
def _original(family: str) -> Any:
    return getattr(transformers, _KINDS[family]).from_pretrained(cached_model(family, TASK)).eval()


@cache
def _bundle(family: str) -> Any:
    return AutoModelForSpeechSeq2Seq.from_pretrained(cached_bundle(family, TASK))


@cache
def _inputs(family: str, *recordings: str) -> dict[str, np.ndarray]:
    from onnxpipe_export.cases import audio as audio_cases

    extractor = audio_cases.load_extractor(cached_model(family, TASK))
    name = _bundle(family).main_input_name
    return dict(
        audio_cases.extract_features(
            extractor, [samples(recording) for recording in recordings], (name, "attention_mask")
        )
    )


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}], ids=["greedy", "beams"])
@pytest.mark.parametrize("family", FAMILIES)
def test_generate(family, options):
    inputs = _inputs(family, "speech", "second", "brief")
    options = {**options, "max_new_tokens": 16, **_TARGETS.get(family, {})}
    with torch.inference_mode():
        feeds = {name: torch.from_numpy(value) for name, value in inputs.items()}
        expected = _original(family).generate(**feeds, **options)
    np.testing.assert_array_equal(_bundle(family).generate(**inputs, **options), expected.numpy())


@pytest.mark.parametrize("family", FAMILIES)
def test_call(family):
    inputs, tokens = _inputs(family, "speech", "second"), np.array([[2, 5, 9], [2, 7, 8]])
    with torch.inference_mode():
        feeds = {name: torch.from_numpy(value) for name, value in inputs.items()}
        expected = _original(family)(**feeds, decoder_input_ids=torch.from_numpy(tokens)).logits.numpy()
    found = _bundle(family)(**inputs, decoder_input_ids=tokens)
    np.testing.assert_allclose(found.logits, expected, atol=2e-3)
    assert found.encoder_last_hidden_state.shape[0] == 2


def test_an_unknown_language():
    with pytest.raises(ValueError, match="tgt_lang"):
        _bundle("seamless_m4t").generate(**_inputs("seamless_m4t", "speech"), tgt_lang="xyz")


def test_a_language_for_a_model_that_knows_one():
    with pytest.raises(ValueError, match="tgt_lang"):
        _bundle("speech_to_text").generate(**_inputs("speech_to_text", "speech"), tgt_lang="fra")
