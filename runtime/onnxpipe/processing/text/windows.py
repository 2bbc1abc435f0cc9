"""Check that truncation leaves room for windows that overlap: the backend panics where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxpipe.processing.text.backend_lock import BackendLock, BackendState
from onnxpipe.processing.text.batch import ResolvedCall
from onnxpipe.processing.text.strategies import Truncation


def check_windows(lock: BackendLock, texts: Sequence[Any], call: ResolvedCall, state: BackendState) -> None:
    """Check a call before it is made.

    Args:
        lock: the backend.
        texts: texts, or pairs of texts, as the backend takes them.
        call: the call; only its truncation with a stride can fail.
        state: the state that the backend will have.

    Raises:
        ValueError: `max_length` leaves no room for special tokens, or windows would be no longer than the stride.
    """
    cut = call.cut
    if cut is None:
        return
    pairs = [text for text in texts if _is_pair(text, call.words)]
    added = [0, 0]
    if call.add_special_tokens:
        with lock.reported():  # the same in all states of a backend, so that no other call has to wait
            added = [lock.backend.num_special_tokens_to_add(pair) for pair in (False, True)]
    if len(pairs) < len(texts):
        _check_room(cut, cut.max_length - added[0])
    if not pairs:
        return
    _check_room(cut, cut.max_length - added[1])
    if cut.stride:
        _check_pairs(lock, pairs, call, state._replace(truncation=None), cut.max_length - added[1])


def _check_room(cut: Truncation, room: int) -> None:
    if room < 0:
        raise ValueError(
            f"max_length={cut.max_length} leaves no room for text: {cut.max_length - room} special tokens are added"
        )
    if cut.stride and cut.stride >= room:
        raise ValueError(
            f"stride={cut.stride} is too large: windows of max_length={cut.max_length} tokens have room for {room} of "
            "the text, and each must bring new ones; pass a smaller stride"
        )


def _check_pairs(lock: BackendLock, pairs: Sequence[Any], call: ResolvedCall, uncut: BackendState, room: int) -> None:
    assert call.cut is not None
    stride, strategy = call.cut.stride, call.cut.strategy

    def lengths(part: int, chosen: Sequence[int]) -> list[int]:
        texts = [pairs[i][part] for i in chosen]
        return [len(e) for e in lock.encode(uncut, texts, words=call.words, add_special_tokens=False)]

    every = range(len(pairs))
    if strategy == "longest_first":
        for first, second in zip(lengths(0, every), lengths(1, every)):
            for length, kept in zip((first, second), _kept(first, second, room)):
                _check_kept(length, kept, stride)
        return
    kept_whole = 1 if strategy == "only_first" else 0
    left = {i: room - length for i, length in enumerate(lengths(kept_whole, every))}
    few = [i for i, tokens in left.items() if tokens <= stride]  # mostly none: then the long texts are read once
    for i, length in zip(few, lengths(1 - kept_whole, few)):
        _check_kept(length, left[i], stride)


def _check_kept(length: int, kept: int, stride: int) -> None:
    """Raise ValueError where a text of `length` tokens is cut to `kept`, no more than the stride.

    A text that is cut to nothing has no windows (of a pair whose other text takes all the room the library complains).
    """
    if 0 < kept < length and kept <= stride:
        raise ValueError(
            f"stride={stride} is too large: the other text of the pair leaves windows of {kept} tokens, and each must "
            "bring new ones; pass a smaller stride, or a larger max_length"
        )


def _kept(first: int, second: int, room: int) -> tuple[int, int]:
    """Compute how many tokens "longest_first" leaves of each text. Source: tokenizers 0.23's `truncate_encodings`."""
    if first + second <= room:
        return first, second
    short = min(first, second)
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (short, long) if first <= second else (long, short)


def _is_pair(text: Any, words: bool) -> bool:
    return isinstance(text, (list, tuple)) and (not words or any(isinstance(part, (list, tuple)) for part in text))
