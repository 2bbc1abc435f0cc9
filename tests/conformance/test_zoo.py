"""The zoo is what the suite takes it for: the same bytes every time, real tokenizers, clear decisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.cases import text_classification, token_classification, zero_shot_classification
from zoo import FAMILIES, MISSING, build, weights_hash
from zoo.corpus import SENTENCES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Models = Callable[[str, str], Path]
ODD = (
    "",
    "  two  spaces\tand tab\n new line ",
    "Ünïcödé ＡＢＣ ½ ﬁ 😀",
    "zzqqxx 中文字 test-case don't",
    "``quoted'' text",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_same_bytes_each_time(family: str, models: Models, tmp_path: Path) -> None:
    assert weights_hash(build(family, "nli", tmp_path / "again")) == weights_hash(models(family, "nli"))


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_file_says_what_transformers_says(family: str, models: Models) -> None:
    from tokenizers import Tokenizer

    folder = models(family, "base")
    theirs, file = (
        transformers.AutoTokenizer.from_pretrained(folder),
        Tokenizer.from_file(str(folder / "tokenizer.json")),
    )
    for text in (*SENTENCES, *ODD):
        encoding = file.encode(text)
        got = theirs(text, return_offsets_mapping=True)
        assert (got["input_ids"], got["offset_mapping"]) == (encoding.ids, encoding.offsets), text
    pair = file.encode("one two", "three four")
    got = theirs("one two", "three four")
    assert got["input_ids"] == pair.ids
    assert got.get("token_type_ids", pair.type_ids) == pair.type_ids
    assert theirs.model_max_length == 128


@pytest.mark.parametrize("family", FAMILIES)
def test_special_ids_match_the_config(family: str, models: Models) -> None:
    folder = models(family, "mlm")
    config = transformers.AutoConfig.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert config.pad_token_id == tokenizer.pad_token_id
    assert config.vocab_size == len(tokenizer)
    assert len(tokenizer.tokenize(" ".join(SENTENCES))) > 1.1 * len(" ".join(SENTENCES).split()), (
        "nothing is cut in pieces"
    )


@pytest.mark.parametrize(
    ("family", "head"), [(f, h) for f in FAMILIES for h in ("nli", "ner") if (f, h) not in MISSING]
)
def test_decisions_are_clear(family: str, head: str, models: Models) -> None:
    """Ten times the tolerance lies between the best label and the second on every text that the cases use."""
    folder = models(family, head)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    auto = {"nli": "AutoModelForSequenceClassification", "ner": "AutoModelForTokenClassification"}[head]
    model = getattr(transformers, auto).from_pretrained(folder)
    texts = (
        token_classification.TEXTS if head == "ner" else [*text_classification.TEXTS, *zero_shot_classification.TEXTS]
    )
    for text in texts:
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt"))["logits"]
        best = logits.softmax(-1).topk(2, -1).values
        assert float((best[..., 0] - best[..., 1]).min()) > 1e-3, text
