"""Convert tokenizers that transformers runs in Python to `tokenizers.Tokenizer`: Marian's, SigLIP's and others."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpipe.errors import ExportError
from onnxpipe.processing.text.speech import ctc_vocabulary
from onnxpipe_export.tokenizers import sentencepiece as sentencepiece_vocabulary
from onnxpipe_export.tokenizers.sentencepiece import SentencePieceModel


@dataclass(frozen=True)
class Backends:
    """The `tokenizers.Tokenizer` objects of a tokenizer.

    Attributes:
        source: for source texts; None where tokenizer.json cannot express it, and the runtime reads the vocabulary
            (VITS).
        target: for target texts, where they are split differently; None where they are not.
    """

    source: Any
    target: Any = None


def backends(tokenizer: Any, folder: Path) -> Backends:
    """Convert transformers' `tokenizer`, loaded from `folder`, to its backends.

    Raises:
        ExportError: it is a tokenizer in Python that cannot be converted to tokenizer.json.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        if hasattr(tokenizer, "_switch_to_input_mode"):
            tokenizer._switch_to_input_mode()  # SeamlessM4T's is loaded in the mode of target texts
        return Backends(backend)
    maker = _MAKERS.get(type(tokenizer).__name__)
    if maker is None:
        raise ExportError(
            f"the tokenizer of {folder} ({type(tokenizer).__name__}) cannot be converted to tokenizer.json"
        )
    return maker(tokenizer)


def _marian(tokenizer: Any) -> Backends:
    """Convert Marian's: a sentencepiece model for each side; one vocabulary, or one for each side too."""
    sides = []
    for path, switch in zip(tokenizer.spm_files, ("_switch_to_input_mode", "_switch_to_target_mode"), strict=True):
        getattr(tokenizer, switch)()
        sides.append(_build(tokenizer, Path(path), tokenizer.current_encoder))
    tokenizer._switch_to_input_mode()
    return Backends(*sides)


def _m2m100(tokenizer: Any) -> Backends:
    """Convert M2M100's: language tokens follow the vocabulary, in the order of the codes; then only reserved ids."""
    backend = _build(tokenizer, Path(tokenizer.spm_file), tokenizer.encoder)
    for language, number in tokenizer.lang_token_to_id.items():
        if backend.token_to_id(language) != number:
            raise ExportError(f"the language {language} has the id {number}, which tokenizer.json cannot give it")
    return Backends(backend)


_START, _FIRST = "\ue100", "\ue101"
"""Stand before every part of a text while it is cleaned, and before the first one while it is cut."""


def _siglip(tokenizer: Any) -> Backends:
    """Convert SigLIP's: text in lower case and without punctuation, with a blank before it.

    Sentencepiece never gets punctuation. There is no blank before what follows a special token in the text.
    """
    from tokenizers import Regex, normalizers, pre_tokenizers

    backend = _build(tokenizer, Path(tokenizer.vocab_file), tokenizer.get_vocab(), prefix=False)
    marks = re.escape(string.punctuation)
    # A character marks the start, as the first part must be known by its place in the text, whatever is removed.
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("▁", " "),
            normalizers.Prepend(_START),
            *([normalizers.Lowercase()] if tokenizer.do_lower_case else []),
            normalizers.Replace(Regex(f"(?<=^{_START})[{marks}\\s]+"), ""),
            normalizers.Replace(Regex(f"[{marks}]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(" $"), ""),
            backend.normalizer,
            normalizers.Replace(Regex(f"^{_START}$"), ""),
            normalizers.Replace(_START, "▁"),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=_FIRST, prepend_scheme="first", split=False),
            pre_tokenizers.Split(Regex("^▁"), "removed"),
            pre_tokenizers.Split(_FIRST, "removed"),
            backend.pre_tokenizer,
        ]
    )
    return Backends(backend)


def _ctc(tokenizer: Any) -> Backends:
    """Convert a CTC vocabulary of characters; of several languages the one that is set."""
    return Backends(
        ctc_vocabulary.build(tokenizer.encoder, tokenizer.special_tokens_map, lower=tokenizer.do_lower_case)
    )


def _speecht5(tokenizer: Any) -> Backends:
    """Convert SpeechT5's characters; the runtime's class of this name spells out numbers before."""
    from tokenizers import AddedToken

    own = {piece: number for piece, number in tokenizer.get_vocab().items() if number < tokenizer.vocab_size}
    backend = _build(tokenizer, Path(tokenizer.vocab_file), own)
    for _, token in sorted(tokenizer.added_tokens_decoder.items()):
        if backend.token_to_id(token.content) is None:
            backend.add_tokens([AddedToken(token.content, normalized=False, special=token.special)])
    return Backends(backend)


def _speech_to_text(tokenizer: Any) -> Backends:
    """Convert Speech2Text's: a sentencepiece model and a list of ids; some decode to capitals."""
    from tokenizers import decoders

    backend = _build(tokenizer, Path(tokenizer.spm_file), tokenizer.encoder)
    if tokenizer.do_upper_case:
        letters = sorted({letter for piece in tokenizer.encoder for letter in piece if letter.upper() != letter})
        marks = [token for token in tokenizer.all_special_tokens if token.upper() != token]
        capitals = [decoders.Replace(letter, letter.upper()) for letter in letters]
        backend.decoder = decoders.Sequence(
            [backend.decoder, *capitals, *(decoders.Replace(mark.upper(), mark) for mark in marks)]
        )
    return Backends(backend)


def _tapas(tokenizer: Any) -> Backends:
    """Convert TAPAS's words and pieces; the runtime's class of this name lays out questions and tables."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    basic = tokenizer.basic_tokenizer
    backend = Tokenizer(models.WordPiece(dict(tokenizer.vocab), unk_token=str(tokenizer.unk_token)))
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=basic.do_lower_case,
        strip_accents=basic.strip_accents,
        handle_chinese_chars=basic.tokenize_chinese_chars,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    known = {**tokenizer.vocab, **tokenizer.get_added_vocab()}
    special = [*tokenizer.all_special_tokens, *tokenizer.extra_special_tokens]
    for token in sorted(dict.fromkeys(map(str, special)), key=lambda token: known.get(token, len(known))):
        backend.add_tokens([AddedToken(token, normalized=False, special=True)])
    return Backends(backend)


_SPACED = frozenset({"MarianTokenizer", "Speech2TextTokenizer"})
"""Tokenizers that decode each special token with a blank after it."""

_MAKERS: Mapping[str, Callable[[Any], Backends]] = {
    "Wav2Vec2CTCTokenizer": _ctc,
    "MarianTokenizer": _marian,
    "M2M100Tokenizer": _m2m100,
    "SiglipTokenizer": _siglip,
    "Speech2TextTokenizer": _speech_to_text,
    "SpeechT5Tokenizer": _speecht5,
    "TapasTokenizer": _tapas,
    "VitsTokenizer": lambda tokenizer: Backends(None),
}


def _build(tokenizer: Any, path: Path, ids: Mapping[str, int], *, prefix: bool = True) -> Any:
    """Build the model at `path`.

    `prefix`: whether a blank goes before every part of a text, if the model says so.
    """
    from tokenizers import AddedToken

    special = list(tokenizer.all_special_tokens)
    languages = getattr(tokenizer, "lang_token_to_id", {})
    codes = [piece for piece in ids if piece.startswith(">>") and piece.endswith("<<")]
    whole = list(dict.fromkeys([*special, *languages, *codes]))
    model = SentencePieceModel.load(path)
    if not prefix:
        model.proto.normalizer_spec.add_dummy_prefix = False
    backend = sentencepiece_vocabulary.build(model, ids, str(tokenizer.unk_token), whole)
    # In the order of their ids, since a token that the vocabulary does not have gets the next free id. Languages are
    # special in the checkpoints that list them so; transformers 5.23 does not make them so by itself.
    for token in sorted(whole, key=lambda token: languages.get(token, ids.get(token, len(ids)))):
        backend.add_tokens([AddedToken(token, normalized=False, special=token in special)])
    backend.post_processor = _frame(tokenizer, backend)
    backend.decoder = sentencepiece_vocabulary.decoder(special, spaced=type(tokenizer).__name__ in _SPACED)
    return backend


def _frame(tokenizer: Any, backend: Any) -> Any:
    """Find the special tokens that the tokenizer puts around one text and around two, by calling it."""
    from tokenizers import processors

    marks: Mapping[int, str] = {-1: "$A", -2: "$B"}
    layouts = [tokenizer.build_inputs_with_special_tokens(*texts) for texts in (([-1],), ([-1], [-2]))]
    ids = {number for layout in layouts for number in layout if number >= 0}
    names = {number: backend.id_to_token(number) for number in ids}
    single, pair = ([marks[n] if n < 0 else names[n] for n in layout] for layout in layouts)
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, number) for number, name in names.items()]
    )
