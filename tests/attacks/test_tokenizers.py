"""Hostile files of tokenizers: the library panics (not an `Exception`), aborts, or takes all memory on them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from onnxpipe.errors import BundleError
from onnxpipe.processing.text.hostile import growth
from onnxpipe.processing.text.tokenizer import Tokenizer


def _bpe(**changes: Any) -> dict[str, Any]:
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "fuse_unk": False,
             "end_of_word_suffix": None, "byte_fallback": False, "vocab": {"a": 0, "b": 1, "ab": 2}}  # fmt: skip
    return {"model": {**model, "merges": ["a b"], **changes}}


def _charsmap(table: bytes) -> dict[str, Any]:
    return {"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}}


def _replace(content: str, **pattern: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


def _write(folder: Path, parts: dict[str, Any], text: str | None = None) -> Path:
    model = {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}
    nothing = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    whole = {"version": "1.0", **nothing, "added_tokens": [], "model": model, **parts}
    (folder / "tokenizer.json").write_text(json.dumps(whole) if text is None else text, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return folder


PANICS = {
    "table of characters that is none": _charsmap(b"\xff" * 64),
    "table of characters of one byte": _charsmap(b"\1"),
    "table of characters that points out of itself": _charsmap(b"\4\0\0\0\xff\xff\xff\xffabc"),
    "prefix longer than a token": _bpe(continuing_subword_prefix="x" * 7),
    "prefix that ends inside a letter": _bpe(
        vocab={"é": 0, "a": 1, "aé": 2}, merges=["a é"], continuing_subword_prefix="x"
    ),
    "the same with pairs": _bpe(vocab={"é": 0, "a": 1}, merges=[["a", "é"]], continuing_subword_prefix="x"),
    "merges outside the vocabulary": _bpe(merges=["a c"]),
    "unknown token that the vocabulary lacks": _bpe(unk_token="zz"),
    "no unknown token": {"model": {"type": "Unigram", "unk_id": None, "vocab": [["b", 0.0]]}},
    "unknown token outside the vocabulary": {"model": {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]}},
    "pieces of no characters": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "special token that is not listed": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "X", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }
    },
    "wordpiece without its unknown token": {
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"a": 0},
        }
    },
}


@pytest.mark.parametrize("name", PANICS)
def test_no_panic_leaves_a_tokenizer(tmp_path: Path, name: str) -> None:
    """A panic is a BaseException, which `pytest.raises(BundleError)` does not take for an error."""
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        tokenizer = Tokenizer.from_folder(_write(tmp_path, PANICS[name]))
        for text in ("a b é ab ééé €", "aé" * 50):
            tokenizer(text)
            tokenizer.tokenize(text)


def test_a_name_in_disguise(tmp_path: Path) -> None:
    """JSON may spell a name's letters by their numbers; this file would end the process."""
    parts = PANICS["prefix that ends inside a letter"]
    text = json.dumps({"version": "1.0", "added_tokens": [], **parts}).replace("continuing", "\\u0063ontinuing")
    with pytest.raises(BundleError, match=r"model\.merges\[0\]"):
        Tokenizer.from_folder(_write(tmp_path, {}, text))


@pytest.mark.parametrize("token", [0, 5])
def test_decoding_and_further_calls(tmp_path: Path, token: int) -> None:
    parts = {"decoder": {"type": "Strip", "content": " ", "start": 10**9, "stop": 10**9}}
    tokenizer = Tokenizer.from_folder(_write(tmp_path, parts))
    assert isinstance(tokenizer.decode([0, 1, token]), str)
    assert isinstance(tokenizer.pieces(), dict)


@pytest.mark.parametrize(
    "steps",
    [
        [_replace("b" * 1000, String="a")],
        [_replace("x" * 100, String="")],
        [_replace("x" * 100, Regex="")],
        [_replace("x" * 100, Regex="$|^")],
        [_replace("bb", String="a"), *(_replace(c * 2, String=b) for b, c in zip("bcdefgh", "cdefghi"))],
        [_replace("aa", String="a")] * 30,
        [_replace("..", Regex=".")] * 8,
        [{"type": "Prepend", "prepend": "x" * 1000}],
        [{"type": "Prepend", "prepend": "x"}, _replace("y" * 100, String="x")],
        [_replace("aaa", String="b"), {"type": "Lowercase"}, _replace("B" * 30, String="a")],
        [{"type": "Sequence", "normalizers": [_replace("a" * 9, String="a")]}, _replace("a" * 9, String="a")],
    ],
)
def test_text_that_grows(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: the normalizer is refused"):
        Tokenizer.from_folder(_write(tmp_path, _steps(*steps)))


def test_decoded_text_that_grows(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: the decoder is refused"):
        Tokenizer.from_folder(_write(tmp_path, {"decoder": _replace("x" * 1000, String="a")}))


def test_a_table_of_characters_with_a_long_text(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: the normalizer is refused"):
        Tokenizer.from_folder(_write(tmp_path, _charsmap((1024).to_bytes(4, "little") + bytes(1024) + b"x" * 10_000)))


def test_growth_of_what_models_have() -> None:
    from tokenizers import Regex, normalizers

    spaces = normalizers.Replace(" ", "▁")
    assert growth(None) == growth(spaces) == growth(normalizers.Lowercase()) == 1
    assert growth(normalizers.Sequence([normalizers.Prepend("▁"), spaces])) == 2
    assert growth(normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.NFKD()])) == 1
    assert growth(normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.NFC()])) == 1
    # of a Marian that was exported: expressions of Oniguruma, and tokens with the blanks after them
    ends = [normalizers.Replace(Regex(f"{token} *"), f"{token} ") for token in ("</s>", "<unk>", "<pad>")]
    assert growth(normalizers.Sequence(ends)) == 4
    assert growth(normalizers.Replace(Regex(r"[\x{9}-\x{a}\x{a0}]"), " ")) == 1
    # a decoder of Marian and SpeechT5: blanks after marks, whose matches all begin with the mark
    marks = [normalizers.Replace(Regex(f"{mark} *"), f"{mark} ") for mark in ("</s>", "<unk>", "<pad>")]
    assert growth(normalizers.Sequence(marks)) == 4
    assert growth(normalizers.Replace(Regex("a*"), "b" * 9)) == 10  # between all characters
    assert growth(normalizers.Replace(Regex("ab|"), "b" * 9)) == 10
    # capitals of all letters, as CTC vocabularies need: one step a letter, some of two letters
    capitals = [normalizers.Replace(chr(i), chr(i).upper()) for i in range(0xDF, 0x180) if chr(i).upper() != chr(i)]
    assert growth(normalizers.Sequence(capitals)) == 2


def test_texts_that_would_grow_too_long(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(_write(tmp_path, _steps(_replace("b" * 60, String="a"))))
    with pytest.raises(ValueError, match=r"a text of 1,200,000 characters is longer than the 1,118,481"):
        tokenizer(["a", "a" * 1_200_000])
    assert len(tokenizer("a" * 10).tokens()) == 1
