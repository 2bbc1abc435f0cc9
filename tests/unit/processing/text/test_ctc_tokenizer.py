"""The vocabulary of characters that CTC recognisers have, against transformers' own tokenizer."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe import AutoTokenizer
from onnxpipe.errors import BundleError, UnknownArgumentError
from onnxpipe.processing.text.speech.ctc import Wav2Vec2CTCTokenizer

BASE = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"])}
OTHER = {"[PAD]": 5, "[UNK]": 6, "|": 0, "a": 1, "b": 2, "ch": 3, "c": 4, "'": 7, "s": 8, ".": 9}
NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
KINDS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "base": (BASE, {}),
    "cleaned": (BASE, {"clean_up_tokenization_spaces": True}),
    "lower case": (BASE, {"do_lower_case": True}),
    "other names": (OTHER, NAMES),
    "another blank": (OTHER, {**NAMES, "replace_word_delimiter_char": "_"}),
    "languages": ({"eng": BASE, "fra": {**BASE, "É": len(BASE)}}, {"target_lang": "fra"}),
}
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"skip_special_tokens": True},
    {"output_char_offsets": True},
    {"output_word_offsets": True},
    {"output_char_offsets": True, "output_word_offsets": True, "skip_special_tokens": True},
    {"group_tokens": False},
    {"spaces_between_special_tokens": True},
    {"clean_up_tokenization_spaces": True},
)
TEXTS = ("HELLO WORLD", "hello", " A  B ", "<pad>A<s> B</s>C", "chachc abch", "É È", "A|B", "ab . 's n't", "", "ß")


def folder(target: Path, kind: str) -> Path:
    vocabulary, config = KINDS[kind]
    target.mkdir(parents=True, exist_ok=True)
    (target / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    config = {"tokenizer_class": "Wav2Vec2CTCTokenizer", **config}
    (target / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return target


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder(tmp_path / "base", "base"))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_transformers(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    path = folder(tmp_path, kind)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(str(path)), AutoTokenizer.from_pretrained(path)
    assert ours.all_special_tokens == theirs.all_special_tokens and ours.all_special_ids == theirs.all_special_ids
    assert (len(ours), ours.vocab_size, ours.get_vocab()) == (len(theirs), theirs.vocab_size, theirs.get_vocab())
    rng = random.Random(5)
    for _ in range(60):
        ids = [
            rng.choice([rng.randrange(len(theirs) + 2), theirs.pad_token_id, 5, 6]) for _ in range(rng.randrange(30))
        ]
        ids = [i for i in ids for _ in range(rng.choice([1, 1, 2, 3]))]
        assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)
        for options in OPTIONS:
            expected = theirs.decode(ids, **options)
            if not isinstance(expected, str):
                expected = {name: value for name, value in expected.items() if value is not None}
            assert ours.decode(np.array(ids, np.int64), **options) == expected
    for text in TEXTS:
        assert list(ours(text)["input_ids"]) == list(theirs(text)["input_ids"]), text
    batch = [[5, 5, 0, 6], [7, 4, 8]]
    assert ours.batch_decode(batch) == theirs.batch_decode(batch) == ours.decode(batch)
    offsets = theirs.batch_decode(batch, output_char_offsets=True)
    assert ours.batch_decode(batch, output_char_offsets=True)["char_offsets"] == offsets["char_offsets"]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_again(kind: str, tmp_path: Path) -> None:
    ours = AutoTokenizer.from_pretrained(folder(tmp_path / "one", kind))
    ours.save_pretrained(tmp_path / "two")
    again = AutoTokenizer.from_pretrained(tmp_path / "two")
    ids = [5, 5, 0, 6, 4, 7, 8, 1]
    assert isinstance(again, Wav2Vec2CTCTokenizer) and again.decode(ids) == ours.decode(ids)
    assert again.get_vocab() == ours.get_vocab()


def test_the_backend_alone_reads_frames_too(tokenizer: Any) -> None:
    letters = tokenizer.convert_tokens_to_ids(list("HE<LLO".replace("<", "L")))
    frames = [0, *letters[:3], 0, *letters[3:], 4, 4, letters[0], letters[0]]
    assert tokenizer.decode(frames) == tokenizer.backend_tokenizer.decode(frames, skip_special_tokens=False).strip()


def test_offsets_of_words(tokenizer: Any) -> None:
    ids = tokenizer.convert_tokens_to_ids(["<pad>", "H", "H", "<pad>", "I", "|", "|", "A", "<pad>"])
    found = tokenizer.decode(ids, output_char_offsets=True, output_word_offsets=True)
    assert found.text == "HI A"
    assert [(w["word"], w["start_offset"], w["end_offset"]) for w in found.word_offsets] == [("HI", 1, 5), ("A", 7, 8)]
    assert tokenizer._get_word_offsets(found.char_offsets) == found.word_offsets


def test_languages(tmp_path: Path) -> None:
    path = folder(tmp_path, "languages")
    ours = AutoTokenizer.from_pretrained(path, target_lang="eng")
    assert ours.target_lang == "eng" and len(ours) == len(BASE)
    ours.set_target_lang("fra")
    assert ours.target_lang == "fra" and ours.decode([len(BASE)]) == "É"
    with pytest.raises(ValueError, match=r"deu does not exist\. Choose one of eng, fra"):
        ours.set_target_lang("deu")
    with pytest.raises(BundleError, match="no vocabulary for 'deu'"):
        AutoTokenizer.from_pretrained(path, target_lang="deu")
    with pytest.raises(BundleError, match="pass target_lang="):
        (path / "tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2CTCTokenizer"}', encoding="utf-8")
        AutoTokenizer.from_pretrained(path)


def test_one_vocabulary_has_no_language(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="one vocabulary"):
        tokenizer.set_target_lang("eng")


@pytest.mark.parametrize("value", ["x", True, -1, None])
def test_ids_are_numbers(value: Any, tmp_path: Path) -> None:
    path = folder(tmp_path, "base")
    (path / "vocab.json").write_text(json.dumps({**BASE, "Ä": value}), encoding="utf-8")
    with pytest.raises(BundleError, match="the id of 'Ä'"):
        AutoTokenizer.from_pretrained(path)


def test_misspelt_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean 'target_lang'"):
        AutoTokenizer.from_pretrained(folder(tmp_path, "languages"), target_land="eng")  # type: ignore[call-arg]
