"""Real models on real speech: transformers' texts and times, int8, long files, speech from its mels."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perf import turns
from perf.speech import WAYS
from perf.words import error_rate, errors, words

from onnxpipe import pipeline
from zoo.audio import recordings

pytestmark = [pytest.mark.xdist_group("real-speech"), pytest.mark.filterwarnings("ignore::UserWarning")]

Rows = Callable[[str], list[dict[str, Any]]]
Find = Callable[[str], Path]
TASK = "automatic-speech-recognition"
ENGLISH, ANY_LANGUAGE, VOCODER = "whisper-tiny.en", "Xenova-whisper-tiny", "hifigan-universal"
RATE = 16_000
STEP = 0.0201
"""How far the times of words may differ: a step of the decoder's, which is as fine as its attention is."""


@pytest.fixture(scope="module")
def clips(rows: Rows) -> dict[Path, str]:
    """Six recordings and what is said in them."""
    folder = Path(os.environ.get("ONNXPIPE_TEST_DATA", "")) / "speech"
    return {folder / row["file"]: row["text"] for row in rows("speech/transcripts.jsonl")}


@pytest.fixture(scope="module")
def ours(real_bundle: Find) -> Callable[[str], Any]:
    """`ours(dtype)`: the English model, exported."""
    return cache(lambda dtype: pipeline(TASK, real_bundle(ENGLISH), dtype=dtype, device="cpu"))


@pytest.fixture(scope="module")
def theirs(real_model: Find) -> Any:
    """transformers, which gets arrays: it would call ffmpeg for files."""
    pipe = pytest.importorskip("transformers").pipeline(TASK, str(real_model(ENGLISH)), device="cpu")
    return lambda path, **kwargs: pipe(recordings.decoded(path.read_bytes(), RATE), **kwargs)


def test_texts_and_times_of_segments(ours: Callable[[str], Any], theirs: Any, clips: dict[Path, str]) -> None:
    """Each clip alone: greedily all of them, the shortest two by default, that is with five beams."""
    for path in clips:
        options = {"return_timestamps": True, "num_beams": 1}
        assert ours("fp32")(path, **options) == theirs(path, **options), path.name
    for path in sorted(clips, key=lambda path: len(clips[path]))[:2]:
        assert ours("fp32")(path, return_timestamps=True) == theirs(path, return_timestamps=True), path.name


def test_texts_of_a_list(ours: Callable[[str], Any], theirs: Any, clips: dict[Path, str]) -> None:
    got = ours("fp32")(list(clips), num_beams=1, batch_size=4)
    assert got == [theirs(path, num_beams=1) for path in clips]
    assert error_rate((one["text"], text) for one, text in zip(got, clips.values())) < 6


@pytest.mark.parametrize("beams", [1, 5])
def test_times_of_words(ours: Callable[[str], Any], theirs: Any, clips: dict[Path, str], beams: int) -> None:
    ordered = sorted(clips, key=lambda path: len(clips[path]))
    chosen = ordered[1::2] if beams == 1 else ordered[-1:]
    for path in chosen:
        got, expected = (pipe(path, return_timestamps="word", num_beams=beams) for pipe in (ours("fp32"), theirs))
        assert got["text"] == expected["text"], path.name
        assert [word["text"] for word in got["chunks"]] == [word["text"] for word in expected["chunks"]]
        for one, other in zip(got["chunks"], expected["chunks"]):
            far = max(abs(a - b) for a, b in zip(one["timestamp"], other["timestamp"]))
            assert far < STEP, (path.name, one, other)


def test_eight_bits(ours: Callable[[str], Any], clips: dict[Path, str], record_property: Any) -> None:
    rates = {}
    for dtype in ("fp32", "int8"):
        transcripts = ours(dtype)(list(clips), num_beams=1)
        rates[dtype] = error_rate((one["text"], text) for one, text in zip(transcripts, clips.values()))
    record_property("words wrong in 100", rates)
    print(f"{ENGLISH}: words wrong in 100 {rates}")
    assert rates["int8"] <= rates["fp32"] + 2.5  # two of the 93 words: which, near ties and the processor decide


def test_a_folder_of_transformers_js(real_model: Find, clips: dict[Path, str]) -> None:
    """As it lies: quantized graphs of others, every language. It detects the language itself, or the call names it."""
    pipe = pipeline(TASK, real_model(ANY_LANGUAGE), device="cpu")
    transcripts = pipe(list(clips), num_beams=1)
    assert error_rate((one["text"], text) for one, text in zip(transcripts, clips.values())) < 12
    with_options = pipe(list(clips), num_beams=1, generate_kwargs={"language": "english", "task": "transcribe"})
    assert with_options == transcripts
    last = list(clips)[-1]
    found = pipe(last, num_beams=1, return_timestamps=True, return_language=True)
    assert {chunk["language"] for chunk in found["chunks"]} == {"english"}
    _check_times(found["chunks"], 11.0)


@pytest.fixture(scope="module")
def minutes(clips: dict[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """`minutes(n)`: a file of so many minutes, the clips one behind the other."""
    import soundfile

    folder = tmp_path_factory.mktemp("long")

    def write(count: float) -> Path:
        pause = np.zeros(RATE // 2, np.float32)
        turn = np.concatenate([part for p in clips for part in (recordings.decoded(p.read_bytes(), RATE), pause)])
        path = folder / f"{count}.wav"
        soundfile.write(path, np.resize(turn, round(count * 60 * RATE)), RATE, subtype="PCM_16")
        return path

    return write


def test_long_files_in_flat_memory(
    real_bundle: Find, minutes: Callable[[float], Path], clips: dict[Path, str], record_property: Any
) -> None:
    """In chunks: a process does not grow with the file; the same one by one and in batches of eight; times in order.

    Both ways run in processes of the same settings: features of audio differ in their last bit with the threads of the
    library that multiplies matrices, and near ties of int8 with them.
    """
    length, bundle = 3.0, str(real_bundle(ENGLISH))
    ways = {way: ("perf.speech", "--long-worker", way, bundle, "int8", "1") for way in WAYS if "chunks" in way}
    answers = []
    for way, command in ways.items():
        with turns.started({way: command}) as peers:
            answers.append(peers[way].ask([str(minutes(1.0)), str(minutes(length))]))
    answer, together = answers
    record_property("MB more for three times the length", answer["growth"])
    print(f"{answer['growth']:.0f} MB more for three times the length")
    assert answer["growth"] < 40
    assert (together["text"], together["chunks"]) == (answer["text"], answer["chunks"])
    _check_times(answer["chunks"], length * 60)
    spoken = " ".join(clips.values())
    rounds = length * 60 / sum(len(recordings.decoded(path.read_bytes(), RATE)) / RATE + 0.5 for path in clips)
    assert len(words(answer["text"])) == pytest.approx(rounds * len(words(spoken)), rel=0.08)


def test_long_files_in_sequence(ours: Callable[[str], Any], theirs: Any, minutes: Callable[[float], Path]) -> None:
    """Without chunks: window after window, as transformers' own loop goes; times of segments too."""
    path = minutes(1.1)
    got, expected = (pipe(path, return_timestamps=True, num_beams=1) for pipe in (ours("fp32"), theirs))
    assert got == expected
    _check_times(got["chunks"], 66)


def _check_times(chunks: list[dict[str, Any]], length: float) -> None:
    times = [moment for chunk in chunks for moment in chunk["timestamp"] if moment is not None]
    assert all(a <= b for a, b in pairwise(times)), times
    assert times[0] >= 0
    assert times[-1] <= length + 0.02


def test_speech_from_its_spectrogram(real_model: Find, ours: Callable[[str], Any], clips: dict[Path, str]) -> None:
    """HiFi-GAN's own mels of a recording, turned into audio again, are recognised as the same words."""
    from onnxpipe import SpeechT5HifiGan
    from zoo.cache import cached_export

    vocoder = SpeechT5HifiGan.from_pretrained(cached_export(real_model(VOCODER), ("fp32",)))
    path = next(path for path in clips if path.name == "jfk.flac")
    mels = _mels(recordings.decoded(path.read_bytes(), vocoder.sampling_rate), vocoder.sampling_rate)
    audio = vocoder(mels)
    assert audio.shape == (len(mels) * 256,)
    again = ours("fp32")({"raw": audio, "sampling_rate": vocoder.sampling_rate})["text"]
    assert errors(again, clips[path]) == 0, again


def _mels(recording: np.ndarray, rate: int) -> np.ndarray:
    """float32 (frames, 80): ln of the magnitudes in mel bands from 0 to 8 kHz (Slaney's scale), as HiFi-GAN was taught.

    Windows of 1024 samples every 256, not centred; see `meldataset.py` of https://github.com/jik876/hifi-gan.
    """
    window, hop = 1024, 256
    edges = _hertz(np.linspace(0, 15 + 27 * np.log(8.0) / np.log(6.4), 82))
    bins, widths = np.fft.rfftfreq(window, 1 / rate), np.diff(edges)
    rise, fall = (bins - edges[:-2, None]) / widths[:-1, None], (edges[2:, None] - bins) / widths[1:, None]
    banks = np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    padded = np.pad(recording, (window - hop) // 2, "reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window + 1)[:-1]
    magnitudes = np.sqrt(np.abs(np.fft.rfft(frames)) ** 2 + 1e-9)
    return np.log(np.maximum(magnitudes @ banks.T, 1e-5)).astype(np.float32)


def _hertz(mels: np.ndarray) -> np.ndarray:
    """Slaney's scale: straight below 1 kHz (15 mels), then 27 mels for every 6.4 times."""
    return np.where(mels < 15, 200 / 3 * mels, 1000 * 6.4 ** ((np.maximum(mels, 15) - 15) / 27))


def test_live_recognition_ends_in_the_text_of_the_whole_file(
    ours: Callable[[str], Any], clips: dict[Path, str]
) -> None:
    """Pieces of half a second: the first words are transcribed wrong, several times alike, and are not final before."""
    path = next(path for path in clips if path.name == "jfk.flac")
    samples = recordings.decoded(path.read_bytes(), RATE)
    pieces = [samples[start : start + RATE // 2] for start in range(0, len(samples), RATE // 2)]
    found = list(ours("int8").live(pieces, sampling_rate=RATE))
    assert error_rate([(found[-1].final, ours("int8")(path)["text"])]) == 0  # a comma may differ
    assert all(after.final.startswith(before.final) for before, after in pairwise(found))
    assert len({each.final for each in found}) > 2
