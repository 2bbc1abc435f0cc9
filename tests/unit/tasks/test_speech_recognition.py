"""Speech recognition: every form of input, chunks, long recordings, and answers equal to transformers' pipeline."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe import AutoTokenizer, Config, ItemError, pipeline
from onnxpipe.errors import AudioError, MissingDependencyError, ModelNotFoundError, UnsupportedError
from onnxpipe.processing.audio.wav2vec2 import Wav2Vec2FeatureExtractor
from onnxpipe.tasks.speech_recognition import chunks as speech
from onnxpipe.tasks.speech_recognition.pipeline import AutomaticSpeechRecognitionPipeline
from unit.audio_files import wav

soundfile = pytest.importorskip("soundfile")

RATE = 16_000
STEP = 320
TOKENS = ["<pad>", "|", *"abcdefghijklmnopqrstuvwxyz", "<unk>"]


class Letters:
    """A CTC model of no layers: the letter of a frame is that of its loudest sample, 0 being the blank."""

    main_input_name = "input_values"
    inputs_to_logits_ratio = STEP
    name_or_path = "letters"
    dtype = "float32"
    device = SimpleNamespace(type="cpu")

    def __init__(self, folder: Path) -> None:
        self.config = Config({"model_type": "wav2vec2", "inputs_to_logits_ratio": STEP})
        self.session = SimpleNamespace(inputs=dict.fromkeys(["input_values"]))
        self.bundle = SimpleNamespace(folder=folder)
        self.supports_padding = False
        self.batches: list[tuple[int, ...]] = []

    def can_generate(self) -> bool:
        return False

    def frames(self, length: int) -> int:
        return length // STEP

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        recordings = feeds["input_values"]
        self.batches.append(recordings.shape)
        frames = recordings[:, : recordings.shape[1] // STEP * STEP].reshape(len(recordings), -1, STEP).max(-1)
        ids = np.rint(frames * 100).astype(int)
        return {"logits": np.eye(len(TOKENS), dtype=np.float32)[ids]}


def said(text: str, frames: int = 3) -> Any:
    """Samples that the model recognises as a text: `frames` frames a letter, then a blank."""
    ids = [i for letter in text for i in [TOKENS.index("|" if letter == " " else letter)] * frames + [0]]
    return np.repeat(np.array(ids, np.float32) / 100, STEP)


def tokenizer(folder: Path) -> Any:
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}), encoding="utf-8")
    config = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "bos_token": None, "eos_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def pipe(tmp_path: Path) -> AutomaticSpeechRecognitionPipeline:
    return ctc_pipeline(tmp_path)


def ctc_pipeline(folder: Path, **options: Any) -> AutomaticSpeechRecognitionPipeline:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    return AutomaticSpeechRecognitionPipeline(
        Letters(folder), extractor, tokenizer(folder), task="automatic-speech-recognition", **options
    )


# -- inputs -----------------------------------------------------------------------------------------------------------
class Tensor:
    """A tensor of another library on the CPU."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values

    def detach(self) -> Tensor:
        return self

    cpu = detach


def test_every_form_of_an_input(pipe: Any, tmp_path: Path) -> None:
    samples = said("hello world")
    path = tmp_path / "said.wav"
    path.write_bytes(wav(samples))
    tensor = Tensor(samples)
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=samples[None], sample_rate=RATE))
    forms: list[Any] = [
        samples, samples.astype(np.float64), np.stack([samples, samples]), tensor, decoder, str(path), path,
        path.read_bytes(), bytearray(path.read_bytes()), {"raw": samples, "sampling_rate": RATE},
        {"array": samples, "sampling_rate": RATE, "path": "gone.wav"},
        {"raw": np.stack([samples] * 2), "sampling_rate": RATE},
    ]  # fmt: skip
    for form in forms:
        assert pipe(form) == {"text": "hello world"}
    assert pipe(forms) == [{"text": "hello world"}] * len(forms)
    assert list(pipe(form for form in forms)) == [{"text": "hello world"}] * len(forms)


def test_another_rate_is_resampled(pipe: Any) -> None:
    slow = np.repeat(said("abc", 30), 1)[::2]
    assert pipe({"raw": slow, "sampling_rate": RATE // 2})["text"].replace("b", "") != ""
    assert len(pipe({"raw": slow, "sampling_rate": RATE // 2}, return_timestamps="char")["chunks"]) >= 3


@pytest.mark.parametrize("wrong", [{"sampling_rate": "x"}, {"sampling_rate": 0}, {"stride": 3}, {"stride": (1, "x")}])
def test_numbers_of_a_dict_are_checked(pipe: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        pipe({"raw": said("abc"), "sampling_rate": RATE, **wrong})


def test_a_dict_keeps_its_keys_and_the_answer_has_them(pipe: Any) -> None:
    given = {"raw": said("abc"), "sampling_rate": RATE, "partial": True, "stride": (0, 0)}
    assert pipe(given) == {"text": "abc", "partial": [True]}
    assert set(given) == {"raw", "sampling_rate", "partial", "stride"}
    assert pipe({"raw": said("abc"), "sampling_rate": RATE, "text": "mine"}) == {"text": ["mine"]}
    long = {"raw": said("abcdefghij"), "sampling_rate": RATE, "who": "me"}
    found = pipe(long, chunk_length_s=0.4, stride_length_s=0.04)
    assert found["text"] == "abcdefghij" and set(found["who"]) == {"me"} and len(found["who"]) > 1


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([0.1, 0.2], TypeError, "We expect a numpy ndarray or torch tensor as input, got `<class 'float'>`"),
        (None, TypeError, "got `<class 'NoneType'>`"),
        ({"raw": np.zeros(99)}, ValueError, "the dict needs to contain"),
        ({"sampling_rate": RATE}, ValueError, "the dict needs to contain"),
        ({"raw": np.zeros(99), "sampling_rate": 0}, ValueError, "sampling_rate must be a positive"),
        ({"raw": said("a"), "sampling_rate": RATE, "stride": (900, 900)}, ValueError, "Stride is too large for input"),
        (np.zeros((3, 9), np.float32), ValueError, "transpose it"),
        (np.zeros((1, 1, 9), np.float32), ValueError, "3 dimensions"),
        (np.zeros(0, np.float32), AudioError, "no samples"),
        (np.zeros(100, np.float32), AudioError, "too short"),
        ("missing.wav", FileNotFoundError, "missing.wav"),
        (b"RIFF nothing of use", AudioError, None),
        (b"", AudioError, None),
    ],
    ids=str,
)
def test_what_is_not_a_recording_is_refused(pipe: Any, given: Any, error: type[Exception], message: str | None) -> None:
    with pytest.raises(error, match=message):
        pipe(given)


def test_what_would_not_fit_into_memory_is_refused(pipe: Any) -> None:
    pipe.model.config = Config({"model_type": "wav2vec2", "num_attention_heads": 12})
    hours = np.broadcast_to(np.float32(0), (2 * 3600 * RATE,))
    with pytest.raises(AudioError, match="pass chunk_length_s=30"):
        pipe(hours)


def test_one_bad_recording_takes_no_other_down(pipe: Any) -> None:
    found = pipe([said("ab"), "missing.wav", said("cd")], on_error="return")
    assert [found[0], found[2]] == [{"text": "ab"}, {"text": "cd"}]
    assert isinstance(found[1], ItemError) and isinstance(found[1].error, FileNotFoundError)


# -- time stamps ------------------------------------------------------------------------------------------------------
def test_time_stamps_of_characters_and_words(pipe: Any) -> None:
    found = pipe(said("ab cd"), return_timestamps="char")
    assert [chunk["text"] for chunk in found["chunks"]] == ["a", "b", " ", "c", "d"]
    assert found["chunks"][1] == {"text": "b", "timestamp": (4 * 0.02, 7 * 0.02)}
    assert all(isinstance(second, np.float64) for chunk in found["chunks"] for second in chunk["timestamp"])
    words = pipe(said("ab cd"), return_timestamps="word")["chunks"]
    assert words == [{"text": "ab", "timestamp": (0.0, 0.14)}, {"text": "cd", "timestamp": (0.24, 0.38)}]


@pytest.mark.parametrize("container", ["matroska", "mov"])
def test_timestamps_of_audio_that_begins_late_count_from_the_beginning_of_the_video(
    pipe: Any, tmp_path: Path, container: str
) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "late.bin"), "w", format=container) as video:
        picture = video.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        track = video.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(50):
            still = av.VideoFrame(32, 32, "yuv420p")
            still.pts, still.time_base = number, Fraction(1, 10)
            video.mux(picture.encode(still))
        video.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.rint(said("ab cd") * 32_768).astype(np.int16)[None], "s16", "mono")
        frame.rate, frame.pts, frame.time_base = RATE, 3 * RATE, Fraction(1, RATE)
        for packet in [*track.encode(frame), *track.encode(None)]:
            video.mux(packet)
    for options in ({}, {"chunk_length_s": 0.2}):
        found = pipe(tmp_path / "late.bin", return_timestamps="word", **options)
        assert found["text"] == "ab cd"
        assert [chunk["timestamp"] for chunk in found["chunks"]] == [(3.0, 3.14), (3.24, 3.38)]
    assert pipe(tmp_path / "late.bin") == {"text": "ab cd"}


def test_a_stride_is_not_written_down(pipe: Any) -> None:
    given = {"raw": said("abcd"), "sampling_rate": RATE, "stride": (4 * STEP, 4 * STEP)}
    assert pipe(given) == {"text": "bc"}
    assert pipe(said("abcd"), return_timestamps="char", chunk_length_s=1)["chunks"][0]["timestamp"] == (0.0, 0.06)


# -- chunks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch_size", [None, 1, 3, 8])
@pytest.mark.parametrize("source", ["array", "bytes"])
def test_chunks_say_what_the_whole_says(pipe: Any, batch_size: int | None, source: str) -> None:
    samples = said("the quick brown fox jumps over the lazy dog")
    given = samples if source == "array" else wav(samples)
    found = pipe(
        given, chunk_length_s=0.8, stride_length_s=(0.08, 0.16), batch_size=batch_size, return_timestamps="word"
    )
    assert found == pipe(samples, return_timestamps="word")
    assert len({shape[1] for shape in pipe.model.batches}) > 1


def test_windows_cover_everything_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        length, left, right = (int(rng.integers(2, 60)), int(rng.integers(0, 20)), int(rng.integers(0, 20)))
        samples = np.arange(int(rng.integers(1, 300)), dtype=np.float32)
        if left + right >= length:
            with pytest.raises(ValueError, match="Chunk length must be superior to stride length"):
                list(speech.cut(speech.AudioInput(samples, RATE), length, left, right))
            continue
        own = []
        for window in speech.cut(speech.AudioInput(Blocks(samples, rng), RATE), length, left, right):
            count, before, after = window.stride
            assert count == len(window.samples) <= length
            own.append(window.samples[before : count - after])
        assert np.array_equal(np.concatenate(own), samples)


class Blocks:
    """A stream that gives blocks of any size."""

    duration = None

    def __init__(self, samples: Any, rng: Any) -> None:
        self.samples, self.rng = samples, rng

    def blocks(self, size: int) -> Iterator[Any]:
        rest = self.samples
        while len(rest):
            count = int(self.rng.integers(1, 2 * size + 1))
            yield rest[:count]
            rest = rest[count:]


def test_long_recordings_are_never_in_memory(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        duration = None
        start = 0.0

        def __init__(self, count: int) -> None:
            self.count = count

        def blocks(self, size: int) -> Iterator[Any]:
            for _ in range(self.count):
                yield said("abcdefghi ")

    count = 400
    monkeypatch.setattr(
        "onnxpipe.tasks.speech_recognition.pipeline.open_input", lambda *_: speech.AudioInput(Endless(count), RATE)
    )
    tracemalloc.start()
    assert pipe(b"", chunk_length_s=2)["text"] == ("abcdefghi " * count).strip()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < said("abcdefghi ").nbytes * count / 2


def test_a_recording_that_a_container_has_no_memory_for(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = said("hello world")
    frames = len(samples) // STEP
    monkeypatch.setattr("onnxpipe.engine.memory.machine_memory", lambda: 2**40)
    for limit, fits in ((4 * frames**2, True), (4 * frames**2 - 1, False)):  # one head, float32
        monkeypatch.setattr("onnxpipe.engine.memory.memory_limit", lambda limit=limit: limit)
        if fits:
            assert pipe(samples)["text"] == "hello world"
        else:
            with pytest.raises(AudioError, match="chunk_length_s=30"):
                pipe(samples)


@pytest.mark.parametrize(("length", "stride"), [(1, 0.5), (1, (0.4, 0.7)), (-1, 0), (1, -0.2)])
def test_strides_that_are_none(pipe: Any, length: float, stride: Any) -> None:
    with pytest.raises(ValueError, match=r"superior to stride length|at least 0"):
        pipe(said("abc"), chunk_length_s=length, stride_length_s=stride)


# -- parameters -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"return_timestamps": True}, "CTC can either predict character level"),
        ({"return_timestamps": "segment"}, "CTC can either predict character level"),
        ({"return_language": True}, "Only Whisper can return language for now."),
        ({"chunk_lenght_s": 3}, "did you mean 'chunk_length_s'"),
        ({"generate_kwargs": {"num_beam": 3}}, "did you mean 'num_beams'"),
    ],
)
def test_parameters_that_are_none(pipe: Any, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(said("abc"), **options)
    with pytest.raises(ValueError, match=message):
        ctc_pipeline(tmp_path, **options)


def test_parameters_of_generation_have_no_effect_and_warn(pipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert pipe(said("abc"), num_beams=2, generate_kwargs={"max_new_tokens": 1}) == {"text": "abc"}
    assert "['max_new_tokens', 'num_beams'] have no effect" in caplog.text


def test_no_text_token_by_token(pipe: Any) -> None:
    assert not pipe.can_stream()
    with pytest.raises(UnsupportedError, match=r"live\(\)|live recognition"):
        pipe.stream(said("abc"))


def test_progress(pipe: Any, capsys: pytest.CaptureFixture[str]) -> None:
    long = said("abcdefghijklmnopqrstuvwxyz" * 16)
    assert len(long) > 30 * RATE
    plain = pipe(long, chunk_length_s=4)
    assert capsys.readouterr().err == ""
    assert pipe(long, chunk_length_s=4, progress=True) == plain
    assert "automatic-speech-recognition" in capsys.readouterr().err


# -- a language model -------------------------------------------------------------------------------------------------
class Beams:
    """pyctcdecode's interface: beams of (text, language model's state, words with frames, scores)."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], dict[str, Any]]] = []

    def decode_beams(self, logits: Any, **options: Any) -> list[Any]:
        self.calls.append((logits.shape, options))
        assert logits.dtype == np.float32
        return [("hello there", None, [("hello", (1, 5)), ("there", (7, 9))], -1.0, -2.0)]


def test_a_language_model(tmp_path: Path) -> None:
    beams = Beams()
    pipe = ctc_pipeline(tmp_path, decoder=beams)
    assert pipe.type == "ctc_with_lm" and pipe.decoder is beams
    assert pipe(said("abc"), decoder_kwargs={"beam_width": 4}) == {"text": "hello there"}
    assert beams.calls == [((12, len(TOKENS)), {"beam_width": 4})]
    chunks = pipe(said("abc"), return_timestamps="word")["chunks"]
    assert chunks[0] == {"text": "hello", "timestamp": (0.02, 0.1)}
    assert pipe(said("abcdefgh"), chunk_length_s=0.4, stride_length_s=0.04) == {"text": "hello there"}
    assert beams.calls[-1][0] == (32, len(TOKENS))  # of all chunks, without the overlap of both
    with pytest.raises(ValueError, match="CTC with LM can only predict word level"):
        pipe(said("abc"), return_timestamps="char")


def test_a_language_model_of_the_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no alphabet.json"):
        ctc_pipeline(tmp_path, decoder=str(tmp_path))
    (tmp_path / "alphabet.json").write_text("{}", encoding="utf-8")
    (tmp_path / "language_model").mkdir()
    assert ctc_pipeline(tmp_path).type == "ctc"  # no file says that it is to be used
    (tmp_path / "preprocessor_config.json").write_text('{"processor_class": "Wav2Vec2ProcessorWithLM"}')
    beams = Beams()
    library = SimpleNamespace(BeamSearchDecoderCTC=SimpleNamespace(load_from_dir=lambda _: beams))
    monkeypatch.setitem(sys.modules, "pyctcdecode", library)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert ctc_pipeline(tmp_path).decoder is beams and ctc_pipeline(tmp_path, decoder=tmp_path).decoder is beams
    monkeypatch.setitem(sys.modules, "pyctcdecode", None)
    assert ctc_pipeline(tmp_path).type == "ctc" and "Defaulting to raw CTC" in caplog.text
    with pytest.raises(MissingDependencyError, match=r"onnxpipe\[lm\]"):
        ctc_pipeline(tmp_path, decoder=tmp_path)


# -- against transformers ---------------------------------------------------------------------------------------------
Pair = tuple[Any, Any]


@pytest.fixture(scope="module")
def both(models: Callable[[str, str], Path], bundles: Callable[..., Path]) -> Callable[[str], Pair]:
    """`both(family)`: transformers' pipeline of a zoo's model, and ours."""
    transformers = pytest.importorskip("transformers")
    found: dict[str, Pair] = {}

    def pair(family: str) -> Pair:
        task = "automatic-speech-recognition"
        if family not in found:
            theirs = transformers.pipeline(task, model=str(models(family, task)), ignore_warning=True)
            found[family] = theirs, pipeline(task, model=bundles(family, task), device="cpu", ignore_warning=True)
        return found[family]

    return pair


def recording(name: str) -> Any:
    from zoo.audio.recordings import mono

    return np.array(mono(name))


CTC_CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("speech", {}),
    ("speech", {"return_timestamps": "char"}),
    ("long", {"return_timestamps": "word"}),
    ("long", {"chunk_length_s": 3}),
    ("long", {"chunk_length_s": 2.5, "stride_length_s": (0.4, 0.6), "return_timestamps": "char"}),
    ("silence", {"return_timestamps": "char"}),
)
WHISPER = {"max_new_tokens": 10, "num_beams": 1}
WHISPER_CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("speech", WHISPER),
    ("speech", {"generate_kwargs": {"max_new_tokens": 6, "num_beams": 3}}),
    ("speech", {**WHISPER, "return_timestamps": True, "return_language": True}),
    ("speech", {**WHISPER, "return_timestamps": "word"}),
    ("long", {**WHISPER, "return_timestamps": True}),
    ("long", {**WHISPER, "return_timestamps": "word"}),
    ("long", {**WHISPER, "chunk_length_s": 2, "return_timestamps": True}),
    ("long", {**WHISPER, "chunk_length_s": 2.5, "stride_length_s": 0.5, "return_timestamps": "word"}),
    ("speech", {"generate_kwargs": {**WHISPER, "language": "french", "task": "translate"}}),
)


@pytest.mark.parametrize(("name", "options"), CTC_CASES, ids=str)
def test_ctc_equals_transformers(both: Callable[[str], Pair], name: str, options: dict[str, Any]) -> None:
    theirs, ours = (pipe(recording(name), **options) for pipe in both("wav2vec2-large"))
    assert ours == theirs and list(ours) == list(theirs)


@pytest.mark.parametrize(("name", "options"), WHISPER_CASES, ids=str)
def test_whisper_equals_transformers(both: Callable[[str], Pair], name: str, options: dict[str, Any]) -> None:
    theirs, ours = (pipe(recording(name), **options) for pipe in both("whisper"))
    if name == "long":  # ours end where the recording does, theirs in the silence that fills the last window
        end = round(len(recording(name)) / RATE, 2)
        for chunk in theirs.get("chunks", ()):
            chunk["timestamp"] = tuple(None if each is None else min(each, end) for each in chunk["timestamp"])
    assert ours == theirs
    for mine, other in zip(ours.get("chunks", ()), theirs.get("chunks", ()), strict=True):
        assert list(mine) == list(other)
        assert [type(second) for second in mine["timestamp"]] == [type(second) for second in other["timestamp"]]


@pytest.mark.parametrize("family", ["wav2vec2-large", "whisper"])
def test_neighbours_change_nothing(both: Callable[[str], Pair], family: str) -> None:
    pipe = both(family)[1]
    recordings = [recording(name) for name in ("speech", "second", "third", "mate", "brief")]
    options: dict[str, Any] = {"return_timestamps": "char"} if family != "whisper" else {**WHISPER}
    alone = [pipe(each, **options) for each in recordings]
    for batch_size in (None, 2, 8):
        assert pipe(recordings, batch_size=batch_size, **options) == alone
    chunked = {**options, "chunk_length_s": 2}
    assert pipe(recording("long"), batch_size=8, **chunked) == pipe(recording("long"), batch_size=1, **chunked)


def test_files_are_transcribed_as_their_samples_are(both: Callable[[str], Pair], tmp_path: Path) -> None:
    pipe = both("whisper")[1]
    path = tmp_path / "long.wav"
    path.write_bytes(wav(recording("long")))
    for options in ({"return_timestamps": True}, {"chunk_length_s": 2}):
        assert pipe(str(path), **WHISPER, **options) == pipe(recording("long"), **WHISPER, **options)


def test_whispers_refusals_equal_transformers(both: Callable[[str], Pair]) -> None:
    for options in ({"return_timestamps": "char"}, {"generate_kwargs": {"language": "klingon"}}, {"max_new_token": 3}):
        for pipe in both("whisper"):
            with pytest.raises(ValueError, match=r"char|[Uu]nsupported language|max_new_token"):
                pipe(recording("speech"), **options)
