"""Generation needs neither PyTorch nor much memory: no such module is imported, and a stream of prompts stays flat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Bundles = Callable[..., Path]

_BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "onnx", "onnxpipe_export", "sentencepiece"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Blocked())
"""

_USUAL = """
from onnxpipe import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
causal, sequence, marian = sys.argv[1:]
write = pipeline("text-generation", model=causal)
print(write("Paris is", max_new_tokens=8, do_sample=False)[0]["generated_text"])
print(write([{"role": "user", "content": "Where is Paris?"}], max_new_tokens=8)[0]["generated_text"][-1]["role"])
print(len(pipeline("summarization", model=sequence)("Paris is the capital of France.", max_length=12, min_length=4)))
print(sorted(pipeline("translation_en_to_fr", model=marian)("Paris is the capital.", max_length=20)[0]))
tokenizer, model = AutoTokenizer.from_pretrained(causal), AutoModelForCausalLM.from_pretrained(causal)
print(tokenizer.decode(model.generate(**tokenizer("Paris is", return_tensors="np"), max_new_tokens=20)[0]))
tokenizer, model = AutoTokenizer.from_pretrained(marian), AutoModelForSeq2SeqLM.from_pretrained(marian)
print(tokenizer.batch_decode(model.generate(**tokenizer(["Paris"], return_tensors="np"), max_new_tokens=9)))
loaded = {"torch", "transformers", "onnx", "onnxpipe_export"} & set(sys.modules)
assert not loaded, loaded
"""

_STREAM = """
import os, resource, sys
from onnxpipe import pipeline
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
pipe = pipeline(sys.argv[2], model=sys.argv[1])
words = "the old bridge over the river is long and the city is near it".split()
prompts = (" ".join(words[i % 7 : i % 7 + 1 + i % 5]) for i in range(int(sys.argv[3])))
early = 0.0
for count, answer in enumerate(pipe(prompts, max_new_tokens=6, do_sample=False, batch_size=8), 1):
    if count == int(sys.argv[3]) // 4:
        early = resident()
print(count, resident() - early)
"""


def _run(code: str, home: Path, *arguments: str) -> str:
    import os

    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    environment.pop("ONNXPIPE_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_pytorch(bundles: Bundles, tmp_path: Path) -> None:
    folders = (bundles("llama", "causal"), bundles("t5", "seq2seq"), bundles("marian", "seq2seq"))
    out = _run(_BLOCKED + _USUAL, tmp_path, *map(str, folders)).splitlines()
    assert out[0].startswith("Paris is")
    assert out[1:4] == ["assistant", "1", "['translation_text']"]
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("family", "head", "task"), [("llama", "causal", "text-generation"), ("t5", "seq2seq", "text2text-generation")]
)
def test_a_stream_in_flat_memory(family: str, head: str, task: str, bundles: Bundles, tmp_path: Path) -> None:
    """From the first quarter of 1200 prompts to the last, less than 8 MB: a leaked cache would be 20 MB and more."""
    count, grown = _run(_STREAM, tmp_path, str(bundles(family, head)), task, "1200").split()
    assert int(count) == 1200
    assert float(grown) < 8


def test_a_stream_is_lazy(bundles: Bundles) -> None:
    """Answers come while prompts are still being read."""
    import onnxpipe

    read: list[int] = []

    def prompts():  # type: ignore[no-untyped-def]
        for i in range(500):
            read.append(i)
            yield f"Paris {i}"

    pipe = onnxpipe.pipeline("text-generation", model=str(bundles("llama", "causal")), device="cpu")
    answers = pipe(prompts(), max_new_tokens=2, do_sample=False, batch_size=4)
    assert len(read) <= 1, "the first is looked at: it may be a chat"
    next(answers)
    assert 0 < len(read) < 100
