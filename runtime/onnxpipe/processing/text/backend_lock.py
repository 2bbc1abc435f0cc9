"""Share one `tokenizers.Tokenizer` among threads, although its truncation is state of the object, not of the call."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

from onnxpipe.processing.text.panics import damage_reported, report_of
from onnxpipe.processing.text.strategies import Truncation
from onnxpipe.processing.text.unigram_backend import UnigramPieces

T = TypeVar("T")


class SpecialTokenFrame(NamedTuple):
    """Special tokens with their ids, before and after a text (a pair of texts is not divided by one)."""

    before: tuple[tuple[str, int], ...]
    after: tuple[tuple[str, int], ...]


class BackendState(NamedTuple):
    """The state that the backend must have for a call.

    Attributes:
        truncation: where it cuts; None for no truncation.
        split: whether special tokens that occur in the text are split like other words.
        frame: the special tokens that it puts around a text; None for its own post-processor.
    """

    truncation: Truncation | None
    split: bool
    frame: SpecialTokenFrame | None = None


_EXCLUSIVE = object()


class BackendLock:
    """Run calls of a `tokenizers.Tokenizer`: at the same time if they need the same state, else one state at a time.

    The backend truncates before it adds special tokens, so cutting finished encodings would give other results, and
    changing its settings while another thread encodes fails. A thread that waits for a different state goes first:
    later calls that need the current state wait behind it, so that none waits forever.

    Args:
        backend: the `tokenizers.Tokenizer`.
        source: the file that it was loaded from, for errors.
    """

    def __init__(self, backend: Any, source: str = "the tokenizer") -> None:
        self.backend = backend
        self.source = source
        self._pieces = UnigramPieces(backend)
        self._free = threading.Condition()
        self._inside = 0
        self._state: Any = None
        self._waiting: Counter[Any] = Counter()
        self._frame: SpecialTokenFrame | None = None

    def run(self, state: BackendState, call: Callable[[], T]) -> T:
        """Run `call()` while the backend is in `state`, without padding.

        Raises:
            BundleError, ValueError: see `reported`.
        """
        return self._run(state, call)

    def encode(self, state: BackendState, texts: Sequence[Any], *, words: bool, add_special_tokens: bool) -> list[Any]:
        """Encode texts, or pairs of texts, while the backend is in `state`; see `UnigramPieces.encode_batch`.

        Raises:
            BundleError, ValueError: see `reported`.
        """
        return self._run(
            state, lambda: self._pieces.encode_batch(texts, words=words, add_special_tokens=add_special_tokens)
        )

    def run_exclusively(self, call: Callable[[], T]) -> T:
        """Run `call()` while no other call runs: for calls that change the backend."""
        return self._run(_EXCLUSIVE, call)

    def reported(self) -> AbstractContextManager[None]:
        """Return a context in which failures of the library become errors that name the file; see `damage_reported`."""
        return damage_reported(self.source)

    def _run(self, state: Any, call: Callable[[], T]) -> T:
        try:
            self._enter(state)
            try:
                return call()
            finally:
                self._leave()
        except BaseException as error:  # as `reported` does it; a context would cost as much as a short text's tokens
            if (report := report_of(self.source, error)) is None:
                raise
            raise report from None

    def _enter(self, wanted: Any) -> None:
        with self._free:
            if self._closed(wanted):
                self._waiting[wanted] += 1
                try:
                    while self._closed(wanted):
                        self._free.wait()
                finally:
                    self._waiting[wanted] -= 1
                    if not self._waiting[wanted]:
                        del self._waiting[wanted]
            if not self._inside:
                if wanted is not _EXCLUSIVE:
                    self._apply(*wanted)
                self._state = wanted
            self._inside += 1

    def _closed(self, wanted: Any) -> bool:
        if not self._inside:
            return False
        return wanted is _EXCLUSIVE or wanted != self._state or any(other != wanted for other in self._waiting)

    def _leave(self) -> None:
        with self._free:
            self._inside -= 1
            if not self._inside and self._waiting:
                self._free.notify_all()

    def _apply(self, truncation: Truncation | None, split: bool, frame: SpecialTokenFrame | None = None) -> None:
        # read the backend's own state each time: users can change it through `backend_tokenizer`
        backend = self.backend
        if backend.padding is not None:
            backend.no_padding()
        if backend.encode_special_tokens != split:
            backend.encode_special_tokens = split
        if frame is not None and frame != self._frame:
            backend.post_processor = _processor(frame)
            self._frame = frame
        present = backend.truncation
        if truncation is None:
            if present is not None:
                backend.no_truncation()
            return
        target = {
            "max_length": truncation.max_length,
            "stride": truncation.stride,
            "strategy": truncation.strategy,
            "direction": truncation.direction,
        }
        if present is None or any(present.get(name) != value for name, value in target.items()):
            backend.enable_truncation(**target)


def _processor(frame: SpecialTokenFrame) -> Any:
    from tokenizers import processors

    before, after = ([token for token, _ in tokens] for tokens in frame)
    return processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", "$B", *after],
        special_tokens=list(dict.fromkeys([*frame.before, *frame.after])),
    )
