"""The order in which `torch.topk(sorted=False)` gives the largest values on a CPU.

MaskFormer's and its followers' instances are painted over each other in this order, so it decides which pixels belong
to whom. torch sorts few values of many (up to 1 in 64), and leaves more as C++'s `std::nth_element` does, which is
introselect (Musser, 1997): partition around the median of three until at most three values are left, sort those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxpipe.processing.images.postprocess.outputs import Array, largest

_SORTS_ONE_IN = 64


def topk_unsorted(values: Array, count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest of values (n,), in torch's order."""
    if count * _SORTS_ONE_IN <= len(values):
        return largest(values, count)
    items = list(zip(values.tolist(), range(len(values))))
    if not _select(items, count - 1):
        return largest(values, count)
    return np.asarray([index for _, index in items[:count]], np.intp)


Items = list[tuple[float, int]]


def _select(items: Items, place: int) -> bool:
    """Reorders items, descending as far as the right one at `place` needs it; False if that takes too many steps."""
    first, last = 0, len(items)
    for _ in range(2 * (len(items).bit_length() - 1)):
        if last - first <= 3:
            break
        cut = _partition(items, first, last)
        if cut <= place:
            first = cut
        else:
            last = cut
    else:
        if last - first > 3:
            return False
    items[first:last] = sorted(items[first:last], key=lambda item: -item[0])
    return True


def _partition(items: Items, first: int, last: int) -> int:
    """Puts the median of three items first, then larger ones, then smaller ones; gives where these begin."""
    middle = _median(items, first + 1, first + (last - first) // 2, last - 1)
    items[first], items[middle] = items[middle], items[first]
    pivot = items[first][0]
    low, high = first + 1, last
    while True:
        while items[low][0] > pivot:
            low += 1
        high -= 1
        while pivot > items[high][0]:
            high -= 1
        if low >= high:
            return low
        items[low], items[high] = items[high], items[low]
        low += 1


def _median(items: Items, a: int, b: int, c: int) -> int:
    """The place of the median. Written out, as it decides which of equal ones is meant."""
    first, second, third = items[a][0], items[b][0], items[c][0]
    if first > second:
        if second > third:
            return b
        return c if first > third else a
    if first > third:
        return a
    return c if second > third else b
