"""Weights in large pages of memory."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from onnxpipe.engine.large_pages import added, in_large_pages, private_ranges

MB = 1 << 20


def wait() -> None:
    for thread in threading.enumerate():
        if thread.name == "onnxpipe-large-pages":
            thread.join()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [(2 * MB, 8 * MB)], [(2 * MB, 8 * MB)]),
        ([], [(2 * MB + 4096, 8 * MB - 4096)], [(4 * MB, 6 * MB)]),  # whole large pages only
        ([(4 * MB, 6 * MB)], [(2 * MB, 8 * MB)], [(2 * MB, 4 * MB), (6 * MB, 8 * MB)]),
        ([(2 * MB, 6 * MB)], [(2 * MB, 12 * MB)], [(6 * MB, 12 * MB)]),  # the heap has grown
        ([(2 * MB, 8 * MB)], [(2 * MB, 8 * MB)], []),
        ([(0, MB), (20 * MB, 24 * MB)], [(2 * MB, 3 * MB)], []),  # smaller than a large page
    ],
)
def test_what_is_new(before: list[tuple[int, int]], after: list[tuple[int, int]], expected: object) -> None:
    assert added(before, after) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists a process's memory")
def test_memory_keeps_its_content() -> None:
    with in_large_pages(True):
        numbers = np.arange(4 * MB)
    wait()
    assert (numbers == np.arange(len(numbers))).all()
    address = numbers.ctypes.data
    assert any(first <= address < last for first, last in private_ranges())


def test_nothing_is_moved_unasked() -> None:
    wait()
    with in_large_pages(False):
        numbers = np.ones(4 * MB)
    assert not any(thread.name == "onnxpipe-large-pages" for thread in threading.enumerate())
    assert numbers.all()
