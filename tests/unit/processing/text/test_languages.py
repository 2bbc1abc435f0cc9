"""Language tokens: Marian's codes before a text, and languages that are misspelt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from onnxpipe.processing.text.tokenizer import Tokenizer

PIECES = ["</s>", "<unk>", "▁the", "▁train", "▁", ">", "<", "f", "r", "a", ">>deu<<"]


def _marian(folder: Path, tokenizer_class: str = "MarianTokenizer") -> Tokenizer:
    backend = Backend(models.Unigram([(piece, -1.0) for piece in PIECES], 1))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    backend.add_special_tokens([AddedToken(token, special=True) for token in ("</s>", "<unk>", ">>deu<<")])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class}))
    return Tokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (">>fra<< the train", ["<unk>", "▁the", "▁train"]),
        (">>fra_Latn<<the train", ["<unk>", "▁the", "▁train"]),
        (">>fra<<", ["<unk>"]),
        (">>deu<< the", [">>deu<<", "▁the"]),
        (">>fra<< >>fra<<", ["<unk>", "▁", ">", ">", "f", "r", "a", "<", "<"]),
        ("the >>fra<<", ["▁the", "▁", ">", ">", "f", "r", "a", "<", "<"]),
        (">>f r<<", ["▁", ">", ">", "f", "▁", "r", "<", "<"]),
    ],
)
def test_codes_before_a_text(tmp_path: Path, text: str, tokens: list[str]) -> None:
    """As MarianTokenizer: a leading code is one token, the unknown one if the vocabulary lacks it."""
    tokenizer = _marian(tmp_path)
    assert tokenizer(text).tokens() == [*tokens, "</s>"]
    assert tokenizer([text, "the"]).tokens(0) == [*tokens, "</s>"]
    assert tokenizer(text_target=text)["input_ids"] == tokenizer(text)["input_ids"]


def test_codes_are_texts_for_other_tokenizers(tmp_path: Path) -> None:
    assert _marian(tmp_path, "T5Tokenizer").tokenize(">>fra<<")[:3] == ["▁", ">", ">"]


@pytest.mark.parametrize(("language", "hint"), [("EN_XX", "'en_XX'?"), ("nl_xx", "'nl_XX'?"), ("EN", "'en_XX'?")])
def test_languages_in_another_case(tmp_path: Path, language: str, hint: str) -> None:
    words = ["<s>", "</s>", "<unk>", "<pad>", "<mask>", "en_XX", "nl_XX"]
    backend = Backend(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.add_special_tokens([AddedToken(word, special=True) for word in words])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MBartTokenizer"}')
    with pytest.raises(ValueError, match=f"no language '{language}' in this tokenizer; did you mean {hint[:-1]}"):
        Tokenizer.from_folder(tmp_path, src_lang=language)
