"""The parts of Whisper's `generate`: rules of timestamps, alignment, cuts, prompts, fallback, the loop over windows.

Rules are compared with transformers' own on random numbers; the loop runs on a model that generates given texts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from onnxpipe.bundle import Config
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.generation import GenerationConfig
from onnxpipe.generation.numerics import log_softmax
from onnxpipe.generation.seed import row_streams
from onnxpipe.generation.whisper import (
    Extras,
    ProgressCallbacks,
    Recordings,
    WhisperArguments,
    WhisperSettings,
    detect_language,
    transcribe,
)
from onnxpipe.generation.whisper.alignment import median_filter, token_times, warp
from onnxpipe.generation.whisper.fallback import compression_ratio
from onnxpipe.generation.whisper.likelihood import log_sum
from onnxpipe.generation.whisper.prompt import first_tokens, window_prompt
from onnxpipe.generation.whisper.timestamps import WhisperTimeStampLogitsProcessor
from tolerances import LAYER

END, START, EN, FR, TRANSLATE, TRANSCRIBE, BEFORE, SILENT, NONE = range(20, 29)
STAMP = NONE + 1
VOCABULARY = STAMP + 151
WINDOW = 100
"""Frames of the synthetic model's windows, of 10 ms; timestamps go by 20 ms, so 51 of them are inside."""


def _config(**fields):
    return GenerationConfig.from_dict(
        {
            "eos_token_id": END,
            "pad_token_id": END,
            "bos_token_id": END,
            "decoder_start_token_id": START,
            "lang_to_id": {"<|en|>": EN, "<|fr|>": FR},
            "task_to_id": {"translate": TRANSLATE, "transcribe": TRANSCRIBE},
            "no_timestamps_token_id": NONE,
            "prev_sot_token_id": BEFORE,
            "is_multilingual": True,
            "max_length": 40,
            **fields,
        }
    )


class Encoded:
    """The synthetic encoder output: the number of each window."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __len__(self):
        return len(self.numbers)

    def select(self, prompts):
        return Encoded(self.numbers[prompts])


class SyntheticModel:
    """A model whose windows are numbered by their first value, and that generates `texts[number]`, then the end."""

    is_encoder_decoder = True
    main_input_name = "input_features"
    name_or_path = "synthetic"
    input_names = frozenset({"input_features", "encoder_outputs"})
    vocab_size = VOCABULARY
    threads = 1
    window, stride = WINDOW, 2

    def __init__(self, texts, sure=20.0, silent=(), **fields):
        self.texts, self.sure, self.silent = texts, sure, silent
        self.config = Config({"vocab_size": VOCABULARY, "max_target_positions": 48, "median_filter_width": 3})
        self.generation_config = _config(**fields)
        self.prompts = []
        self.encoded = 0

    def encode_windows(self, windows):
        assert windows.shape[1:] == (2, WINDOW)
        self.encoded += len(windows)
        return Encoded(windows[:, 0, 0].astype(int))

    def start(self, prompt, inputs, *, copies=1, max_length, hidden=False):
        self.prompts += prompt.tolist()
        return _Decoder(self, prompt, inputs["encoder_outputs"].numbers, copies)

    def cross_attentions(self, tokens, encoded, layers):
        """Token i of the window looks at state 5 i."""
        looks = np.full((1, 2, tokens.shape[1], WINDOW // 2), 1e-3, np.float32)
        for place in range(tokens.shape[1]):
            looks[:, :, place, min(5 * place, WINDOW // 2 - 1)] = 1
        return dict.fromkeys(layers, looks)


class _Decoder:
    hidden = None

    def __init__(self, owner, prompt, numbers, copies):
        self.owner = owner
        self.numbers, self.places = np.repeat(numbers, copies), np.zeros(len(numbers) * copies, int)
        self.prompt = prompt

    @property
    def rows(self):
        return len(self.numbers)

    def prefill(self):
        return self._logits()

    def step(self, tokens, keep=1):
        self.places = self.places + tokens.shape[1]
        return self._logits()[:, None]

    def reorder(self, rows):
        self.numbers, self.places = self.numbers[rows], self.places[rows]

    def _logits(self):
        logits = np.empty((self.rows, VOCABULARY), np.float32)
        for row, (number, place) in enumerate(zip(self.numbers, self.places, strict=True)):
            text = [*self.owner.texts[number], END]
            logits[row] = np.random.default_rng((number, place)).normal(size=VOCABULARY)
            logits[row, text[min(place, len(text) - 1)]] += self.owner.sure
            if self.prompt[0, -1] == START:
                logits[row, FR if number % 2 else EN] += 30
                logits[row, SILENT] += 60 if number in self.owner.silent else 0
        return logits


def _recordings(*frames):
    """Features whose first frame of each window of WINDOW is numbered 0, 1, 2, ..., and the mask of all frames."""
    features = np.zeros((len(frames), 2, max(frames)), np.float32)
    features[:] = np.arange(max(frames)) // WINDOW
    return features, (np.arange(max(frames)) < np.array(frames)[:, None]).astype(np.int64)


def _run(model, features, mask=None, *, seed=None, callbacks=None, extras=None, **arguments):
    recordings = Recordings(features, mask, WINDOW)
    config = GenerationConfig().filled(model.generation_config)
    settings = WhisperSettings.of(
        WhisperArguments(**arguments), config, model.config, short=recordings.short, window=WINDOW
    )
    return transcribe(model, recordings, settings, extras or Extras(), callbacks or ProgressCallbacks(), seed)


def _settings(config=None, **arguments):
    config = GenerationConfig().filled(config or _config())
    return WhisperSettings.of(
        WhisperArguments(**arguments), config, Config({"vocab_size": VOCABULARY}), short=True, window=WINDOW
    )


# --- the rules against transformers' ---------------------------------------------------------------------------------


@pytest.mark.parametrize("latest", [None, 3])
@pytest.mark.parametrize("length", range(6))
def test_timestamp_rules_are_those_of_transformers(length, latest):
    torch = pytest.importorskip("torch")
    from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor as Theirs

    rng = np.random.default_rng(length)
    words, stamps = rng.integers(0, END, (60, length)), rng.integers(STAMP, STAMP + 6, (60, length))
    written = np.where(rng.random((60, length)) < 0.5, words, stamps)
    ids = np.concatenate([np.full((60, 2), STAMP + 1), written], axis=1)  # what a prompt has does not count
    scores = rng.normal(size=(60, VOCABULARY)).astype(np.float32) * 3
    scores[::3, STAMP:] += 4
    config = GenerationConfig().filled(_config())
    config = type("C", (), {"no_timestamps_token_id": NONE, "eos_token_id": END, "bos_token_id": END,
                            "max_initial_timestamp_index": latest})()  # fmt: skip
    expected = Theirs(config, begin_index=2)(torch.from_numpy(ids), torch.from_numpy(scores)).numpy()
    kept = scores.copy()
    found = WhisperTimeStampLogitsProcessor(NONE, END, 2, latest)(ids, scores)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, kept)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 40), (40, 7), (60, 300)])
@pytest.mark.parametrize("ties", [False, True])
def test_warping_is_that_of_transformers(shape, ties):
    pytest.importorskip("torch")
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping

    costs = np.random.default_rng(sum(shape)).normal(size=shape)
    costs = np.round(costs) if ties else costs
    for found, expected in zip(warp(costs), _dynamic_time_warping(costs), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("width", [1, 3, 7])
def test_median_filter_is_that_of_transformers(width):
    torch = pytest.importorskip("torch")
    from transformers.models.whisper.generation_whisper import _median_filter

    for size in (1, 3, 4, 50):
        values = np.random.default_rng(size).normal(size=(2, 3, 4, size)).astype(np.float32)
        np.testing.assert_array_equal(median_filter(values, width), _median_filter(torch.from_numpy(values), width))
    with pytest.raises(ValueError, match="odd"):
        median_filter(values, 4)


def test_compression_ratio_is_that_of_transformers():
    torch = pytest.importorskip("torch")
    from transformers.models.whisper.generation_whisper import WhisperGenerationMixin as Theirs

    for tokens in (np.arange(200), np.full(200, 7), np.random.default_rng(0).integers(0, 51864, 90)):
        for size in (200, 51864):
            given = tokens % size
            assert compression_ratio(given, size) == Theirs._retrieve_compression_ratio(torch.from_numpy(given), size)


def test_one_token_begins_at_the_start():
    assert token_times(np.random.default_rng(0).random((2, 1, 20)).astype(np.float32), 7).tolist() == [0.0]
    assert token_times(np.zeros((2, 3, 0), np.float32), 7).tolist() == [0.0, 0.0, 0.0]


def test_log_sum_of_nothing():
    assert log_sum(np.full((1, 3), -np.inf, np.float32)) == -np.inf


# --- what a transcription starts with --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"language": "english"}, [START, EN, TRANSCRIBE, NONE]),
        ({"language": "FR", "task": "translate"}, [START, FR, TRANSLATE, NONE]),
        ({"language": "<|fr|>", "return_timestamps": True}, [START, FR, TRANSCRIBE]),
        ({"task": "translate"}, [START, TRANSLATE, NONE]),
        ({}, [START, NONE]),
    ],
)
def test_first_tokens(arguments, expected):
    assert first_tokens(_settings(**arguments), SyntheticModel([]), None, 2).tolist() == [expected] * 2


@pytest.mark.parametrize(
    ("forced", "expected"),
    [
        ([[1, FR], [2, TRANSLATE], [3, NONE]], [START, FR, TRANSLATE, NONE]),
        ([[1, None], [2, TRANSCRIBE]], [START, EN, TRANSCRIBE, NONE]),
        ([[2, TRANSCRIBE]], [START, EN, NONE]),
    ],
)
def test_forced_tokens_of_old_configs(forced, expected):
    settings = _settings(_config(forced_decoder_ids=forced))
    encoded = None if forced[0][1] == FR else Encoded(np.array([0]))
    assert first_tokens(settings, SyntheticModel([[]]), encoded, 1).tolist() == [expected]


def test_forced_tokens_with_a_gap():
    settings = _settings(_config(forced_decoder_ids=[[1, FR], [3, NONE]]))
    with pytest.raises(ValueError, match="forced_decoder_ids"):
        first_tokens(settings, SyntheticModel([[]]), None, 1)


def test_language_of_each_row_is_detected():
    model = SyntheticModel([[1], [2], [3]])
    assert detect_language(model, Encoded(np.array([0, 1, 2])), model.generation_config).tolist() == [EN, FR, EN]
    with pytest.raises(ValueError, match="lang_to_id"):
        detect_language(model, Encoded(np.array([0])), GenerationConfig())


def test_tables_of_tokens_that_the_config_gets_wrong():
    model = SyntheticModel([[]])
    settings = _settings(_config(task_to_id={"transcribe": TRANSCRIBE}), task="translate", language="en")
    with pytest.raises(UnsupportedError, match=r"does not know the task 'translate'.* has only transcribe"):
        first_tokens(settings, model, None, 1)
    with pytest.raises(UnsupportedError, match="Unsupported language: x"):
        first_tokens(_settings(_config(), language="x"), model, None, 1)
    with pytest.raises(UnsupportedError, match="language=0"):
        first_tokens(_settings(_config(), language=[0]), model, None, 1)
    with pytest.raises(UnsupportedError, match="pass one token for Whisper"):
        first_tokens(_settings(_config(decoder_start_token_id=[START]), language="en"), model, None, 1)
    for table in ({"<|en|>": "1"}, ["<|en|>"], {"<|en|>": -1}):
        with pytest.raises(BundleError, match="lang_to_id must map names to ids of tokens"):
            first_tokens(_settings(_config(lang_to_id=table), language="en"), model, None, 1)
        with pytest.raises(BundleError, match="lang_to_id must map names"):
            detect_language(model, Encoded(np.array([0])), _config(lang_to_id=table))


def test_what_was_said_goes_before_a_window():
    said = [np.array([STAMP, 1, STAMP + 9, STAMP + 9]), np.array([STAMP + 9, 2, 3])]
    first = np.array([START, EN])
    settings = _settings(condition_on_prev_tokens=True)
    prompt = window_prompt(settings, first, said, conditioned=True, positions=48)
    assert prompt.tolist() == [BEFORE, STAMP, 1, STAMP + 9, STAMP + 9, 2, 3, START, EN]
    assert window_prompt(settings, first, said, conditioned=False, positions=48).tolist() == [START, EN]
    assert window_prompt(settings, first, said, conditioned=True, positions=8).tolist() == [
        BEFORE,
        STAMP + 9,
        2,
        3,
        START,
        EN,
    ]
    words = _settings(condition_on_prev_tokens=True, prompt_ids=[BEFORE, 7], prompt_condition_type="all-segments")
    assert window_prompt(words, first, said[1:], conditioned=True, positions=48).tolist() == [
        BEFORE, 7, STAMP + 9, 2, 3, START, EN,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"no_speech_threshold": 0.6}, "logprob_threshold"),
        ({"num_segment_frames": 50}, "num_segment_frames"),
        ({"prompt_ids": [[1, 2]]}, "prompt_ids"),
        ({"temperature": (0.0, -0.2)}, "temperature"),
        ({"temperature": ()}, "temperature"),
        ({"temperature": [[1]]}, "temperature"),
        ({"return_token_timestamps": True}, "alignment_heads"),
        ({"prompt_condition_type": "never"}, "prompt_condition_type"),
        ({"decoder_input_ids": [1]}, "decoder_input_ids"),
    ],
)
def test_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        _settings(**arguments)


@pytest.mark.parametrize("features", [None, np.zeros(5), np.zeros((2, 5))])
def test_features_of_another_shape(features):
    with pytest.raises(ValueError, match="input_features"):
        Recordings(features, None, WINDOW)


# --- the loop --------------------------------------------------------------------------------------------------------

_TEXTS = [
    [STAMP, 1, 2, STAMP + 20, STAMP + 20, 3, STAMP + 40, STAMP + 40],  # goes on at 0.8 s: frame 80, still window 0
    [STAMP, 5, STAMP + 50],
    [STAMP, 6, 7, STAMP + 10],
]


def test_windows_begin_where_the_last_pair_ended():
    features, _ = _recordings(250)
    seen, frames = [], []
    model = SyntheticModel(_TEXTS)
    out = _run(
        model,
        features,
        return_timestamps=True,
        return_segments=True,
        language="en",
        callbacks=ProgressCallbacks(seen.append, frames.append),
    )
    spans = [(round(float(one["start"]), 2), round(float(one["end"]), 2)) for one in out["segments"][0]]
    assert spans[:2] == [(0.0, 0.4), (0.4, 0.8)]
    assert all(start <= end for start, end in spans)
    assert [one["tokens"].tolist() for one in out["segments"][0]][:2] == [
        [STAMP, 1, 2, STAMP + 20], [STAMP + 20, 3, STAMP + 40, STAMP + 40]
    ]  # fmt: skip
    assert out["sequences"][0].tolist() == [token for one in out["segments"][0] for token in one["tokens"].tolist()]
    assert seen[:2] == [0.0, 0.8] and seen[-1] == 2.5 and seen == sorted(seen)
    assert frames[0].tolist() == [[0, 250]] and frames[-1].tolist() == [[250, 250]]


def test_a_recording_alone_and_among_others():
    features, mask = _recordings(250, 90, 180)
    together = _run(SyntheticModel(_TEXTS), features, mask, return_timestamps=True, return_segments=True, language="en")
    for row, length in enumerate((250, 90, 180)):
        alone = _run(
            SyntheticModel(_TEXTS),
            features[row : row + 1, :, :length],
            return_timestamps=True,
            return_segments=True,
            language="en",
        )
        assert [one["tokens"].tolist() for one in alone["segments"][0]] == [
            one["tokens"].tolist() for one in together["segments"][row]
        ]
        assert [one["end"] for one in alone["segments"][0]] == [one["end"] for one in together["segments"][row]]


def test_prompts_of_different_lengths_in_a_batch():
    features, mask = _recordings(250, 240)
    texts = [[STAMP, 1, STAMP + 50], [STAMP, 2, 3, 4, STAMP + 50], [STAMP, 6, STAMP + 10]]
    features[1] += 1  # the second one begins with the second text
    features = np.minimum(features, 2)
    options = {"return_timestamps": True, "language": "en", "condition_on_prev_tokens": True}
    model = SyntheticModel(texts)
    together = _run(model, features, mask, **options)
    arguments = sorted(map(tuple, model.prompts))
    alone = SyntheticModel(texts)
    rows = [
        _run(alone, features[row : row + 1, :, :length], **options)[0].tolist() for row, length in enumerate((250, 240))
    ]
    assert [[token for token in row if token != END] for row in together.tolist()] == rows
    assert sorted(map(tuple, alone.prompts)) == arguments


def test_a_recording_that_is_never_whole_in_memory():
    features, _ = _recordings(250)

    class Streamed:
        n_frames, n_mels = 250, 2

        def window(self, start, length):
            assert 0 < length <= WINDOW and start + length <= 250
            return features[0, :, start : start + length]

    expected = _run(SyntheticModel(_TEXTS), features, return_timestamps=True)
    assert _run(SyntheticModel(_TEXTS), Streamed(), return_timestamps=True).tolist() == expected.tolist()


def test_the_first_window_is_encoded_once():
    features, _ = _recordings(90)
    model = SyntheticModel([[1, 2, 3]])
    _run(model, features)  # its language is detected
    assert model.encoded == 1
    options = {"temperature": (0.0, 0.5, 1.0), "logprob_threshold": -1e-6, "no_speech_threshold": 0.99}
    model = SyntheticModel([[1, 2, 3]], sure=1.0)
    _run(model, features, **options, seed=0, force_unique_generate_call=True)
    assert model.encoded == 1


def test_a_pair_at_the_start_does_not_stop_it():
    features, _ = _recordings(150)
    out = _run(SyntheticModel([[1, STAMP, STAMP, 2]] * 2), features[..., :90], return_segments=True)
    assert out["segments"][0][0]["tokens"][0] == 1


# --- falling back ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_text():
    features, _ = _recordings(90, 90)
    options = {"temperature": (0.0, 0.7, 1.0), "logprob_threshold": -1e-6, "language": "en"}
    first, again, other = (_run(SyntheticModel(_TEXTS, sure=2.0), features, seed=seed, **options) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    seeds = [5, 9]
    both = _run(SyntheticModel(_TEXTS, sure=2.0), features, seed=seeds, **options)
    for row in range(2):
        alone = _run(SyntheticModel(_TEXTS, sure=2.0), features[row : row + 1], seed=seeds[row : row + 1], **options)
        assert [token for token in both[row].tolist() if token != END] == alone[0].tolist()


def test_only_what_fails_is_tried_again():
    features = np.concatenate([_recordings(90)[0], _recordings(90)[0] + 1])
    texts = [[1, 2, 3, 4, 5, 6], [7] * 30]
    model = SyntheticModel(texts)
    out = _run(model, features, temperature=(0.0, 0.3), compression_ratio_threshold=1.35, language="en", seed=0)
    assert out[0, :6].tolist() == texts[0]
    assert len(model.prompts) == 3


def test_silence_is_left_out():
    features, _ = _recordings(250)
    texts = [[STAMP, 1, STAMP + 50], [STAMP, 2, STAMP + 50], [STAMP, 3, STAMP + 25]]
    options = {"return_timestamps": True, "return_segments": True, "language": "en", "temperature": (0.0, 0.4),
               "logprob_threshold": -1.0, "no_speech_threshold": 0.6}  # fmt: skip
    assert len(_run(SyntheticModel(texts, silent=(1,)), features, **options)["segments"][0]) == 3
    doubted = _run(SyntheticModel(texts, sure=9.0, silent=(1,)), features, **{**options, "logprob_threshold": -1e-9})
    assert [one["tokens"][1] for one in doubted["segments"][0]] == [1, 3]


def test_mean_log_probability_is_that_of_all_scores():
    features, _ = _recordings(90, 90)
    model = SyntheticModel(_TEXTS[:1], sure=3.0)
    from onnxpipe.generation.whisper.decoding import WindowBatch, decode_windows

    for beams in (1, 3):
        settings = _settings(logprob_threshold=-1.0, return_dict_in_generate=True, language="en")
        settings.config.update(num_beams=beams, output_scores=True)
        prompt = np.array([[START, EN]] * 2)
        batch = WindowBatch(np.arange(2), features, Encoded(np.array([0, 0])), prompt, None)
        for one in decode_windows(model, settings, Extras(), batch, 0.0, 30):
            steps = zip(one.details["scores"], one.complete, strict=False)
            each = [log_softmax(scores)[token] for scores, token in steps]
            assert one.average == pytest.approx(np.mean(each), abs=LAYER)


def test_streams_go_on():
    whole, other = row_streams(3, 2, 1), row_streams(3, 2, 1)
    first = [whole.uniform(1)[0] for _ in range(3)]
    part = other.of([1])
    assert [part.uniform(0)[0], other.uniform(1)[0], other.of([1]).uniform(0)[0]] == first


# --- results ---------------------------------------------------------------------------------------------------------


def test_token_times():
    features, mask = _recordings(90)
    model = SyntheticModel([[1, 2, 3, 4]], alignment_heads=[[0, 1], [1, 0]])
    out = _run(model, features, mask, return_token_timestamps=True, return_segments=True, language="en")
    assert out["sequences"].tolist() == [[1, 2, 3, 4]]
    # Token i of the sequence, after four of the prompt, looks at state 5 i, of 20 ms; the median of three hides it, so
    # that the path is free to go on as late as it can.
    assert (np.diff(out["token_timestamps"][0]) >= 0).all() and out["token_timestamps"][0, 0] == 0
    result = out["segments"][0][0]["result"]
    assert result["token_timestamps"].shape == result["sequences"].shape
    assert result["token_timestamps"][:4].tolist() == [0.0] * 4


def test_several_of_each():
    features, _ = _recordings(90, 80)
    out = _run(SyntheticModel(_TEXTS, num_return_sequences=2, num_beams=2), features, language="en")
    assert len(out) == 4 and out[0].tolist() == out[1].tolist()


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        _settings().named = True
