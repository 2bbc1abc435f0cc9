"""Write the tokenizer of a bundle, one tokenizer.json, and verify that it splits text as the original does."""

from __future__ import annotations

import inspect
import json
import random
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import copy_file
from onnxpipe.errors import ExportError
from onnxpipe_export.tokenizers import portable, tables
from onnxpipe_export.tokenizers.slow import backends
from onnxpipe_export.tracing import quiet

# Kept as the checkpoint has them, since transformers 5 drops keys that 4.x wrote and readers may want.
_ORIGINALS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "normalizer.json",
)

_TEXTS = (
    "",
    " ",
    "   two  spaces,\ttabs\nand newlines \r\n",
    "Hello world!",
    "The quick brown fox jumps over the lazy dog.",
    "naïve café, Ünïcödé, façade, crème brûlée, Ångström, e\u0301 combining",
    "İstanbul ıI ß ẞ ﬁ ﬂ ǅ",
    "日本語のテキスト、中文字符，한국어 문장",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם مرحبا بالعالم नमस्ते",
    "emoji 😀 👩‍👩‍👧‍👦 🇫🇷 ❤️ mixed😀in",
    "a" * 150 + " " + "supercalifragilistic" * 6,
    "don't won't it's I'll they've 3.14 1,000,000 $5.99 50% #tag @user user@example.com https://example.com/a?b=c&d=e",
    "[CLS] [SEP] [MASK] [PAD] [UNK] <s> </s> <mask> <pad> <unk> <|endoftext|> [CLS]glued[SEP]",
    "zero\u200bwidth\u200dspace\ufeff no\u00a0break \u2028 line \x00\x01\x7f control \ufffd",
    "ＦＵＬＬ　ｗｉｄｔｈ ① ½ ㎏ ℃ ™",
    "--- ... !!! ??? ''' \"\"\" (((([[[{{{",
)
_RANDOM_TEXTS = 60
_SOURCE, _TARGET = "tokenizer.json", "target_tokenizer.json"
# Under these names a sentencepiece model is the whole tokenizer of a text encoder.
_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model")


@dataclass(frozen=True)
class TokenizerCheck:
    """The number of texts and pairs that were compared; a mismatch raises, so there is none."""

    texts: int

    def as_dict(self) -> dict[str, int]:
        """Return the tokenizer's entry of the certificate."""
        return {"texts": self.texts, "mismatches": 0}


def present(folder: Path) -> bool:
    """Tell whether `folder` has a tokenizer's files."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json"))


def load(folder: Path) -> Any:
    """Load the original's tokenizer from `folder`.

    Raises:
        ExportError: there is no tokenizer.
    """
    from transformers import AutoTokenizer

    tables.check_pandas(folder)
    try:
        with quiet():
            if tables.is_tapex(folder):
                return tables.load_tapex(folder)
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # transformers raises nearly every kind here
        raise ExportError(f"transformers cannot load the tokenizer of {folder}: {error}") from error
    return tokenizer


def write(tokenizer: Any, source: Path, folder: Path) -> None:
    """Write tokenizer.json and its configuration into `folder`; target_tokenizer.json for target texts, where needed.

    Raises:
        ExportError: the tokenizer has no form that tokenizer.json can hold.
    """
    converted = backends(tokenizer, source)
    with quiet():
        tokenizer.save_pretrained(str(folder))
    for name, backend in ((_SOURCE, converted.source), (_TARGET, converted.target)):
        if backend is not None:
            backend.save(str(folder / name))
            _without_padding_and_truncation(folder / name)
    for name in _ORIGINALS:
        if (source / name).is_file():
            copy_file(source, name, folder)
    portable.write_config(tokenizer, folder)


def _without_padding_and_truncation(path: Path) -> None:
    """Remove a length that loading or using a tokenizer left in it; a bundle's cuts and pads only by its options."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["padding"] = content["truncation"] = None
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def verify(tokenizer: Any, source: Path, folder: Path) -> TokenizerCheck:
    """Compare the tokenizer in `folder`, read by the tokenizers library and by onnxpipe, with the original `tokenizer`.

    Where the checkpoint in `source` has only a sentencepiece model, its pieces are compared with that library's too.

    Raises:
        ExportError: a text or pair is split differently.
    """
    import tokenizers

    from onnxpipe.processing.text.tapas.tokenizer import TapasTokenizer
    from onnxpipe.processing.text.tokenizer import Tokenizer

    runtime = Tokenizer.from_pretrained(str(folder))
    alone = tokenizers.Tokenizer.from_file(str(folder / _SOURCE)) if (folder / _SOURCE).is_file() else None
    texts = list(texts_to_compare())
    if isinstance(runtime, TapasTokenizer):
        return TokenizerCheck(tables.compare(texts, tokenizer, runtime))
    for text in texts:
        _compare(text, None, tokenizer, alone, runtime)
    # transformers takes an empty second text for none, the tokenizers library does not; so it is not compared.
    pairs = [(text, pair) for text, pair in zip(texts, texts[3:] + texts[:3], strict=True) if pair]
    for text, pair in pairs:
        _compare(text, pair, tokenizer, alone, runtime)
    if alone is not None and not (source / _SOURCE).is_file():
        for path in (source / name for name in _SENTENCEPIECE if (source / name).is_file()):
            _compare_pieces(texts, path, alone, tokenizer.unk_token)
    targets = texts if (folder / _TARGET).is_file() else []
    for text in targets:
        _compare_target(text, tokenizer, tokenizers.Tokenizer.from_file(str(folder / _TARGET)), runtime)
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        _compare_decoding(tokenizer, runtime)
    return TokenizerCheck(len(texts) + len(pairs) + len(targets))


def texts_to_compare() -> Iterator[str]:
    """Yield difficult texts, then seeded random ones over many scripts."""
    yield from _TEXTS
    random_source = random.Random(20)
    blocks = (
        (32, 127),
        (160, 0x24F),
        (0x370, 0x5FF),
        (0x900, 0xDFF),
        (0x2000, 0x2BFF),
        (0x3040, 0x9FFF),
        (0x1F300, 0x1FAFF),
    )
    for _ in range(_RANDOM_TEXTS):
        characters = []
        for _ in range(random_source.randrange(1, 40)):
            low, high = random_source.choice(blocks)
            characters.append(" " if random_source.random() < 0.2 else chr(random_source.randint(low, high)))
        yield "".join(characters)


def _compare_pieces(texts: Sequence[str], model: Path, alone: Any, unknown: str) -> None:
    """Compare with sentencepiece itself on texts that Unicode normalisation does not change.

    For the others transformers is the reference, as it is for everything: 5.x omits the model's own character map for
    some families (DeBERTa-v2, mBART), so there its tokens differ from sentencepiece's.
    """
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))

    def pieces(text: str) -> list[str]:
        ids = processor.encode(text)
        return [unknown if number == processor.unk_id() else processor.id_to_piece(number) for number in ids]

    unknown_id = alone.token_to_id(unknown)
    for text in texts:
        if text != text.strip():
            continue  # some families make a token of a blank at the end
        if not text.isprintable() or unicodedata.normalize("NFKC", text) != text or set("[<") & set(text):
            continue
        encoding = alone.encode(text, add_special_tokens=False)
        got = [unknown if number == unknown_id else token for number, token in zip(encoding.ids, encoding.tokens)]
        # Some families change case or accents before sentencepiece sees the text.
        prepared = alone.normalizer.normalize_str(text).replace("▁", " ") if alone.normalizer is not None else text
        if any(processor.is_byte(number) for number in processor.encode(text)):
            continue  # transformers' Unigram tokenizers have no byte pieces (mT5): an unknown character is unknown.
        if got not in (pieces(text), pieces(prepared)):
            raise ExportError(
                f"tokenizer.json splits {text!r} into {got[:20]}, {model.name} into {pieces(text)[:20]}; save the "
                "tokenizer with transformers' save_pretrained, which writes the tokenizer.json that it uses"
            )


def _compare_target(text: str, original: Any, alone: Any, runtime: Any) -> None:
    """Compare on a target text."""
    with quiet():
        expected = list(original(text_target=text)["input_ids"])
    for reader, ids in (("tokenizers", alone.encode(text).ids), ("onnxpipe", runtime(text_target=text)["input_ids"])):
        if list(ids) != expected:
            raise ExportError(
                f"{text!r} as a target is not split as by the original tokenizer: {reader} reads {list(ids)[:20]} from "
                f"{_TARGET} instead of {expected[:20]}"
            )


def _compare_decoding(original: Any, runtime: Any) -> None:
    """Compare the texts of random ids, with special tokens among them."""
    random_source = random.Random(21)
    # Those of target texts, where source and target have a vocabulary each (Marian).
    known = sorted(getattr(original, "decoder", None) or original.get_vocab().values())
    for number in range(_RANDOM_TEXTS):
        ids = random_source.choices(known, k=random_source.randrange(1, 20))
        ids.insert(random_source.randrange(len(ids)), random_source.choice(original.all_special_ids))
        expected = original.decode(ids, skip_special_tokens=number % 2 == 0)
        text = runtime.decode(ids, skip_special_tokens=number % 2 == 0)
        if text != expected:
            raise ExportError(f"the ids {ids} decode to {text!r} instead of the original tokenizer's {expected!r}")


def _reads_pages(tokenizer: Any) -> bool:
    """Tell whether a tokenizer takes words with boxes (LayoutLMv2, LayoutLMv3), as text or as the second text."""
    return "boxes" in inspect.signature(type(tokenizer).__call__).parameters


def _compare(text: str, pair: str | None, original: Any, alone: Any, runtime: Any) -> None:
    texts = (text,) if pair is None else (text, pair)
    if _reads_pages(original):
        words = [each.split() for each in texts]
        if not all(words):
            return  # a page without words
        answers = {"onnxpipe": runtime(*words, is_split_into_words=True)}
        encoding = alone.encode(*words, is_pretokenized=True)
        with quiet():
            expected = original(*texts[:-1], words[-1], boxes=[[0] * 4] * len(words[-1]))
    else:
        answers = {"onnxpipe": runtime(*texts)}
        # tokenizer.json cannot express what some classes do to a text first (spelling out numbers).
        encoding = None if alone is None else alone.encode(*map(getattr(runtime, "prepare", str), texts))
        with quiet():
            expected = original(*texts)
    if encoding is not None:
        answers["tokenizers"] = {"input_ids": encoding.ids, "token_type_ids": encoding.type_ids}
    for name in ("input_ids", "token_type_ids"):
        for reader, answer in answers.items():
            if name in expected and name in answer and list(expected[name]) != list(answer[name]):
                subject = repr(text) if pair is None else f"{text!r} with {pair!r}"
                raise ExportError(
                    f"{subject} is not split as by the original tokenizer: {reader} reads {name} "
                    f"{list(answer[name])[:20]} from the bundle instead of {list(expected[name])[:20]}"
                )
