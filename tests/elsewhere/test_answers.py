"""The bundles of real models under transformers.js in Node: its answers are onnxpipe's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from elsewhere.conftest import HERE, Answers, job
from onnxpipe import AutoTokenizer, pipeline
from zoo.audio import recordings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Find = Callable[[str], Path]
Limit = Callable[[str, Path], float]
CLOSE = 1e-5
_ROUNDED = 1e-2
"""The limit of int8 where floats differ in their last bits: one may be rounded to the next of 256 numbers."""

REVIEWS = ["I love this movie!", "It was a waste of time and money.", "A fine, if somewhat long, film."]
SENTENCE = "Angela Merkel met Barack Obama at the White House in Washington."
PROMPTS = ["Once upon a time", "The little dog wanted to", "Lily and her mother went to the park on a sunny day. They"]
ENGLISH = [
    "The weather is nice today.",
    "I would like a cup of coffee, please.",
    "Where is the train station? My brother is waiting for me there.",
]


def data() -> Path:
    """The folder of labelled sets."""
    folder = os.environ.get("ONNXPIPE_TEST_DATA")
    return Path(folder) if folder else pytest.skip("no data: set ONNXPIPE_TEST_DATA to the folder of labelled sets")


precisions = pytest.mark.parametrize("dtype", ["fp32", "int8"])


@pytest.fixture
def limit(node: Callable[..., str]) -> Limit:
    """`limit(dtype, folder)`: how much scores may differ. Of int8 it is that of float32 where Node's ONNX Runtime and
    Python's compute the same floats to the last bit, as all versions that were tried do (1.30 and 1.32)."""

    def find(dtype: str, folder: Path) -> float:
        if dtype == "fp32":
            return CLOSE
        graph = folder / "onnx/model.onnx"
        encoded = AutoTokenizer.from_pretrained(folder)(REVIEWS, padding=True, return_tensors="np")
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        feeds = {each.name: np.asarray(encoded[each.name], np.int64) for each in session.get_inputs()}
        there = json.loads(
            node(HERE / "graph.mjs", str(graph), text=json.dumps({k: v.tolist() for k, v in feeds.items()}))
        )
        here = session.run(None, feeds)[0]
        return CLOSE if np.array_equal(np.array(there, np.float32), here.ravel()) else _ROUNDED

    return find


@pytest.mark.xdist_group("real")
@precisions
def test_embeddings(dtype: str, real_bundle: Find, answers: Answers, limit: Limit) -> None:
    folder = real_bundle("all-MiniLM-L6-v2")
    options = {"pooling": "mean", "normalize": True}
    (answer,) = answers([job("feature-extraction", folder, dtype, (REVIEWS, options))])
    expected = pipeline("embedding", folder, dtype=dtype, device="cpu")(REVIEWS)
    np.testing.assert_allclose(answer[0], np.array(expected), atol=limit(dtype, folder))


@pytest.mark.xdist_group("real")
@precisions
def test_classes(dtype: str, real_bundle: Find, answers: Answers, limit: Limit) -> None:
    texts, words = real_bundle("minilm-sst2"), real_bundle("minilm-conll")
    classified, found = answers(
        [
            job("text-classification", texts, dtype, (REVIEWS, {"top_k": None})),
            job("token-classification", words, dtype, (SENTENCE, {})),
        ]
    )
    expected = pipeline("text-classification", texts, dtype=dtype, device="cpu")(REVIEWS, top_k=None)
    close = limit(dtype, texts)
    for row, wanted in zip(classified[0], expected, strict=True):
        assert [each["label"] for each in row] == [each["label"] for each in wanted]
        scores = [[each["score"] for each in some] for some in (row, wanted)]
        np.testing.assert_allclose(*scores, atol=close)
    entities = pipeline("token-classification", words, dtype=dtype, device="cpu")(SENTENCE)
    for name in ("entity", "word", "index"):
        assert [each[name] for each in found[0]] == [each[name] for each in entities]
    scores = [[each["score"] for each in some] for some in (found[0], entities)]
    np.testing.assert_allclose(*scores, atol=limit(dtype, words))


@pytest.mark.xdist_group("stories")
@precisions
def test_stories_alone_and_in_a_batch(dtype: str, real_model: Find, answers: Answers) -> None:
    from zoo.cache import cached_export

    folder = cached_export(real_model("stories15M"), ("fp32", "int8", "q4"))
    options = {"do_sample": False, "max_new_tokens": 40}
    inputs: list[Any] = [*PROMPTS, PROMPTS]
    (answer,) = answers([job("text-generation", folder, dtype, *((each, options) for each in inputs))])
    expected = pipeline("text-generation", folder, dtype=dtype, device="cpu")(PROMPTS, **options)
    for row, wanted in enumerate(expected):
        assert answer[row][0]["generated_text"] == answer[3][row][0]["generated_text"] == wanted[0]["generated_text"]


@pytest.mark.xdist_group("real")
@precisions
def test_translations_of_a_list(dtype: str, real_bundle: Find, answers: Answers) -> None:
    folder = real_bundle("opus-mt-en-fr")
    (answer,) = answers([job("translation", folder, dtype, (ENGLISH, {}))])
    # transformers.js has no beams
    assert answer[0] == pipeline("translation", folder, dtype=dtype, device="cpu")(ENGLISH, num_beams=1)


@pytest.mark.xdist_group("real-speech")
@precisions
def test_speech_with_segments(dtype: str, real_bundle: Find, answers: Answers, tmp_path: Path) -> None:
    path = next((data() / "speech").glob("*.flac"))
    speech = recordings.decoded(path.read_bytes(), 16_000)
    (tmp_path / "speech.f32").write_bytes(np.asarray(speech, np.float32).tobytes())
    folder, file = real_bundle("whisper-tiny.en"), {"file": str(tmp_path / "speech.f32")}
    calls = ((file, {}), (file, {"return_timestamps": True}))
    (answer,) = answers([job("automatic-speech-recognition", folder, dtype, *calls)])
    ours = pipeline("automatic-speech-recognition", folder, dtype=dtype, device="cpu")
    assert answer[0] == ours(speech, num_beams=1)
    segments = ours(speech, num_beams=1, return_timestamps=True)
    assert [each["text"] for each in answer[1]["chunks"]] == [each["text"] for each in segments["chunks"]]
    times = [[each["timestamp"] for each in some["chunks"]] for some in (answer[1], segments)]
    np.testing.assert_allclose(*times)


@pytest.mark.xdist_group("real")
@precisions
def test_the_class_of_an_image(dtype: str, real_bundle: Find, answers: Answers) -> None:
    """transformers.js resizes otherwise, so scores differ, and so may a label that is not clear."""
    photographs = sorted((data() / "imagenet").glob("*.JPEG"))[:8]
    folder = real_bundle("resnet-50")
    (answer,) = answers([job("image-classification", folder, dtype, *((str(path), {}) for path in photographs))])
    expected = pipeline("image-classification", folder, dtype=dtype, device="cpu")([str(path) for path in photographs])
    clear = [row for row, each in enumerate(expected) if each[0]["score"] > 0.9]
    assert len(clear) > 2
    for row in clear:
        assert answer[row][0]["label"] == expected[row][0]["label"]
