"""Recordings from whatever names or holds them, at the requested rate, whole and in blocks."""

from __future__ import annotations

import base64
import builtins
import sys
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")

from odd_names import odd_folder  # noqa: E402
from onnxpipe.errors import AudioError, AudioNotFoundError, MissingDependencyError  # noqa: E402
from onnxpipe.processing.audio.encodec import EncodecFeatureExtractor  # noqa: E402
from onnxpipe.processing.audio.io.load import load_audio, open_audio  # noqa: E402
from onnxpipe.processing.audio.io.resample import resample, resample_blocks  # noqa: E402
from onnxpipe.processing.audio.wav2vec2 import Wav2Vec2FeatureExtractor  # noqa: E402
from onnxpipe.tasks.base.audio import array_of, recording_of  # noqa: E402
from unit.audio_files import wav  # noqa: E402
from unit.processing.test_data_urls import data_urls  # noqa: E402
from zoo.audio.recordings import encoded  # noqa: E402

RATE = 16_000


def tone(rate: int, seconds: float = 0.5, hertz: float = 300.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32) * np.float32(0.5)


# -- forms ------------------------------------------------------------------------------------------------------------
def test_every_form_is_the_same_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = tone(RATE)
    data = wav(samples)
    path = tmp_path / "täne 1.wav"
    path.write_bytes(data)
    monkeypatch.setattr("onnxpipe.processing.audio.io.load.fetch", lambda *_, **__: data)
    forms: list[Any] = [
        "HTTPS://example.com/tone.wav", path, str(path), data, bytearray(data), memoryview(data), "https://example.com/tone.wav",
        "data:audio/wav;base64," + base64.b64encode(data).decode(), samples, samples.astype(np.float64),
    ]  # fmt: skip
    for form in forms:
        found = load_audio(form, RATE)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, samples, atol=1e-7)
        np.testing.assert_array_equal(np.concatenate(list(open_audio(form, RATE).blocks(777))), found)


def test_data_urls_are_read_as_by_browsers() -> None:
    samples = tone(RATE)
    for form in data_urls(wav(samples), "audio/wav"):
        np.testing.assert_array_equal(load_audio(form, RATE), samples)


def test_tensors_and_decoders() -> None:
    class Tensor:
        """As torch has them: off to the CPU first."""

        def __init__(self, array: np.ndarray) -> None:
            self.array, self.ready = array, False

        def detach(self) -> Tensor:
            return self

        def cpu(self) -> Tensor:
            self.ready = True
            return self

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            assert self.ready
            return self.array

    samples = tone(RATE)
    np.testing.assert_array_equal(load_audio(Tensor(samples), RATE), samples)
    stereo = np.stack([samples, 0 * samples])
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=Tensor(stereo), sample_rate=RATE))
    np.testing.assert_array_equal(load_audio(decoder, RATE), samples / 2)
    assert load_audio(decoder, RATE, mono=False).shape == (len(samples), 2)
    assert len(load_audio(decoder, 8000)) == len(samples) // 2
    assert open_audio(decoder, 8000).duration == 0.5


# -- integers ---------------------------------------------------------------------------------------------------------
WAVE = np.array([0.0, 0.5, -0.5, 0.25, -1.0], np.float32)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint8", "uint16", "uint32", ">i2"])
def test_integers_are_scaled_by_the_range_of_their_type(kind: str) -> None:
    dtype = np.dtype(kind)
    half = 2 ** (8 * dtype.itemsize - 1)
    middle = half if dtype.kind == "u" else 0
    array = (WAVE.astype(np.float64) * half + middle).astype(dtype)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=array[None], sample_rate=RATE))
    for found in (
        load_audio(array, RATE),
        next(open_audio(array, RATE).blocks()),
        load_audio(decoder, RATE),
        extractor(array, RATE)["input_values"][0],
        extractor([array, array], RATE)["input_values"][1],
        array_of(array, "a pipeline"),
        recording_of({"array": array, "sampling_rate": RATE}, "a pipeline").array,  # type: ignore[union-attr]
        recording_of({"raw": array, "sampling_rate": RATE}, "a pipeline").array,  # type: ignore[union-attr]
        EncodecFeatureExtractor(feature_size=1)(array, sampling_rate=24_000)["input_values"][0][0],
    ):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, WAVE)


@pytest.mark.parametrize("array", [np.array([5, -7]), np.array([2**40], np.uint64), np.array([0, 1000])])
def test_integers_without_a_range_are_refused(array: np.ndarray) -> None:
    extractor = Wav2Vec2FeatureExtractor()
    for load in (
        lambda: load_audio(array, RATE),
        lambda: open_audio(array, RATE),
        lambda: extractor(array, RATE),
        lambda: extractor(array.tolist(), RATE),
        lambda: array_of(array, "a pipeline"),
    ):
        with pytest.raises(
            AudioError, match="int64 have no known range: pass floats" if array.dtype.kind == "i" else "no known range"
        ):
            load()
    for other in (np.array([1j]), np.array([True]), np.array(["a"])):
        with pytest.raises(AudioError, match="must be an array of floats or of 16-bit integers"):
            load_audio(other, RATE)


@pytest.mark.parametrize("load", [load_audio, open_audio])
def test_a_missing_file(load: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"^there is no such file: nothere\.wav\. Pass a path, an http"
    ) as error:
        load("nothere.wav", RATE)
    assert isinstance(error.value, AudioNotFoundError) and isinstance(error.value, AudioError)
    for missing in (tmp_path / "no.wav", str(tmp_path / "no.wav"), "no such recording", "nul\0byte", "x" * 5000):
        with pytest.raises(AudioNotFoundError, match="there is no such file"):
            load(missing, RATE)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(AudioNotFoundError, match=r"is a folder, not an audio file\. Pass a path"):
            load_audio(folder, RATE)


def test_errors_say_what_is_wrong() -> None:
    for other in (5, None, [0.1, 0.2], {"array": tone(RATE)}):
        with pytest.raises(TypeError, match="We expect a numpy ndarray or torch tensor as input, got"):
            load_audio(other, RATE)
    with pytest.raises(AudioError, match="base64"):
        load_audio("data:audio/wav;base64,§§§", RATE)
    with pytest.raises(AudioError, match="the data: URL cannot be read: it has no comma"):
        load_audio("data:audio/wav;base64", RATE)
    with pytest.raises(AudioError, match="malformed"):
        load_audio("data:audio/wav,RIFF", RATE)
    with pytest.raises(AudioError, match=r"more than 100 samples .* open_audio"):
        load_audio(wav(tone(RATE)), RATE, max_samples=100)
    for rate in (0, -1, 10, 16_000.5, 10**7):
        with pytest.raises(AudioError, match="sampling rate must be"):
            load_audio(wav(tone(RATE)), rate)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="without a sample"):
        load_audio(wav(tone(RATE)[:0]), RATE)
    with pytest.raises(ValueError, match="frames must be 1 or more"):
        next(open_audio(wav(tone(RATE)), RATE).blocks(0))


def test_urls_of_private_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXPIPE_ALLOW_PRIVATE_URLS", raising=False)
    with pytest.raises(AudioError, match="private"):
        load_audio("http://127.0.0.1:9/a.wav", RATE)


# -- channels and rates -----------------------------------------------------------------------------------------------
def test_channels_are_averaged() -> None:
    left, right = tone(RATE), tone(RATE, hertz=700)
    data = wav(np.stack([left, right], axis=1))
    np.testing.assert_allclose(load_audio(data, RATE), (left + right) / 2, atol=1e-7)
    both = load_audio(data, RATE, mono=False)
    np.testing.assert_allclose(both, np.stack([left, right], axis=1), atol=1e-7)
    halved = load_audio(data, RATE // 2, mono=False)
    np.testing.assert_array_equal(halved[:, 1], load_audio(wav(right), RATE // 2))
    assert open_audio(data, RATE, mono=False).blocks(100).__next__().shape == (100, 2)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 37_123, 44_100, 48_000, 96_000])
def test_a_tone_stays_the_same_tone(rate: int) -> None:
    found = load_audio(wav(tone(rate), rate), RATE)
    assert len(found) == -(-int(rate * 0.5) * RATE // rate)
    middle = slice(1000, 7000)
    np.testing.assert_allclose(found[middle], tone(RATE)[middle], atol=2e-3)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 37_123])
@pytest.mark.parametrize("size", [1, 999, 16_000, 10**7])
def test_blocks_are_the_whole_however_they_are_cut(rate: int, size: int) -> None:
    samples = (np.random.default_rng(0).standard_normal(rate // 8 if size == 1 else rate) * 0.1).astype(np.float32)
    data = wav(samples, rate)
    whole = load_audio(data, RATE)
    np.testing.assert_array_equal(whole, resample(samples, rate, RATE))
    stream = open_audio(data, RATE)
    for _ in range(2):  # it begins anew each time
        blocks = list(stream.blocks(size))
        assert {len(block) for block in blocks[:-1]} <= {size}
        np.testing.assert_array_equal(np.concatenate(blocks), whole)
    parts = [samples[i : i + 313, None] for i in range(0, len(samples), 313)]
    np.testing.assert_array_equal(np.concatenate(list(resample_blocks(parts, rate, RATE)))[:, 0], whole)


def test_short_and_empty_recordings_are_resampled() -> None:
    assert resample(np.zeros(0, np.float32), 8000, RATE).shape == (0,)
    assert resample(np.ones(1, np.float32), 8000, RATE).shape == (2,)
    assert resample(np.ones((3, 2), np.float32), 48_000, RATE).shape == (1, 2)
    assert resample(np.ones(5), RATE, RATE).dtype == np.float32


@pytest.mark.parametrize("kind", ["stereo", "telephone", "studio", "odd rate", "ogg", "mp3", "bytes"])
def test_formats(kind: str) -> None:
    data, _ = encoded(kind)
    stream = open_audio(data, RATE)
    found = load_audio(data, RATE)
    assert stream.duration == pytest.approx(len(found) / RATE, abs=1e-3)
    assert 0.1 < np.abs(found).max() < 1


# -- other containers -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("mp4", "aac", 16_000), ("adts", "aac", 44_100), ("webm", "libopus", 48_000), ("matroska", "pcm_u8", 8000),
     ("matroska", "pcm_s24le", 16_000), ("avi", "pcm_s16le", 22_050), ("wv", "wavpack", 16_000)],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_containers_of_ffmpeg(container: str, codec: str, rate: int, layout: str) -> None:
    pytest.importorskip("av")
    data = filmed(container, codec, rate, layout)
    found = load_audio(data, RATE)
    wanted = tone(RATE, 1.0)
    assert abs(len(found) - len(wanted)) < 0.13 * RATE
    spectrum = np.abs(np.fft.rfft(found[2000:14_000]))
    assert spectrum.argmax() * RATE / 12_000 == pytest.approx(300, abs=2)
    level = 0.5 if layout == "mono" else 0.25  # of two channels one is silent
    assert np.sqrt(2) * found[2000:14_000].std() == pytest.approx(level, rel=0.15)
    stream = open_audio(data, RATE)
    assert stream.duration is None or stream.duration == pytest.approx(1.0, abs=0.2)
    np.testing.assert_array_equal(np.concatenate(list(stream.blocks(500))), found)


def filmed(container: str, codec: str, rate: int, layout: str) -> bytes:
    """One second of a tone, on the left, in a container of FFmpeg's."""
    import av

    samples = (tone(rate, 1.0) * 32_767).astype(np.int16)
    packed = samples if layout == "mono" else np.stack([samples, 0 * samples], axis=1).reshape(-1)
    frame = av.AudioFrame.from_ndarray(packed[None], format="s16", layout=layout)
    frame.rate, frame.pts = rate, 0
    buffer = BytesIO()
    with av.open(buffer, "w", format=container) as video:
        track = video.add_stream(codec, rate=rate)
        track.layout = layout
        size = track.codec_context.frame_size or 1024
        shaper = av.AudioResampler(format=track.codec_context.format, layout=layout, rate=rate, frame_size=size)
        for shaped in [*shaper.resample(frame), *shaper.resample(None), None]:
            video.mux(track.encode(shaped))
    return buffer.getvalue()


def tracks(path: Path, *made: tuple[float, float, bool], container: str = "matroska", start: float = 0.0) -> bytes:
    """A video of audio tracks, each a tone: its Hertz, its channels and whether it is the default; with a picture."""
    av = pytest.importorskip("av")
    from av.stream import Disposition

    with av.open(str(path), "w", format=container) as video:
        picture = video.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        streams = []
        for hertz, channels, default in made:
            layout = "mono" if channels == 1 else "stereo"
            codec = "aac" if container in ("mp4", "mov") else "pcm_s16le"
            track = video.add_stream(codec, rate=RATE, layout=layout)
            track.disposition = Disposition.default if default else Disposition(0)
            streams.append((track, hertz, layout))
        for number in range(10 * int(start + 2)):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            video.mux(picture.encode(frame))
        video.mux(picture.encode(None))
        for track, hertz, layout in streams:
            samples = (tone(RATE, 2.0, hertz) * 32_767).astype(np.int16)
            packed = samples if layout == "mono" else samples.repeat(2)
            shaper = av.AudioResampler(track.codec_context.format, layout, RATE, track.codec_context.frame_size or 1024)
            frame = av.AudioFrame.from_ndarray(packed[None], format="s16", layout=layout)
            frame.rate, frame.pts, frame.time_base = RATE, round(start * RATE), Fraction(1, RATE)
            for shaped in [*shaper.resample(frame), *shaper.resample(None), None]:
                video.mux(track.encode(shaped))
    return path.read_bytes()


def pitch(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples[4000:20_000])).argmax())


@pytest.mark.parametrize("container", ["matroska", "mp4"])
@pytest.mark.parametrize(
    ("made", "hertz"),
    [
        ([(300, 1, False), (700, 1, True)], 700),
        ([(300, 1, True), (700, 1, False)], 300),
        ([(300, 2, False), (700, 1, True), (900, 2, False)], 700),
        ([(300, 1, True), (700, 1, True)], 300),
    ],
)
def test_the_default_track_of_a_video_is_heard(container: str, made: Any, hertz: float, tmp_path: Path) -> None:
    assert pitch(load_audio(tracks(tmp_path / "a.bin", *made, container=container), RATE)) == hertz


def test_without_a_default_track_the_one_with_most_channels_is_heard(tmp_path: Path) -> None:
    made = [(300, 1, False), (700, 2, False), (900, 2, False)]
    assert pitch(load_audio(tracks(tmp_path / "a.mkv", *made), RATE)) == 700


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_audio_that_begins_late_has_a_start(container: str, tmp_path: Path) -> None:
    data = tracks(tmp_path / "a.bin", (300, 1, True), container=container, start=3.0)
    stream = open_audio(data, RATE)
    assert stream.start == pytest.approx(3.0, abs=0.07)
    assert stream.duration == pytest.approx(2.0, abs=0.1)
    assert len(load_audio(data, RATE)) == pytest.approx(2 * RATE, rel=0.07)
    assert open_audio(tracks(tmp_path / "b.bin", (300, 1, True), container=container), RATE).start == 0.0


@pytest.mark.parametrize("container", ["matroska", "mp4", "avi"])
def test_tags_in_any_encoding(container: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.bin"), "w", format=container) as video:
        video.metadata["title"] = "Titel xxxx"
        track = video.add_stream("aac" if container == "mp4" else "pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone(RATE) * 32_767).astype(np.int16)[None], "s16", "mono")
        frame.rate = RATE
        shaper = av.AudioResampler(track.codec_context.format, "mono", RATE, track.codec_context.frame_size or 1024)
        for shaped in [*shaper.resample(frame), *shaper.resample(None), None]:
            video.mux(track.encode(shaped))
    data = (tmp_path / "a.bin").read_bytes()
    for title in (b"T\xe4tel \xfcber", "제목제목".encode("cp949") + b"  "):
        wrong = data.replace(b"Titel xxxx", title)
        assert wrong != data
        np.testing.assert_array_equal(load_audio(wrong, RATE), load_audio(data, RATE))


def test_a_video_without_audio() -> None:
    av = pytest.importorskip("av")
    buffer = BytesIO()
    with av.open(buffer, "w", format="matroska") as video:
        track = video.add_stream("mpeg4", rate=10)
        track.width = track.height = 32
        for packet in track.encode(av.VideoFrame(32, 32, "yuv420p")) + track.encode(None):
            video.mux(packet)
    with pytest.raises(AudioError, match="has no audio in it"):
        load_audio(buffer.getvalue(), RATE)


def test_a_flac_that_was_written_to_a_pipe(tmp_path: Path) -> None:
    pytest.importorskip("av")
    buffer = BytesIO()
    soundfile.write(buffer, tone(RATE), RATE, format="FLAC")
    data = bytearray(buffer.getvalue())
    data[21] &= 0xF0
    data[22:26] = bytes(4)  # the number of samples is not known
    assert len(load_audio(bytes(data), RATE)) == RATE // 2


# -- what is not installed --------------------------------------------------------------------------------------------
def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = builtins.__import__

    def importing(wanted: str, *args: Any, **kwargs: Any) -> Any:
        if wanted.partition(".")[0] == name:
            raise ImportError(f"No module named {name!r}")
        return real(wanted, *args, **kwargs)

    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", importing)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wav(tone(8000), 8000)
    with monkeypatch.context() as patch:
        without(patch, "soundfile")
        with pytest.raises(MissingDependencyError, match=r'pip install "onnxpipe\[audio\]"'):
            load_audio(data, RATE)
        assert len(load_audio(tone(RATE), RATE)) == RATE // 2  # arrays need nothing
    with monkeypatch.context() as patch:
        without(patch, "soxr")
        assert len(load_audio(data, 8000)) == 4000
        with pytest.raises(MissingDependencyError, match=r'resampling needs soxr.*pip install "onnxpipe\[audio\]"'):
            load_audio(data, RATE)
    with monkeypatch.context() as patch:
        without(patch, "av")
        with pytest.raises(MissingDependencyError, match=r'PyAV.*pip install "onnxpipe\[audio,video\]"'):
            load_audio(b"\0\0\0\x1cftypisom" + bytes(100), RATE)
        with pytest.raises(AudioError, match="of no format that is known"):
            load_audio(b"neither audio nor a video" * 9, RATE)


@pytest.mark.parametrize("kind", ["WAV", "MP3"])
def test_a_path_that_is_not_utf8(kind: str, tmp_path: Path) -> None:
    path = odd_folder(tmp_path) / "recording"
    with path.open("wb") as file:
        soundfile.write(file, np.zeros(RATE), RATE, format=kind)
    assert len(load_audio(path, RATE)) == RATE
    assert len(load_audio(str(path), RATE)) == RATE
