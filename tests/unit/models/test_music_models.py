"""MusicGen and Bark in the runtime, against transformers: codes token by token, and the audio that they decode to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnx")

from onnxpipe import GenerationConfig, pipeline  # noqa: E402
from onnxpipe.errors import BundleError, ModelNotFoundError, UnknownArgumentError, UnsupportedError  # noqa: E402
from onnxpipe.generation.codebooks import (  # noqa: E402
    AlternatingCodebooksLogitsProcessor,
    BarkEosPrioritizerLogitsProcessor,
    delay_pattern,
    undelayed,
)
from onnxpipe.models.auto import AutoModelForTextToWaveform  # noqa: E402
from onnxpipe.models.text_to_audio.bark.model import Bark  # noqa: E402
from onnxpipe.models.text_to_audio.bark.voice import PROMPTS, voice  # noqa: E402
from onnxpipe.models.text_to_audio.musicgen import Musicgen  # noqa: E402
from onnxpipe_export.tracing import quiet  # noqa: E402
from tolerances import MODEL  # noqa: E402
from zoo.audio.music_models import CODES, TASK, VOICE  # noqa: E402
from zoo.foreign import Kind, make_foreign  # noqa: E402

Bundles = Callable[..., Path]
Models = Callable[[str, str], Path]

IDS = np.array([[9, 30, 51, 72, 1, 0, 0], [100, 200, 300, 400, 500, 600, 1]])
TEXTS = {"input_ids": IDS, "attention_mask": (IDS != 0).astype(np.int64)}
_GREEDY = {"do_sample": False}


def tensors(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class Listening:
    """A codec that notes the codes it is given."""

    def __init__(self, codec: Any) -> None:
        self.codec = codec
        self.decoded: list[np.ndarray] = []

    def __call__(self, codes: Any, *args: Any, **kwargs: Any) -> Any:
        self.decoded.append(np.asarray(codes))
        return self.codec(codes, *args, **kwargs)


Pair = tuple[Any, Any]


def _musicgen(family: str, models: Models, bundles: Bundles) -> Pair:
    with quiet():
        original = transformers.MusicgenForConditionalGeneration.from_pretrained(models(family, TASK))
    ours = AutoModelForTextToWaveform.from_pretrained(bundles(family, TASK), device="cpu")
    assert isinstance(ours, Musicgen)
    original.audio_encoder.decode = Listening(original.audio_encoder.decode)
    ours.codec = Listening(ours.codec)  # type: ignore[assignment]
    return original, ours


@pytest.fixture(scope="module")
def mono(models: Models, bundles: Bundles) -> Pair:
    return _musicgen("musicgen", models, bundles)


@pytest.fixture(scope="module")
def stereo(models: Models, bundles: Bundles) -> Pair:
    return _musicgen("musicgen-stereo", models, bundles)


def _same_music(pair: Pair, given: dict[str, Any], **params: Any) -> np.ndarray:
    original, ours = pair
    original.audio_encoder.decode.decoded.clear()
    ours.codec.decoded.clear()
    theirs = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in given.items()
    }
    with torch.inference_mode(), quiet():
        expected = original.generate(**theirs, **params).numpy()
    audio = ours.generate(**given, **params)
    for wanted, found in zip(original.audio_encoder.decode.decoded, ours.codec.decoded, strict=True):
        assert np.array_equal(wanted[0], found)
    assert audio.dtype == np.float32
    assert audio == pytest.approx(expected, abs=1e-4)
    return np.asarray(audio)


@pytest.mark.parametrize(
    "params",
    [
        {"max_new_tokens": 24},
        {"max_new_tokens": 24, "guidance_scale": 1.0},
        {"max_new_tokens": 12, "guidance_scale": 2.5},
        {"max_length": 20},
        {"max_new_tokens": 12, "guidance_scale": 1.0, "repetition_penalty": 1.3},
        {"max_new_tokens": 12, "suppress_tokens": list(range(20)), "guidance_scale": None},
    ],
    ids=str,
)
def test_music_is_transformers_code_by_code(mono: Pair, params: dict[str, Any]) -> None:
    _same_music(mono, TEXTS, **_GREEDY, **params)


@pytest.mark.parametrize("new", [1, 2, 5, 6, 7])
def test_music_as_short_as_its_delays(mono: Pair, new: int) -> None:
    _same_music(mono, TEXTS, **_GREEDY, max_new_tokens=new)


def test_music_is_as_long_as_the_model_says(mono: Pair) -> None:
    audio = _same_music(mono, TEXTS, **_GREEDY)
    assert audio.shape == (2, 1, 57 * 640)


def test_both_channels_of_stereo(stereo: Pair) -> None:
    audio = _same_music(stereo, TEXTS, **_GREEDY, max_new_tokens=20)
    assert audio.shape[1] == 2
    assert np.abs(audio[:, 0] - audio[:, 1]).max() > 0.01


@pytest.mark.parametrize("started", [False, True])
def test_music_that_goes_on_from_codes(stereo: Pair, started: bool) -> None:
    codes = np.random.default_rng(0).integers(0, CODES, (16, 5))
    if started:
        codes[:, 0] = CODES
    _same_music(stereo, {**TEXTS, "decoder_input_ids": codes}, **_GREEDY, max_new_tokens=12)


def test_music_of_no_text(mono: Pair) -> None:
    original, ours = mono
    with torch.inference_mode(), quiet():
        expected = original.generate(**original.get_unconditional_inputs(2), max_new_tokens=12, do_sample=False).numpy()
    assert ours.generate(**ours.get_unconditional_inputs(2), max_new_tokens=12, do_sample=False) == pytest.approx(
        expected, abs=1e-4
    )


def test_a_generation_config_of_the_call(mono: Pair) -> None:
    original, ours = mono
    settings = {"do_sample": False, "max_length": 15, "guidance_scale": 2.0}
    with torch.inference_mode(), quiet():
        theirs = transformers.GenerationConfig(**settings)
        expected = original.generate(**tensors(TEXTS), generation_config=theirs).numpy()
    assert ours.generate(**TEXTS, generation_config=GenerationConfig(**settings)) == pytest.approx(expected, abs=1e-4)


def test_scores_come_with_the_music(mono: Pair) -> None:
    original, ours = mono
    params = {**_GREEDY, "max_new_tokens": 5, "return_dict_in_generate": True, "output_scores": True}
    with torch.inference_mode(), quiet():
        expected = original.generate(**tensors(TEXTS), **params)
    found = ours.generate(**TEXTS, **params)
    assert found.sequences == pytest.approx(expected.sequences.numpy(), abs=1e-4)
    assert len(found.scores) == 5
    for wanted, got in zip(expected.scores, found.scores, strict=True):
        assert got == pytest.approx(wanted.numpy(), abs=1e-4)


def test_sampled_music_depends_on_its_seed_alone(mono: Pair) -> None:
    _, ours = mono
    params = {"max_new_tokens": 10, "temperature": 1.5}
    first = ours.generate(**TEXTS, seed=3, **params)
    assert np.array_equal(first, ours.generate(**TEXTS, seed=3, **params))
    assert not np.array_equal(first, ours.generate(**TEXTS, seed=4, **params))
    assert not np.array_equal(first[0], first[1])
    second = {name: array[1:] for name, array in TEXTS.items()}
    together = ours.generate(**TEXTS, seed=[1, 9], **params)
    assert ours.generate(**second, seed=[9], **params)[0] == pytest.approx(together[1], abs=MODEL)
    assert ours.generate(**second, seed=9, **params)[0] == pytest.approx(together[1], abs=MODEL)


def test_several_pieces_of_a_text(mono: Pair) -> None:
    _, ours = mono
    pieces = ours.generate(**TEXTS, max_new_tokens=9, num_return_sequences=3, seed=1)
    assert pieces.shape == (6, 1, 6 * 640)
    assert len({piece.tobytes() for piece in pieces}) == 6
    # one piece of greedy search is every piece of a sampling that leaves no choice
    pieces = ours.generate(**TEXTS, max_new_tokens=9, num_return_sequences=2, top_k=1, seed=1)
    greedy = ours.generate(**TEXTS, max_new_tokens=9, do_sample=False)
    assert pieces == pytest.approx(np.repeat(greedy, 2, axis=0), abs=MODEL)


def test_a_streamer_receives_every_codebook(mono: Pair) -> None:
    class Notes:
        def __init__(self) -> None:
            self.shapes: list[tuple[int, ...]] = []

        def put(self, value: np.ndarray) -> None:
            self.shapes.append(value.shape)

        def end(self) -> None:
            self.shapes.append(())

    notes = Notes()
    mono[1].generate(**TEXTS, **_GREEDY, max_new_tokens=3, streamer=notes)
    assert notes.shapes == [(8, 1), (8,), (8,), (8,), ()]


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"num_beams": 2}, ValueError, "num_beams=1"),
        ({"max_new_token": 2}, ValueError, "max_new_token"),
        ({"eos_token_id": 3}, UnsupportedError, "no end token"),
        ({"guidance_scale": 0.5}, ValueError, "guidance_scale"),
        ({"attention_mask": np.ones((2, 3))}, ValueError, "attention_mask"),
        ({"input_ids": np.ones(3, np.int64)}, ValueError, "input_ids"),
        ({"decoder_input_ids": np.ones((2, 3), np.int64)}, ValueError, "decoder_input_ids"),
        ({"input_ids": None}, ValueError, "input_ids must be given"),
        ({"output_attentions": True, "return_dict_in_generate": True}, UnsupportedError, "output_attentions"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_musicgen_refuses(mono: Pair, params: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        mono[1].generate(**{**TEXTS, **_GREEDY, "max_new_tokens": 2, **params})


@pytest.mark.parametrize("kind", ["separate", "merged"])
def test_musicgen_folders_as_others_write_them(bundles: Bundles, mono: Pair, tmp_path: Path, kind: Kind) -> None:
    staged = tmp_path / "staged"
    shutil.copytree(bundles("musicgen", TASK), staged)
    (staged / "onnx" / "text_encoder.onnx").rename(staged / "onnx" / "encoder_model.onnx")
    folder = make_foreign(kind, staged, tmp_path / kind)
    (folder / "encoder_model.onnx").rename(folder / "text_encoder.onnx")
    shutil.copyfile(staged / "onnx" / "encodec_decode.onnx", folder / "encodec_decode.onnx")
    (folder / "build_delay_pattern_mask.onnx").write_bytes(b"never read")
    foreign = AutoModelForTextToWaveform.from_pretrained(folder, device="cpu")
    for params in ({"max_new_tokens": 9}, {"max_new_tokens": 9, "guidance_scale": 1.0}):
        expected = mono[1].generate(**TEXTS, **_GREEDY, **params)
        assert foreign.generate(**TEXTS, **_GREEDY, **params) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 2])
def test_delays_are_transformers(mono: Pair, stereo: Pair, channels: int) -> None:
    decoder = (mono, stereo)[channels - 1][0].decoder
    books = 4 * channels
    for prompt in (0, 1, 5):
        codes = np.random.default_rng(prompt).integers(0, CODES, (2, books, 1 + prompt))
        codes[:, :, 0] = CODES
        for length in (7, 8, 12, 30)[prompt // 2 :]:  # with room for the prompt
            flat = torch.from_numpy(codes.reshape(-1, codes.shape[2]))
            _, expected = decoder.build_delay_pattern_mask(flat, CODES, length)
            pattern = delay_pattern(codes, length, channels, CODES)
            assert np.array_equal(pattern.reshape(-1, length), expected.numpy())
            filled = np.where(pattern < 0, np.random.default_rng(1).integers(0, CODES, pattern.shape), pattern)
            assert np.array_equal(undelayed(filled, length, channels), filled[filled != CODES].reshape(2, books, -1))


def test_music_that_was_stopped_early_has_whole_frames(mono: Pair) -> None:
    stop = [lambda ids, scores, **others: ids.shape[1] >= 12]
    whole = mono[1].generate(**TEXTS, **_GREEDY, max_new_tokens=30)
    short = mono[1].generate(**TEXTS, **_GREEDY, max_new_tokens=30, stopping_criteria=stop)
    assert short.shape == (2, 1, 8 * 640)
    assert mono[1].codec.decoded[-1] == pytest.approx(mono[1].codec.decoded[-2][:, :, :8])
    assert whole.shape == (2, 1, 27 * 640)


# -- Bark -------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def bark(models: Models, bundles: Bundles) -> Iterator[Pair]:
    with quiet():
        original = transformers.BarkModel.from_pretrained(models("bark", TASK))
    ours = AutoModelForTextToWaveform.from_pretrained(bundles("bark", TASK), device="cpu")
    assert isinstance(ours, Bark)
    original.codec_decode = Listening(original.codec_decode)
    ours.codec = Listening(ours.codec)  # type: ignore[assignment]
    yield original, ours


WORDS = np.random.default_rng(2).integers(9, 1000, (2, 256))
LENGTHS = np.array([[7], [40]])
SAID = {"input_ids": WORDS, "attention_mask": (np.arange(256) < LENGTHS).astype(np.int64)}


def _preset(models: Models) -> dict[str, np.ndarray]:
    folder = models("bark", TASK) / "speaker_embeddings"
    return {name: np.load(folder / f"{VOICE}_{name}.npy") for name in PROMPTS}


def _same_speech(pair: Pair, prompt: dict[str, np.ndarray] | None, **params: Any) -> np.ndarray:
    original, ours = pair
    original.codec_decode.decoded.clear()
    ours.codec.decoded.clear()
    theirs = None if prompt is None else tensors(prompt)
    with torch.inference_mode(), quiet():
        expected = original.generate(**tensors(SAID), history_prompt=theirs, **params)
    found = ours.generate(**SAID, history_prompt=prompt, **params)
    if params.get("return_output_lengths"):
        assert found[1] == expected[1]
        expected, found = expected[0], found[0]
        for row, codes in enumerate(ours.codec.decoded):
            assert np.array_equal(codes[0], original.codec_decode.decoded[0][row][:, : codes.shape[2]])
    else:
        assert np.array_equal(ours.codec.decoded[0], original.codec_decode.decoded[0])
    assert found == pytest.approx(expected.numpy(), abs=1e-4)
    return np.asarray(found)


@pytest.mark.parametrize("voiced", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"semantic_max_new_tokens": 9},
        {"semantic_max_new_tokens": 50},
        {"min_eos_p": 0.02, "return_output_lengths": True},
        {"semantic_repetition_penalty": 1.5, "coarse_repetition_penalty": 1.2},
        {"semantic_num_beams": 2},
    ],
    ids=str,
)
def test_speech_is_transformers_code_by_code(bark: Pair, models: Models, voiced: bool, params: dict[str, Any]) -> None:
    audio = _same_speech(bark, _preset(models) if voiced else None, **_GREEDY, **params)
    assert audio.ndim == 2


def test_sampled_speech_depends_on_its_seed_alone(bark: Pair) -> None:
    _, ours = bark
    params = {"semantic_max_new_tokens": 12, "fine_temperature": 0.5, "return_output_lengths": True}
    first, lengths = ours.generate(**SAID, seed=5, **params)
    again, _ = ours.generate(**SAID, seed=5, **params)
    other, _ = ours.generate(**SAID, seed=6, **params)
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    second = {name: array[1:] for name, array in SAID.items()}
    alone, length = ours.generate(**second, seed=[8], **params)
    together, lengths = ours.generate(**SAID, seed=[2, 8], **params)
    assert length == lengths[1:]
    if lengths[0] == lengths[1]:  # the fine stage reads what comes after a row's end
        assert alone[0] == pytest.approx(together[1], abs=MODEL)


def test_a_voice_by_its_name_and_from_a_file(bark: Pair, models: Models, tmp_path: Path) -> None:
    _, ours = bark
    preset = _preset(models)
    np.savez(tmp_path / "mine.npz", **preset)
    params = {**_GREEDY, "semantic_max_new_tokens": 6}
    expected = ours.generate(**SAID, history_prompt=preset, **params)
    assert ours.available_voice_presets == [VOICE]
    for name in (VOICE, str(tmp_path / "mine.npz"), str(tmp_path / "mine"), tensors(preset)):
        assert np.array_equal(ours.generate(**SAID, history_prompt=name, **params), expected)
    assert not np.array_equal(ours.generate(**SAID, **params), expected)


def test_voices_that_are_none(tmp_path: Path, models: Models) -> None:
    preset = _preset(models)
    with pytest.raises(ModelNotFoundError, match="no voice 'nobody'"):
        voice("nobody", tmp_path)
    with pytest.raises(ValueError, match="missing fine_prompt"):
        voice({name: preset[name] for name in ("semantic_prompt", "coarse_prompt")}, tmp_path)
    with pytest.raises(ValueError, match="coarse_prompt voice preset must be a 2D ndarray"):
        voice({**preset, "coarse_prompt": preset["semantic_prompt"]}, tmp_path)
    with pytest.raises(ValueError, match="integers"):
        voice({**preset, "semantic_prompt": preset["semantic_prompt"] / 2}, tmp_path)
    np.savez(tmp_path / "pickled.npz", **{**preset, "semantic_prompt": np.array([{}, []], object)})
    with pytest.raises(BundleError, match="pickled"):
        voice(str(tmp_path / "pickled.npz"), tmp_path)
    np.savez_compressed(tmp_path / "huge.npz", **{**preset, "semantic_prompt": np.zeros(3 << 20, np.int64)})
    with pytest.raises(BundleError, match="unpacks to more"):
        voice(str(tmp_path / "huge.npz"), tmp_path)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(BundleError, match="is not a voice"):
        voice(str(tmp_path / "text.npz"), tmp_path)
    paths = '{"out": {"semantic_prompt": "../x.npy", "coarse_prompt": "../x.npy", "fine_prompt": "../x.npy"}}'
    (tmp_path / "speaker_embeddings_path.json").write_text(paths)
    with pytest.raises(BundleError, match="points out of the folder"):
        voice("out", tmp_path)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"max_new_tokens": 4}, "semantic_max_new_tokens"),
        ({"semantic_temprature": 0.3}, "semantic_temperature"),
        ({"fine_top_k": 3}, "top_k"),
        ({"coarse_min_eos_p": 0.3}, "coarse_"),
    ],
    ids=str,
)
def test_parameters_that_no_stage_has(bark: Pair, params: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownArgumentError, match=words):
        bark[1].generate(**SAID, **params)


@pytest.mark.parametrize(("least", "words"), [(1e-9, "ended before it had said anything"), (0.0, "min_eos_p")])
def test_speech_that_ends_before_it_begins(bark: Pair, least: float, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        bark[1].generate(**SAID, **_GREEDY, min_eos_p=least)


def test_short_rows_are_padded_and_long_ones_cut(bark: Pair) -> None:
    _, ours = bark
    params = {**_GREEDY, "semantic_max_new_tokens": 5}
    whole = ours.generate(**SAID, **params)
    short = {name: array[:, :40] for name, array in SAID.items()}
    assert np.array_equal(ours.generate(**short, **params), whole)
    longer = {name: np.concatenate([array, array[:, :9]], axis=1) for name, array in SAID.items()}
    assert np.array_equal(ours.generate(**longer, **params), whole)
    with pytest.raises(ValueError, match="attention_mask"):
        ours.generate(input_ids=WORDS, attention_mask=np.ones((2, 3)))


def test_turns_of_codebooks_and_ends_are_transformers() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 30)).astype(np.float32)
    scores[1, 7] = 9.0
    for length in (4, 5, 6):
        ids = np.ones((3, length), np.int64)
        theirs = transformers.generation.logits_process.AlternatingCodebooksLogitsProcessor(4, 10, 8)
        expected = theirs(torch.from_numpy(ids), torch.from_numpy(scores)).numpy()
        assert np.array_equal(AlternatingCodebooksLogitsProcessor(4, 10, 8)(ids, scores), expected)
    for least in (None, 0.2, 0.99):
        ends = transformers.generation.logits_process.BarkEosPrioritizerLogitsProcessor(7, least)
        expected = ends(torch.from_numpy(ids), torch.from_numpy(scores)).numpy()
        assert np.array_equal(BarkEosPrioritizerLogitsProcessor(7, least)(ids, scores), expected)
    with pytest.raises(ValueError, match="min_eos_p"):
        BarkEosPrioritizerLogitsProcessor(7, -1.0)


@pytest.mark.parametrize("family", ["musicgen", "musicgen-stereo", "bark"])
def test_the_pipeline_says_what_transformers_does(family: str, models: Models, bundles: Bundles) -> None:
    params = {**_GREEDY, **({"semantic_max_new_tokens": 9} if family == "bark" else {"max_new_tokens": 9})}
    voiced = {"preprocess_params": {"voice_preset": VOICE}} if family == "bark" else {}
    with quiet():
        theirs = transformers.pipeline(TASK, model=str(models(family, TASK)))
        expected = theirs("Hello, old friend", generate_kwargs=params, **voiced)
    ours = pipeline(TASK, model=bundles(family, TASK), device="cpu")
    found = ours("Hello, old friend", generate_kwargs=params, **voiced)
    assert found["sampling_rate"] == expected["sampling_rate"]
    assert found["audio"] == pytest.approx(expected["audio"], abs=1e-4)
    kept = ours("Hello, old friend", generate_kwargs=params, squeeze=False, **voiced)["audio"]
    assert kept.shape == ((1, len(found["audio"])) if family == "bark" else (1, *np.atleast_2d(found["audio"]).shape))
