"""Time calls: one after the other, and as they arrive."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

Call = Callable[[], object]

_FEWEST = 5
"""Calls that are timed even where they take longer than the seconds that were asked for."""
_MOST = 20_000


def alone(call: Call, seconds: float, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Time calls, each begun when the one before has ended.

    Args:
        call: what to time.
        seconds: how long to go on; at least five calls are timed.
        clock: gives seconds.

    Returns:
        The seconds of each call.
    """
    times: list[float] = []
    begin = now = clock()
    while (now - begin < seconds or len(times) < _FEWEST) and len(times) < _MOST:
        call()
        after = clock()
        times.append(after - now)
        now = after
    return times


def arriving(
    call: Call,
    rate: float,
    seconds: float,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> list[float]:
    """Time calls that arrive at random, and wait for those before them (an open loop).

    A call's time counts from when it was due: if the model is slower than the calls arrive, it grows, as it would for
    users. Timing from when the call begins would hide the wait.

    Args:
        call: what to time.
        rate: calls a second, on average; the gaps between them are drawn from an exponential distribution.
        seconds: how long calls arrive.
        seed: of the gaps.
        clock: gives seconds.
        sleep: waits for some seconds.

    Returns:
        The seconds of each call.
    """
    gaps = random.Random(seed)
    times: list[float] = []
    begin = clock()
    due = gaps.expovariate(rate)
    while (due < seconds or len(times) < _FEWEST) and len(times) < _MOST:
        wait = begin + due - clock()
        if wait > 0:
            sleep(wait)
        call()
        times.append(clock() - begin - due)
        due += gaps.expovariate(rate)
    return times


def percentile(times: Sequence[float], share: float) -> float:
    """Return the time that a share of all times does not exceed: 0.5 gives the median (of an even number the upper)."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
