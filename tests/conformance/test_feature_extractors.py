"""Feature extractors next to transformers' own: within 1e-4, over silence, noise, one sample, odd rates, stereo, and
batches with every way of padding and cutting.

A steady tone is among the recordings because some families divide by the deviation of a band, which of a tone is mere
rounding: there the order of operations and their precision have to be transformers' too.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from transformers import audio_utils

from onnxpipe.processing.audio.io.load import load_audio, open_audio
from onnxpipe.processing.audio.long_features import LongFeatures
from onnxpipe.processing.audio.mctct import MCTCTFeatureExtractor
from onnxpipe.processing.audio.whisper import WhisperFeatureExtractor
from onnxpipe.processing.auto import AutoFeatureExtractor, AutoProcessor
from onnxpipe.processing.registry import FEATURE_EXTRACTORS as CLASSES
from tolerances import SUM
from zoo.audio.recordings import encoded

CLOSE = 1e-4
#: Those that transformers 5 has not.
NOT_THERE = {"MCTCTFeatureExtractor"}
THERE = sorted(CLASSES.keys() - NOT_THERE)
#: torch's transform in single precision is noise where there is next to nothing, and so is silence by its deviation.
NOISE = {("ParakeetFeatureExtractor", "silence"): 1.0, ("ParakeetFeatureExtractor", "quiet"): 5e-3}
#: The name of the first argument.
ARGUMENTS = {"SpeechT5FeatureExtractor": "audio", "EncodecFeatureExtractor": "raw_audio",
             "DacFeatureExtractor": "raw_audio"}  # fmt: skip
NUMBERS = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def noise(seconds: float, rate: int = 16_000, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(int(seconds * 100)).standard_normal(int(seconds * rate)) * level).astype(np.float32)


def recordings(rate: int) -> dict[str, Any]:
    time = np.arange(int(1.3 * rate)) / rate
    return {
        "silence": np.zeros(rate, np.float32),
        "noise": noise(1.7, rate),
        "tone": (0.7 * np.sin(2 * np.pi * 440 * time)).astype(np.float32),
        "one sample": np.array([0.5], np.float32),
        "few samples": np.linspace(-1, 1, 700).astype(np.float32),
        "quiet": noise(0.9, rate, 1e-4),
        "doubles": NUMBERS.standard_normal(rate) * 0.3,
        "a list": [float(value) for value in noise(0.2, rate)],
        "longer than ten seconds": noise(10.9, rate),
    }


def answer(extractor: Any, source: Any, **options: Any) -> dict[str, np.ndarray] | str:
    """The arrays; "error" where it refuses."""
    options = {"sampling_rate": extractor.sampling_rate, "return_tensors": "np", **options}
    argument = ARGUMENTS.get(type(extractor).__name__, "raw_speech")
    np.random.seed(7)  # what CLAP draws from
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return {name: np.asarray(found) for name, found in extractor(**{argument: source}, **options).items()}
        except Exception as error:
            if isinstance(error, (AttributeError, NameError)):
                raise
            return "error"


def assert_same(ours: dict[str, np.ndarray] | str, theirs: dict[str, np.ndarray] | str, close: float = CLOSE) -> None:
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        found = ours[name]
        assert (found.shape, found.dtype) == (array.shape, array.dtype), name
        np.testing.assert_allclose(found.astype(float), array.astype(float), rtol=0, atol=close, err_msg=name)


def pair(name: str, **settings: Any) -> tuple[Any, Any]:
    return CLASSES[name](**settings), getattr(transformers, name)(**settings)


@pytest.mark.parametrize("name", THERE)
@pytest.mark.parametrize("kind", recordings(100))
def test_recordings(name: str, kind: str) -> None:
    ours, theirs = pair(name)
    source = recordings(ours.sampling_rate)[kind]
    if name == "ParakeetFeatureExtractor" and kind in ("one sample", "a list"):
        pytest.skip("transformers fails on lists, and gives not-a-numbers for one sample")
    found, wanted = answer(ours, source), answer(theirs, source)
    if name == "Speech2TextFeatureExtractor" and isinstance(wanted, dict):  # of silence: divided by 0 there
        wanted = {each: np.where(np.isfinite(array), array, 0).astype(array.dtype) for each, array in wanted.items()}
    assert_same(found, wanted, close=NOISE.get((name, kind), CLOSE))


#: Ways of padding and cutting, for batches of recordings of different lengths.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "longest": {"padding": True},
    "named longest": {"padding": "longest", "return_attention_mask": True},
    "to a length": {"padding": "max_length", "max_length": 30_000},
    "cut": {"padding": "max_length", "max_length": 12_000, "truncation": True, "return_attention_mask": True},
    "cut, not padded": {"padding": True, "max_length": 12_000, "truncation": True},
    "multiple": {"padding": True, "pad_to_multiple_of": 1000, "return_attention_mask": True},
    "cut to a multiple": {"padding": True, "max_length": 12_001, "truncation": True, "pad_to_multiple_of": 512},
    "no mask": {"padding": True, "return_attention_mask": False},
    "no length": {"padding": "max_length"},
    "cut at no length": {"truncation": True, "padding": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name",
    ["Wav2Vec2FeatureExtractor", "WhisperFeatureExtractor", "SeamlessM4TFeatureExtractor",
     "Speech2TextFeatureExtractor", "SpeechT5FeatureExtractor", "ParakeetFeatureExtractor"],
)  # fmt: skip
def test_batches(name: str, way: str) -> None:
    options = dict(WAYS[way])
    if name in ("SeamlessM4TFeatureExtractor", "Speech2TextFeatureExtractor") and "max_length" in options:
        options["max_length"] //= 160  # they count frames
    if name == "ParakeetFeatureExtractor" and ("cut" in way or "mask" in options):
        pytest.skip("transformers takes the uncut lengths for its mask")
    if name == "Speech2TextFeatureExtractor" and way == "no mask":
        pytest.skip("transformers fails")
    batch = [noise(1.0), noise(1.7), noise(0.8)]
    ours, theirs = pair(name)
    found, right = answer(ours, batch, **options), answer(theirs, batch, **options)
    if name == "ParakeetFeatureExtractor" and isinstance(right, dict):
        assert isinstance(found, dict)
        found["attention_mask"], right["attention_mask"] = found["attention_mask"] > 0, right["attention_mask"] > 0
    assert_same(found, right)
    assert_same(answer(ours, np.stack([batch[1]] * 2), **options), answer(theirs, np.stack([batch[1]] * 2), **options))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_normalising_wav2vec2(normalize: bool, masked: bool) -> None:
    batch = [noise(1.0) + 0.3, noise(0.4), np.zeros(5000, np.float32)]
    for name in ("Wav2Vec2FeatureExtractor", "SpeechT5FeatureExtractor"):
        ours, theirs = pair(name, do_normalize=normalize, return_attention_mask=masked, padding_value=0.5)
        assert_same(answer(ours, batch, padding=True), answer(theirs, batch, padding=True), close=0)
        assert_same(answer(ours, batch[0]), answer(theirs, batch[0]), close=0)


def test_lists_where_no_arrays_are_wanted() -> None:
    batch = [noise(1.0), noise(0.4)]
    for name in ("Wav2Vec2FeatureExtractor", "Speech2TextFeatureExtractor"):
        ours, theirs = pair(name)
        found, right = (each(batch, sampling_rate=16_000) for each in (ours, theirs))
        key = ours.model_input_names[0]
        assert [len(row) for row in found[key]] == [len(row) for row in right[key]]
        for row, other in zip(found[key], right[key], strict=True):
            np.testing.assert_allclose(row, other, atol=CLOSE)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_attention_mask": True},
        {"truncation": False, "padding": "longest", "return_attention_mask": True},
        {"truncation": False, "padding": "longest", "pad_to_multiple_of": 480_000},
        {"do_normalize": True, "return_attention_mask": True},
        {"max_length": 16_123, "return_attention_mask": True},
    ],
)
@pytest.mark.parametrize("seconds", [0.013, 1.0, 30.007, 41.3])
def test_whisper(options: dict[str, Any], seconds: float) -> None:
    ours, theirs = pair("WhisperFeatureExtractor")
    loud = noise(seconds) * np.linspace(0.001, 1, int(seconds * 16_000)).astype(np.float32)
    found, right = answer(ours, loud, **options), answer(theirs, loud, **options)
    assert_same(found, right)
    big, other = pair("WhisperFeatureExtractor", feature_size=128)
    assert_same(answer(big, loud[:32_000]), answer(other, loud[:32_000]))


@pytest.mark.parametrize("length", [201, 480, 16_000, 480_000, 480_159, 480_361, 1_120_077])
def test_long_features_are_those_of_the_whole(length: int, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    extractor, theirs = pair("WhisperFeatureExtractor")
    whole = (np.random.default_rng(length).standard_normal(length) * 0.1).astype(np.float32)
    whole *= np.linspace(0.01, 1, length).astype(np.float32)
    right = answer(theirs, whole, truncation=False, padding="longest")
    assert isinstance(right, dict)
    features = right["input_features"][0]
    soundfile.write(tmp_path / "long.wav", whole, 16_000, subtype="FLOAT")
    for source in (whole, open_audio(tmp_path / "long.wav", 16_000)):
        long = LongFeatures(extractor, source)
        assert (long.n_mels, long.n_frames) == features.shape
        assert long.n_samples == length
        for start in (0, 1234, 1534, 4533, 4543, 20):  # the last is a step back
            window = long.window(start, 3000)
            part = features[:, start : start + 3000]
            np.testing.assert_allclose(window[:, : part.shape[1]], part, rtol=0, atol=CLOSE)
            assert not window[:, part.shape[1] :].any()


# -- CLAP -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_clap(truncation: str, padding: str) -> None:
    settings = {"truncation": truncation, "padding": padding, "sampling_rate": 16_000, "hop_length": 160,
                "frequency_max": 7000, "max_length_s": 2}  # fmt: skip
    ours, theirs = pair("ClapFeatureExtractor", **settings)
    batches = [
        [noise(0.3)],
        [noise(0.3), noise(0.7), noise(2.0)],
        [noise(2.005), noise(2.6), noise(5.0), noise(0.9)],
        [noise(13.3)],
    ]
    for batch in batches:
        found, right = answer(ours, batch), answer(theirs, batch)
        assert_same(found, right)
        assert_same(answer(ours, batch, seed=7), right)
        assert_same(answer(ours, batch, max_length=12_000), answer(theirs, batch, max_length=12_000))
    default, other = pair("ClapFeatureExtractor")
    assert_same(
        answer(default, noise(1, 48_000), truncation=truncation, padding=padding),
        answer(other, noise(1, 48_000), truncation=truncation, padding=padding),
    )


def test_clap_draws_what_the_seed_says() -> None:
    ours, _ = pair("ClapFeatureExtractor", sampling_rate=16_000, hop_length=160, frequency_max=7000)
    long = noise(14.0)

    def draw(seed: Any) -> np.ndarray:
        return np.asarray(ours(long, sampling_rate=16_000, return_tensors="np", seed=seed)["input_features"])

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).any()
    state = np.random.RandomState(1)
    assert (draw(state) == draw(1)).all()
    assert (draw(state) != draw(1)).any()


# -- SpeechT5, EnCodec ------------------------------------------------------------------------------------------------
def test_speecht5_targets() -> None:
    ours, theirs = pair("SpeechT5FeatureExtractor")
    batch = [noise(1.0), noise(0.7)]
    for options in ({"audio_target": batch}, {"audio": batch, "audio_target": batch}):
        for more in ({"padding": True}, {"padding": "max_length", "max_length": 30_000}):
            if more.get("max_length") and "audio" not in options:
                more = {"padding": "max_length", "max_length": 100}
            given: dict[str, Any] = {**options, **more, "sampling_rate": 16_000, "return_tensors": "np"}
            assert_same(dict(ours(**given)), dict(theirs(**given)))
    settings = {"win_length": 50, "hop_length": 10, "fmin": 0, "num_mel_bins": 40, "win_function": "hamming_window"}
    ours, theirs = pair("SpeechT5FeatureExtractor", **settings)
    given = {"audio_target": batch[0], "sampling_rate": 16_000, "return_tensors": "np"}
    assert_same(dict(ours(**given)), dict(theirs(**given)))


@pytest.mark.parametrize("chunks", [{}, {"chunk_length_s": 0.5, "overlap": 0.1}])
@pytest.mark.parametrize("channels", [1, 2])
def test_encodec(chunks: dict[str, Any], channels: int) -> None:
    ours, theirs = pair("EncodecFeatureExtractor", feature_size=channels, **chunks)
    batch = [NUMBERS.standard_normal((channels, n)).astype(np.float32).squeeze() for n in (24_000, 30_001, 20_000)]
    ways: list[dict[str, Any]] = [
        {},
        {"padding": True},
        {"truncation": True, "padding": False},
        {"truncation": True, "padding": False, "max_length": 15_000},
        {"padding": "max_length", "max_length": 40_000},
        {"padding": True, "truncation": True},
    ]
    for options in ways:
        assert_same(answer(ours, batch, **options), answer(theirs, batch, **options), close=0)
    assert_same(answer(ours, batch[0]), answer(theirs, batch[0]), close=0)
    assert_same(answer(ours, batch[0], padding=False), answer(theirs, batch[0], padding=False), close=0)
    assert answer(ours, NUMBERS.standard_normal((3, 3, 500))) == "error"


def test_mctct_is_the_recipe_of_version_4() -> None:
    """Version 5 has no M-CTC-T; its spectrogram is computed here as version 4 calls the functions that 5 still has."""
    ours, batch = MCTCTFeatureExtractor(), [noise(1.0), noise(0.6)]
    found = ours(batch, sampling_rate=16_000, padding=True, return_tensors="np")
    filters = audio_utils.mel_filter_bank(257, 80, 0.0, 8000.0, 16_000)
    window = audio_utils.window_function(400, "hamming_window", periodic=False)
    for i, one in enumerate(batch):
        log = audio_utils.spectrogram(
            one * 32768.0, window, 400, 160, fft_length=512, center=False, preemphasis=0.97, mel_filters=filters,
            mel_floor=1.0, log_mel="log",
        ).T  # fmt: skip
        log = log - log.mean(axis=0)
        log = log / log.std(axis=0)
        np.testing.assert_allclose(found["input_features"][i, : len(log)], log, atol=CLOSE)
        assert not found["input_features"][i, len(log) :].any()
        assert found["attention_mask"][i].sum() == len(log)


# -- stereo, rates, files ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", THERE)
def test_stereo_is_refused_or_means_the_same(name: str) -> None:
    ours, theirs = pair(name)
    rows = NUMBERS.standard_normal((2, 2, 16_000)).astype(np.float32)
    if name == "ParakeetFeatureExtractor":  # transformers takes the mean over the wrong axis
        assert answer(ours, rows) == "error"
    else:
        assert_same(answer(ours, rows), answer(theirs, rows))


@pytest.mark.parametrize("kind", ["odd rate", "telephone", "studio", "stereo", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [16_000, 48_000, 22_050])
def test_files_of_any_rate(kind: str, rate: int, tmp_path: Path) -> None:
    data, ending = encoded(kind)
    path = tmp_path / f"recording{ending}"
    path.write_bytes(data)
    found = load_audio(path, rate)
    right = audio_utils.load_audio(str(path), rate, backend="soundfile")
    np.testing.assert_allclose(found, right, rtol=0, atol=SUM)  # mp3 is decoded in other blocks
    if rate == 16_000:
        for name in ("WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor", "ASTFeatureExtractor"):
            ours, theirs = pair(name)
            assert_same(answer(ours, found), answer(theirs, found))


@pytest.mark.parametrize("name", THERE)
def test_files_go_to_and_fro(name: str, tmp_path: Path) -> None:
    ours, theirs = pair(name)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path / "theirs")
    assert type(loaded) is CLASSES[name]
    for key in loaded.known_settings | loaded.derived:
        if hasattr(theirs, key):
            assert getattr(loaded, key) == getattr(theirs, key), key
    ours.save_pretrained(tmp_path / "ours")
    back = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "ours")
    assert type(back).__name__ == name
    assert {k: v for k, v in back.to_dict().items() if k in ours.known_settings} == {
        k: v for k, v in theirs.to_dict().items() if k in ours.known_settings
    }


def test_families_have_the_class_that_transformers_gives_them() -> None:
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    for family, name in CLASSES.families.items():
        if name not in NOT_THERE:
            assert FEATURE_EXTRACTOR_MAPPING_NAMES[family] == name, family


def test_audio_processors(models: Any, tmp_path: Path) -> None:
    """Tokenizer and extractor in one, loaded from a folder that has both."""
    bert = models("bert", "base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((bert / name).read_bytes())
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    processor = AutoProcessor.from_pretrained(tmp_path)
    recording = noise(1.0)
    both = processor(audio=recording, text=["hello there"], sampling_rate=16_000, return_tensors="np")
    right = transformers.WhisperFeatureExtractor()(recording, sampling_rate=16_000, return_tensors="np")
    np.testing.assert_allclose(both["input_features"], right["input_features"], atol=CLOSE)
    assert (both["labels"] == processor.tokenizer(["hello there"], return_tensors="np")["input_ids"]).all()
    assert set(processor(text="hello")) >= {"input_ids"}
