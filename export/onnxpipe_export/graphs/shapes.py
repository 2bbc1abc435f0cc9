"""Keep traced sizes variable: while a graph is traced a size is a tensor, and `torch.as_tensor` or `torch.tensor` of a
list of them would write the example's numbers into the graph as constants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from onnxpipe_export.graphs.wrapped import replaced_in


@contextlib.contextmanager
def sizes_as_tensors() -> Iterator[None]:
    """Let `torch.as_tensor` and `torch.tensor` stack nested lists of traced sizes inside."""
    import torch

    def kept(whole: Any) -> Any:
        def make(data: Any, *args: Any, **options: Any) -> Any:
            if not isinstance(data, (list, tuple)) or not _has_tensor(data):
                return whole(data, *args, **options)
            tensor = _stacked(data)
            dtype = options.get("dtype")
            return tensor if dtype is None else tensor.to(dtype)

        return make

    with replaced_in((torch, "as_tensor", kept(torch.as_tensor)), (torch, "tensor", kept(torch.tensor))):
        yield


def _has_tensor(data: Any) -> bool:
    import torch

    if isinstance(data, (list, tuple)):
        return any(_has_tensor(one) for one in data)
    return isinstance(data, torch.Tensor)


def _stacked(data: Any) -> Any:
    import torch

    if isinstance(data, (list, tuple)):
        return torch.stack([_stacked(one) for one in data])
    return data if isinstance(data, torch.Tensor) else torch.scalar_tensor(data, dtype=torch.int64)
