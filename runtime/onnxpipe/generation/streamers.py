"""Streamers: print text as it is generated, or iterate over it. Classes and behaviour are transformers'."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from queue import Queue
from typing import TYPE_CHECKING, Any

from onnxpipe.generation.protocols import Array, Streamer, TextTokenizer

if TYPE_CHECKING:
    import asyncio

#: Code points of CJK ideographs, which are words of their own: text that ends in one is complete.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class BaseStreamer:
    """Base of streamers."""

    def put(self, value: Array) -> None:
        """Take int64 (1, length), the prompt, once, and then int64 (n,), the next tokens."""
        raise NotImplementedError(f"{type(self).__name__} must define put(value)")

    def end(self) -> None:
        """End the stream."""
        raise NotImplementedError(f"{type(self).__name__} must define end()")


class TextStreamer(BaseStreamer):
    """Prints text as soon as whole words are there.

    Args:
        tokenizer: decodes.
        skip_prompt: leave the prompt out.
        **decode_kwargs: for the tokenizer's `decode`, e.g. `skip_special_tokens=True`.
    """

    def __init__(self, tokenizer: TextTokenizer, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self.token_cache: list[int] = []
        self.print_len = 0
        self.next_tokens_are_prompt = True

    def put(self, value: Array) -> None:
        """Take tokens, and pass on the part of the text that will not change any more.

        Raises:
            ValueError: more than one row.
        """
        if value.ndim > 1:
            if len(value) > 1:
                raise ValueError("TextStreamer only supports batch size 1")
            value = value[0]
        if self.skip_prompt and self.next_tokens_are_prompt:
            self.next_tokens_are_prompt = False
            return
        self.token_cache.extend(value.tolist())
        text = self._text()
        if text.endswith("\n"):
            ready = text[self.print_len :]
            self.start_line()
        else:
            whole = len(text) if text and _is_ideograph(text[-1]) else text.rfind(" ") + 1
            ready = text[self.print_len : whole]
            self.print_len += len(ready)
        self.on_finalized_text(ready)

    def end(self) -> None:
        """Pass on the rest of the text."""
        ready = self._text()[self.print_len :] if self.token_cache else ""
        self.token_cache, self.print_len = [], 0
        self.next_tokens_are_prompt = True
        self.on_finalized_text(ready, stream_end=True)

    def start_line(self) -> None:
        """Drop the tokens of the lines that were passed on; what follows is decoded without them."""
        self.token_cache, self.print_len = [], 0

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Take text that is ready; by default it is printed, with a newline at the end."""
        sys.stdout.write(text + ("\n" if stream_end else ""))
        sys.stdout.flush()

    def _text(self) -> str:
        return str(self.tokenizer.decode(self.token_cache, **self.decode_kwargs))


class TextIteratorStreamer(TextStreamer):
    """Iterates over pieces of the text, in another thread than the one that generates.

    Args:
        tokenizer: decodes.
        skip_prompt: leave the prompt out.
        timeout: seconds to wait for a piece; then `queue.Empty` is raised. None: for ever.
        **decode_kwargs: for the tokenizer's `decode`.
    """

    def __init__(
        self, tokenizer: TextTokenizer, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.text_queue: Queue[str | None] = Queue()
        self.timeout = timeout

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Put text in the queue."""
        self.text_queue.put(text, timeout=self.timeout)
        if stream_end:
            self.text_queue.put(None, timeout=self.timeout)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self.text_queue.get(timeout=self.timeout)
        if piece is None:
            raise StopIteration
        return piece


class AsyncTextIteratorStreamer(TextStreamer):
    """Iterates over pieces of the text by `async for`; created in the event loop, while a thread generates.

    Args:
        tokenizer: decodes.
        skip_prompt: leave the prompt out.
        timeout: seconds to wait for a piece; then TimeoutError is raised. None: for ever.
        **decode_kwargs: for the tokenizer's `decode`.
    """

    def __init__(
        self, tokenizer: TextTokenizer, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        import asyncio  # slow to import, and few need it

        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.text_queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.timeout = timeout
        self.loop = asyncio.get_running_loop()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Put text in the queue, from whichever thread."""
        self.loop.call_soon_threadsafe(self.text_queue.put_nowait, text)
        if stream_end:
            self.loop.call_soon_threadsafe(self.text_queue.put_nowait, None)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        import asyncio

        async with asyncio.timeout(self.timeout):
            piece = await self.text_queue.get()
        if piece is None:
            raise StopAsyncIteration
        return piece


class _Called(BaseStreamer):
    """A plain function as a streamer: it gets the new tokens, not the prompt."""

    def __init__(self, function: Callable[[Array], Any]) -> None:
        self._function = function
        self._prompt = True

    def put(self, value: Array) -> None:
        """See BaseStreamer."""
        if self._prompt:
            self._prompt = False
        else:
            self._function(value)

    def end(self) -> None:
        """Do nothing."""


def as_streamer(streamer: Any) -> Streamer | None:
    """Make a streamer of the user's argument.

    Raises:
        TypeError: neither a streamer nor a function.
    """
    if streamer is None or (hasattr(streamer, "put") and hasattr(streamer, "end")):
        return streamer  # type: ignore[no-any-return]
    if not callable(streamer):
        raise TypeError(f"`streamer` must have put() and end(), or be a function of token ids, not {streamer!r}")
    return _Called(streamer)


def _is_ideograph(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in _IDEOGRAPHS)
