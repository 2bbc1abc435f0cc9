"""Hostile recordings: broken files, headers that lie, bombs, files that pretend to be others or name other files."""

from __future__ import annotations

import contextlib
import json
import struct
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")

from onnxpipe.errors import AudioError, BundleError, UnsupportedError  # noqa: E402
from onnxpipe.processing.audio.ast import ASTFeatureExtractor  # noqa: E402
from onnxpipe.processing.audio.auto import AutoFeatureExtractor  # noqa: E402
from onnxpipe.processing.audio.io.load import load_audio, open_audio  # noqa: E402
from onnxpipe.processing.audio.long_features import LongFeatures  # noqa: E402
from onnxpipe.processing.audio.whisper import WhisperFeatureExtractor  # noqa: E402

SOUND = (np.random.default_rng(0).standard_normal(5 * 16_000) * 0.1).astype(np.float32)


def encoded(kind: str = "WAV", samples: np.ndarray = SOUND, rate: int = 16_000, **options: Any) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, **options)
    return buffer.getvalue()


def wav(data: bytes, *, kind: int = 1, channels: int = 1, rate: int = 16_000, claimed: int | None = None) -> bytes:
    """A wav file whose header says what one likes."""
    width = 4 if kind == 3 else 2
    claimed = len(data) if claimed is None else claimed
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, kind, channels, rate,
                       (rate * width * channels) % 2**32, (width * channels) % 2**16, 8 * width, b"data",
                       claimed)  # fmt: skip
    return head + data


def memory() -> int:
    """The most bytes that this process ever had in memory."""
    if sys.platform == "win32":
        pytest.skip("no way to ask for the memory here")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# -- broken files -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"these are words\n" * 50, "no format that is known"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (bytes(100_000), "no format that is known"),
        (np.random.default_rng(1).bytes(100_000), "malformed"),
        (encoded()[:44], "without a sample"),
        (encoded()[:20], "no format that is known"),
    ],
)
def test_what_is_no_sound_is_said(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(content)
    for source in (content, tmp_path / "talk.wav", str(tmp_path / "talk.wav")):
        with pytest.raises(AudioError, match="Soundfile is either not in the correct format or is malformed") as found:
            load_audio(source, 16_000)
        assert message in str(found.value) or message == "malformed"
        assert "talk.wav" in str(found.value) or isinstance(source, bytes)


def test_raw_samples_have_no_header(tmp_path: Path) -> None:
    (tmp_path / "samples.raw").write_bytes(SOUND.tobytes())
    with pytest.raises(AudioError, match="malformed"):
        load_audio(tmp_path / "samples.raw", 16_000)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_file_that_breaks_off_says_where(part: float) -> None:
    data = encoded("FLAC")
    with pytest.raises(AudioError, match="is broken after") as found:
        load_audio(data[: int(len(data) * part)], 16_000)
    second = float(str(found.value).split("after ")[1].split(" s")[0])
    assert 5 * part - 1.1 < second <= 5 * part
    blocks = open_audio(data[: int(len(data) * part)], 16_000).blocks(1600)
    heard = []
    with pytest.raises(AudioError, match="is broken after"):
        heard.extend(blocks)
    assert len(heard) >= int(second * 10) - 1  # what is before is given first


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("MP3", None), ("OGG", "VORBIS"), ("AIFF", "PCM_16")])
def test_what_is_left_of_a_cut_file_is_read(kind: str, subtype: str | None, caplog: Any) -> None:
    data = encoded(kind, subtype=subtype)
    found = load_audio(data[: len(data) * 6 // 10], 16_000)
    assert 0.3 * len(SOUND) < len(found) < 0.65 * len(SOUND)
    assert ("40 % of what its header tells of is missing" in caplog.text) == (kind == "WAV")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_damage_never_raises_anything_else(kind: str) -> None:
    data = encoded(kind, SOUND[:8000])
    random = np.random.default_rng(3)
    for _ in range(25):
        broken = bytearray(data)
        start, length = random.integers(0, len(broken)), int(random.integers(1, 200))
        broken[start : start + length] = random.bytes(length)
        try:
            found = load_audio(bytes(broken[: random.integers(len(broken) // 2, len(broken) + 1)]), 16_000)
        except AudioError:
            continue
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


# -- headers that lie -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("claimed", [2**32 - 1, 2**32 - 2, 2**31 - 1, 0x7FFF_FFF0])
def test_a_wav_of_four_gigabytes_is_as_long_as_it_is(claimed: int) -> None:
    before = memory()
    assert len(load_audio(wav(bytes(32_000), claimed=claimed), 16_000)) == 16_000
    assert memory() - before < 30 * 2**20


def test_a_header_that_claims_terabytes_takes_no_memory() -> None:
    data = bytearray(encoded("FLAC"))
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"  # 2^36 - 1 samples
    before = memory()
    with pytest.raises(AudioError, match="broken after"):
        load_audio(bytes(data), 16_000)
    rf64 = b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, 2**42, 2**42, 2**41, 0)
    rf64 += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data" + b"\xff" * 4 + bytes(3200)
    with contextlib.suppress(AudioError):
        assert len(load_audio(rf64, 16_000)) <= 1600
    assert memory() - before < 60 * 2**20


@pytest.mark.parametrize("rate", [0, 1, 999, 2_000_000, 2**32 - 1])
def test_absurd_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioError):
        load_audio(wav(bytes(32_000), rate=rate), 16_000)


@pytest.mark.parametrize("channels", [0, 1025, 65_535])
def test_absurd_channels_are_refused(channels: int) -> None:
    with pytest.raises(AudioError):
        load_audio(wav(bytes(200_000), channels=channels), 16_000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    samples = np.zeros(1000, np.float32)
    samples[700] = value
    with pytest.raises(AudioError, match="no finite numbers"):
        load_audio(wav(samples.tobytes(), kind=3), 16_000)


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
    assert path.stat().st_size < 2**20
    return path


def test_a_bomb_stops_where_the_limit_is(two_hours: Path) -> None:
    before, start = memory(), time.monotonic()
    for source in (two_hours, two_hours.read_bytes()):
        with pytest.raises(AudioError, match="more than 1000000 samples"):
            load_audio(source, 16_000, max_samples=1_000_000)
    assert time.monotonic() - start < 5
    assert memory() - before < 60 * 2**20


def test_two_hours_are_read_in_flat_memory(two_hours: Path) -> None:
    stream = open_audio(two_hours, 8000)
    assert stream.duration == 7200
    before = memory()
    coarse = WhisperFeatureExtractor(sampling_rate=8000, n_fft=200, hop_length=2000, feature_size=20)
    features = LongFeatures(coarse, stream)
    assert (features.n_samples, features.n_frames) == (7200 * 8000, 28_800)
    assert features.window(0, 100).max() > features.window(1200, 100).max()
    assert not features.window(28_700, 300)[:, 100:].any()
    assert memory() - before < 60 * 2**20


# -- files that name others -------------------------------------------------------------------------------------------
@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded())
    return path


_LISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\n{path}\n#EXT-X-ENDLIST\n",
    "spaced.m3u8": "\n\n  #EXTM3U\n#EXTINF:5,\nfile://{path}\n",
    "ffconcat": "ffconcat version 1.0\nfile {path}\n",
    "txt": "file '{path}'\n",
    "pls": "[playlist]\nFile1={path}\nNumberOfEntries=1\n",
    "mpd": '<MPD type="static"><Period><AdaptationSet><Representation><BaseURL>{path}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "wav": "{path}",
}


@pytest.mark.parametrize("ending", _LISTS)
def test_playlists_open_nothing(ending: str, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    path = tmp_path / f"list.{ending}"
    path.write_text(_LISTS[ending].format(path=secret))
    for source in (path, path.read_bytes()):
        with pytest.raises(AudioError, match="malformed"):
            load_audio(source, 16_000)


def test_a_film_that_refers_to_another_file_is_silent(secret: Path) -> None:
    """A QuickTime film may say that its samples lie elsewhere (`dref` with an alias)."""
    av = pytest.importorskip("av")
    buffer = BytesIO()
    with av.open(buffer, "w", format="mov") as film:
        track = film.add_stream("pcm_s16le", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.ones((1, 16_000), np.int16), format="s16", layout="mono")
        frame.rate = 16_000
        for packet in [*track.encode(frame), *track.encode(None)]:
            film.mux(packet)
    data = bytearray(buffer.getvalue())
    place = data.index(b"url ")
    data[place + 4 : place + 8] = b"\0\0\0\0"  # no longer in this file
    for source in (bytes(data), bytes(data).replace(b"url ", b"alis")):
        try:
            found = load_audio(source, 16_000)
        except AudioError:
            continue
        assert abs(found - 1 / 32768).max() < 1e-6  # its own samples, not those of the other


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
        extractor(SOUND, sampling_rate=extractor.sampling_rate)
    assert memory() - before < 200 * 2**20
