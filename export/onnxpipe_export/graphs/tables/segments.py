"""Replace TAPAS's sums, means and minima over cells and columns while it is traced: the same numbers, free sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from onnxpipe_export.tracing import replaced

_ABOVE_ALL = 1e4
"""Larger than any position, and a number of float16 too."""
_NEVER = -10_000.0
"""What transformers adds to the scores of cells outside the chosen column."""


@contextmanager
def traceable(model: Any) -> Iterator[None]:
    """Replace the parts of TAPAS that cannot be traced inside."""
    from transformers.models.tapas import modeling_tapas

    def reduce(values: Any, index: Any, kind: str, name: str) -> tuple[Any, Any]:
        """Compute a sum, a mean or a minimum of values (batch, tokens) in each segment; 0 where it is empty."""
        segments, shape = index.indices, (values.shape[0], index.num_segments)
        numbers = values.float()
        if kind == "amin":
            # by comparing all pairs, as a scattered minimum is exported with branches, which fp16 cannot take
            same = segments.unsqueeze(2) == segments.unsqueeze(1)
            least = torch.where(same, numbers.unsqueeze(1), _ABOVE_ALL).amin(dim=2)
            places = torch.arange(segments.shape[1]).expand_as(segments).float()
            first = torch.where(same, places.unsqueeze(1), _ABOVE_ALL).amin(dim=2) == places
            found = torch.zeros(shape).scatter_add(1, segments, least * first.float())
        else:
            found = torch.zeros(shape).scatter_add(1, segments, numbers)
            if kind == "mean":
                counts = torch.zeros(shape).scatter_add(1, segments, torch.ones_like(numbers))
                found = found / counts.clamp(min=1)
        numbered = torch.arange(index.num_segments).unsqueeze(0).expand(values.shape[0], index.num_segments)
        return found.to(values.dtype), modeling_tapas.IndexMap(numbered, index.num_segments, batch_dims=1)

    def select(scores: Any, columns: Any, labels: Any, cells: Any, column_index: Any, cell_mask: Any) -> Any:
        """Lower the scores of all cells outside the likeliest column; the loss, which training needs, is left out."""
        means, numbered = modeling_tapas.reduce_mean(scores, cells)
        of_cells = cells.project_inner(numbered).indices
        chosen = (of_cells == columns.argmax(dim=-1, keepdim=True)) & (of_cells != 0)
        lowered = means + _NEVER * (1.0 - cell_mask * chosen.to(means.dtype))
        return None, modeling_tapas.gather(lowered, cells)

    with ExitStack() as stack:
        stack.enter_context(replaced(modeling_tapas, "_segment_reduce", reduce))
        stack.enter_context(replaced(modeling_tapas, "_single_column_cell_selection_loss", select))
        yield
