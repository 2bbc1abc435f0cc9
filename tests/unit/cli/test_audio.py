"""`onnxpipe run` on sound, with a pipeline that is none: what reaches it, what is shown and written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from onnxpipe.cli import main
from onnxpipe.engine.scheduler import ItemError

soundfile = pytest.importorskip("soundfile")

SEGMENTS = [{"timestamp": (0.0, 1.5), "text": " Good morning."}, {"timestamp": (1.5, 3.0), "text": " Bye."}]
HEARD = {"text": " Good morning. Bye.", "chunks": SEGMENTS}
SRT = "1\n00:00:00,000 --> 00:00:01,500\nGood morning.\n\n2\n00:00:01,500 --> 00:00:03,000\nBye.\n"


class Fake:
    """Runs the command line with a pipeline that answers with `answer`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Callable[[Any], Any] = lambda value: HEARD
        self.type = "seq2seq_whisper"
        self.inputs: list[Any] = []
        self.params: dict[str, Any] = {}
        self.model = SimpleNamespace(config=SimpleNamespace(id2label={}), name_or_path="a-model")
        monkeypatch.setattr("onnxpipe.factory.pipeline", lambda *args, **kwargs: self)

    def __call__(self, inputs: Any, *, on_error: str, **params: Any) -> Iterator[Any]:
        self.params = params
        for value in inputs:
            self.inputs.append(value)
            try:
                yield self.answer(value)
            except ValueError as error:
                if on_error == "raise":
                    raise
                yield ItemError(0, error)

    def run(self, *args: Any, stdin: str | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["run", *map(str, args)], input=stdin)
        assert result.exit_code == code, result.output
        return result

    def hear(self, *args: Any, code: int = 0) -> Result:
        return self.run("automatic-speech-recognition", *args, code=code)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(monkeypatch)


def test_a_transcript_is_text_alone(fake: Fake) -> None:
    assert fake.hear("a.wav", "https://host/b.mp3").stdout == "Good morning. Bye.\n" * 2
    assert fake.inputs == ["a.wav", "https://host/b.mp3"]
    assert "return_timestamps" not in fake.params


@pytest.mark.parametrize(("kind", "asked"), [("seq2seq_whisper", True), ("ctc", "word"), ("ctc_with_lm", "word")])
def test_subtitles_ask_for_times(fake: Fake, kind: str, asked: Any) -> None:
    fake.type = kind
    fake.hear("film.mp3", "--format", "srt")
    assert fake.params["return_timestamps"] == asked
    fake.hear("film.mp3", "--format", "srt", "-p", "return_timestamps=word")
    assert fake.params["return_timestamps"] == "word"


def test_subtitles_to_stdout_and_files(fake: Fake, tmp_path: Path) -> None:
    assert fake.hear("film.mp3", "--format", "srt").stdout == SRT
    assert fake.hear("film.mp3", "--format", "vtt").stdout.startswith("WEBVTT\n\n00:00:00.000 -->")
    target = tmp_path / "film.srt"
    assert fake.hear("film.mp3", "-o", target).stdout == f"film.mp3\n  -> {target}\n"
    assert target.read_text() == SRT
    fake.hear("film.mp3", "-o", target, code=1)
    fake.hear("film.mp3", "-o", target, "--overwrite")
    fake.hear("a/film.mp3", "b/film.mp3", "talk.wav", "--format", "vtt", "-o", tmp_path / "subtitles")
    assert sorted(path.name for path in (tmp_path / "subtitles").iterdir()) == ["film-2.vtt", "film.vtt", "talk.vtt"]


def test_json_is_the_whole_answer(fake: Fake) -> None:
    assert json.loads(fake.hear("a.wav", "--format", "json").stdout)["chunks"][1]["timestamp"] == [1.5, 3.0]
    assert json.loads(fake.hear("a.wav", "--json").stdout)["text"] == HEARD["text"]


def test_a_model_without_times_gives_no_subtitles(fake: Fake) -> None:
    fake.type = "seq2seq"
    assert "has no timestamps" in fake.hear("a.wav", "--format", "srt", code=2).output
    fake.answer = lambda value: {"text": "hello"}
    assert json.loads(fake.hear("a.wav", "--format", "json").stdout) == {"text": "hello"}


def test_what_is_wrong_with_the_options(fake: Fake, tmp_path: Path) -> None:
    assert "is not a transcript format" in fake.hear("a.wav", "-o", tmp_path / "a.png", code=2).output
    assert "needs --input" in fake.hear("a.wav", "--format", "csv", code=2).output
    assert "needs --input" in fake.run("text-classification", "a", "--format", "srt", code=2).output
    table = tmp_path / "t.csv"
    table.write_text("audio\na.wav\n")
    wrong = fake.run("automatic-speech-recognition", "--input", table, "--format", "srt", code=2)
    assert "is only for INPUTs" in wrong.output
    assert not fake.inputs


def test_a_bad_recording_leaves_the_others(fake: Fake) -> None:
    def answer(value: str) -> Any:
        if value == "bad.wav":
            raise ValueError("malformed")
        return HEARD

    fake.answer = answer
    lines = fake.hear("bad.wav", "a.wav", "--on-error", "return").stdout.splitlines()
    assert lines[0].startswith("error: input 1: malformed")
    assert lines[1] == "Good morning. Bye."


def test_a_table_of_recordings(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "t.csv").write_text("id,audio\n1,a.wav\n")
    fake.run("automatic-speech-recognition", "--input", tmp_path / "t.csv", "-o", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"id": "1", "audio": "a.wav", "text": HEARD["text"]}]
    assert fake.inputs == [str(tmp_path / "a.wav")]


def spoken(value: Any) -> Any:
    return {"audio": np.linspace(-0.5, 0.5, 1600, dtype=np.float32), "sampling_rate": 16_000}


def test_speech_is_written(fake: Fake, tmp_path: Path) -> None:
    fake.answer = spoken
    target = tmp_path / "speech.wav"
    shown = fake.run("text-to-speech", "Good morning.", "-o", target).stdout
    assert shown == f"Good morning.\n  0.10 s at 16000 Hz\n  -> {target}\n"
    samples, rate = soundfile.read(target)
    assert (rate, samples.shape) == (16_000, (1600,))
    assert np.abs(samples - spoken("")["audio"]).max() < 1e-4
    found = json.loads(fake.run("text-to-speech", "Bye.", "-o", tmp_path / "b.flac", "--json").stdout)
    assert found == {"audio": str(tmp_path / "b.flac"), "sampling_rate": 16_000}


def test_several_texts_and_channels(fake: Fake, tmp_path: Path) -> None:
    fake.answer = lambda value: {"audio": np.zeros((1, 2, 320), np.float32), "sampling_rate": 32_000}
    fake.run("text-to-audio", "-", "-o", tmp_path / "made", stdin="80s pop. With bass\nA duck\nA duck\n")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "80s_pop_With_bass.wav", "A_duck-2.wav", "A_duck.wav"
    ]  # fmt: skip
    assert soundfile.read(tmp_path / "made" / "A_duck.wav")[0].shape == (320, 2)
    assert "is one recording" in fake.run("text-to-audio", "a", "b", "-o", tmp_path / "c.wav", code=2).output


def test_where_speech_goes_must_be_said(fake: Fake, tmp_path: Path) -> None:
    fake.answer = spoken
    assert "-o speech.wav" in fake.run("text-to-speech", "Hello", code=2).output
    assert "is not an audio format" in fake.run("text-to-speech", "Hello", "-o", tmp_path / "a.txt", code=2).output
    (tmp_path / "t.csv").write_text("text\nHello\n")
    assert "recordings" in fake.run("text-to-speech", "--input", tmp_path / "t.csv", code=2).output


def test_labels_of_sounds(fake: Fake) -> None:
    fake.answer = lambda value: [{"score": 0.9, "label": "dog"}, {"score": 0.1, "label": "rain"}]
    shown = fake.run("zero-shot-audio-classification", "a.wav", "--labels", "dog,rain").stdout.splitlines()
    assert shown == ["a.wav", "  0.9000  dog", "  0.1000  rain"]
    assert fake.params["candidate_labels"] == ["dog", "rain"]
    assert "--labels" in fake.run("zero-shot-audio-classification", "a.wav", code=2).output
    assert fake.run("audio-classification", "a.wav").stdout.splitlines() == shown
