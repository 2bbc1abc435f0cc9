"""`onnxpipe run` on audio, with a fake pipeline: its inputs, what is printed and written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from unit.cli.fakes import FakeCLI

soundfile = pytest.importorskip("soundfile")

SEGMENTS = [{"timestamp": (0.0, 1.5), "text": " Good morning."}, {"timestamp": (1.5, 3.0), "text": " Bye."}]
TRANSCRIPT = {"text": " Good morning. Bye.", "chunks": SEGMENTS}
SRT = "1\n00:00:00,000 --> 00:00:01,500\nGood morning.\n\n2\n00:00:01,500 --> 00:00:03,000\nBye.\n"


@pytest.fixture
def cli(cli: FakeCLI) -> FakeCLI:
    cli.answer, cli.kind = lambda value: TRANSCRIPT, "seq2seq_whisper"
    return cli


@pytest.fixture
def transcribe(cli: FakeCLI) -> Callable[..., Result]:
    return partial(cli.run, "automatic-speech-recognition")


def test_a_transcript_is_text_alone(cli: FakeCLI, transcribe: Callable[..., Result]) -> None:
    assert transcribe("a.wav", "https://host/b.mp3").stdout == "Good morning. Bye.\n" * 2
    assert cli.inputs == ["a.wav", "https://host/b.mp3"]
    assert "return_timestamps" not in cli.params


@pytest.mark.parametrize(("kind", "timestamps"), [("seq2seq_whisper", True), ("ctc", "word"), ("ctc_with_lm", "word")])
def test_subtitles_ask_for_times(cli: FakeCLI, transcribe: Callable[..., Result], kind: str, timestamps: Any) -> None:
    cli.kind = kind
    transcribe("video.mp3", "--format", "srt")
    assert cli.params["return_timestamps"] == timestamps
    transcribe("video.mp3", "--format", "srt", "-p", "return_timestamps=word")
    assert cli.params["return_timestamps"] == "word"


def test_subtitles_to_stdout_and_files(transcribe: Callable[..., Result], tmp_path: Path) -> None:
    assert transcribe("video.mp3", "--format", "srt").stdout == SRT
    assert transcribe("video.mp3", "--format", "vtt").stdout.startswith("WEBVTT\n\n00:00:00.000 -->")
    target = tmp_path / "video.srt"
    assert transcribe("video.mp3", "-o", target).stdout == f"video.mp3\n  -> {target}\n"
    assert target.read_text() == SRT
    transcribe("video.mp3", "-o", target, code=1)
    transcribe("video.mp3", "-o", target, "--overwrite")
    transcribe("a/video.mp3", "b/video.mp3", "talk.wav", "--format", "vtt", "-o", tmp_path / "subtitles")
    assert sorted(path.name for path in (tmp_path / "subtitles").iterdir()) == ["talk.vtt", "video-2.vtt", "video.vtt"]


def test_a_last_subtitle_without_an_end_is_shown_to_the_end_of_the_recording(
    cli: FakeCLI, transcribe: Callable[..., Result], tmp_path: Path
) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "talk.wav", [0.0] * 40_000, 8_000)
    cli.answer = lambda value: {"text": " Bye.", "chunks": [{"timestamp": (1.5, None), "text": " Bye."}]}
    found = transcribe(str(tmp_path / "talk.wav"), str(tmp_path / "none.wav"), "--format", "srt").stdout
    assert [line for line in found.splitlines() if "-->" in line] == [
        "00:00:01,500 --> 00:00:05,000", "00:00:01,500 --> 00:00:03,500"
    ]  # fmt: skip
    transcribe(str(tmp_path / "talk.wav"), "-o", tmp_path / "talk.vtt")
    assert "00:00:01.500 --> 00:00:05.000" in (tmp_path / "talk.vtt").read_text()


def test_json_is_the_whole_answer(transcribe: Callable[..., Result]) -> None:
    assert json.loads(transcribe("a.wav", "--format", "json").stdout)["chunks"][1]["timestamp"] == [1.5, 3.0]
    assert json.loads(transcribe("a.wav", "--json").stdout)["text"] == TRANSCRIPT["text"]


def test_a_model_without_times_gives_no_subtitles(cli: FakeCLI, transcribe: Callable[..., Result]) -> None:
    cli.kind = "seq2seq"
    assert "has no timestamps" in transcribe("a.wav", "--format", "srt", code=2).output
    cli.answer = lambda value: {"text": "hello"}
    assert json.loads(transcribe("a.wav", "--format", "json").stdout) == {"text": "hello"}


def test_what_is_wrong_with_the_options(cli: FakeCLI, transcribe: Callable[..., Result], tmp_path: Path) -> None:
    assert "is not a transcript format" in transcribe("a.wav", "-o", tmp_path / "a.png", code=2).output
    assert "needs --input" in transcribe("a.wav", "--format", "csv", code=2).output
    assert "needs --input" in cli.run("text-classification", "a", "--format", "srt", code=2).output
    table = tmp_path / "t.csv"
    table.write_text("audio\na.wav\n")
    wrong = cli.run("automatic-speech-recognition", "--input", table, "--format", "srt", code=2)
    assert "is only for INPUTs" in wrong.output
    assert not cli.inputs


def test_a_bad_recording_leaves_the_others(cli: FakeCLI, transcribe: Callable[..., Result]) -> None:
    def answer(value: str) -> Any:
        if value == "bad.wav":
            raise ValueError("malformed")
        return TRANSCRIPT

    cli.answer = answer
    lines = transcribe("bad.wav", "a.wav", "--on-error", "return", code=3).stdout.splitlines()
    assert lines[0].startswith("error: input 1: malformed")
    assert lines[1] == "Good morning. Bye."


def test_a_table_of_recordings(cli: FakeCLI, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "t.csv").write_text("id,audio\n1,a.wav\n")
    cli.run("automatic-speech-recognition", "--input", tmp_path / "t.csv", "-o", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"id": "1", "audio": "a.wav", "text": TRANSCRIPT["text"]}]
    assert cli.inputs == [str(tmp_path / "a.wav")]


def spoken(value: Any) -> Any:
    return {"audio": np.linspace(-0.5, 0.5, 1600, dtype=np.float32), "sampling_rate": 16_000}


def test_speech_is_written(cli: FakeCLI, tmp_path: Path) -> None:
    cli.answer = spoken
    target = tmp_path / "speech.wav"
    shown = cli.run("text-to-speech", "Good morning.", "-o", target).stdout
    assert shown == f"Good morning.\n  0.10 s at 16000 Hz\n  -> {target}\n"
    samples, rate = soundfile.read(target)
    assert (rate, samples.shape) == (16_000, (1600,))
    assert np.abs(samples - spoken("")["audio"]).max() < 1e-4
    found = json.loads(cli.run("text-to-speech", "Bye.", "-o", tmp_path / "b.flac", "--json").stdout)
    assert found == {"audio": str(tmp_path / "b.flac"), "sampling_rate": 16_000}


def test_several_texts_and_channels(cli: FakeCLI, tmp_path: Path) -> None:
    cli.answer = lambda value: {"audio": np.zeros((1, 2, 320), np.float32), "sampling_rate": 32_000}
    cli.run("text-to-audio", "-", "-o", tmp_path / "made", stdin="80s pop. With bass\nA duck\nA duck\n")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "80s_pop_With_bass.wav", "A_duck-2.wav", "A_duck.wav"
    ]  # fmt: skip
    assert soundfile.read(tmp_path / "made" / "A_duck.wav")[0].shape == (320, 2)
    assert "is one recording" in cli.run("text-to-audio", "a", "b", "-o", tmp_path / "c.wav", code=2).output


def test_speech_needs_an_output_file(cli: FakeCLI, tmp_path: Path) -> None:
    cli.answer = spoken
    assert "-o speech.wav" in cli.run("text-to-speech", "Hello", code=2).output
    assert "is not an audio format" in cli.run("text-to-speech", "Hello", "-o", tmp_path / "a.txt", code=2).output
    (tmp_path / "t.csv").write_text("text\nHello\n")
    assert "recordings" in cli.run("text-to-speech", "--input", tmp_path / "t.csv", code=2).output


def test_labels_of_recordings(cli: FakeCLI) -> None:
    cli.answer = lambda value: [{"score": 0.9, "label": "dog"}, {"score": 0.1, "label": "rain"}]
    shown = cli.run("zero-shot-audio-classification", "a.wav", "--labels", "dog,rain").stdout.splitlines()
    assert shown == ["a.wav", "  0.9000  dog", "  0.1000  rain"]
    assert cli.params["candidate_labels"] == ["dog", "rain"]
    assert "--labels" in cli.run("zero-shot-audio-classification", "a.wav", code=2).output
    assert cli.run("audio-classification", "a.wav").stdout.splitlines() == shown
