"""Run the original in double precision, to tell its own rounding errors from a graph's faults.

Two right computations of the same model differ by their roundings, and some models magnify those: a residual stream
that reaches 20,000 leaves four digits of float32 to what is added to it. How much a model does so shows when it is run
in float64: what its float32 answer is away from that, another right float32 answer may be away too. As one answer may
be near by luck, the float64 run is repeated with the results of its operators rounded at random to float32's
precision (Monte Carlo arithmetic: D. S. Parker, UCLA CSD-970002, 1997).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from onnxpipe.engine.memory import available_memory
from onnxpipe_export import remembered

logger = logging.getLogger("onnxpipe")

_SUMS = frozenset(
    {
        functional.linear, functional.embedding, functional.layer_norm, functional.conv1d, functional.conv2d,
        functional.scaled_dot_product_attention, functional.softmax, torch.matmul, torch.bmm, torch.addmm,
        torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.softmax,
    }
)  # fmt: skip
"""The operators that add up many products."""

_SINGLE = frozenset({torch.add, torch.Tensor.add, torch.mul, torch.Tensor.mul, torch.Tensor.sub, torch.Tensor.div})
"""Those that round once: most of the rounding where a layer adds to a residual stream of 20,000."""

_ROUNDINGS: Mapping[Any, float] = {**dict.fromkeys(_SUMS, 2.0**-22), **dict.fromkeys(_SINGLE, 2.0**-24)}
"""Operator -> the relative size of its rounding: one of float32, or about what adding some hundred products leaves."""

_SHARE = 0.5
"""The share of the memory that float64 weights may take: the graph's session and the activations need theirs."""


class _Double(TorchFunctionMode):  # type: ignore[misc]
    """Compute in float64 whatever would be computed in float32: constants, casts and arrays too.

    Args:
        seed: of the random roundings; None for none.
    """

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = _widened(args), _widened(kwargs or {})
        if func is torch.Tensor.float:
            return args[0].double()
        result = _widened(func(*args, **kwargs))
        size = None if self._generator is None else _ROUNDINGS.get(func)
        if size is not None and isinstance(result, torch.Tensor) and result.is_floating_point():
            return self._round(result, size)
        return result

    def _round(self, value: torch.Tensor, size: float) -> torch.Tensor:
        with torch._C.DisableTorchFunction():
            noise = torch.rand(value.shape, generator=self._generator, dtype=value.dtype)
            return value * (1 + (2 * noise - 1) * size)


def _widened(value: Any) -> Any:
    """Replace float32 by float64 in a tensor, a dtype, or a container of either."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype == torch.float32 else value
    if value is torch.float32:
        return torch.float64
    if type(value) in (tuple, list):
        return type(value)(_widened(item) for item in value)
    if type(value) is dict:
        return {key: _widened(item) for key, item in value.items()}
    return value


_Answer = TypeVar("_Answer")


def answers(model: torch.nn.Module, ask: Callable[[], _Answer], seeds: Sequence[int]) -> list[_Answer]:
    """Ask a model in float64, and then again with random roundings to float32's precision.

    Its float32 weights come back bit by bit. Where float64 weights do not fit into memory, float32 stays, on one
    thread: the same sums in another order.

    Args:
        model: the original.
        ask: runs it.
        seeds: of the roundings.
    """
    found = []
    with _double_precision(model) as rounded:
        for seed in (None, *seeds):
            with rounded(seed):
                found.append(ask())
    return found


@contextlib.contextmanager
def _double_precision(
    model: torch.nn.Module,
) -> Iterator[Callable[[int | None], contextlib.AbstractContextManager[Any]]]:
    """Give `model` float64 weights inside; yields what makes the context to run it in, from the roundings' seed."""
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.dtype == torch.float32]
    size = sum(tensor.numel() * 8 for tensor in tensors)
    memory = available_memory()
    if memory is not None and size > _SHARE * memory:
        logger.info("%.1f GB for float64 weights do not fit: rounding is measured on one thread instead", size / 1e9)
        with _one_thread(), remembered.asking_again():
            yield lambda seed: contextlib.nullcontext()
        return
    default = torch.get_default_dtype()
    for tensor in tensors:
        tensor.data = tensor.data.double()
    torch.set_default_dtype(torch.float64)
    try:
        with remembered.asking_again():
            yield _Double
    finally:
        torch.set_default_dtype(default)
        for tensor in tensors:
            tensor.data = tensor.data.float()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
