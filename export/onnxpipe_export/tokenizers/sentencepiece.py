"""Build one `tokenizers.Tokenizer` from a sentencepiece model and a separate vocabulary of ids.

Marian and M2M100 split a text with a sentencepiece model and look the pieces up in a vocab.json, which orders them in
its own way, has pieces that the model lacks (those of the other language) and lacks some that the model has. A Unigram
or BPE model of the tokenizers library has its own list of ids, so three kinds of pieces are treated differently:

- a piece of both is an entry with its score;
- an entry the model does not have must never be found in a text, but must keep its id and decode: it is stored behind
  a mark that no text has. One case remains in which such an entry is found: sentencepiece returns a run of characters
  that it does not know as one piece, and that piece may be an entry ("œ" in English). The normalizer puts the mark
  before exactly such runs, so that they match the marked entry;
- a piece that the list does not have is unknown, but a token of its own: the normalizer replaces it by a character that
  no vocabulary has, which is split off so that it does not merge with its neighbours.

Source of the behaviour: sentencepiece 0.2 (unigram_model.cc, normalizer.cc) and transformers 5.23's tokenizers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpipe.errors import ExportError

MARK = "\ue000"
"""Stands before an entry that no text may match; a character for private use."""
RUN = "\ue004"
"""Stands before an entry of unknown characters, and before that run of them in a text."""
_LOST = "\ue001"
"""Stands for a piece that the list does not have."""
_OTHER = "\ue002"
"""Stands for the marks where a text has them."""
_APART = "\ue003"
"""Keeps two characters apart while characters are mapped."""
_BLANK = "▁"
_LAST_CHARACTER = 0x30000
"""Above it Unicode has no character with a compatible form."""
_KANA_MARKS = {"\u3099": "\uff9e", "\u309a": "\uff9f"}
"""Marks of kana -> those of half width."""
_UNIGRAM, _BPE, _CHARACTERS = 1, 2, 4
_NORMAL = 1


@dataclass(frozen=True)
class SentencePieceModel:
    """The content of a .spm or .model file.

    Attributes:
        proto: the parsed file.
    """

    proto: Any

    @classmethod
    def load(cls, path: Path) -> SentencePieceModel:
        """Read `path`.

        Raises:
            ExportError: it is not a sentencepiece model, or of a type that tokenizer.json cannot express.
        """
        import transformers  # noqa: F401  it registers the messages, and must do so first
        from google.protobuf.message import DecodeError
        from sentencepiece import sentencepiece_model_pb2

        proto = sentencepiece_model_pb2.ModelProto()
        try:
            proto.ParseFromString(path.read_bytes())
        except DecodeError as error:
            raise ExportError(f"{path} is not a sentencepiece model: {error}") from error
        trainer, rules = proto.trainer_spec, proto.normalizer_spec
        known = trainer.model_type in (_UNIGRAM, _BPE, _CHARACTERS)
        if not known or trainer.byte_fallback or not rules.escape_whitespaces:
            raise ExportError(
                f"{path} is a sentencepiece model of words, with byte fallback or with unescaped blanks; only "
                "character, Unigram and BPE models without these can be converted to tokenizer.json"
            )
        return cls(proto)

    @cached_property
    def pieces(self) -> dict[str, float]:
        """Pieces that a text may be split into -> score."""
        return {piece.piece: piece.score for piece in self.proto.pieces if piece.type == _NORMAL}

    @cached_property
    def characters(self) -> frozenset[str]:
        """Every character of every piece."""
        return frozenset("".join(self.pieces))

    @property
    def is_bpe(self) -> bool:
        """Whether it is a BPE model; else it is Unigram, or a character model, which is treated as Unigram."""
        return bool(self.proto.trainer_spec.model_type == _BPE)


def build(model: SentencePieceModel, ids: Mapping[str, int], unknown: str, whole: Sequence[str]) -> Any:
    """Build the `tokenizers.Tokenizer` that splits as `model` and numbers as `ids`.

    It has no added tokens, no decoder and no post-processor yet.

    Args:
        model: the sentencepiece model.
        ids: piece -> id, 0 to n - 1 each once.
        unknown: the entry for everything that is not in `ids`.
        whole: entries that will be added tokens, found before the model sees the text.

    Raises:
        ExportError: the ids have gaps.
    """
    from tokenizers import Tokenizer

    if sorted(ids.values()) != list(range(len(ids))):
        raise ExportError(f"the {len(ids)} entries of the vocabulary do not have the ids 0 to {len(ids) - 1}")
    plain = {unknown, *whole, *model.pieces}
    runs = set(_unknown_runs(model, ids))
    names = {piece: piece if piece in plain else (RUN if piece in runs else MARK) + piece for piece in ids}
    tokenizer = Tokenizer((_bpe if model.is_bpe else _unigram)(model, ids, names, unknown))
    tokenizer.normalizer = _normalizer(model, ids)
    tokenizer.pre_tokenizer = _pre_tokenizer(model)
    return tokenizer


def decoder(special: Sequence[str], *, spaced: bool) -> Any:
    """Make the decoder from pieces to text.

    Args:
        special: tokens that end a piece of text: the blank that begins the next one is removed.
        spaced: whether a blank follows each of them.
    """
    from tokenizers import Regex, decoders

    steps: list[Any] = [decoders.Replace(_BLANK, " "), decoders.Fuse()]
    steps += [decoders.Replace(Regex(f"{re.escape(t)} *"), f"{t} " if spaced else t) for t in special]
    return decoders.Sequence(
        [*steps, decoders.Replace(Regex(f"[{MARK}{RUN}]"), ""), decoders.Replace(Regex("^ +| +$"), "")]
    )


def _unigram(model: SentencePieceModel, ids: Mapping[str, int], names: Mapping[str, str], unknown: str) -> Any:
    from tokenizers.models import Unigram

    # The score of a marked entry does not matter, as long as it is not the lowest, from which the unknown's is derived.
    entries = [(names[piece], model.pieces.get(piece, 0.0)) for piece in sorted(ids, key=ids.__getitem__)]
    return Unigram(entries, unk_id=ids[unknown], byte_fallback=False)


def _bpe(model: SentencePieceModel, ids: Mapping[str, int], names: Mapping[str, str], unknown: str) -> Any:
    """Build the BPE model, with merges in the order of the pieces' scores: a BPE score is minus the merge's rank."""
    from tokenizers.models import BPE

    entries = {names[piece]: number for piece, number in ids.items()}
    merges = []
    for piece, score in model.pieces.items():
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        merges += [(-score, ids[a], ids[b], (a, b)) for a, b in pairs if piece in ids and a in ids and b in ids
                   if a in model.pieces and b in model.pieces]  # fmt: skip
    return BPE(entries, [pair for *_, pair in sorted(merges)], unk_token=unknown, fuse_unk=True)


def _normalizer(model: SentencePieceModel, ids: Mapping[str, int]) -> Any:
    from tokenizers import Regex, normalizers

    rules = model.proto.normalizer_spec
    steps: list[Any] = [normalizers.Replace(Regex(f"[{MARK}{RUN}{_LOST}{_APART}]"), _OTHER)]
    if rules.precompiled_charsmap:
        steps += _character_map(rules.precompiled_charsmap)
    if rules.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if rules.add_dummy_prefix:
        steps.append(normalizers.Prepend(_BLANK))
    steps.append(normalizers.Replace(" ", _BLANK))
    lost = _lost_pieces(model, ids)
    if lost:
        steps.append(normalizers.Replace(Regex("|".join(map(re.escape, lost))), _LOST))
    runs = _unknown_runs(model, ids)
    if runs:
        known = "".join(sorted(model.characters | {_LOST}))
        strange = f"[^{_class(known)}]"
        single = "".join(run for run in runs if len(run) == 1)
        choices = [*([f"[{_class(single)}]"] if single else []), *(re.escape(run) for run in runs if len(run) > 1)]
        pattern = f"(?<!{strange})(?={strange})(?=(?:{'|'.join(choices)})(?!{strange}))"
        steps.append(normalizers.Replace(Regex(pattern), RUN))
    return normalizers.Sequence(steps)


def _character_map(rules: bytes) -> list[Any]:
    """Make the steps of the model's own character map.

    Precompiled treats a letter with its accents as one. Where only the letter has a rule it drops the accents: such a
    letter and what follows are kept apart meanwhile. Of several rules it takes the shortest, where sentencepiece takes
    the longest, and none for letters of more than five bytes: of "e" with two accents it dropped one. So what rules
    compose is composed before and after it, by Unicode's NFC, for which marks that it would put into another order
    are kept apart too. Kana of half width get marks of half width, as Unicode's NFC composes the others alone. Some
    letters with several marks, as no language has them, still differ.
    """
    from tokenizers import Regex, normalizers

    mapped = normalizers.Precompiled(rules)
    changed = [code for code in range(1, _LAST_CHARACTER) if _is_changed(mapped, code)]
    if not changed:
        return [mapped]
    kept = _ranges(sorted({*changed, *_half_composed(mapped)}))
    apart = normalizers.Replace(Regex(f"(?<=[{kept}])(?=[\\p{{M}}\u200c\u200d])"), _APART)
    together = normalizers.Replace(_APART, "")
    if mapped.normalize_str("e\u0301") != "\xe9":  # these rules compose nothing
        return [apart, mapped, together]
    unordered = normalizers.Replace(Regex(_unordered_marks()), _APART)
    halves = []
    if mapped.normalize_str("\uff76\uff9e") == "\u30ab\u3099":  # kana of half width; their mark may be of full width
        halves = [normalizers.Replace(Regex(f"(?<=[\uff66-\uff9d]){full}"), half) for full, half in _KANA_MARKS.items()]
    return [*halves, unordered, apart, normalizers.NFC(), mapped, normalizers.NFC(), together]


def _half_composed(mapped: Any) -> set[int]:
    """Find letters that compose with a mark in Unicode, but not by these rules, which know whole sequences alone."""
    found = set()
    for code in range(_LAST_CHARACTER):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            letter, mark = (chr(int(part, 16)) for part in parts)
            if unicodedata.decomposition(letter) and mapped.normalize_str(letter + mark) != chr(code):
                found.add(ord(letter))
    return found


def _unordered_marks() -> str:
    """Write the places between two marks that Unicode orders the other way round, or of which one is of no alphabet.

    Only the marks of alphabets (U+0300 to U+036F) compose in twos; others, as in Arabic, stay as they were typed.
    """
    classes = {code: unicodedata.combining(chr(code)) for code in range(_LAST_CHARACTER)}
    marks = [code for code, number in classes.items() if number]
    alphabets = [code for code in marks if 0x300 <= code < 0x370]
    others = _ranges(sorted({*marks} - {*alphabets}))
    places = [f"(?<=[{others}])(?=[{_ranges(marks)}])", f"(?<=[{_ranges(marks)}])(?=[{others}])"]
    for number in sorted({classes[code] for code in alphabets})[1:]:
        before = [code for code in alphabets if classes[code] == number]
        behind = [code for code in alphabets if classes[code] < number]
        places.append(f"(?<=[{_ranges(before)}])(?=[{_ranges(behind)}])")
    return f"(?=[{_ranges(marks)}])(?:{'|'.join(places)})"


def _is_changed(mapped: Any, code: int) -> bool:
    """Tell whether the character has a rule. Surrogates are not characters."""
    character = chr(code)
    return not 0xD800 <= code < 0xE000 and mapped.normalize_str(character) != character


def _ranges(codes: Sequence[int]) -> str:
    """Write these ascending code points as the inside of a class in a regular expression."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in runs)


def _lost_pieces(model: SentencePieceModel, ids: Mapping[str, int]) -> list[str]:
    """List pieces without an id whose characters occur in no other piece, so that they match wherever they stand."""
    missing = [piece for piece in model.pieces if piece not in ids]
    elsewhere = set("".join(piece for piece in model.pieces if piece in ids)) - {_BLANK}
    alone = [piece for piece in missing if piece != _BLANK and not elsewhere & set(piece)]
    return sorted(alone, key=len, reverse=True)


def _unknown_runs(model: SentencePieceModel, ids: Mapping[str, int]) -> list[str]:
    """List entries of only characters that the model does not know, the longest first."""
    return sorted((run for run in ids if run and not model.characters & set(run)), key=len, reverse=True)


def _class(characters: str) -> str:
    """Write these characters as the inside of a class in a regular expression."""
    return "".join("\\" + c if c in "[]^-\\&" else c for c in characters)


def _pre_tokenizer(model: SentencePieceModel) -> Any:
    from tokenizers import Regex, pre_tokenizers

    steps: list[Any] = [pre_tokenizers.Split(_LOST, "isolated")]
    # Where no piece contains an inner blank, words are split one by one: the same pieces, with a better cache.
    if not any(_BLANK in piece[1:] for piece in model.pieces):
        steps.append(pre_tokenizers.Split(Regex(f"(?={_BLANK})"), "isolated"))
    return pre_tokenizers.Sequence(steps)
