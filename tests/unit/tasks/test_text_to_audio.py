"""The task text-to-audio and models that need no PyTorch to be tried: parameters, seeds, voices, foreign folders."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnxpipe  # noqa: E402
from onnxpipe import pipeline  # noqa: E402
from onnxpipe.bundle import Config  # noqa: E402
from onnxpipe.bundle.layout import side_files  # noqa: E402
from onnxpipe.errors import BundleError, MissingDependencyError, UnknownArgumentError, UnsupportedError  # noqa: E402
from onnxpipe.models.text_to_audio.speecht5_graphs import ForeignLoop, ended  # noqa: E402
from onnxpipe.models.text_to_audio.vocoder import SpeechT5HifiGan  # noqa: E402
from onnxpipe.processing.text.speech import phonemes as phoneme_tokenizer  # noqa: E402
from tolerances import ELEMENT  # noqa: E402
from zoo.audio import speech_synthesis  # noqa: E402
from zoo.audio.speech_synthesis import MELS, speaker  # noqa: E402
from zoo.cache import cached_bundle  # noqa: E402

TASK = "text-to-audio"
TEXT = "hello there"


@pytest.fixture(scope="module")
def vits() -> Any:
    return pipeline(TASK, model=str(cached_bundle("vits", TASK)))


@pytest.fixture(scope="module")
def vocoder() -> SpeechT5HifiGan:
    return SpeechT5HifiGan.from_pretrained(cached_bundle("hifigan", "vocoder"))


@pytest.fixture(scope="module")
def speecht5(vocoder: SpeechT5HifiGan) -> Any:
    return pipeline("text-to-speech", model=str(cached_bundle("speecht5", TASK)), vocoder=vocoder)


# -- the task -------------------------------------------------------------------------------------------------------
def test_an_answer_is_audio_and_its_rate(vits: Any, speecht5: Any) -> None:
    for pipe, params in ((vits, {}), (speecht5, {"speaker_embeddings": speaker()})):
        answer = pipe(TEXT, forward_params=params)
        assert answer.keys() == {"audio", "sampling_rate"}
        assert answer["audio"].dtype == np.float32 and answer["audio"].ndim == 1 and answer["audio"].std() > 0.01
        assert answer["sampling_rate"] == pipe.sampling_rate == 16000


def test_the_shape_is_that_of_either_version(vits: Any) -> None:
    assert vits(TEXT, seed=1, squeeze=False)["audio"].shape == (1, *vits(TEXT, seed=1)["audio"].shape)


def test_a_seed_repeats_and_a_text_sounds_the_same_in_any_batch(vits: Any) -> None:
    texts = [TEXT, "bookkeeper", "a"]
    alone = vits(TEXT, seed=3)["audio"]
    for batch_size in (None, 1, 3):
        answers = vits(texts, seed=3, batch_size=batch_size)
        np.testing.assert_array_equal(answers[0]["audio"], alone)
    streamed = list(vits((text for text in texts), seed=3))
    for answer, other in zip(answers, streamed, strict=True):
        np.testing.assert_array_equal(answer["audio"], other["audio"])
    assert not np.array_equal(vits(TEXT, seed=4)["audio"], alone)
    onnxpipe.set_seed(5)
    first = vits(TEXT)["audio"]
    onnxpipe.set_seed(5)
    np.testing.assert_array_equal(vits(TEXT)["audio"], first)


def test_parameters_of_the_constructor_hold_for_calls() -> None:
    folder = str(cached_bundle("vits", TASK))
    steady = pipeline(TASK, model=folder, forward_params={"noise_scale": 0.0, "noise_scale_duration": 0.0})
    np.testing.assert_array_equal(steady(TEXT, seed=1)["audio"], steady(TEXT, seed=2)["audio"])
    assert pipeline(TASK, model=folder, sampling_rate=22050)(TEXT)["sampling_rate"] == 22050
    slow = steady(TEXT, forward_params={"noise_scale": 0.0, "noise_scale_duration": 0.0, "speaking_rate": 0.25})
    assert len(slow["audio"]) > 2 * len(steady(TEXT)["audio"])


def test_attributes_of_the_model_are_its_defaults() -> None:
    pipe = pipeline(TASK, model=str(cached_bundle("vits", TASK)))
    pipe.model.noise_scale = pipe.model.noise_scale_duration = 0.0
    np.testing.assert_array_equal(pipe(TEXT, seed=1)["audio"], pipe(TEXT, seed=2)["audio"])
    before = len(pipe(TEXT)["audio"])
    pipe.model.speaking_rate = 0.25
    assert len(pipe(TEXT)["audio"]) > 2 * before


def test_what_is_not_known_raises_and_names_the_nearest(vits: Any, speecht5: Any) -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean 'forward_params'"):
        vits(TEXT, forward_param={})
    with pytest.raises(UnknownArgumentError, match="did you mean 'speaking_rate'"):
        vits(TEXT, forward_params={"speaking_rates": 2.0})
    with pytest.raises(UnknownArgumentError, match="did you mean 'threshold'"):
        speecht5(TEXT, generate_kwargs={"treshold": 2.0})
    with pytest.raises(ValueError, match="forward-only model"):
        vits(TEXT, generate_kwargs={"max_new_tokens": 3})
    with pytest.raises(UnsupportedError, match=r"forward_params=\[1\]: pass a dict"):
        vits(TEXT, forward_params=[1])
    for wrong in (3, [{"role": "user", "content": TEXT}]):
        with pytest.raises(ValueError, match="is a str"):
            vits(wrong)
    with pytest.raises(ValueError, match="nothing to say"):
        vits("???")


def test_a_speaker_is_needed_of_the_right_size(speecht5: Any) -> None:
    import torch

    with pytest.raises(ValueError, match="`speaker_embeddings` must be specified"):
        speecht5(TEXT)
    for wrong in (np.zeros((1, 512)), speaker()[0], np.zeros((2, 24))):
        with pytest.raises(ValueError, match="speaker_embeddings"):
            speecht5(TEXT, forward_params={"speaker_embeddings": wrong})
    answers = [speecht5(TEXT, forward_params={"speaker_embeddings": voice}, seed=1)["audio"]
               for voice in (speaker(), torch.from_numpy(speaker()), speaker(1))]  # fmt: skip
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_generate_kwargs_go_before_forward_params(speecht5: Any) -> None:
    given = {"speaker_embeddings": speaker(), "maxlenratio": 5.0, "threshold": 9.0}
    short = speecht5("I live in London", forward_params=given, generate_kwargs={"maxlenratio": 1.0})
    assert 0 < len(short["audio"]) < len(speecht5("I live in London", forward_params=given)["audio"])


def test_vocoders_of_every_form(speecht5: Any, vocoder: SpeechT5HifiGan) -> None:
    folder = str(cached_bundle("speecht5", TASK))
    voice = {"speaker_embeddings": speaker()}
    expected = speecht5(TEXT, forward_params=voice, seed=1)["audio"]
    named = pipeline(TASK, model=folder, vocoder=str(cached_bundle("hifigan", "vocoder")))
    np.testing.assert_array_equal(named(TEXT, forward_params=voice, seed=1)["audio"], expected)

    class Flat:
        config = Config({"sampling_rate": 8000})

        def __call__(self, spectrogram: Any) -> Any:
            assert spectrogram.shape[1] == MELS
            return spectrogram.sum(axis=1)

    other = pipeline(TASK, model=folder, vocoder=Flat())(TEXT, forward_params=voice)
    assert other["sampling_rate"] == 8000
    with pytest.raises(UnsupportedError, match="returns audio, not a spectrogram"):
        pipeline(TASK, model=str(cached_bundle("vits", TASK)), vocoder=vocoder)
    with pytest.raises(UnsupportedError, match="is not a vocoder"):
        SpeechT5HifiGan(vocoder.bundle, speecht5.model.session, "fp32", "speecht5")


def test_a_speaker_number_is_one_that_there_is() -> None:
    pipe = pipeline(TASK, model=str(cached_bundle("vits_speakers", TASK)))
    recordings = [pipe(TEXT, forward_params={"speaker_id": n} if n is not None else {}, seed=1)["audio"]
              for n in (None, 0, 1)]  # fmt: skip
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(recordings))
    with pytest.raises(ValueError, match="range 0-2"):
        pipe(TEXT, forward_params={"speaker_id": 3})


# -- folders of others ----------------------------------------------------------------------------------------------
def test_a_vits_of_one_graph_speaks_and_takes_no_parameters(tmp_path: Path) -> None:
    source = cached_bundle("vits", TASK)
    for name in ("config.json", "vocab.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    _one_graph(tmp_path / "onnx" / "model.onnx")
    pipe = pipeline(TASK, model=str(tmp_path))
    expected = pipe.tokenizer(TEXT)["input_ids"]
    np.testing.assert_array_equal(pipe(TEXT)["audio"], expected)
    for params in ({"noise_scale": 0.0}, {"speaking_rate": 2.0}):
        with pytest.raises(UnsupportedError, match="export the model"):
            pipe(TEXT, forward_params=params)


def _one_graph(path: Path) -> None:
    """input_ids, attention_mask to a waveform that is the ids."""
    make, helper = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    integers, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    nodes = [make("Mul", ["input_ids", "attention_mask"], ["seen"]), make("Cast", ["seen"], ["waveform"], to=floats)]
    inputs = [helper(name, integers, ["batch", "length"]) for name in ("input_ids", "attention_mask")]
    graph = onnx.helper.make_graph(nodes, "vits", inputs, [helper("waveform", floats, ["batch", "samples"])])
    path.parent.mkdir()
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))


class _Graph:
    """Stand in for a session: record the feeds, and give answers that differ by them."""

    def __init__(self, inputs: list[str], answer: Any) -> None:
        self.inputs = dict.fromkeys(inputs)
        self.answer = answer
        self.fed: list[dict[str, Any]] = []

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        assert feeds.keys() == self.inputs.keys()
        self.fed.append(feeds)
        answer: dict[str, Any] = self.answer(len(self.fed), feeds)
        return answer


_PAST = [f"past_key_values.0.{side}.{kind}" for side in ("decoder", "encoder") for kind in ("key", "value")]
_SPOKEN = ["speaker_embeddings", "encoder_hidden_states", "encoder_attention_mask", "output_sequence"]


@pytest.mark.parametrize("merged", [True, False])
def test_speecht5_graphs_of_optimum_keep_the_keys_of_the_first_step(merged: bool) -> None:
    config = Config({"decoder_attention_heads": 2, "hidden_size": 8, "num_mel_bins": 3, "reduction_factor": 2})
    encoder = _Graph(["input_ids"], lambda n, feeds: {
        "encoder_outputs": np.ones((1, 5, 8), np.float32), "encoder_attention_mask": np.ones((1, 5), np.int64)
    })  # fmt: skip

    def step(n: int, feeds: dict[str, Any]) -> dict[str, Any]:
        longer = np.zeros((1, feeds["output_sequence"].shape[1] + 1, 3), np.float32)
        frames = 5 if longer.shape[1] == 2 else 0  # with its cache the graph makes no keys of the text
        present = {name.replace("past_key_values", "present"): np.zeros((1, 2, frames if "enc" in name else n, 4))
                   for name in _PAST}  # fmt: skip
        spectrum = np.full((2, 3), longer.shape[1] - 1.0, np.float32)
        return {"spectrum": spectrum, "prob": np.array([0.1, 0.1]), "output_sequence_out": longer, **present}

    whole = _Graph([*_SPOKEN, *_PAST, "use_cache_branch"], step)
    first, later = (whole, whole) if merged else (_Graph(_SPOKEN, step), _Graph([*_SPOKEN, *_PAST], step))
    vocoder = _Graph(["spectrogram"], lambda n, feeds: {"waveform": feeds["spectrogram"].sum(axis=1)})
    loop = ForeignLoop(config, encoder, first, later, vocoder)  # type: ignore[arg-type]
    assert not loop.gives_spectrogram
    recording = loop.synthesize(np.arange(5), np.zeros((1, 4), np.float32), 0.5, (0, 4), 0)
    assert recording.tolist() == [3.0, 3.0, 6.0, 6.0, 9.0, 9.0, 12.0, 12.0]
    for number, feeds in enumerate(later.fed[1:] if merged else later.fed, 1):
        assert feeds["output_sequence"].shape[1] == number + 1
        assert feeds["past_key_values.0.encoder.key"].shape[2] == 5
    if merged:
        assert [bool(feeds["use_cache_branch"][0]) for feeds in whole.fed] == [False, True, True, True]


def test_a_text_ends_as_in_transformers() -> None:
    likely, unlikely = np.array([0.3, 0.3], np.float32), np.array([0.2, 0.2], np.float32)
    assert ended(1, likely, 0.5, (0, 9)) and not ended(1, unlikely, 0.5, (0, 9))
    assert not ended(3, likely, 0.5, (4, 9)) and ended(4, likely, 0.5, (4, 9))
    assert ended(9, unlikely, 0.5, (0, 9)) and not ended(9, unlikely, 0.5, (10, 9))


# -- Kokoro ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def kokoro_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kokoro")
    speech_synthesis.kokoro(folder)
    return folder


@pytest.fixture
def kokoro(kokoro_folder: Path) -> Any:
    return pipeline("text-to-speech", model=str(kokoro_folder))


_READ = {"is_phonemes": True}


def test_the_style_of_a_voice_is_that_of_the_number_of_phonemes(kokoro: Any) -> None:
    said = "həlˈoʊ"
    answer = kokoro(said, preprocess_params=_READ, forward_params={"voice": "bm_george", "speed": 2.0})
    ids = kokoro.tokenizer(said)["input_ids"]
    assert ids[0] == ids[-1] == 0 and len(ids) == len(said) + 2 and answer["sampling_rate"] == 24000
    style = 1000.0 + 8 * len(said)  # the first number of that row in the zoo's file
    expected = np.outer(ids, [style, style + 1, 2.0]).ravel() / 100
    np.testing.assert_allclose(answer["audio"], expected, rtol=ELEMENT)
    mine = np.fromfile(kokoro.model.bundle.folder / "voices" / "bm_george.bin", "<f4").reshape(-1, 1, 8)
    for voice in (mine, mine[len(said), 0]):
        again = kokoro(said, preprocess_params=_READ, forward_params={"voice": voice, "speed": 2.0})
        np.testing.assert_array_equal(again["audio"], answer["audio"])


def test_a_voice_that_is_not_there_a_long_text_and_an_empty_one(kokoro: Any) -> None:
    assert kokoro.model.voices == ("af_heart", "bm_george")
    for text, params, error, message in (
        ("a", {"voice": "af_hart"}, UnsupportedError, "did you mean 'af_heart'"),
        ("a", {"voice": "../config"}, UnsupportedError, "no such voice"),
        ("a", {"voice": np.zeros((3, 1, 7))}, ValueError, "voice must be"),
        ("a", {"voices": "x"}, UnknownArgumentError, "did you mean 'voice'"),
        ("a", {"speed": 0.0}, ValueError, "above 0"),
        ("a" * 31, {}, ValueError, "at most 30"),
        ("日", {}, ValueError, "nothing to say"),
    ):
        with pytest.raises(error, match=message):
            kokoro(text, preprocess_params=_READ, forward_params=params)


def test_texts_become_phonemes_in_the_language_of_the_voice(kokoro: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def phonemes(text: str, language: str) -> str:
        calls.append((text, language))
        return "rˈɛd z."

    monkeypatch.setattr(phoneme_tokenizer, "phonemes", phonemes)
    answer = kokoro("it’s red", forward_params={"voice": "bm_george"})["audio"]
    expected = kokoro("ɹˈɛdz.", preprocess_params=_READ, forward_params={"voice": "bm_george"})["audio"]
    np.testing.assert_array_equal(answer, expected)
    kokoro("red")
    kokoro("red", preprocess_params={"language": "de"})
    assert calls == [("it's red", "en-gb"), ("red", "en-us"), ("red", "de")]
    with pytest.raises(UnsupportedError, match="is_phonemes"):
        phoneme_tokenizer.language_of("jf_alpha")


def test_without_the_extra_the_line_to_install_is_shown(kokoro: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxpipe.processing.text.speech import phonemizer as phonemes

    phonemes._phonemizer.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "onnxpipe\[phonemes\]".*is_phonemes'):
        kokoro("red")


@pytest.fixture
def as_shipped(kokoro_folder: Path, tmp_path: Path) -> Path:
    """The same as kokoro-onnx ships it: no config and no tokenizer, all voices in one file, an older input's name."""
    import onnx

    graph = onnx.load(kokoro_folder / "onnx" / "model.onnx")
    graph.graph.input[0].name = "tokens"
    for node in graph.graph.node:
        node.input[:] = ["tokens" if name == "input_ids" else name for name in node.input]
    onnx.save(graph, tmp_path / "kokoro-v1.0.int8.onnx")
    voices = {path.stem: np.fromfile(path, "<f4").reshape(-1, 1, 8) for path in (kokoro_folder / "voices").iterdir()}
    with (tmp_path / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, **voices)
    return tmp_path


def test_kokoro_as_its_package_ships_it(as_shipped: Path, kokoro: Any) -> None:
    pipe = pipeline("text-to-speech", model=str(as_shipped), dtype="int8")
    assert pipe.model.voices == ("af_heart", "bm_george")
    said = "həlˈoʊ ɡ"
    ids = pipe.tokenizer(said)["input_ids"]
    assert ids == [0, 50, 83, 54, 156, 57, 135, 16, 92, 0]
    answer = pipe(said, preprocess_params=_READ, forward_params={"voice": "bm_george"})
    style = 1000.0 + 8 * len(said)
    np.testing.assert_allclose(answer["audio"], np.outer(ids, [style, style + 1, 1.0]).ravel() / 100, rtol=ELEMENT)
    assert onnxpipe.factory.tasks_of(as_shipped) == ("text-to-audio",)
    with pytest.raises(UnknownArgumentError, match=r"belongs into preprocess_params, .*\{'is_phonemes': True\}"):
        pipe(said, forward_params=_READ)
    for content in (b"x", b""):
        (as_shipped / "voices-v1.0.bin").write_bytes(content)
        with pytest.raises(BundleError, match="not an archive of voices"):
            pipeline("text-to-speech", model=str(as_shipped))


def test_damaged_voices_are_refused(tmp_path: Path) -> None:
    speech_synthesis.kokoro(tmp_path)
    (tmp_path / "voices" / "af_heart.bin").write_bytes(b"123")
    with pytest.raises(BundleError, match="not whole rows of 8 float32"):
        pipeline(TASK, model=str(tmp_path))("a", preprocess_params=_READ)
    for voice in (tmp_path / "voices").iterdir():
        voice.unlink()
    with pytest.raises(BundleError, match="has no voice"):
        pipeline(TASK, model=str(tmp_path))


def test_voices_are_fetched_with_the_model() -> None:
    names = ["config.json", "tokenizer.json", "voices/af_heart.bin", "voices/deep/x.bin", "samples/a.wav"]
    assert "voices/af_heart.bin" in side_files(names, "model")
    assert "voices/af_heart.bin" not in side_files(names, "tokenizer")
    assert {"voices/deep/x.bin", "samples/a.wav"}.isdisjoint(side_files(names, "model"))


def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "VitsTokenizer"}')
    for content in ("[1]", '{"a": -1}', '{"a": "b"}'):
        (tmp_path / "vocab.json").write_text(content)
        with pytest.raises(BundleError):
            onnxpipe.AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 1}}}))
    assert onnxpipe.AutoTokenizer.from_pretrained(tmp_path, phonemize=False)("b")["input_ids"] == [0, 1, 0]
