"""Hostile recordings: broken files, headers that lie, bombs, files that pretend to be others or name other files."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

from attacks.helpers import MIB, PLAYLISTS, gzip_of, load_or_refuse, memory, untouched_port, wav, zip_of  # noqa: E402
from onnxpipe.errors import AudioError, BundleError, UnsupportedError  # noqa: E402
from onnxpipe.processing.audio.ast import ASTFeatureExtractor  # noqa: E402
from onnxpipe.processing.audio.io.load import load_audio, open_audio  # noqa: E402
from onnxpipe.processing.audio.io.parts import find_parts  # noqa: E402
from onnxpipe.processing.audio.long_features import LongFeatures  # noqa: E402
from onnxpipe.processing.audio.whisper import WhisperFeatureExtractor  # noqa: E402
from onnxpipe.processing.auto import AutoFeatureExtractor  # noqa: E402

#: soundfile prints what goes wrong inside its callbacks, whoever catches it: nothing may go wrong there.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

RATE = 16_000
NOISE = (np.random.default_rng(0).standard_normal(5 * RATE) * 0.1).astype(np.float32)
TONE = (0.3 * np.sin(np.arange(RATE) / 7) * np.linspace(0, 1, RATE)).astype(np.float32)
FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64")


def encoded(kind: str = "WAV", samples: np.ndarray = NOISE, **options: Any) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, samples, RATE, format=kind, **options)
    return buffer.getvalue()


def audio_or_refusal(data: bytes) -> None:
    """Load `data`: finite samples or an `AudioError`, nothing else."""
    samples = load_or_refuse(lambda: load_audio(data, RATE), AudioError)
    if samples is not None:
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert np.isfinite(samples).all()


# -- broken files -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "empty", id="nothing"),
        pytest.param(b"RIFF", "", id="a name alone"),
        pytest.param(b"these are words\n" * 50, "no format that is known", id="words"),
        pytest.param(b"Just a few words, and a name that says something else.", "", id="a sentence"),
        pytest.param(b"<!DOCTYPE html><html></html>", "a web page", id="a web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", id="Git LFS"),
        pytest.param(b"%PDF-1.7\n" + bytes(100), "", id="PDF"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), "", id="PNG"),
        pytest.param(b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0", "", id="MIDI"),
        pytest.param(bytes(1000), "", id="some zeros"),
        pytest.param(bytes(100_000), "no format that is known", id="many zeros"),
        pytest.param(np.random.default_rng(1).bytes(100_000), "", id="noise"),
        pytest.param(zip_of({"speech.wav": encoded(samples=TONE)}), "", id="zip"),
        pytest.param(gzip_of(encoded(samples=TONE)), "", id="gzip"),
        pytest.param(encoded()[:44], "without a sample", id="a header alone"),
        pytest.param(encoded()[:20], "no format that is known", id="half a header"),
        pytest.param(encoded(samples=TONE[:0]), "", id="WAV of nothing"),
        pytest.param(encoded("FLAC", TONE[:0]), "", id="FLAC of nothing"),
    ],
)
def test_what_is_not_audio_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(content)
    for source in (content, tmp_path / "talk.wav", str(tmp_path / "talk.wav")):
        with pytest.raises(AudioError, match="Soundfile is either not in the correct format or is malformed") as caught:
            load_audio(source, RATE)
        assert isinstance(caught.value, ValueError)
        assert message in str(caught.value)
        assert "talk.wav" in str(caught.value) or isinstance(source, bytes)
        assert len(str(caught.value)) < 1000


def test_raw_samples_have_no_header(tmp_path: Path) -> None:
    (tmp_path / "samples.raw").write_bytes(NOISE.tobytes())
    with pytest.raises(AudioError, match="malformed"):
        load_audio(tmp_path / "samples.raw", RATE)


def test_a_file_that_breaks_in_the_middle_says_where() -> None:
    random = np.random.default_rng(1)
    whole = encoded("FLAC", random.normal(0, 0.1, 8 * RATE).astype(np.float32))
    broken = bytearray(whole)
    middle = len(whole) // 2
    broken[middle : middle + 20_000] = random.bytes(20_000)
    samples = 0
    with pytest.raises(AudioError, match=r"\d s"):
        for block in open_audio(bytes(broken), RATE).blocks(1000):
            samples += len(block)
    assert samples < 8 * RATE


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("MP3", None), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("FLAC", None)],
)
def test_what_is_left_of_a_cut_file_is_read(kind: str, subtype: str | None, caplog: Any) -> None:
    data = encoded(kind, subtype=subtype)
    samples = load_audio(data[: len(data) * 6 // 10], RATE)
    assert 0.3 * len(NOISE) < len(samples) < 0.65 * len(NOISE)
    assert len(caplog.records) == 1
    assert "is truncated" in caplog.text


@pytest.mark.parametrize("kind", FORMATS)
def test_files_cut_anywhere_never_raise_anything_else(kind: str) -> None:
    data = encoded(kind, TONE[:4000])
    for end in range(0, len(data), max(1, len(data) // 25)):
        audio_or_refusal(data[:end])


@pytest.mark.parametrize("kind", FORMATS)
def test_files_with_wrong_bytes_never_raise_anything_else(kind: str) -> None:
    """Single bytes of the header and of all, and a stretch of noise in a file that may also be cut."""
    random = np.random.default_rng(0)
    data = np.frombuffer(encoded(kind, TONE[:4000]), np.uint8)
    for reach in (64, 200, len(data)):
        for _ in range(12):
            wrong = data.copy()
            wrong[random.integers(0, min(len(wrong), reach), 4)] = random.integers(0, 256, 4)
            audio_or_refusal(wrong.tobytes())
    whole = encoded(kind, NOISE[:8000])
    for _ in range(25):
        broken = bytearray(whole)
        start, length = random.integers(0, len(broken)), int(random.integers(1, 200))
        broken[start : start + length] = random.bytes(length)
        audio_or_refusal(bytes(broken[: random.integers(len(broken) // 2, len(broken) + 1)]))


# -- headers that lie -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("claimed", [2**32 - 1, 2**32 - 2, 2**31 - 1, 0x7FFF_FFF0])
def test_a_wav_of_four_gigabytes_is_as_long_as_it_is(claimed: int) -> None:
    before = memory()
    assert len(load_audio(wav(bytes(32_000), claimed=claimed), RATE)) == 16_000
    assert memory() - before < 30 * MIB


def test_a_header_that_claims_terabytes_takes_no_memory() -> None:
    data = bytearray(encoded("FLAC"))
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"  # 2^36 - 1 samples
    before = memory()
    assert len(load_audio(bytes(data), RATE)) == len(NOISE)
    rf64 = b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, 2**42, 2**42, 2**41, 0)
    rf64 += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 32_000, 2, 16) + b"data" + b"\xff" * 4 + bytes(3200)
    samples = load_or_refuse(lambda: load_audio(rf64, RATE), AudioError)
    assert samples is None or len(samples) <= 1600
    assert memory() - before < 60 * MIB


@pytest.mark.parametrize(
    "data",
    [
        wav(bytes(64), claimed=2**32 - 1),
        wav(bytes(64), claimed=2**31),
        wav(bytes(64), channels=65_535, bits=32, claimed=2**32 - 1),
        wav(bytes(64), rate=2**32 - 1, channels=65_535),
        wav(bytes(64), bits=0),
        wav(bytes(64), bits=65_535),
        # 2^36 - 1 samples of eight channels at 655,350 Hz: as much as FLAC's header can say
        encoded("FLAC", TONE)[:18] + b"\x9f\xff\x6f\xff\xff\xff\xff\xff" + encoded("FLAC", TONE)[26:],
        b"FORM" + struct.pack(">I", 2**31) + b"AIFFCOMM" + struct.pack(">IhIh", 18, 1, 2**32 - 1, 16) + bytes(60),
        b".snd" + struct.pack(">IIIII", 24, 2**32 - 1, 3, RATE, 1) + bytes(64),
    ],
)
def test_headers_that_lie_cost_nothing(data: bytes, tmp_path: Path) -> None:
    assert _cost_nothing(data, tmp_path) <= RATE * 64


@pytest.mark.parametrize("length", [64, 32_000])
@pytest.mark.parametrize("rate", [0, 1, 999, 2_000_000, 2**32 - 1])
def test_absurd_rates_are_refused(rate: int, length: int, tmp_path: Path) -> None:
    assert _cost_nothing(wav(bytes(length), rate=rate), tmp_path) == 0


@pytest.mark.parametrize("length", [64, 200_000])
@pytest.mark.parametrize("channels", [0, 1025, 65_535])
def test_absurd_channels_are_refused(channels: int, length: int, tmp_path: Path) -> None:
    assert _cost_nothing(wav(bytes(length), channels=channels), tmp_path) == 0


def _cost_nothing(data: bytes, folder: Path) -> int:
    """Load `data` as bytes and from a file, in little time and memory; returns the most samples, 0 for a refusal."""
    path = folder / "speech.wav"
    path.write_bytes(data)
    most = 0
    for source in (data, path):
        before, start = memory(), time.monotonic()
        samples = load_or_refuse(lambda source=source: load_audio(source, RATE), AudioError)
        assert time.monotonic() - start < 2
        assert memory() - before < 60 * MIB
        most = max(most, 0 if samples is None else samples.size)
    return most


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])  # of the last two channels' sum is not
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    samples = TONE.copy()
    samples[5000] = value
    for data in (encoded(samples=samples, subtype="FLOAT"), wav(samples.tobytes(), kind=3, bits=32)):
        with pytest.raises(AudioError, match="not finite numbers"):
            load_audio(data, RATE)


def test_samples_beyond_full_scale_are_kept() -> None:
    """Floats may be above one; nothing is cut or wraps round."""
    samples = load_audio(encoded(samples=TONE * 50, subtype="FLOAT"), RATE)
    assert np.abs(samples).max() == pytest.approx(50 * np.abs(TONE).max())


# -- bombs ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def two_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of silence with a click each ten minutes: 200 kB that are 58 million samples."""
    path = tmp_path_factory.mktemp("long") / "two hours.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
        part = np.zeros(8000 * 600, np.int16)
        part[:200] = 20_000
        for _ in range(12):
            file.write(part)
    assert path.stat().st_size < MIB
    return path


def test_a_bomb_stops_where_the_limit_is(two_hours: Path) -> None:
    before, start = memory(), time.monotonic()
    for source in (two_hours, two_hours.read_bytes()):
        with pytest.raises(AudioError, match="more than 1000000 samples"):
            load_audio(source, RATE, max_samples=1_000_000)
    assert time.monotonic() - start < 5
    assert memory() - before < 60 * MIB


def test_a_small_file_of_long_audio_is_streamed_in_flat_memory(two_hours: Path) -> None:
    data = two_hours.read_bytes()
    before = memory()
    assert sum(len(block) for block in open_audio(data, 8000).blocks()) == 7200 * 8000
    assert memory() - before < 30 * MIB


def test_two_hours_are_read_in_flat_memory(two_hours: Path) -> None:
    stream = open_audio(two_hours, 8000)
    assert stream.duration == 7200
    before = memory()
    coarse = WhisperFeatureExtractor(sampling_rate=8000, n_fft=200, hop_length=2000, feature_size=20)
    features = LongFeatures(coarse, stream)
    assert (features.n_samples, features.n_frames) == (7200 * 8000, 28_800)
    assert features.window(0, 100).max() > features.window(1200, 100).max()
    assert not features.window(28_700, 300)[:, 100:].any()
    assert memory() - before < 60 * MIB


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xf3\x88\xc4" + b"\xff" * 2**22,
        b"\xff\xf3\x18\xc4" * 2**20,
        (b"\xff\xf3\x18\xc4" + bytes(32) + b"x") * 2**17,
        b"ID3\4\0\0\0\0\0\0" * 2**19,
        (b"RIFF\x10\0\0\0WAVEdata" + bytes(4)) * 2**18,
        b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * 2**19,
        (b".snd" + struct.pack(">II", 12, 0)) * 2**18,
        b"fLaC\0\0\0\x22" * 2**19,
        b"fLaC\0\0\0\x22" + bytes(34) + b"\xff\xf8" * 2**21,
        b"OggSx" * 2**20,
    ],
    ids=["ones", "heads", "frames and junk", "tags", "waves", "chunks", "au", "flacs", "flac frames", "pages"],
)
def test_millions_of_little_parts_cost_no_time(data: bytes) -> None:
    start, before = time.monotonic(), memory()
    find_parts(BytesIO(data))
    assert time.monotonic() - start < 5
    assert memory() - before < 60 * MIB


# -- files that name others -------------------------------------------------------------------------------------------
def test_folders_and_devices(tmp_path: Path) -> None:
    for source in (tmp_path, str(tmp_path), "/dev/null"):
        with pytest.raises((AudioError, OSError)):
            load_audio(source, RATE)
    for source in (tmp_path / "no.wav", "no\0such.wav", "x" * 5000):
        with pytest.raises(OSError):
            load_audio(source, RATE)


def test_no_program_is_run_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was run"))
    for kind in ("WAV", "MP3"):
        assert len(load_audio(encoded(kind, TONE), RATE)) > 0.9 * RATE
    with pytest.raises(AudioError):
        load_audio(b"ID3\x04" + bytes(500), RATE)


@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_playlists_open_nothing(playlist: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encoded(samples=TONE))
    with untouched_port() as port, monkeypatch.context() as patch:
        patch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket was opened"))
        text = PLAYLISTS[playlist].format(path=secret, port=port, media="audio", payload=0)
        for path in (tmp_path / "speech.mp3", tmp_path / f"speech.{playlist.split()[0]}"):
            path.write_text(text)
            for source in (path, path.read_bytes()):
                with pytest.raises(AudioError, match="malformed"):
                    load_audio(source, RATE)


# -- videos: what libsndfile does not know goes to FFmpeg's libraries, which would open what a file names -------------
@pytest.fixture
def av() -> Any:
    return pytest.importorskip("av")


def test_a_video_that_refers_to_another_file_is_silent(av: Any) -> None:
    """A QuickTime video may say that its samples lie elsewhere (`dref` with an alias)."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="mov") as container:
        track = container.add_stream("pcm_s16le", rate=RATE)
        frame = av.AudioFrame.from_ndarray(np.ones((1, RATE), np.int16), format="s16", layout="mono")
        frame.rate = RATE
        for packet in [*track.encode(frame), *track.encode(None)]:
            container.mux(packet)
    data = bytearray(buffer.getvalue())
    place = data.index(b"url ")
    data[place + 4 : place + 8] = b"\0\0\0\0"  # no longer in this file
    for source in (bytes(data), bytes(data).replace(b"url ", b"alis")):
        samples = load_or_refuse(lambda source=source: load_audio(source, RATE), AudioError)
        if samples is not None:
            assert abs(samples - 1 / 32768).max() < 1e-6  # its own samples, not those of the other


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0\0\0\x20ftypM4A ",
        b"\x1aE\xdf\xa3",
        b"RIFF\0\0\0\0AVI LIST",
        b"OggS",
        b"FLV\1\5",
        b"ADIF",
    ],
    ids=["nothing", "M4A", "Matroska", "AVI", "Ogg", "FLV", "ADIF"],
)
def test_noise_after_the_first_bytes_of_a_format(av: Any, head: bytes) -> None:
    with pytest.raises(AudioError):
        load_audio(head + np.random.default_rng(0).bytes(20_000), RATE)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_videos_cut_off(av: Any, part: float) -> None:
    for kind, codec in (("mp4", "aac"), ("matroska", "libopus"), ("mov", "pcm_s16le")):
        data = _video(av, kind, codec)
        assert len(load_audio(data, RATE)) == pytest.approx(RATE, rel=0.2)
        audio_or_refusal(data[: int(len(data) * part)])


def test_a_video_without_audio(av: Any) -> None:
    buffer = BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(AudioError, match="has no audio in it"):
        load_audio(buffer.getvalue(), RATE)


def _video(av: Any, kind: str, codec: str) -> bytes:
    """Write a second of audio into a container for videos."""
    rate = 48_000
    buffer = BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        samples = (np.repeat(TONE, 3) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 0)
        for part in resampler.resample(frame) + resampler.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


# -- settings of a file -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {"feature_size": 10**9},
        {"feature_size": -1},
        {"sampling_rate": 0},
        {"sampling_rate": "fast"},
        {"hop_length": 0},
        {"hop_length": 1.5},
        {"n_fft": 10**9},
        {"chunk_length": 10**6},
        {"padding_value": "zero"},
        {"padding_side": "up"},
        {"return_attention_mask": "maybe"},
        {"dither": 1e300},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    config = {"feature_extractor_type": "WhisperFeatureExtractor", **settings}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=next(iter(settings))):
        AutoFeatureExtractor.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "extractor",
    [
        WhisperFeatureExtractor(chunk_length=3600, sampling_rate=1_000_000),
        WhisperFeatureExtractor(n_fft=65_536, hop_length=1),
        WhisperFeatureExtractor(feature_size=4096, n_fft=65_536, hop_length=10_000),
        WhisperFeatureExtractor(sampling_rate=8000, feature_size=4096, n_fft=4096),
        ASTFeatureExtractor(max_length=2**20, num_mel_bins=4096),
    ],
)
def test_settings_cannot_fill_the_memory(extractor: Any) -> None:
    before = memory()
    with pytest.raises(UnsupportedError):
        extractor(NOISE, sampling_rate=extractor.sampling_rate)
    assert memory() - before < 200 * MIB
