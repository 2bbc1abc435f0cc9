"""SpeechT5, VITS and HiFi-GAN against PyTorch: the same noise gives the same audio; smaller precisions, nearly so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from onnxpipe import AutoTokenizer  # noqa: E402
from onnxpipe.models.auto import AutoModelForTextToSpectrogram, AutoModelForTextToWaveform  # noqa: E402
from onnxpipe.models.text_to_audio.vocoder import SpeechT5HifiGan  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.precision import convolution_weights  # noqa: E402
from onnxpipe_export.tokenizers import convert as export_tokenizer  # noqa: E402
from tolerances import MODEL  # noqa: E402
from zoo.audio.speech_synthesis import MELS, speaker  # noqa: E402
from zoo.cache import cached_bundle, cached_model  # noqa: E402

TASK = "text-to-audio"
TEXTS = ("Hello there, kind people of the world", "bookkeeper k", "a")
PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(params=["vits", "vits_speakers"])
def vits(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    """The original, our tokenizer, and ours."""
    folder = cached_bundle(request.param, TASK)
    original = transformers.VitsModel.from_pretrained(cached_model(request.param, TASK)).eval()
    return original, AutoTokenizer.from_pretrained(folder), AutoModelForTextToWaveform.from_pretrained(folder)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("given", [{}, {"speaking_rate": 0.7}, {"noise_scale": 0.0}, {"speaker_id": 1}], ids=str)
def test_vits_says_what_pytorch_says_with_the_same_noise(vits: Any, text: str, given: dict[str, Any]) -> None:
    original, tokenizer, ours = vits
    if "speaker_id" in given and original.config.num_speakers == 1:
        pytest.skip("one voice")
    encoded = tokenizer(text, return_tensors="np")
    generator = np.random.default_rng(1)
    durations = generator.standard_normal((1, 2, encoded["input_ids"].shape[1])).astype(np.float32)
    frames = generator.standard_normal((1, original.config.flow_size, 2000)).astype(np.float32)
    original.noise_scale = given.get("noise_scale", original.config.noise_scale)
    theirs = {name: value for name, value in given.items() if name != "noise_scale"}
    with (
        torch.inference_mode(),
        mock.patch.object(torch, "randn", lambda *shape, **_: torch.from_numpy(durations)),
        mock.patch.object(
            torch, "randn_like", lambda like, **_: torch.from_numpy(frames[..., : like.shape[-1]].copy())
        ),
    ):
        expected = original(**{name: torch.from_numpy(rows) for name, rows in encoded.items()}, **theirs)
    found = ours(**encoded, **given, duration_noise=durations, noise=frames)
    assert found.sequence_lengths.tolist() == expected.sequence_lengths.int().tolist()
    np.testing.assert_allclose(found.waveform, expected.waveform.numpy(), atol=MODEL)


def test_vits_says_each_text_of_a_batch_as_alone(vits: Any) -> None:
    _, tokenizer, ours = vits
    encoded = tokenizer(list(TEXTS), padding=True, return_tensors="np")
    together = ours(**encoded, noise_scale=0.0, noise_scale_duration=0.0)
    for row, text in enumerate(TEXTS):
        alone = ours(**tokenizer(text, return_tensors="np"), noise_scale=0.0, noise_scale_duration=0.0).waveform[0]
        assert together.sequence_lengths[row] == len(alone)
        np.testing.assert_array_equal(together.waveform[row, : len(alone)], alone)
        assert not together.waveform[row, len(alone) :].any()


@pytest.fixture
def speecht5() -> tuple[Any, Any, Any]:
    """The original, our tokenizer, and ours."""
    folder = cached_bundle("speecht5", TASK)
    original = transformers.SpeechT5ForTextToSpeech.from_pretrained(cached_model("speecht5", TASK)).eval()
    return original, AutoTokenizer.from_pretrained(folder), AutoModelForTextToSpectrogram.from_pretrained(folder)


@pytest.mark.parametrize(
    "given", [{}, {"threshold": 0.9}, {"minlenratio": 1.5}, {"maxlenratio": 2.0}], ids=lambda given: str(given)
)
@pytest.mark.parametrize("text", ["Sarah lives in London.", "I have 25 apples for $3.50", "a"])
def test_speecht5_draws_what_pytorch_draws(speecht5: Any, text: str, given: dict[str, float]) -> None:
    original, tokenizer, ours = speecht5
    encoded = tokenizer(text, return_tensors="np")
    ids = torch.from_numpy(encoded["input_ids"])
    with torch.inference_mode(), dropping_as(5):
        expected = original.generate(ids, speaker_embeddings=torch.from_numpy(speaker()), **given).numpy()
    found = ours.generate(**encoded, speaker_embeddings=speaker(), seed=5, **given)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_speecht5_draws_several_texts_and_returns_their_lengths(speecht5: Any) -> None:
    original, tokenizer, ours = speecht5
    encoded = tokenizer(["Sarah lives in London.", "no", "We love this movie"], padding=True, return_tensors="np")
    given = {name: torch.from_numpy(rows) for name, rows in encoded.items()}
    voices = np.concatenate([speaker(number) for number in range(3)])
    with torch.inference_mode(), dropping_as(5):
        expected, lengths = original.generate(
            **given, speaker_embeddings=torch.from_numpy(voices), return_output_lengths=True
        )
    found, ours_lengths = ours.generate(**encoded, speaker_embeddings=voices, return_output_lengths=True, seed=5)
    assert ours_lengths == lengths
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-4)


@contextmanager
def dropping_as(seed: int) -> Iterator[None]:
    """The original drops what ours drops with this seed: two layers a step."""
    from transformers.models.speecht5.modeling_speecht5 import SpeechT5SpeechDecoderPrenet as Prenet

    noise = np.random.Generator(np.random.Philox(seed))
    waiting: list[Any] = []

    def drop(self: Any, states: Any, p: float) -> Any:
        if not waiting:
            waiting.extend(noise.random((1, 2, states.shape[-1])).swapaxes(0, 1) < p)
        return torch.where(torch.from_numpy(waiting.pop(0)), states, 0) / (1 - p)

    with mock.patch.object(Prenet, "_consistent_dropout", drop):
        yield


# -- vocoders and precisions ----------------------------------------------------------------------------------------
def test_the_vocoder_is_the_same_as_in_pytorch() -> None:
    original = transformers.SpeechT5HifiGan.from_pretrained(cached_model("hifigan", "vocoder")).eval()
    ours = SpeechT5HifiGan.from_pretrained(cached_bundle("hifigan", "vocoder"))
    assert ours.config.sampling_rate == ours.sampling_rate == original.config.sampling_rate
    mels = np.random.default_rng(0).standard_normal((3, 17, MELS)).astype(np.float32)
    for given in (mels, mels[0]):
        with torch.inference_mode():
            expected = original(torch.from_numpy(given)).numpy()
        np.testing.assert_allclose(ours(given), expected, atol=MODEL)
        np.testing.assert_array_equal(ours(torch.from_numpy(given)), ours(given))
    for wrong in (mels[0, 0], mels[:, :0], mels[None]):
        with pytest.raises(ValueError, match="spectrogram is"):
            ours(wrong)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_precisions_give_nearly_the_same_audio(precision: str) -> None:
    folder = cached_bundle("vits", TASK, PRECISIONS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(TEXTS[0], return_tensors="np")
    full = AutoModelForTextToWaveform.from_pretrained(folder, dtype="fp32")
    small = AutoModelForTextToWaveform.from_pretrained(folder, dtype=precision)
    durations = [model.encoder.run(_states(model, encoded))["log_duration"] for model in (full, small)]
    np.testing.assert_allclose(durations[1], durations[0], atol=0.3)
    latents = np.random.default_rng(0).standard_normal((1, 16, 50)).astype(np.float32)
    one, other = (model.session.run({"latents": latents})["waveform"].ravel() for model in (full, small))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99


def _states(model: Any, encoded: Any) -> dict[str, np.ndarray]:
    noise = np.zeros((1, 2, encoded["input_ids"].shape[1]), np.float32)
    return {"input_ids": encoded["input_ids"], "duration_noise": noise}


def test_convolutions_keep_float_arithmetic_and_the_first_its_weights() -> None:
    weights = np.random.default_rng(0).standard_normal((3, 8, 8, 24)).astype(np.float32)
    make, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    kinds = ("Conv", "Conv", "ConvTranspose")
    names = ["x", "a", "b", "y"]
    nodes = [make(kind, [names[n], f"w{n}"], [names[n + 1]]) for n, kind in enumerate(kinds)]
    constants = [onnx.numpy_helper.from_array(weight, f"w{n}") for n, weight in enumerate(weights)]
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes, "g", [tensor("x", float32, [1, 8, 90])], [tensor("y", float32, None)], constants
    )
    rewritten = OnnxGraph(onnx.helper.make_model(graph))
    convolution_weights.quantise(rewritten)
    kept = [node for node in rewritten.graph.node if node.op_type in kinds]
    assert [node.input[1].endswith("dequantised") for node in kept] == [False, True, True]
    scales = [node for node in rewritten.graph.node if node.op_type == "DequantizeLinear"]
    assert [node.attribute[0].i for node in scales] == [0, 1]
    for node, weight, axes in zip(scales, weights[1:], ((1, 2), (0, 2)), strict=True):
        values, factors = (rewritten.constant(name) for name in node.input)
        assert values is not None and factors is not None
        found = values * np.expand_dims(factors, axes)
        np.testing.assert_allclose(found, weight, atol=float(factors.max()) / 2 + 1e-6)


# -- tokenizers -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", ["vits", "speecht5"])
def test_tokenizers_are_transformers_own(family: str) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(cached_model(family, TASK))
    ours = AutoTokenizer.from_pretrained(cached_bundle(family, TASK))
    assert type(ours).__name__ == type(theirs).__name__
    texts = [*export_tokenizer.texts_to_compare(), "Bookkeeper", "Kick <unk> <mask> k", "1,000 of $5.20, -3%", "a\nb"]
    for text in texts:
        assert dict(ours(text)) == dict(theirs(text)), text
        ids = theirs(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
    assert dict(ours(texts, padding=True)) == dict(theirs(texts, padding=True))
    assert ours.get_vocab() == theirs.get_vocab()


_SETTINGS: dict[str, dict[str, Any]] = {
    "no blanks": {"add_blank": False},
    "as it is": {"normalize": False},
    "Romanian": {"language": "ron"},
    "padding of its own": {"pad_token": "<pad>"},
}


@pytest.mark.parametrize("name", _SETTINGS)
def test_settings_of_vits_mean_what_they_mean_there(name: str, tmp_path: Any) -> None:
    vocabulary = tmp_path / "letters.json"
    vocabulary.write_text('{"k": 0, "a": 1, "b": 2, " ": 3, "B": 4, "ţ": 5}', encoding="utf-8")
    settings = {"pad_token": "k", "phonemize": False, **_SETTINGS[name]}
    theirs = transformers.VitsTokenizer(str(vocabulary), **settings)
    theirs.save_pretrained(str(tmp_path))
    ours = AutoTokenizer.from_pretrained(tmp_path)
    again = tmp_path / "again"
    ours.save_pretrained(again)
    for text in ("Abba kK", "a<unk>B <pad>k", "țara", "", "kk", " ab "):
        expected = theirs(text)["input_ids"]
        assert ours(text)["input_ids"] == expected
        assert AutoTokenizer.from_pretrained(again)(text)["input_ids"] == expected


def test_numbers_are_spelt_as_transformers_spells_them() -> None:
    from transformers.models.speecht5.number_normalizer import EnglishNumberNormalizer

    from onnxpipe.processing.text.speech.number_words import spell_numbers

    theirs = EnglishNumberNormalizer()
    generator = np.random.default_rng(0)
    for _ in range(3000):
        text = "".join(generator.choice(list("$€£%-.,0123456789 0012 a₫"), generator.integers(1, 14)))
        assert _answer(spell_numbers, text) == _answer(theirs, text), text


def _answer(spell: Callable[[str], str], text: str) -> Any:
    try:
        return spell(text)
    except ValueError:
        return ValueError
