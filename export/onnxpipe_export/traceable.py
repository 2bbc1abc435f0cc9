"""Compute operations of torch and transformers, while a model is traced, in a form that can be traced: same numbers.

Each entry is one cause for which whole families of models could not be written as ONNX.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@contextlib.contextmanager
def traceable_operations() -> Iterator[None]:
    """Replace the operations inside."""
    import torch

    from onnxpipe_export.tracing import replaced

    with contextlib.ExitStack() as stack:
        for owner in (torch, torch.Tensor):
            stack.enter_context(replaced(owner, "repeat_interleave", _repeated(owner.repeat_interleave)))
            stack.enter_context(replaced(owner, "cumsum", _of_numbers(owner.cumsum)))
            stack.enter_context(replaced(owner, "expm1", lambda value: torch.exp(value) - 1))
        for name, operation in _COMPLEX.items():
            stack.enter_context(replaced(torch, name, operation))
        masks = sys.modules.get("transformers.masking_utils")
        if masks is not None:
            stack.enter_context(replaced(masks, "_vmap_expansion_sdpa", _by_broadcasting))
            stack.enter_context(replaced(masks, "TransformGetItemToIndex", contextlib.nullcontext))
            plain = _of_padding_alone(masks.sdpa_mask, masks.bidirectional_mask_function)
            stack.enter_context(replaced(masks, "sdpa_mask", plain))
            stack.enter_context(_registered(masks.ALL_MASK_ATTENTION_FUNCTIONS, "sdpa", plain))
        yield


def _repeated(original: Callable[..., Any]) -> Callable[..., Any]:
    """Repeat the elements of an axis by expanding a new one.

    torch writes a graph in which the result's rank is unknown (what follows then fails: glm, helium, ernie4_5), makes
    the number of repetitions a constant, and along the axis -1 changes every other -1 of the graph (torch 2.13).
    """

    def repeat(self: Any, repeats: Any, dim: int | None = None, **options: Any) -> Any:
        if dim is None or (hasattr(repeats, "dim") and repeats.dim()):
            return original(self, repeats, dim, **options)
        axis = dim % self.dim()
        sizes = [-1] * (self.dim() + 1)
        sizes[axis + 1] = repeats
        return self.unsqueeze(axis + 1).expand(*sizes).flatten(axis, axis + 1)

    return repeat


def _of_numbers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a sum of booleans be one of numbers: ONNX has no sum of booleans."""

    def total(self: Any, *args: Any, **options: Any) -> Any:
        import torch

        return original(self.to(torch.int64) if self.dtype is torch.bool else self, *args, **options)

    return total


def _by_broadcasting(mask: Callable[..., Any]) -> Callable[..., Any]:
    """Make a mask by one call of the function of indices with four axes, instead of `torch.vmap`.

    Tracing does not follow `torch.vmap`, which transformers takes for masks that a model adds to its own (Gemma 3 of
    both directions). A function that returns one number for all places is expanded to them.
    """

    def expanded(batch: Any, head: Any, query: Any, key: Any) -> Any:
        places = (
            batch[:, None, None, None],
            head[None, :, None, None],
            query[None, None, :, None],
            key[None, None, None],
        )
        return mask(*places).expand(batch.shape[0], head.shape[0], query.shape[0], key.shape[0])

    return expanded


def _of_padding_alone(original: Callable[..., Any], everywhere: Any) -> Callable[..., Any]:
    """Make the mask of a text whose tokens see all others from its padding alone.

    Written with indices of batch, query and key, as transformers does, it is 45 small nodes of a graph.

    Args:
        original: makes any mask.
        everywhere: the function of indices that is true everywhere.
    """

    def mask(*args: Any, **options: Any) -> Any:
        padding, length = options.get("attention_mask"), options.get("kv_length")
        queries = options.get("q_length")  # older versions pass the places of the queries instead
        plain = options.get("mask_function") is everywhere and not options.get("use_vmap") and queries is not None
        if args or not plain or options.get("kv_offset") or padding is None or padding.shape[-1] != length:
            return original(*args, **options)
        return padding.bool()[:, None, None].expand(-1, -1, queries, -1)

    return mask


@contextlib.contextmanager
def _registered(functions: Any, name: str, function: Any) -> Iterator[None]:
    """Let transformers find another function under this name inside."""
    before = functions[name]
    functions[name] = function
    try:
        yield
    finally:
        functions[name] = before


@dataclass(frozen=True)
class _Complex:
    """Complex numbers as two tensors of one shape, since ONNX has none: what rotations of positions need of them."""

    real: Any
    imag: Any

    def __mul__(self, other: Any) -> _Complex:
        if not isinstance(other, _Complex):
            return _Complex(self.real * other, self.imag * other)
        return _Complex(
            self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real
        )

    def __getitem__(self, index: Any) -> _Complex:
        return _Complex(self.real[index], self.imag[index])

    def unsqueeze(self, axis: int) -> _Complex:
        return _Complex(self.real.unsqueeze(axis), self.imag.unsqueeze(axis))

    def to(self, *where: Any) -> _Complex:
        return self

    @property
    def device(self) -> Any:
        return self.real.device


def _polar(length: Any, angle: Any) -> _Complex:
    return _Complex(length * angle.cos(), length * angle.sin())


def _as_real(numbers: _Complex) -> Any:
    import torch

    return torch.stack((numbers.real, numbers.imag), dim=-1)


_COMPLEX: dict[str, Callable[..., Any]] = {
    "polar": _polar,
    "view_as_complex": lambda pairs: _Complex(pairs[..., 0], pairs[..., 1]),
    "view_as_real": _as_real,
}
