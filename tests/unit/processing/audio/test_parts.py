"""Files whose headers count fewer or more samples than there are, and files of several recordings."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")

from onnxpipe.errors import AudioError  # noqa: E402
from onnxpipe.processing.audio.io.load import load_audio, open_audio  # noqa: E402
from onnxpipe.processing.audio.io.parts import SplicedFile, find_parts  # noqa: E402

RATE = 16_000
SECONDS = 4
NOISE = (np.random.default_rng(0).standard_normal(SECONDS * RATE) * 0.1).astype(np.float32)
FORMATS = [("WAV", None), ("RF64", None), ("W64", None), ("AIFF", None), ("AU", None), ("CAF", None), ("FLAC", None),
           ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)]  # fmt: skip
EXACT = ("WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")


def encoded(kind: str, subtype: str | None = None, samples: np.ndarray = NOISE, rate: int = RATE) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def patched(data: bytes, place: int, content: bytes) -> bytes:
    return data[:place] + content + data[place + len(content) :]


def mp3_frames(data: bytes) -> list[int]:
    """The places of the frames of an mp3 as `encoded` writes it: layer III of 16 kHz."""
    rates, place, places = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160), data.index(b"\xff"), []
    while place + 4 <= len(data):
        places.append(place)
        place += 72 * rates[data[place + 2] >> 4] * 1000 // RATE + (data[place + 2] >> 1 & 1)
    return places


# -- several recordings -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_files_that_were_put_together_are_read_to_the_end(
    kind: str, subtype: str | None, tmp_path: Path, caplog: Any
) -> None:
    one, two = encoded(kind, subtype), encoded(kind, subtype, NOISE[: RATE * 2])
    path = tmp_path / "joined.bin"
    path.write_bytes(one + two + one)
    wanted = np.concatenate([load_audio(one, RATE), load_audio(two, RATE), load_audio(one, RATE)])
    for source in (one + two + one, path):
        np.testing.assert_array_equal(load_audio(source, RATE), wanted)
        stream = open_audio(source, RATE)
        assert stream.duration == pytest.approx(len(wanted) / RATE)
        np.testing.assert_array_equal(np.concatenate(list(stream.blocks(777))), wanted)
    assert not caplog.text


def test_tags_between_recordings() -> None:
    one = encoded("MP3")
    front = b"ID3\4\0\0\0\0\x02\0" + bytes(256)
    back = b"TAG" + b"title".ljust(125, b"\0")
    found = load_audio(front + one + back + front + one + back, RATE)
    np.testing.assert_array_equal(found, np.tile(load_audio(one, RATE), 2))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF"])
def test_a_tag_in_front_is_skipped(kind: str, caplog: Any) -> None:
    front = b"ID3\4\0\0\0\0\0\x14" + bytes(20)
    np.testing.assert_array_equal(load_audio(front + encoded(kind), RATE), load_audio(encoded(kind), RATE))
    assert not caplog.text


def test_recordings_of_other_channels_and_rates() -> None:
    both = np.stack([NOISE, -NOISE], axis=1)
    found = load_audio(encoded("WAV") + encoded("WAV", None, both), RATE)
    assert len(found) == 2 * len(NOISE)
    np.testing.assert_allclose(found[len(NOISE) :], 0, atol=1e-4)
    with pytest.raises(AudioError, match=r"sampling rate of the recording changes from 16000 to 8000 Hz at 4\.00 s"):
        load_audio(encoded("WAV") + encoded("WAV", None, NOISE, 8000), RATE)


# -- counts that are too small ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.99])
def test_a_short_data_size_of_a_wav(share: float, caplog: Any) -> None:
    data = encoded("WAV", "FLOAT")
    size = data.index(b"data") + 4
    count = int(len(NOISE) * share) * 4
    short = patched(data, size, count.to_bytes(4, "little"))
    np.testing.assert_array_equal(load_audio(short, RATE), NOISE)
    shorter = patched(short, 4, (size + count - 8).to_bytes(4, "little"))
    np.testing.assert_array_equal(load_audio(shorter, RATE), NOISE)
    assert open_audio(shorter, RATE).duration == SECONDS
    assert not caplog.text


def test_chunks_after_the_samples_of_a_wav_are_no_samples() -> None:
    data = encoded("WAV")
    for chunks in (b"LIST\4\0\0\0INFO", b"LIST\5\0\0\0INFO!\0id3 \2\0\0\0ab", b"TAG" + bytes(125)):
        assert len(load_audio(data + chunks, RATE)) == len(NOISE)
        assert len(load_audio(data + chunks + data, RATE)) == len(NOISE) * (1 if chunks.startswith(b"TAG") else 2)


def test_short_sizes_of_other_formats() -> None:
    au = encoded("AU")
    w64, caf, aiff, flac = encoded("W64"), encoded("CAF"), encoded("AIFF"), encoded("FLAC")
    data = w64.index(b"data\xf3") + 16
    caf_data, ssnd, comm = caf.index(b"data") + 4, aiff.index(b"SSND") + 4, aiff.index(b"COMM") + 10
    for short in (
        patched(au, 8, (2000).to_bytes(4, "big")),
        patched(w64, data, (2024).to_bytes(8, "little")),
        patched(caf, caf_data, (2004).to_bytes(8, "big")),
        patched(patched(aiff, ssnd, (2008).to_bytes(4, "big")), comm, (1000).to_bytes(4, "big")),
        patched(flac, 22, (1000).to_bytes(4, "big")),
    ):
        assert len(load_audio(short, RATE)) == len(NOISE)
        assert open_audio(short, RATE).duration == SECONDS


def test_a_flac_whose_count_is_not_known() -> None:
    data = encoded("FLAC")
    for count in (0, 2**36 - 1):
        head = bytes([data[21] & 0xF0 | count >> 32]) + (count & 0xFFFFFFFF).to_bytes(4, "big")
        np.testing.assert_array_equal(load_audio(patched(data, 21, head), RATE), load_audio(data, RATE))


@pytest.mark.parametrize("count", [1, 50, 2**31])
def test_a_wrong_count_of_frames_in_an_mp3(count: int, capfd: Any) -> None:
    data = encoded("MP3")
    place = max(data.find(b"Xing"), data.find(b"Info"))
    wrong = patched(data, place + 8, count.to_bytes(4, "big"))
    np.testing.assert_array_equal(load_audio(wrong, RATE), load_audio(data, RATE))
    assert not capfd.readouterr().err


def test_an_mp3_without_a_count(capfd: Any) -> None:
    """Frames of many lengths: what libsndfile guesses from the first ones is wrong."""
    data = encoded("MP3", None, NOISE * np.linspace(0, 3, len(NOISE), dtype=np.float32) ** 2)
    frames = mp3_frames(data)
    bare = data[frames[1] :]
    assert len(load_audio(bare, RATE)) == (len(frames) - 1) * 576 - 529  # a decoder's delay
    assert len(load_audio(bare + bare, RATE)) == 2 * (len(frames) - 1) * 576 - 529
    assert not capfd.readouterr().err


# -- truncated files --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_truncated_files_are_read_with_one_warning(
    kind: str, subtype: str | None, part: float, tmp_path: Path, caplog: Any, capfd: Any
) -> None:
    if kind == "OGG":
        part = max(part, 0.5)  # its first page of samples is large
    whole = encoded(kind, subtype)
    data = whole[: int(len(whole) * part)]
    path = tmp_path / "cut.bin"
    path.write_bytes(data)
    for source in (data, path):
        caplog.clear()
        found = load_audio(source, RATE)
        assert (part - 0.35) * len(NOISE) < len(found) <= part * len(NOISE) * 1.05
        assert len(caplog.records) == 1
        assert "is truncated" in caplog.text
        if kind != "OGG":
            missing = int(caplog.text.split(" % of its audio is missing")[0].split()[-1])
            assert missing == pytest.approx(100 - 100 * len(found) / len(NOISE), abs=3 if kind == "MP3" else 0.5)
        if kind in EXACT:
            np.testing.assert_array_equal(found, load_audio(whole, RATE)[: len(found)])
    assert not capfd.readouterr().err


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_whole_files_are_read_as_they_are(kind: str, subtype: str | None, caplog: Any) -> None:
    data = encoded(kind, subtype)
    assert find_parts(BytesIO(data)) == []
    for end in (b"", b"TAG" + bytes(125)) if kind in ("MP3", "FLAC") else (b"",):
        assert len(load_audio(data + end, RATE)) == pytest.approx(len(NOISE), abs=RATE // 50)
    assert not caplog.text


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("mov", "aac")])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_truncated_videos(container: str, codec: str, part: float, tmp_path: Path, caplog: Any) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "video.bin"
    options = {"movflags": "faststart"} if container in ("mp4", "mov") else {}
    with av.open(str(path), "w", format=container, options=options) as video:
        track = video.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((np.repeat(NOISE, 3) * 32_767).astype(np.int16)[None], "s16", "mono")
        frame.rate = 48_000
        shaper = av.AudioResampler(track.codec_context.format, "mono", 48_000, track.codec_context.frame_size or 960)
        for shaped in [*shaper.resample(frame), *shaper.resample(None), None]:
            video.mux(track.encode(shaped))
    whole = path.read_bytes()
    assert len(load_audio(whole, RATE)) == pytest.approx(len(NOISE), rel=0.05)
    assert not caplog.text
    found = load_audio(whole[: int(len(whole) * part)], RATE)
    assert len(found) == pytest.approx(part * len(NOISE), rel=0.15)
    assert len(caplog.records) == 1
    assert "is truncated" in caplog.text


def test_a_second_recording_that_is_broken_does_not_hide_the_first(caplog: Any) -> None:
    one = encoded("WAV")
    found = load_audio(one + b"RIFF\x30\0\0\0WAVEdata\x08\0\0\0" + bytes(8), RATE)
    assert len(found) == len(NOISE)
    assert "some of its audio is missing" in caplog.text


def test_a_video_whose_index_was_cut_off_is_refused() -> None:
    pytest.importorskip("av")
    with pytest.raises(AudioError, match="the recording is truncated or broken"):
        load_audio(b"\0\0\0\x1cftypisom\0\0\2\0isomiso2mp41\0\1\0\0mdat" + bytes(5000), RATE)


# -- pieces -----------------------------------------------------------------------------------------------------------
def test_a_spliced_file() -> None:
    file = SplicedFile(BytesIO(b"0123456789"), [(2, 4), b"ab", (4, 4), b"", (8, 10), b"c"])
    assert file.read() == b"23ab89c"
    assert (file.seek(-3, 2), file.read(2), file.tell()) == (4, b"89", 6)
    assert (file.seek(-9, 1), file.read(3)) == (0, b"23a")
    assert (file.seek(99), file.read(3)) == (99, b"")
