"""How much a row's answer may differ alone and in a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxpipe.bundle.proof import Difference
from onnxpipe_export.graphs.graph import Case, Feeds, Run

if TYPE_CHECKING:
    from onnxpipe_export.certify import Reference

#: The largest absolute difference that a row may have alone and in a batch, by precision.
LIMITS: Mapping[str, float] = {"fp32": 1e-5, "int8": 1e-5, "q4": 1e-5, "fp16": 1e-2}

# float16 rounds at 1e-3 relative wherever a kernel sums in another order, so it cannot promise what the others do: its
# limit grows with the largest answer.
_RELATIVE = frozenset({"fp16"})

# Or this share of the largest answer: some roundings of float32, since padding changes the order of sums.
_ROUNDED = 1e-6

# These round activations to 8 bits. Padding may move the last bit of a float32 sum before that (for which shapes, the
# processor decides), and a last bit can decide to which of two steps a number is rounded. Such steps are what the graph
# is away from the original by, so a row may be away from itself by as much, but not because of its neighbours. In q4
# most of that comes from the weights, and a limit of its size would forgive a dropped mask.
_EIGHT_BITS = frozenset({"int8"})

# Where the original itself is not invariant (by more than the rounding of float32), the limit is its own difference
# times this.
_ORIGINAL_SLACK = 1.5


def allowed(precision: str, found: float, alone: Sequence[Difference], run: Run, reference: Reference) -> float:
    """Return the largest absolute difference that a row may have alone and in a batch, where padding changes nothing.

    Args:
        precision: the graph's.
        found: the difference that was found; wider limits are computed only where it is beyond the usual one.
        alone: the graph's differences from the original in the cases of one row: a fault of batches is not in them.
        run: the graph's session.
        reference: the cases and the original.
    """
    largest = max(1.0, *reference.scales.values())
    limit = LIMITS[precision]
    limit = limit * largest if precision in _RELATIVE else max(limit, _ROUNDED * largest)
    if found <= limit:
        return limit
    if precision in _EIGHT_BITS and not _depends_on_neighbours(run, reference, limit):
        limit = max([limit, *(difference.max_absolute for difference in alone)])
    return limit


def allowed_of_original(limit: float, reference: Reference) -> float:
    """Return the same where the original's own answers change with padding, as convolutions and hashes read it.

    Rows of different lengths then share no batch, unless the user asks for one, which transformers pads as well.
    """
    return max(limit, _ORIGINAL_SLACK * reference.original_invariance)


def changes_with_equal_lengths(run: Run, reference: Reference) -> float | None:
    """Compute how much a row of text differs alone and among rows of its length; None where a graph takes no text."""
    measure = getattr(reference.graph, "invariance_of_equal_lengths", None)
    return None if measure is None else float(measure(run, reference.tokenizer))


def _depends_on_neighbours(run: Run, reference: Reference, limit: float) -> bool:
    """Tell whether a row's answer changes with the values of its neighbours, by more than `limit` and the original's.

    Each batch is run again with copies of its first row in place of the others. The shapes stay, so the kernels add up
    in the same groups, and a graph in which each row has its own scales gives the same answer on any processor.
    """
    original = reference.graph.reference
    for case in reference.cases:
        copies = _with_copies_of_first_row(case)
        if copies is None:
            continue
        theirs = _first_row_changes(original(case.feeds), original(copies), case.rows)
        for name, change in _first_row_changes(run(case.feeds), run(copies), case.rows).items():
            if name in theirs and not change <= max(limit, _ORIGINAL_SLACK * theirs[name]):
                return True
    return False


def _with_copies_of_first_row(case: Case) -> Feeds | None:
    """Return the case's feeds with its first row in place of the others; None where rows are not on the first axis."""
    shared = {name for name, array in case.feeds.items() if array.shape in ((), (1,))}
    if case.rows < 2 or any(array.shape[0] != case.rows for name, array in case.feeds.items() if name not in shared):
        return None
    return {
        name: array if name in shared else np.repeat(array[:1], case.rows, axis=0) for name, array in case.feeds.items()
    }


def _first_row_changes(first: Feeds, second: Feeds, rows: int) -> dict[str, float]:
    """Compute by how much the first row of each output that has `rows` rows differs."""
    return {
        name: float(np.abs(array[0] - second[name][0]).max(initial=0.0))
        for name, array in first.items()
        if array.ndim and array.shape[0] == rows and array.shape == second[name].shape
    }
