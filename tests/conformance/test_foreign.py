"""Folders as optimum and transformers.js write them answer as our bundles do (`zoo.foreign` writes them)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.cases.text_generation import TEXTS

pytest.importorskip("onnx")

Bundles = Callable[..., Path]

SEQ2SEQ = [
    pytest.param(family, kind, id=f"{family}-{kind}", marks=pytest.mark.xdist_group(f"generate-{family}"))
    for family in ("t5", "marian", "bart")
    for kind in ("separate", "merged", "uncached")
    if kind != "uncached" or family == "t5"
]
CALLS: tuple[dict[str, Any], ...] = (
    {"num_beams": 1, "max_new_tokens": 24},
    {"num_beams": 4, "num_return_sequences": 2, "max_new_tokens": 16},
    {"num_beams": 3, "no_repeat_ngram_size": 2, "max_new_tokens": 16, "batch_size": 4},
    {"num_beams": 1, "do_sample": True, "temperature": 1.3, "seed": 7, "max_new_tokens": 16},
)


def same_answers(task: str, ours: Path, theirs: Path, calls: tuple[dict[str, Any], ...]) -> None:
    """Every call gives the same on both folders."""
    import onnxpipe

    one, other = (onnxpipe.pipeline(task, model=str(folder), device="cpu") for folder in (ours, theirs))
    assert other.model.bundle.certificate is None, "a folder of other tools has no certificate"
    for kwargs in calls:
        assert other(TEXTS, **kwargs) == one(TEXTS, **kwargs), kwargs
        assert other(TEXTS[0], **kwargs) == one(TEXTS[0], **kwargs), kwargs


@pytest.mark.parametrize(("family", "kind"), SEQ2SEQ)
def test_sequence_to_sequence(family: str, kind: Any, bundles: Bundles, tmp_path: Path) -> None:
    from zoo.foreign import make_foreign

    ours = bundles(family, "seq2seq")
    same_answers("text2text-generation", ours, make_foreign(kind, ours, tmp_path / kind), CALLS)


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=pytest.mark.xdist_group(f"generate-{f}")) for f in ("llama", "gpt2", "gemma3")]
)
def test_decoder_only(family: str, tmp_path: Path) -> None:
    from zoo.cache import cached_variant
    from zoo.foreign import make_foreign

    ours = cached_variant(family, "causal", attention="standard")
    calls = tuple({name: value for name, value in call.items() if name != "batch_size"} for call in CALLS)
    calls = tuple({"do_sample": False, **call} for call in calls)
    same_answers("text-generation", ours, make_foreign("causal", ours, tmp_path / "causal"), calls)
    if family == "gpt2":  # greedily and with beams, of several lengths and alone
        same_answers("text-generation", ours, make_foreign("uncached", ours, tmp_path / "uncached"), calls[:2])


@pytest.mark.xdist_group("generate-llama")
def test_onnxruntime_genai(bundles: Bundles, tmp_path: Path) -> None:
    """A graph of GroupQueryAttention of any name, in a folder of its own, and genai_config.json instead of a config."""
    import json

    from zoo.foreign import make_foreign

    ours = bundles("llama", "causal")
    config = json.loads((ours / "config.json").read_text())
    theirs = make_foreign("causal", ours, tmp_path / "cpu_and_mobile" / "cpu-int4-rtn-block-32")
    (theirs / "model.onnx").rename(theirs / "llama-cpu-int4.onnx")
    (theirs / "config.json").unlink()
    (theirs / "generation_config.json").unlink()
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "vocab_size")
    decoder = {"filename": "llama-cpu-int4.onnx", "num_key_value_heads": config["num_key_value_heads"]}
    model = {"type": "llama", "decoder": decoder, **{name: config[name] for name in names}}
    (theirs / "genai_config.json").write_text(json.dumps({"model": model, "search": {"max_length": 128}}))
    (tmp_path / "README.md").write_text("# x")
    same_answers("text-generation", ours, tmp_path, ({"do_sample": False, "max_new_tokens": 12},))


RECOGNISERS = [
    pytest.param(family, kind, id=f"{family}-{kind}", marks=pytest.mark.xdist_group(f"audio-{family}"))
    for family, kind in (("wav2vec2", "alone"), ("whisper", "separate"), ("whisper", "merged"))
]


@pytest.mark.parametrize(("family", "kind"), RECOGNISERS)
def test_recognisers(family: str, kind: Any, bundles: Bundles, tmp_path: Path) -> None:
    """Whisper's own graphs have no masks; without cross-attentions, times of words are refused."""
    import onnxpipe
    from onnxpipe.errors import UnsupportedError
    from zoo.audio import recordings
    from zoo.foreign import make_foreign

    task = "automatic-speech-recognition"
    ours = bundles(family, task)
    theirs = make_foreign(kind, ours, tmp_path / kind)
    one, other = (onnxpipe.pipeline(task, model=str(folder), device="cpu") for folder in (ours, theirs))
    assert other.model.bundle.certificate is None
    inputs = [recordings.mono(name) for name in recordings.ORDINARY]
    times = "char" if kind == "alone" else True
    for kwargs in ({"num_beams": 1}, {}, {"return_timestamps": times, "num_beams": 1, "batch_size": 2}):
        assert other(inputs, max_new_tokens=10, **kwargs) == one(inputs, max_new_tokens=10, **kwargs), kwargs
    if kind != "alone":
        with pytest.raises(UnsupportedError, match="cross-attentions"):
            other(inputs[0], return_timestamps="word")


@pytest.mark.xdist_group("generate-t5")
@pytest.mark.xdist_group("audio-moonshine")
def test_moonshine_as_its_package_ships_it(bundles: Bundles, tmp_path: Path) -> None:
    """Two graphs and a tokenizer, without a config."""
    import onnxpipe
    from zoo.audio import recordings
    from zoo.foreign import make_foreign

    task = "automatic-speech-recognition"
    ours = bundles("moonshine", task)
    theirs = make_foreign("merged", ours, tmp_path / "moonshine")
    for path in theirs.iterdir():
        if path.suffix != ".onnx" and path.name not in ("tokenizer.json", "tokenizer_config.json"):
            path.unlink()
    one, other = (onnxpipe.pipeline(task, model=str(folder), device="cpu") for folder in (ours, theirs))
    assert onnxpipe.factory.tasks_of(theirs) == (task,)
    said = [recordings.speech(seconds, 16000, seed="moonshine") for seconds in (0.5, 1.0)]
    answers = one(said, max_new_tokens=8)
    assert all(answer["text"] for answer in answers)
    assert other(said, max_new_tokens=8) == answers


def test_in_the_folder_of_the_hub(bundles: Bundles, tmp_path: Path) -> None:
    """transformers.js keeps its graphs in onnx/, beside config.json; there is no certificate."""
    import shutil

    ours = bundles("t5", "seq2seq")
    theirs = tmp_path / "repository"
    shutil.copytree(ours, theirs)
    for name in ("bundle.json", "certificate.json", "golden.npz"):
        (theirs / name).unlink(missing_ok=True)
    same_answers("text2text-generation", ours, theirs, CALLS[:2])
