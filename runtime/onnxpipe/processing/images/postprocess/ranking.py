"""Find the largest values in the order in which `torch.topk(sorted=False)` returns them on a CPU.

The instances of MaskFormer and its followers are painted over each other in this order, so it decides which instance
gets a pixel. torch sorts the values if they are few (up to 1 in 64), and else leaves them as C++'s `std::nth_element`
does, which is introselect (Musser, 1997): partition around the median of three until at most three values are left, and
sort those. The order is not specified: if a version of torch changes it, `outputs.largest` can take the place of this.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxpipe.processing.images.postprocess.outputs import Array, largest

_SORTS_ONE_IN = 64


def topk_unsorted(values: Array, count: int) -> NDArray[np.intp]:
    """Return the indices of the `count` largest values (n,), in torch's order."""
    if count * _SORTS_ONE_IN <= len(values):
        return largest(values, count)
    items = list(zip(values.tolist(), range(len(values))))
    if not _select(items, count - 1):
        return largest(values, count)
    return np.asarray([index for _, index in items[:count]], np.intp)


Items = list[tuple[float, int]]


def _select(items: Items, place: int) -> bool:
    """Reorder items, descending, until the right one is at `place`; False if that takes too many steps."""
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
    """Put the median of three items first, then larger ones, then smaller ones; return where these begin."""
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
    """Return the place of the median. It is written out because the order of tests decides between equal items."""
    first, second, third = items[a][0], items[b][0], items[c][0]
    if first > second:
        if second > third:
            return b
        return c if first > third else a
    if first > third:
        return a
    return c if second > third else b
