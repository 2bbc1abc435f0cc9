"""Hostile recordings: broken files, headers that lie, files that pretend to be others, files that name other files."""

from __future__ import annotations

import io
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

from attacks.archives import gzip_of, zip_of  # noqa: E402
from onnxpipe.errors import AudioError  # noqa: E402
from onnxpipe.processing.audio.io.load import load_audio, open_audio  # noqa: E402

#: soundfile prints what goes wrong inside its callbacks, whoever catches it: nothing may go wrong there.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

RATE = 16_000
SOUND = (0.3 * np.sin(np.arange(RATE) / 7) * np.linspace(0, 1, RATE)).astype(np.float32)
FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64")


def _file(kind: str = "WAV", samples: np.ndarray = SOUND, rate: int = RATE, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def _wav(data: bytes, *, rate: int = RATE, channels: int = 1, bits: int = 16, claimed: int | None = None) -> bytes:
    """A WAV file with any header before `data`."""
    frame = min(channels * bits // 8, 0xFFFF)
    size = len(data) if claimed is None else claimed
    layout = struct.pack("<HHIIHH", 1, channels, rate, min(rate * frame, 2**32 - 1), frame, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + body


def _load_or_refuse(data: bytes) -> None:
    """Samples, or an `AudioError`; nothing else."""
    try:
        found = load_audio(data, RATE)
    except AudioError:
        return
    assert found.dtype == np.float32
    assert found.ndim == 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_files_cut_anywhere_never_raise_anything_else(kind: str) -> None:
    data = _file(kind, SOUND[:4000])
    for end in range(0, len(data), max(1, len(data) // 25)):
        _load_or_refuse(data[:end])


@pytest.mark.parametrize("kind", FORMATS)
def test_files_with_wrong_bytes_never_raise_anything_else(kind: str) -> None:
    rng = np.random.default_rng(0)
    data = np.frombuffer(_file(kind, SOUND[:4000]), np.uint8)
    for reach in (64, 200, len(data)):
        for _ in range(12):
            wrong = data.copy()
            wrong[rng.integers(0, min(len(wrong), reach), 4)] = rng.integers(0, 256, 4)
            _load_or_refuse(wrong.tobytes())


def test_a_file_that_breaks_in_the_middle_says_where() -> None:
    rng = np.random.default_rng(1)
    whole = _file("FLAC", rng.normal(0, 0.1, 8 * RATE).astype(np.float32))
    broken = bytearray(whole)
    middle = len(whole) // 2
    broken[middle : middle + 20_000] = rng.bytes(20_000)
    stream = open_audio(bytes(broken), RATE)
    heard = 0
    with pytest.raises(AudioError, match=r"\d s"):
        for block in stream.blocks(1000):
            heard += len(block)
    assert heard < 8 * RATE


@pytest.mark.parametrize(
    "data",
    [
        _wav(bytes(64), claimed=2**32 - 1),
        _wav(bytes(64), claimed=2**31),
        _wav(bytes(64), channels=65_535, bits=32, claimed=2**32 - 1),
        _wav(bytes(64), rate=2**32 - 1),
        _wav(bytes(64), rate=2**32 - 1, channels=65_535),
        _wav(bytes(64), rate=0),
        _wav(bytes(64), rate=1),
        _wav(bytes(64), channels=0),
        _wav(bytes(64), bits=0),
        _wav(bytes(64), bits=65_535),
        # 2^36 - 1 samples of eight channels at 655,350 Hz: as much as FLAC's header can say
        _file("FLAC")[:18] + b"\x9f\xff\x6f\xff\xff\xff\xff\xff" + _file("FLAC")[26:],
        b"FORM" + struct.pack(">I", 2**31) + b"AIFFCOMM" + struct.pack(">IhIh", 18, 1, 2**32 - 1, 16) + bytes(60),
        b".snd" + struct.pack(">IIIII", 24, 2**32 - 1, 3, RATE, 1) + bytes(64),
    ],
)
def test_headers_that_lie_cost_nothing(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(data)
    for source in (data, path):
        before, start = _memory(), time.monotonic()
        try:
            found = load_audio(source, RATE)
        except AudioError:
            found = np.zeros(0, np.float32)
        assert found.size <= RATE * 64
        assert time.monotonic() - start < 2
        assert _memory() - before < 60 * 2**20


def test_a_small_file_of_much_sound_is_bounded() -> None:
    """Silence of half an hour is a few KB of FLAC: loaded at once only up to the bound, streamed in flat memory."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATE, 1, subtype="PCM_16", format="FLAC") as file:
        for _ in range(30):
            file.write(np.zeros(60 * RATE, np.float32))
    data = buffer.getvalue()
    assert len(data) < 400_000
    with pytest.raises(AudioError, match="samples"):
        load_audio(data, RATE, max_samples=2**20)
    before, heard = _memory(), 0
    for block in open_audio(data, RATE).blocks():
        heard += len(block)
    assert heard == 1800 * RATE
    assert _memory() - before < 30 * 2**20


def _memory() -> int:
    """The most bytes that this process ever had in memory."""
    if sys.platform == "win32":
        pytest.skip("no way to ask for the memory here")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        bytes(1000),
        b"Just a few words, and a name that says something else.",
        b"<!DOCTYPE html><html>404</html>",
        b"%PDF-1.7\n" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0",
        zip_of({"speech.wav": _file()}),
        gzip_of(_file()),
        _file(samples=SOUND[:0]),
        _file("FLAC", SOUND[:0]),
    ],
)
def test_what_holds_no_sound_is_told(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        with pytest.raises(AudioError) as caught:
            load_audio(source, RATE)
        assert len(str(caught.value)) < 1000
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_told(value: float) -> None:
    samples = SOUND.copy()
    samples[5000] = value
    with pytest.raises(AudioError, match="finite"):
        load_audio(_file(samples=samples, subtype="FLOAT"), RATE)


def test_samples_beyond_full_scale_are_kept() -> None:
    """Floats may be above one; nothing is cut or wraps round."""
    assert np.abs(load_audio(_file(samples=SOUND * 50, subtype="FLOAT"), RATE)).max() == pytest.approx(
        50 * np.abs(SOUND).max()
    )


def test_folders_and_devices(tmp_path: Path) -> None:
    for source in (tmp_path, str(tmp_path), "/dev/null"):
        with pytest.raises((AudioError, OSError)):
            load_audio(source, RATE)
    for source in (tmp_path / "no.wav", "no\0such.wav", "x" * 5000):
        with pytest.raises(OSError):
            load_audio(source, RATE)


def test_no_program_is_run_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was run"))
    for kind in ("WAV", "MP3"):
        assert len(load_audio(_file(kind), RATE)) > 0.9 * RATE
    with pytest.raises(AudioError):
        load_audio(b"ID3\x04" + bytes(500), RATE)


class TestFilms:
    """What libsndfile does not know goes to FFmpeg's libraries, which would open what a file names."""

    @pytest.fixture(autouse=True)
    def _av(self) -> None:
        pytest.importorskip("av")

    @pytest.mark.parametrize(
        "text",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile '{}'\n",
            "<?xml version='1.0'?><MPD type='static'><BaseURL>{}</BaseURL></MPD>",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 0\n",
        ],
    )
    def test_playlists_open_nothing(self, text: str, tmp_path: Path) -> None:
        import socket

        secret = tmp_path / "secret.wav"
        secret.write_bytes(_file())
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        path = tmp_path / "speech.mp3"
        path.write_text(text.replace("{port}", str(listener.getsockname()[1])).replace("{}", str(secret)))
        (tmp_path / "speech.m3u8").write_bytes(path.read_bytes())
        for source in (path, path.read_bytes(), tmp_path / "speech.m3u8"):
            with pytest.raises(AudioError):
                load_audio(source, RATE)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.close()

    def test_noise(self) -> None:
        noise = np.random.default_rng(0).bytes(20_000)
        for head in (
            b"",
            b"\0\0\0\x20ftypM4A ",
            b"\x1aE\xdf\xa3",
            b"RIFF\0\0\0\0AVI LIST",
            b"OggS",
            b"FLV\1\5",
            b"ADIF",
        ):
            with pytest.raises(AudioError):
                load_audio(head + noise, RATE)

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    def test_films_cut_off(self, part: float) -> None:
        for kind, codec in (("mp4", "aac"), ("matroska", "libopus"), ("mov", "pcm_s16le")):
            data = _film(kind, codec)
            assert len(load_audio(data, RATE)) == pytest.approx(RATE, rel=0.2)
            _load_or_refuse(data[: int(len(data) * part)])

    def test_a_film_without_sound(self) -> None:
        import av

        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as container:
            stream: Any = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with pytest.raises(AudioError, match="no sound"):
            load_audio(buffer.getvalue(), RATE)


def _film(kind: str, codec: str) -> bytes:
    """A second of sound in a container of films."""
    import av

    rate = 48_000
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        samples = (np.repeat(SOUND, 3) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 0)
        for part in resampler.resample(frame) + resampler.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()
