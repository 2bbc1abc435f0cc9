"""Encode texts with a backend of a Unigram vocabulary, into the pieces that SentencePiece gives."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from onnxpipe.processing.text.unigram import UnigramSegmenter


class UnigramPieces:
    """Gives the texts of a Unigram backend SentencePiece's pieces; texts of other backends stay as they are.

    The backend encodes all texts. Those whose pieces depend on how sums are rounded are encoded once more, by a copy of
    the backend that gets its pieces from `UnigramSegmenter`: normalization, added tokens, offsets, truncation and
    special tokens are the library's in either case.

    Args:
        backend: the `tokenizers.Tokenizer`. The vocabulary of its model is read when it is first needed.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._read: tuple[int, _Model | None] | None = None

    def encode_batch(self, texts: Sequence[Any], *, words: bool, add_special_tokens: bool) -> list[Any]:
        """Encode texts as the backend's `encode_batch` does, in the state that the backend has.

        Args:
            texts: texts, or pairs of texts, as the backend takes them.
            words: the texts are lists of words.
            add_special_tokens: put the model's special tokens around each text.
        """
        encodings: list[Any] = self._encode(self._backend, texts, words, add_special_tokens)
        model = self._model()
        if model is None:
            return encodings
        contents = [_Content.of(encoding, self._backend.truncation) for encoding in encodings]
        unsure = [i for i, content in enumerate(contents) if content is None or not content.is_certain(model)]
        if not unsure:
            return encodings
        added = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        again = []
        for i in unsure:
            content = contents[i]
            if content is None or not content.agrees(model, added, words=words):
                again.append(i)
        if again:
            twin = self._twin(model)
            for i, encoding in zip(again, self._encode(twin, [texts[i] for i in again], words, add_special_tokens)):
                encodings[i] = encoding
        return encodings

    def _encode(self, backend: Any, texts: Sequence[Any], words: bool, add_special_tokens: bool) -> Any:
        if len(texts) == 1 and isinstance(texts[0], str):  # a batch wakes other threads, which one text does not need
            return [backend.encode(texts[0], add_special_tokens=add_special_tokens)]
        return backend.encode_batch(texts, is_pretokenized=words, add_special_tokens=add_special_tokens)

    def _model(self) -> _Model | None:
        """Read the backend's model; None if it is another kind, or cannot be read in bounded time."""
        from tokenizers import models

        model = self._backend.model
        if not isinstance(model, models.Unigram):
            return None
        size = self._backend.get_vocab_size(with_added_tokens=False)
        if self._read is None or self._read[0] != size:
            added = self._backend.get_added_tokens_decoder().values()
            state = json.loads(model.__getstate__())
            self._read = size, _Model.from_state(state, {token.content for token in added if token.special})
        return self._read[1]

    def _twin(self, model: _Model) -> Any:
        """Copy the backend as it is now; the copy shares the model, but gets its pieces from ours."""
        from tokenizers import Tokenizer, pre_tokenizers

        backend = self._backend
        twin = Tokenizer(backend.model)
        own = pre_tokenizers.PreTokenizer.custom(_Pieces(model, backend.model.token_to_id))
        before = backend.pre_tokenizer
        twin.pre_tokenizer = own if before is None else pre_tokenizers.Sequence([before, own])
        for part in ("normalizer", "post_processor"):
            if getattr(backend, part) is not None:
                setattr(twin, part, getattr(backend, part))
        twin.add_tokens([token for _, token in sorted(backend.get_added_tokens_decoder().items())])
        twin.encode_special_tokens = backend.encode_special_tokens
        if backend.truncation is not None:
            twin.enable_truncation(**backend.truncation)
        return twin


@dataclass(frozen=True)
class _Model:
    """What a Unigram model says.

    Attributes:
        segmenter: splits text into its pieces.
        unknown: the id of unknown characters; 0 if it has none, for which the library itself refuses them.
        bytes: the pieces that stand for the bytes of unknown characters, in their order; empty if it has none.
    """

    segmenter: UnigramSegmenter
    unknown: int
    bytes: Mapping[str, int]

    @classmethod
    def from_state(cls, state: Mapping[str, Any], specials: set[str]) -> _Model | None:
        """Read the state of a `tokenizers.models.Unigram`; `specials` are the special tokens among its pieces."""
        vocabulary = [(str(piece), float(score)) for piece, score in state["vocab"]]
        ids = {piece: i for i, (piece, _) in enumerate(vocabulary)} if state.get("byte_fallback") else {}
        bytes_ = {piece: ids[piece] for piece in BYTES if piece in ids}
        try:
            segmenter = UnigramSegmenter(vocabulary, specials | bytes_.keys())
        except ValueError:  # it has pieces of a length with which a text takes too much time
            return None
        return cls(segmenter, state.get("unk_id") or 0, bytes_)


BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


@dataclass(frozen=True)
class _Content:
    """The pieces of an encoding, without the special tokens around it.

    Attributes:
        pieces: all of them, those that truncation cut off included.
        places: the word of each piece; of pairs, the text and the word.
    """

    pieces: Sequence[str]
    places: Sequence[Any]

    @classmethod
    def of(cls, encoding: Any, truncation: Mapping[str, Any] | None) -> _Content | None:
        """Collect the pieces; None where it is not known how the windows of a text that was cut follow each other."""
        rest = [] if truncation is None else encoding.overflowing
        pieces, places = encoding.tokens, encoding.word_ids
        if not rest:
            if encoding.n_sequences > 1:
                texts = encoding.sequence_ids
                places = [None if word is None else (text, word) for text, word in zip(texts, places)]
            return cls(pieces, places)
        if encoding.n_sequences > 1 or truncation is None or truncation["direction"] != "right":
            return None
        shown = [(piece, word) for piece, word in zip(pieces, places) if word is not None]
        for part in rest:
            own = [(piece, word) for piece, word in zip(part.tokens, part.word_ids) if word is not None]
            shown += own[truncation["stride"] :]
        return cls([piece for piece, _ in shown], [word for _, word in shown])

    def is_certain(self, model: _Model) -> bool:
        """Whether the pieces are the best in any precision."""
        if model.bytes and any(piece in model.bytes for piece in self.pieces):
            return False  # the characters are not there
        return model.segmenter.is_certain(self._texts())

    def agrees(self, model: _Model, added: Container[str], *, words: bool) -> bool:
        """Whether the pieces are SentencePiece's; added tokens, and words where the texts are lists, divide a text."""
        if model.bytes and any(piece in model.bytes for piece in self.pieces):
            return False
        score, last = 0.0, None
        for place, group in groupby(zip(self.places, self.pieces), key=itemgetter(0)):
            own = [piece for _, piece in group]
            new_text = isinstance(place, tuple) and isinstance(last, tuple) and place[0] != last[0]
            last = place
            if words or new_text or place is None or own[0] in added:
                score = 0.0
            if place is None or own[0] in added:
                continue
            found, score = model.segmenter.split("".join(own), score)
            if found != own:
                return False
        return True

    def _texts(self) -> Iterator[str]:
        """Join the pieces of each word."""
        text, last = "", None
        for piece, place in zip(self.pieces, self.places):
            if place != last:
                if last is not None:
                    yield text
                text, last = "", place
            text += piece
        if last is not None:
            yield text


class _Pieces:
    """The last step of a pre-tokenizer: turns stretches of text into tokens, so that none is left to the model."""

    def __init__(self, model: _Model, id_of: Callable[[str], int]) -> None:
        self._model = model
        self._id_of = id_of

    def pre_tokenize(self, text: Any) -> None:
        """Put tokens into a `tokenizers.PreTokenizedString`; added tokens, which it has already, divide the text."""
        found: deque[list[Any]] = deque()
        score = 0.0
        for stretch, _, tokens in text.get_splits():
            if tokens is not None:
                score = 0.0
                continue
            pieces, score = self._model.segmenter.split(stretch, score)
            found.append(list(self._tokens(pieces)))
        text.tokenize(lambda _: found.popleft())

    def _tokens(self, pieces: Sequence[str]) -> Iterator[Any]:
        """Make tokens as the library's model does: unknown characters are one token, or their bytes."""
        from tokenizers import Token

        place = 0
        for piece in pieces:
            raw = piece.encode()
            span = place, place + len(raw)
            place = span[1]
            if piece in self._model.segmenter:
                yield Token(self._id_of(piece), piece, span)
                continue
            marks = [BYTES[byte] for byte in raw]
            if all(mark in self._model.bytes for mark in marks):
                yield from (Token(self._model.bytes[mark], mark, span) for mark in marks)
            else:
                yield Token(self._model.unknown, piece, span)
