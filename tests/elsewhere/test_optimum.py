"""The bundles of real models under optimum-onnx, in a Python of its own, as its transformers is older."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elsewhere.conftest import HERE
from elsewhere.test_answers import CLOSE, ENGLISH, PROMPTS, REVIEWS, data, precisions
from onnxpipe import pipeline
from zoo.audio import recordings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PYTHON = "ONNXPIPE_TEST_OPTIMUM"
"""Names the Python of an environment with optimum-onnx 0.1, sentencepiece, sacremoses and this onnxruntime."""


@pytest.mark.xdist_group("real")
@precisions
def test_the_answers_are_ours(
    dtype: str, real_model: Callable[[str], Path], real_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    from zoo.cache import cached_export

    python = os.environ.get(PYTHON) or pytest.skip(f"no optimum-onnx: {PYTHON} names no Python that has it")
    sst2, opus, whisper = (real_bundle(name) for name in ("minilm-sst2", "opus-mt-en-fr", "whisper-tiny.en"))
    stories = cached_export(real_model("stories15M"), ("fp32", "int8", "q4"))
    speech = recordings.decoded((data() / "speech/jfk.flac").read_bytes(), 16_000)
    (tmp_path / "speech.f32").write_bytes(np.asarray(speech, np.float32).tobytes())
    jobs = {"classify": (sst2, REVIEWS), "generate": (stories, PROMPTS), "translate": (opus, ENGLISH),
            "transcribe": (whisper, str(tmp_path / "speech.f32"))}  # fmt: skip
    suffix = "" if dtype == "fp32" else f"_{dtype}"
    text = json.dumps(
        [{"kind": kind, "folder": str(folder), "suffix": suffix, "inputs": inputs}
         for kind, (folder, inputs) in jobs.items()]
    )  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, str(HERE / "optimum_answers.py"), str(tmp_path / "answers.json")]
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    scores, texts, translations, spoken = json.loads((tmp_path / "answers.json").read_text("utf-8"))

    def ours(task: str, folder: Path) -> Any:
        return pipeline(task, folder, dtype=dtype, device="cpu")

    expected = ours("text-classification", sst2)(REVIEWS, top_k=None)
    best = [max(row) for row in scores]
    np.testing.assert_allclose(best, [row[0]["score"] for row in expected], atol=CLOSE)
    write = ours("text-generation", stories)
    greedy, beams = (write(PROMPTS, do_sample=False, max_new_tokens=40, num_beams=count) for count in (1, 3))
    assert texts[0] == texts[1] == [row[0]["generated_text"] for row in greedy]
    assert texts[2] == [row[0]["generated_text"] for row in beams]
    assert translations == [row["translation_text"] for row in ours("translation", opus)(ENGLISH)]
    transcript = ours("automatic-speech-recognition", whisper)(speech, num_beams=1)["text"]
    assert [text.strip() for text in spoken] == [transcript.strip()]
