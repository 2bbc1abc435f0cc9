"""The zoo's generators are what the suite takes them for: same bytes, real tokenizers, text that varies and ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.cases import text2text_generation, text_generation
from zoo import build, weights_hash
from zoo.corpus import SENTENCES
from zoo.text.generators import CAUSAL, SEQ2SEQ

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Models = Callable[[str, str], Path]
FAMILIES = [
    pytest.param(family, head, id=family, marks=pytest.mark.xdist_group(f"generate-{family}"))
    for head, table in (("causal", CAUSAL), ("seq2seq", SEQ2SEQ))
    for family in table
]
SLOW = {"opt", "mt5", "marian", "m2m_100"}
"""Families whose folders have no tokenizer.json, as their real checkpoints."""


@pytest.mark.parametrize(("family", "head"), FAMILIES)
def test_same_bytes_each_time(family: str, head: str, models: Models, tmp_path: Path) -> None:
    folder = models(family, head)
    assert weights_hash(build(family, head, tmp_path / "again")) == weights_hash(folder)
    assert (folder / "tokenizer.json").exists() == (family not in SLOW)


@pytest.mark.parametrize("task", ["text2text-generation", "summarization", "translation"])
def test_the_recorded_answers_are_of_these_models(task: str, models: Models) -> None:
    recorded = json.loads((Path(__file__).parents[1] / "zoo" / "reference" / f"{task}.json").read_text("utf-8"))
    assert set(recorded["answers"]) == set(SEQ2SEQ)
    for family, entry in recorded["answers"].items():
        assert entry["weights"]["seq2seq"] == weights_hash(models(family, "seq2seq")), family


@pytest.mark.parametrize(("family", "head"), FAMILIES)
def test_text_varies_and_ends(family: str, head: str, models: Models) -> None:
    """Greedy text of 16 sentences: many tokens, ends within 40 steps, the best token never nearly tied."""
    model, tokenizer = _load(family, head, models)
    tokens: set[int] = set()
    ended, gaps = 0, []
    texts = text_generation.TEXTS if head == "causal" else text2text_generation.TEXTS
    for text in (*SENTENCES[:12], *texts):
        steps, logits = _greedy(model, tokenizer, text)
        tokens |= set(steps)
        ended += len(steps) < 40
        gaps += [float(best[0] - best[1]) for best in (step[0].topk(2).values for step in logits)]
    assert len(tokens) >= 40
    assert ended >= 4
    assert min(gaps) > 1e-4


def _load(family: str, head: str, models: Models) -> tuple[Any, Any]:
    torch.set_num_threads(1)
    folder = models(family, head)
    auto = transformers.AutoModelForCausalLM if head == "causal" else transformers.AutoModelForSeq2SeqLM
    return auto.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)


def _greedy(model: Any, tokenizer: Any, text: str) -> tuple[list[int], Any]:
    rows = tokenizer(text, return_tensors="pt")
    feeds = {name: rows[name] for name in ("input_ids", "attention_mask")}
    neutral = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "min_length": 0}
    answer = model.generate(
        **feeds,
        **neutral,
        do_sample=False,
        num_beams=1,
        max_new_tokens=40,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return answer.sequences[0, -len(answer.logits) :].tolist(), answer.logits


@pytest.mark.parametrize(("family", "head"), FAMILIES)
def test_files_are_real_ones(family: str, head: str, models: Models) -> None:
    """Sizes and ids agree, generation_config.json has what the family's has, the classes are the family's."""
    model, tokenizer = _load(family, head, models)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    assert max(tokenizer.get_vocab().values()) < vocabulary
    settings = model.generation_config
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    assert tokenizer.eos_token_id in ends
    if tokenizer.pad_token_id is not None and settings.pad_token_id is not None and family != "llama":
        assert tokenizer.pad_token_id == settings.pad_token_id
    if head == "seq2seq":
        assert settings.decoder_start_token_id is not None
        assert "decoder_start_token_id" in json.loads((models(family, head) / "generation_config.json").read_text())
    pieces = tokenizer.tokenize(" ".join(SENTENCES))
    assert len(pieces) > 1.1 * len(" ".join(SENTENCES).split()), "nothing is cut in pieces"
    window = getattr(model.config, "sliding_window", None) or getattr(model.config, "window_size", None)
    if family in ("mistral", "phi3", "gemma2", "gemma3", "gpt_neo"):
        assert window == 16
