"""Read Whisper's time stamp tokens: as segments with their seconds, or as text with time stamps in it.

The time stamps of a recording that is longer than a window restart with every window.

Source: transformers 5.23, `_compute_offsets` and `_decode_with_timestamps` of Whisper's tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

#: Steps of a window of 30 s.
_WINDOW = 1500


def offsets(
    ids: Sequence[int], first_stamp: int, precision: float
) -> Iterator[tuple[Sequence[int], tuple[float, float]]]:
    """Split tokens into segments: their tokens, with the time stamps, and start and end in seconds.

    Args:
        ids: the tokens.
        first_stamp: the id of time stamp 0.
        precision: seconds of a step.
    """
    stamps = np.asarray(ids, np.int64) >= first_stamp
    places = np.flatnonzero(stamps)
    if len(places) < 2:
        return
    ends = list(np.flatnonzero(stamps[:-1] & stamps[1:]) + 1)
    if places[-1] + 1 not in ends:
        ends.append(places[-1] + 1)
    start, highest, done = int(places[0]), 0, 0
    for end in map(int, ends):
        tokens = ids[start:end]
        if len(tokens) > 1:
            first, last = tokens[0] - first_stamp, tokens[-1] - first_stamp
            if first < highest:  # a new window
                pair = start >= 2 and bool(stamps[start - 2] and stamps[start - 1])
                done += highest if pair or start < 2 else _WINDOW
            highest = last
            yield tokens, (first * precision + done * precision, last * precision + done * precision)
        start = end


def stamped(ids: Sequence[int], first_stamp: int, precision: float) -> list[str | list[int]]:
    """Split tokens into runs of text tokens and time stamps as text, `<|1.08|>`, between them; see `offsets`."""
    parts: list[str | list[int]] = [[]]
    highest = before = done = 0.0
    for i, token in enumerate(ids):
        if token < first_stamp:
            run = parts[-1]
            assert isinstance(run, list)
            run.append(token)
            continue
        time = (token - first_stamp) * precision
        if time < highest:
            if i >= 2 and not (ids[i - 1] >= first_stamp and ids[i - 2] >= first_stamp):
                done += precision * _WINDOW
            else:
                highest = before
                done += before
                parts = parts[:-2]
        before, highest = highest, time
        parts += [f"<|{time + done:.2f}|>", []]
    return parts
