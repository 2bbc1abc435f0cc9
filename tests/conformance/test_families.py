"""The families of `zoo.text.families`: exported with a certificate, and their answers those of transformers.

Every text is asked alone of the original; here together, so the batch must change nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conformance.cases.family_calls import CALLS, TEXTS
from onnxpipe import pipeline
from tolerances import float32
from zoo import FAMILY
from zoo.cache import cached_bundle, cached_model
from zoo.text.families import FAMILIES, POSITIONS

Array = NDArray[Any]

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

_TERMS = 1 << 16
"""More products than are added on the way through a tiny model."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_exports_and_answers_as_transformers(name: str) -> None:
    task = FAMILIES[name].task
    pipe = pipeline(task, model=str(cached_bundle(name, FAMILY)))
    if task == "question-answering":
        answers = pipe(question=list(TEXTS), context=[TEXTS[1]] * len(TEXTS))
    else:
        answers = pipe(list(TEXTS), **CALLS[task])
    _SAME[task](str(cached_model(name, FAMILY)), answers)


def _same_tokens(folder: str, ours: list[Any]) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    for text, answer in zip(TEXTS, ours, strict=True):
        assert answer[0]["generated_token_ids"] == _greedy(folder, model, text), text


def _same_written(folder: str, ours: list[Any]) -> None:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    for text, answer in zip(TEXTS, ours, strict=True):
        expected = _greedy(folder, model, text)
        assert list(answer["generated_token_ids"])[: len(expected)] == expected, text


def _greedy(folder: str, model: Any, text: str) -> list[int]:
    row = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    kept = {key: row[key] for key in ("input_ids", "attention_mask")}
    found = model.generate(
        **kept, max_new_tokens=12, do_sample=False, num_beams=1, output_logits=True, return_dict_in_generate=True
    )
    best = torch.stack([step[0].topk(2).values for step in found.logits])
    assert float((best[:, 0] - best[:, 1]).min()) > 1e-3, "a near tie: choose another seed"
    return [int(token) for token in found.sequences[0]]


def _some_answers(folder: str, ours: Any) -> None:
    """transformers 5 has no such pipeline; the certificate compares the scores, this that they are read."""
    assert all(answer["answer"] in TEXTS[1] for answer in ours)


def _same_features(folder: str, ours: list[Any]) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, config.architectures[0]).from_pretrained(folder).eval()
    for text, answer in zip(TEXTS, ours, strict=True):
        row = theirs(text, return_tensors="pt")
        with torch.no_grad():
            found = model(input_ids=row["input_ids"], attention_mask=row["attention_mask"]).last_hidden_state.numpy()
        got = np.asarray(answer)
        assert got.shape == found.shape
        assert np.abs(got - found).max() <= float32(float(np.abs(found).max()), _TERMS), text


def _same_scores(folder: str, ours: list[Any]) -> None:
    theirs = transformers.pipeline("text-classification", model=folder)
    for text, answer in zip(TEXTS, ours, strict=True):
        found = {one["label"]: one["score"] for one in theirs(text, top_k=None)}
        got = {one["label"]: one["score"] for one in answer}
        assert got == pytest.approx(found, abs=float32(1.0, _TERMS)), text


_SAME = {
    "text-generation": _same_tokens,
    "text2text-generation": _same_written,
    "feature-extraction": _same_features,
    "text-classification": _same_scores,
    "question-answering": _some_answers,
}


@pytest.mark.parametrize("name", ["convbert", "nystromformer", "yoso"])
def test_rows_share_no_batch_where_padding_changes_answers(name: str) -> None:
    bundle = cached_bundle(name, FAMILY)
    assert json.loads((bundle / "bundle.json").read_text("utf-8"))["batches"] == "equal lengths"
    pipe = pipeline("text-classification", model=str(bundle))
    assert pipe(list(TEXTS)) == [pipe(text)[0] for text in TEXTS]
    assert pipe(list(TEXTS), batch_size=3) != pipe(list(TEXTS)), "asked for, a batch is padded, as in transformers"


@pytest.fixture(scope="module")
def longrope() -> tuple[Any, Any, list[Array]]:
    """The bundle of a model with longrope, transformers' model, and rows: one that becomes too long for its first
    frequencies, one that is, and one that is not."""
    model = transformers.AutoModelForCausalLM.from_pretrained(cached_model("phi3-longrope", FAMILY)).eval()
    rows = [np.random.default_rng(3).integers(5, model.config.vocab_size, POSITIONS + more) for more in (-5, 3, -40)]
    return pipeline("text-generation", model=str(cached_bundle("phi3-longrope", FAMILY))).model, model, rows


def _continued(model: Any, row: Array, **options: Any) -> list[int]:
    found = model.generate(
        torch.from_numpy(row[None]), attention_mask=torch.ones(1, len(row), dtype=torch.int64), max_new_tokens=12,
        do_sample=False, **options,
    )  # fmt: skip
    return [int(token) for token in found[0]]


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_longrope_changes_its_frequencies_where_transformers_does(options: Any, longrope: Any) -> None:
    ours, theirs, rows = longrope
    for row in rows:
        expected = _continued(theirs, row, **options)
        assert ours.generate(row[None], max_new_tokens=12, do_sample=False, **options)[0].tolist() == expected


def test_longrope_rows_do_not_change_each_other(longrope: Any) -> None:
    """transformers rotates all rows of a batch as the longest of them; here each is rotated by its own length."""
    ours, theirs, rows = longrope
    width = max(map(len, rows))
    ids = np.stack([np.pad(row, (width - len(row), 0)) for row in rows])
    mask = np.stack([np.arange(width) >= width - len(row) for row in rows]).astype(np.int64)
    together = ours.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False)
    for row, found in zip(rows, together, strict=True):
        new = _continued(theirs, row)[len(row) :]
        assert found[width : width + len(new)].tolist() == new


def test_assisted_generation_crosses_the_length_too(longrope: Any) -> None:
    ours, theirs, rows = longrope
    row = np.concatenate([rows[0][:45], rows[0][:46]])  # what was written before is guessed again
    found = ours.generate(row[None], max_new_tokens=12, do_sample=False, prompt_lookup_num_tokens=4)
    assert found[0].tolist() == _continued(theirs, row)


def test_other_graphs_are_right_up_to_the_length_alone(tmp_path: Path, longrope: Any) -> None:
    """A folder that does not say that its graph has both sets of frequencies."""
    folder = shutil.copytree(cached_bundle("phi3-longrope", FAMILY), tmp_path / "bundle")
    (folder / "bundle.json").unlink()
    pipe = pipeline("text-generation", model=str(folder))
    assert pipe(TEXTS[0], max_new_tokens=2)
    with pytest.raises(RuntimeError, match=f"the model has positions for {POSITIONS}: pass a smaller max_new_tokens"):
        pipe(TEXTS[0], max_new_tokens=POSITIONS, min_new_tokens=POSITIONS, do_sample=False)
