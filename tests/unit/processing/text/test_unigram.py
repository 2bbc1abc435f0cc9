"""The pieces of Unigram vocabularies are SentencePiece's, in every way of calling the tokenizer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from tokenizers import AddedToken, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.processing.text.unigram import MAX_PIECE, UnigramSegmenter
from onnxpipe.processing.text.unigram_backend import UnigramPieces
from zoo.text.sentencepiece_tokenizers import BYTES, spiece

Pieces = list[tuple[str, float]]

HEAD = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
ALPHABET = "0123456789abcdé☃"


def _vocabulary(seed: int, *, grid: int = 0, blanks: bool = False, singles: bool = True) -> Pieces:
    """Random pieces of a small alphabet.

    Args:
        grid: scores are multiples of 1/grid, so that many ways to split a text tie exactly; 0 for any scores.
        blanks: some pieces span blanks.
        singles: every character of the alphabet but the last is a piece.
    """
    random = Random(seed)
    names = dict.fromkeys("▁" + ALPHABET[:-1] if singles else "▁")
    letters = ALPHABET[:-1] + ("▁▁" if blanks else "")
    for _ in range(400):
        body = "".join(random.choice(letters) for _ in range(random.randint(2, 5)))
        names[("▁" if random.random() < 0.3 else "") + body] = None
    scores = [-random.uniform(2, 14) for _ in names]
    return [*HEAD, *((name, round(score * grid) / grid if grid else score) for name, score in zip(names, scores))]


def _with_bytes(pieces: Pieces) -> Pieces:
    return [*pieces[:3], *((mark, 0.0) for mark in BYTES), *pieces[3:]]


VOCABULARIES = {
    "any": _vocabulary(0),
    "ties": _vocabulary(1, grid=3),
    "bytes": _with_bytes(_vocabulary(2, grid=7)),
    "blanks": _vocabulary(3, grid=3, blanks=True),
    "no letters": _vocabulary(4, grid=7, singles=False),
}


def _texts(seed: int, count: int) -> list[str]:
    """Repeated characters, numbers, words, and characters that no vocabulary has."""
    random = Random(seed)

    def text() -> str:
        kind = random.randrange(4)
        if kind == 0:
            return random.choice(ALPHABET) * random.randint(1, 90)
        letters = ("0123456789", ALPHABET + "  ", "ab ☃京กх")[kind - 1]
        return "".join(random.choice(letters) for _ in range(random.randint(1, 70)))

    return [" ".join(text().split()) for _ in range(count)]


def _backend(pieces: Pieces, *, cut: bool = True) -> Backend:
    backend = Backend(models.Unigram(pieces, unk_id=2, byte_fallback=BYTES[0] in dict(pieces)))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=cut)
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name, _ in HEAD])
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 1)]
    )
    return backend


def _processor(pieces: Pieces) -> Any:
    sentencepiece = pytest.importorskip("sentencepiece")
    return sentencepiece.SentencePieceProcessor(model_proto=spiece(pieces))


def _ids(processor: Any, texts: Sequence[str]) -> list[list[int]]:
    return [list(processor.encode(text)) for text in texts]


def _tokenizer(pieces: Pieces, **settings: Any) -> Tokenizer:
    named = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return Tokenizer(_backend(pieces), TokenizerSettings(named=named, **settings))


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_the_pieces_are_sentencepieces(kind: str) -> None:
    pieces, texts = VOCABULARIES[kind], _texts(5, 600)
    processor = _processor(pieces)
    texts = [text for text in texts if text and processor.normalize(text) == "▁" + text.replace(" ", "▁")]
    assert len(texts) > 300
    backend = _backend(pieces, cut=kind != "blanks")
    found = UnigramPieces(backend).encode_batch(texts, words=False, add_special_tokens=False)
    expected = _ids(processor, texts)
    assert [encoding.ids for encoding in found] == expected
    alone = backend.encode_batch(texts, add_special_tokens=False)
    assert kind == "any" or [encoding.ids for encoding in alone] != expected  # or this would test nothing
    for text, encoding in zip(texts, found):
        _check_offsets(text, encoding.tokens, encoding.offsets)
        assert len(encoding.tokens) == len(encoding.ids) == len(encoding.word_ids)


def _check_offsets(text: str, tokens: Sequence[str], offsets: Sequence[tuple[int, int]]) -> None:
    end = 0
    for token, span in zip(tokens, offsets):
        assert text[slice(*span)].strip() == token.replace("▁", " ").strip() or token in (*BYTES, "▁")
        assert span[0] in (0, end) or token in BYTES
        end = span[1]
    assert end == len(text)


def _different(pieces: Pieces) -> tuple[list[str], Any]:
    """Texts in which the library alone has other pieces, and SentencePiece's processor."""
    processor, backend = _processor(pieces), _backend(pieces)
    texts = [text for text in _texts(6, 1500) if text and "☃" not in text]
    alone = backend.encode_batch(texts, add_special_tokens=False)
    expected = _ids(processor, texts)
    return [text for text, one, ids in zip(texts, alone, expected) if one.ids != ids][:12], processor


def test_every_way_of_calling() -> None:
    pieces = VOCABULARIES["ties"]
    texts, processor = _different(pieces)
    assert len(texts) == 12
    tokenizer, rows = _tokenizer(pieces), _ids(processor, texts)
    assert tokenizer(texts)["input_ids"] == [[*ids, 1] for ids in rows]
    first, second = texts[:2]
    pair = tokenizer(first, second, return_offsets_mapping=True)
    assert pair["input_ids"] == [*rows[0], 1, *rows[1], 1]
    begin = len(rows[0]) + 1
    _check_offsets(second, pair.tokens()[begin:-1], pair["offset_mapping"][begin:-1])
    assert tokenizer.tokenize(first) == [processor.id_to_piece(i) for i in rows[0]]
    assert tokenizer(first, padding="max_length", max_length=120)["input_ids"][: len(rows[0]) + 1] == [*rows[0], 1]
    # an added token begins a new text
    tokenizer.add_tokens(["<x>"])
    both = tokenizer(f"{first}<x>{second}", add_special_tokens=False)["input_ids"]
    assert both == [*rows[0], len(pieces), *rows[1]]
    words = tokenizer([first.split(), second.split()], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert words == [[i for word in text.split() for i in processor.encode(word)] for text in (first, second)]


@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_that_are_cut(side: str) -> None:
    pieces = VOCABULARIES["ties"]
    texts, processor = _different(pieces)
    tokenizer = _tokenizer(pieces, truncation_side=side)
    for ids, row in zip(_ids(processor, texts), tokenizer(texts, truncation=True, max_length=8)["input_ids"]):
        assert row == [*(ids[:7] if side == "right" else ids[-7:]), 1]
    options = {"truncation": True, "max_length": 8, "stride": 3, "return_overflowing_tokens": True}
    windows = tokenizer(texts[0], **options)["input_ids"]
    ids = _ids(processor, texts[:1])[0]
    if side == "right":
        parts = [window[:-1] for window in windows]
        assert [*parts[0], *(i for part in parts[1:] for i in part[3:])] == ids
    else:
        assert windows[0][:-1] == ids[-7:]
    pair = tokenizer(texts[0], texts[1], truncation="only_second", max_length=len(ids) + 6)["input_ids"]
    second = _ids(processor, texts[1:2])[0]
    assert pair == [*ids, 1, *(second[:4] if side == "right" else second[-4:]), 1]


def test_copies_have_the_same_pieces() -> None:
    pieces = VOCABULARIES["ties"]
    texts, processor = _different(pieces)
    tokenizer = _tokenizer(pieces)
    expected = [[*ids, 1] for ids in _ids(processor, texts)]
    assert tokenizer(texts)["input_ids"] == expected
    for twin in (copy.copy(tokenizer), copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):  # noqa: S301
        assert twin(texts)["input_ids"] == expected


def test_what_is_certain_is_right_in_any_precision() -> None:
    pieces = VOCABULARIES["any"]
    segmenter, backend = UnigramSegmenter(pieces, ("<pad>", "</s>", "<unk>")), _backend(pieces)
    texts = {text: [f"▁{word}" for word in text.split()] for text in _texts(7, 400)}
    certain = [text for text, words in texts.items() if segmenter.is_certain(words)]
    assert 50 < len(certain) < len(texts)
    for text in certain:
        assert segmenter.split("".join(texts[text]))[0] == backend.encode(text, add_special_tokens=False).tokens
    # the further on in a text, the coarser the sums
    late = [word for text in certain for word in texts[text] if not segmenter.is_certain([word] * 5000)]
    assert late and all(segmenter.is_certain([word]) for word in late)


def test_a_vocabulary_with_endless_pieces_is_left_to_the_library() -> None:
    with pytest.raises(ValueError, match="more than 256 characters"):
        UnigramSegmenter([("a", -1.0), ("a" * (MAX_PIECE + 1), -2.0)])
    backend = _backend([*HEAD, ("▁", -1.0), ("a", -1.0), ("a" * (MAX_PIECE + 1), -2.0)])
    found = UnigramPieces(backend).encode_batch(["aa"], words=False, add_special_tokens=False)
    assert found[0].tokens == ["▁", "a", "a"]


def test_scores_beyond_float32_do_no_harm() -> None:
    backend = _backend([*HEAD, ("▁", -1e300), ("a", -1e300), ("aa", 1e300)])
    found = UnigramPieces(backend).encode_batch(["aaa", "ab"], words=False, add_special_tokens=False)
    assert [len("".join(encoding.tokens)) for encoding in found] == [4, 3]
