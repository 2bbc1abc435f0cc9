"""Feature extractors without transformers: settings and files, what a call takes and refuses, and the arithmetic of
spectrograms next to the definition. (Next to transformers itself: tests/conformance/test_feature_extractors.py.)"""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import (
    AudioError,
    BundleError,
    ModelNotFoundError,
    UnknownArgumentError,
    UnsupportedError,
)
from onnxpipe.processing.audio.clap import ClapFeatureExtractor
from onnxpipe.processing.audio.encodec import EncodecFeatureExtractor
from onnxpipe.processing.audio.fbank import kaldi_config
from onnxpipe.processing.audio.io.stream import AudioStream
from onnxpipe.processing.audio.long_features import LongFeatures
from onnxpipe.processing.audio.mel import MelBands, SpectrogramConfig, filter_bank, log_mel_spectrogram, window
from onnxpipe.processing.audio.pad import PaddedRows
from onnxpipe.processing.audio.seamless_m4t import SeamlessM4TFeatureExtractor
from onnxpipe.processing.audio.speech_to_text import normalize_bands
from onnxpipe.processing.audio.speecht5 import SpeechT5FeatureExtractor
from onnxpipe.processing.audio.wav2vec2 import Wav2Vec2FeatureExtractor
from onnxpipe.processing.audio.whisper import WhisperFeatureExtractor
from onnxpipe.processing.auto import AutoFeatureExtractor, AutoProcessor
from onnxpipe.processing.multimodal.audio_text import ClapProcessor, SpeechProcessor, SpeechT5Processor
from onnxpipe.processing.registry import FEATURE_EXTRACTORS as CLASSES
from tolerances import LAYER, float32

RATE = 16_000


def noise(samples: int = RATE, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


# -- spectrograms -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("power", "log"), [(2.0, "log10"), (1.0, "log10"), (2.0, "dB"), (2.0, "ln")])
def test_log_mels_are_the_definition(power: float, log: Any) -> None:
    config = SpectrogramConfig(MelBands(20, 0.0, 8000.0, RATE), frame=400, hop=160, fft=400, power=power, log=log)
    samples = noise(5000).astype(np.float64)
    found = log_mel_spectrogram(samples, config)
    padded = np.pad(samples, 200, mode="reflect")
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(201)) / 400)
    for i in (0, 7, 31):
        spectrum = np.abs((padded[160 * i : 160 * i + 400] * shape) @ waves) ** power
        mels = np.maximum(spectrum @ filter_bank(config.bands, 201), 1e-10)
        wanted = {"ln": np.log(mels), "log10": np.log10(mels), "dB": 10 * np.log10(mels)}[log]
        np.testing.assert_allclose(found[i], wanted, rtol=0, atol=float32(100.0))  # decibels
    assert found.shape == (32, 20)


def test_kaldi_takes_the_mean_off_and_emphasizes() -> None:
    config = kaldi_config(80, RATE)
    samples = noise(2000).astype(np.float64) + 0.2
    frame = samples[160:560] * 32768
    frame = frame - frame.mean()
    frame = np.concatenate([frame[:1] * 0.03, frame[1:] - 0.97 * frame[:-1]])
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    spectrum = np.abs(np.fft.rfft(frame * shape, 512)) ** 2
    wanted = np.log(spectrum @ filter_bank(config.bands, 257))
    np.testing.assert_allclose(log_mel_spectrogram(samples, config)[1], wanted, rtol=0, atol=float32(30.0))


@pytest.mark.parametrize("scale", ["htk", "kaldi", "slaney"])
def test_bands_overlap_by_half(scale: Any) -> None:
    weights = filter_bank(MelBands(10, 100, 7900, RATE, scale, unit_area=False), 4097)
    places = np.linspace(0, 8000, 4097)
    peaks = places[weights.argmax(axis=0)]
    assert (np.diff(peaks) > 0).all()
    inside = (places > peaks[0]) & (places < peaks[-1])
    np.testing.assert_allclose(weights[inside].sum(axis=1), 1, atol=1e-9)  # slopes of neighbours add up
    area = filter_bank(MelBands(10, 100, 7900, RATE, scale), 4097).sum(axis=0) * (8000 / 4096)
    np.testing.assert_allclose(area, 1, rtol=1e-3)


def test_windows() -> None:
    np.testing.assert_allclose(window("hann", 4, True, 4), [0, 0.5, 1, 0.5])
    np.testing.assert_allclose(window("hann", 3, False, 5), [0, 0, 1, 0, 0])
    np.testing.assert_allclose(window("boxcar", 2, True, 4), [0, 1, 1, 0])
    assert window("hamming", 4, False, 4)[0] == pytest.approx(0.08)


def test_dither_is_drawn_where_the_call_says() -> None:
    extractor = WhisperFeatureExtractor(dither=0.01, chunk_length=1)
    silence = np.zeros(RATE, np.float32)

    def draw(seed: Any) -> np.ndarray:
        return np.asarray(extractor(silence, RATE, seed=seed)["input_features"])

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).any()
    np.testing.assert_allclose(WhisperFeatureExtractor(chunk_length=1)(silence, RATE)["input_features"], -1.5, 1e-6)
    with pytest.raises(UnsupportedError, match="seed must be"):
        draw(-1)
    with pytest.raises(UnsupportedError, match="dither"):
        LongFeatures(extractor, silence)


# -- the call ---------------------------------------------------------------------------------------------------------
def test_forms_of_recordings() -> None:
    extractor, recording = Wav2Vec2FeatureExtractor(), noise(500)
    one = extractor(recording, RATE, return_tensors="np")["input_values"]
    assert one.shape == (1, 500)
    forms: list[Any] = [
        recording.tolist(),
        recording.astype(np.float64),
        tuple(recording.tolist()),
        [recording],
        [recording.tolist()],
        recording[None],
    ]
    for form in forms:
        np.testing.assert_allclose(
            extractor(form, sampling_rate=RATE, return_tensors="np").input_values, one, rtol=0, atol=LAYER
        )
    assert extractor(raw_speech=[recording, recording], sampling_rate=RATE)["input_values"][1].shape == (500,)
    assert SpeechT5FeatureExtractor()(audio=recording, sampling_rate=RATE)["input_values"][0].shape == (500,)
    assert EncodecFeatureExtractor(sampling_rate=RATE)(raw_audio=recording, sampling_rate=RATE)["input_values"][
        0
    ].shape == (1, 500)


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_no_recording_is_refused(name: str) -> None:
    extractor = CLASSES[name]()
    rate = extractor.sampling_rate
    for bad in (np.zeros((2, 2, 2, 100)), "a recording", [[0.3], ["x"]], {"array": noise()}):
        with pytest.raises(AudioError):
            extractor(bad, rate)
    with pytest.raises(AudioError, match="was trained using a sampling rate of"):
        extractor(noise(), rate + 1)
    with pytest.raises(AudioError, match="needs"):
        extractor(sampling_rate=rate)
    with pytest.raises(UnknownArgumentError, match="did you mean 'sampling_rate'"):
        extractor(noise(), samplingrate=rate)  # type: ignore[call-arg]
    with pytest.raises(UnsupportedError, match="return_tensors='np'"):
        extractor(noise(), rate, return_tensors="pt")
    if name != "WhisperFeatureExtractor":  # a second of nothing is silence, to Whisper
        with pytest.raises(AudioError):
            extractor([], rate)


def test_a_missing_rate_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    Wav2Vec2FeatureExtractor()(noise(100))
    assert "strongly recommended to pass the `sampling_rate`" in caplog.text
    caplog.clear()
    Wav2Vec2FeatureExtractor()(noise(100), RATE)
    assert not caplog.text


def test_options_that_mean_nothing() -> None:
    whisper, clap = WhisperFeatureExtractor(), ClapFeatureExtractor()
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (whisper, {"padding": "sideways"}, ValueError, "PaddingStrategy"),
        (whisper, {"max_length": -3}, UnsupportedError, "max_length"),
        (whisper, {"pad_to_multiple_of": 0}, UnsupportedError, "pad_to_multiple_of"),
        (whisper, {"device": "cuda"}, UnsupportedError, "device"),
        (Wav2Vec2FeatureExtractor(), {"padding": "max_length"}, ValueError, "max_length is defined"),
        (Wav2Vec2FeatureExtractor(), {"truncation": True}, ValueError, "max_length"),
        (Wav2Vec2FeatureExtractor(), {"seed": 1}, UnknownArgumentError, "seed"),
        (EncodecFeatureExtractor(sampling_rate=RATE), {"padding": True, "truncation": True}, ValueError, "Both"),
    ]
    for extractor, options, error, message in wrong:
        with pytest.raises(error, match=message):
            extractor(noise(), RATE, **options)
    for options in ({"truncation": "cut"}, {"padding": "sideways"}):
        with pytest.raises(UnsupportedError, match="must be one of"):
            clap(noise(), 48_000, **options)
    with pytest.raises(ValueError, match=r"(?s)shapes.*padding=True"):
        Wav2Vec2FeatureExtractor()([noise(10), noise(20)], RATE, return_tensors="np")


def test_recordings_that_are_too_short_say_how_long_they_must_be() -> None:
    for name, samples in (("ASTFeatureExtractor", 400), ("Speech2TextFeatureExtractor", 400)):
        with pytest.raises(AudioError, match=rf"1 samples, and the model needs at least {samples} \(25 ms at 16000 Hz"):
            CLASSES[name]()(noise(1), RATE)
    with pytest.raises(AudioError, match="two frames"):
        SeamlessM4TFeatureExtractor()(noise(420), RATE)
    with pytest.raises(AudioError, match="at least 201"):
        WhisperFeatureExtractor()(noise(200), RATE, padding="longest", truncation=False)
    with pytest.raises(AudioError, match="at least 201"):
        LongFeatures(WhisperFeatureExtractor(), noise(200))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_features_of_silence_are_numbers(name: str) -> None:
    extractor = CLASSES[name]()
    rate = extractor.sampling_rate
    answer = extractor([np.zeros(rate, np.float32), noise(rate)], sampling_rate=rate)
    for arrays in answer.values():
        assert all(np.isfinite(np.asarray(array, float)).all() for array in arrays)
    if name == "Speech2TextFeatureExtractor":
        silent, other = answer["input_features"]
        assert not np.any(silent)
        np.testing.assert_allclose(np.asarray(other).std(axis=0), 1, rtol=1e-4)


def test_a_band_that_never_changes_is_not_divided() -> None:
    rows = [np.array([[1.0, 7.0], [3.0, 7.0]], np.float32), np.array([[2.0, 7.0]], np.float32)]
    masks = [np.ones(len(row), np.int32) for row in rows]
    both = normalize_bands(PaddedRows(rows, masks, [2, 1], "right"), True, True, 0.0)
    assert [each.tolist() for each in both] == [[[-1, 0], [1, 0]], [[0, 0]]]
    (alone,) = normalize_bands(PaddedRows(rows[:1], masks[:1], [2], "right"), False, True, 0.0)
    assert alone.tolist() == [[1, 7], [3, 7]]


def test_padding_on_the_left_leaves_the_samples_as_they_are() -> None:
    extractor = Wav2Vec2FeatureExtractor(padding_side="left", return_attention_mask=True, padding_value=3.0)
    found = extractor([noise(100), noise(60, 1) + 5], RATE, padding=True, return_tensors="np")
    alone = extractor(noise(60, 1) + 5, RATE, return_tensors="np")
    np.testing.assert_allclose(found["input_values"][1, 40:], alone["input_values"][0], atol=LAYER)
    assert (found["input_values"][1, :40] == 3).all()
    assert found["attention_mask"].sum(axis=1).tolist() == [100, 60]


def test_frames_of_whisper() -> None:
    extractor = WhisperFeatureExtractor()
    found = extractor([noise(16_000), noise(8100)], RATE, return_attention_mask=True, return_token_timestamps=True)
    assert found["input_features"].shape == (2, 80, 3000)
    assert found["attention_mask"].shape == (2, 3000)
    assert found["num_frames"].tolist() == [100, 50]
    assert (extractor.n_samples, extractor.nb_max_frames) == (480_000, 3000)


def test_long_features_refuse_unsupported_audio() -> None:
    extractor = WhisperFeatureExtractor()
    with pytest.raises(AudioError, match="44100 Hz, but the model expects 16000 Hz"):
        LongFeatures(extractor, AudioStream(noise(), "talk.wav", 44_100))
    with pytest.raises(AudioError, match="mono"):
        LongFeatures(extractor, np.zeros((2, 5000)))
    with pytest.raises(ValueError, match="start and length must be 0 or more"):
        LongFeatures(extractor, noise()).window(-1, 5)
    assert LongFeatures(extractor, noise()).window(5000, 10).tolist() == np.zeros((80, 10)).tolist()


# -- settings and files -----------------------------------------------------------------------------------------------
def folder(path: Path, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_settings() -> None:
    extractor = WhisperFeatureExtractor(feature_size=128)
    assert (extractor.feature_size, WhisperFeatureExtractor().feature_size) == (128, 80)
    extractor.chunk_length = 10
    assert extractor.nb_max_frames == 1000
    with pytest.raises(UnknownArgumentError, match="did you mean 'hop_length'"):
        WhisperFeatureExtractor(hop_lenght=3)  # type: ignore[call-arg]
    with pytest.raises(UnsupportedError, match="whole number"):
        extractor.n_fft = 2.5  # type: ignore[assignment]
    with pytest.raises(AttributeError, match="no attribute 'win_length'"):
        _ = extractor.win_length
    assert "WhisperFeatureExtractor {" in repr(extractor)
    for again in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):  # noqa: S301
        assert again.to_dict() == extractor.to_dict()


def test_a_file_with_more_in_it(tmp_path: Path) -> None:
    """As transformers.js and transformers 4 write it: with what follows from the rest, and what is for others."""
    config = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "n_samples": 480_000,
              "nb_max_frames": 3000, "processor_class": "WhisperProcessor", "mel_filters": [[0.0]], "dither": None,
              "for_others": 7}  # fmt: skip
    extractor = AutoFeatureExtractor.from_pretrained(folder(tmp_path, preprocessor_config=config), chunk_length=20)
    assert type(extractor) is WhisperFeatureExtractor
    assert (extractor.feature_size, extractor.for_others, extractor.n_samples, extractor.dither) == (128, 7, 320_000, 0)
    (path,) = extractor.save_pretrained(tmp_path / "new")
    saved = json.loads(Path(path).read_text())
    assert saved["for_others"] == 7
    assert saved["chunk_length"] == 20
    assert not {"n_samples", "mel_filters", "processor_class"} & saved.keys()
    assert WhisperFeatureExtractor.from_pretrained(tmp_path / "new").to_dict() == extractor.to_dict()
    assert AutoFeatureExtractor.from_dict(config).feature_size == 128


def test_which_class_a_folder_means(tmp_path: Path) -> None:
    nested = {"feature_extractor": {"feature_extractor_type": "ClapFeatureExtractor"}, "processor_class": "X"}
    flat = {"feature_extractor_type": "ASTFeatureExtractor"}
    load = AutoFeatureExtractor.from_pretrained
    assert type(load(folder(tmp_path / "a", preprocessor_config=flat))).__name__ == "ASTFeatureExtractor"
    assert type(load(folder(tmp_path / "a", processor_config=nested))) is ClapFeatureExtractor
    silent = folder(tmp_path / "b", preprocessor_config={"sampling_rate": 8000}, config={"model_type": "hubert"})
    assert (type(load(silent)), load(silent).sampling_rate) == (Wav2Vec2FeatureExtractor, 8000)
    image = folder(tmp_path / "c", preprocessor_config={"feature_extractor_type": "ViTFeatureExtractor", "size": 30})
    assert type(load(image)).__name__ == "ViTImageProcessor"
    old = folder(tmp_path / "d", preprocessor_config={"size": 30}, config={"model_type": "resnet"})
    assert type(load(old)).__name__ == "ConvNextImageProcessor"
    with pytest.raises(UnsupportedError, match=r"Pop2PianoFeatureExtractor.*WhisperFeatureExtractor"):
        load(folder(tmp_path / "e", preprocessor_config={"feature_extractor_type": "Pop2PianoFeatureExtractor"}))
    with pytest.raises(UnsupportedError, match="the family 'bert' has none here"):
        load(folder(tmp_path / "f", preprocessor_config={"do_normalize": True}, config={"model_type": "bert"}))
    with pytest.raises(ModelNotFoundError, match=r"how recordings are prepared.*preprocessor_config"):
        load(folder(tmp_path / "g"))
    with pytest.raises(BundleError, match="sampling_rate must be a whole number"):
        load(folder(tmp_path / "h", preprocessor_config={**flat, "sampling_rate": -1}))
    with pytest.raises(UnsupportedError, match="trust_remote_code"):
        load(tmp_path, trust_remote_code=True)
    with pytest.raises(OSError, match="from_pretrained"):
        AutoFeatureExtractor()


def test_families() -> None:
    assert CLASSES[CLASSES.families["moonshine"]] is Wav2Vec2FeatureExtractor
    assert set(CLASSES.families.values()) == set(CLASSES)


# -- processors -------------------------------------------------------------------------------------------------------
class Words:
    """A tokenizer of words, as much of one as a processor uses."""

    model_input_names = ("input_ids", "attention_mask")

    def __call__(self, text: Any, **options: Any) -> Any:
        rows = [[len(word) for word in each.split()] for each in ([text] if isinstance(text, str) else text)]
        self.options = options
        return {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}

    def decode(self, ids: Any, **options: Any) -> str:
        return " ".join(map(str, ids))

    def batch_decode(self, rows: Any, **options: Any) -> list[str]:
        return [self.decode(ids) for ids in rows]

    def get_prompt_ids(self, text: str) -> list[int]:
        return [len(text)]


def test_speech_and_text_in_one() -> None:
    words: Any = Words()
    processor = SpeechProcessor(Wav2Vec2FeatureExtractor(), words)
    processed = processor(noise(100), sampling_rate=RATE)
    assert list(processed) == ["input_values"]
    assert processor(text="so it is")["input_ids"] == [[2, 2, 2]]
    both = processor(noise(100), text="so it is", sampling_rate=RATE, padding=True, add_special_tokens=False)
    assert both["labels"] == [[2, 2, 2]]
    assert words.options == {"padding": True, "add_special_tokens": False, "return_tensors": None}
    assert processor.decode([1, 2]) == "1 2"
    assert processor.batch_decode([[1], [2]]) == ["1", "2"]
    assert processor.get_prompt_ids("four") == [4]
    assert processor.model_input_names == ["input_values", "attention_mask", "input_ids"]
    with pytest.raises(UnknownArgumentError, match="did you mean 'sampling_rate'"):
        processor(noise(100), sampling_rates=RATE)
    with pytest.raises(UnsupportedError, match="either an `audio` or `text`"):
        processor()
    with pytest.raises(AttributeError):
        _ = processor.image_processor


def test_clap_and_speecht5_processors() -> None:
    words: Any = Words()
    clap = ClapProcessor(ClapFeatureExtractor(), words)
    found = clap(audio=noise(), text=["a dog", "a bird sings"], sampling_rate=48_000, seed=1)
    assert list(found) == ["input_ids", "attention_mask", "input_features", "is_longer"]
    speech = SpeechT5Processor(SpeechT5FeatureExtractor(), words)
    spoken = speech(text="so be it", audio_target=noise(), sampling_rate=RATE)
    assert spoken["input_ids"] == [[2, 2, 2]]
    assert spoken["labels"][0].shape == (63, 80)
    assert len(spoken["decoder_attention_mask"][0]) == 63
    written = speech(audio=noise(), text_target="so be it", sampling_rate=RATE)
    assert written["labels"] == [[2, 2, 2]]
    assert speech(audio_target=noise(), sampling_rate=RATE)["input_values"][0].shape == (63, 80)
    for wrong in ({"audio": noise(), "text": "x"}, {"audio_target": noise(), "text_target": "x"}, {}):
        with pytest.raises(ValueError, match="audio_target"):
            speech(**wrong, sampling_rate=RATE)


def test_a_folder_without_words_has_an_extractor_alone(tmp_path: Path) -> None:
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    assert type(AutoProcessor.from_pretrained(tmp_path, chunk_length=7)) is WhisperFeatureExtractor
