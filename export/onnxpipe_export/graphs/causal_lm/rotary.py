"""Rotary positions as a table: which rotation a family applies, told by trying it, and the sines of every position.

Source: RoFormer (Su et al. 2021). "Half": the first half of a head is turned against the second (GPT-NeoX, Llama);
"interleaved": even elements against odd ones (GPT-J, Cohere).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

_FUNCTION = "apply_rotary_pos_emb"
_PROBED = 6


@dataclass(frozen=True)
class RotaryModule:
    """A module of the model that makes cosines and sines.

    Attributes:
        name: its name in the model.
        module: it.
        kinds: the values of its `layer_type` argument, (None,) where it has none.
    """

    name: str
    module: Any
    kinds: tuple[str | None, ...]

    def angles(self, positions: int, kind: str | None) -> tuple[Any, Any]:
        """Cosines and sines of the positions 0.., float32 (1, positions, rotated part of a head).

        The frequencies are those of rows of `positions` tokens, where they depend on that.
        """
        arguments = (torch.zeros(1, 1, 1), torch.arange(positions)[None])
        with torch.inference_mode():
            cos, sin = self.module(*arguments) if kind is None else self.module(*arguments, kind)
        return cos.clone(), sin.clone()


@dataclass(frozen=True)
class Rotary:
    """How a model turns queries and keys, where it does so in a way that a table can stand for.

    Attributes:
        home: the Python module in which the family's `apply_rotary_pos_emb` is looked up.
        modules: what makes the cosines and sines.
        interleaved: which rotation.
    """

    home: Any
    modules: tuple[RotaryModule, ...]
    interleaved: bool

    @property
    def width(self) -> int:
        """Angles of a head."""
        return int(self.table(self.modules[0], self.modules[0].kinds[0], 1)[0].shape[-1])

    def table(self, module: RotaryModule, kind: str | None, positions: int) -> tuple[Any, Any]:
        """Cosines and sines of the positions 0.., float32 (positions, half of the rotated part of a head)."""
        return _halved(*module.angles(positions, kind), self.interleaved)


def find_rotary(model: Any) -> Rotary | None:
    """The model's rotation, None where it has none or another one than those two."""
    home = sys.modules[type(model).__module__]
    apply = getattr(home, _FUNCTION, None)
    modules = tuple(_modules(model))
    if apply is None or not modules:
        return None
    for interleaved in (False, True):
        if all(_is(apply, module, kind, interleaved) for module in modules for kind in module.kinds):
            return Rotary(home, modules, interleaved)
    return None


def _modules(model: Any) -> Iterator[RotaryModule]:
    for name, module in model.named_modules():
        if type(module).__name__.endswith("RotaryEmbedding") and hasattr(module, "rope_type"):
            takes_kind = "layer_type" in inspect.signature(module.forward).parameters
            kinds = tuple(module.rope_type) if takes_kind and isinstance(module.rope_type, dict) else (None,)
            yield RotaryModule(name, module, kinds)


def _is(apply: Callable[..., Any], module: RotaryModule, kind: str | None, interleaved: bool) -> bool:
    """Whether `apply` does this rotation, on random queries and keys."""
    cos, sin = module.angles(_PROBED, kind)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 2, _PROBED, cos.shape[-1], generator=generator) for _ in range(2))
    try:
        turned = apply(query, key, cos, sin)
    except (TypeError, ValueError, RuntimeError):  # of another signature
        return False
    tables = _halved(cos, sin, interleaved)
    expected = (_turn(query, *tables, interleaved), _turn(key, *tables, interleaved))
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(turned, expected, strict=True))


def _halved(cos: Any, sin: Any, interleaved: bool) -> tuple[Any, Any]:
    """Both halves (or neighbours) have the same angle, of which a table needs one."""
    if interleaved:
        return cos[0, :, ::2].contiguous(), sin[0, :, ::2].contiguous()
    width = cos.shape[-1] // 2
    return cos[0, :, :width].contiguous(), sin[0, :, :width].contiguous()


def _turn(heads: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    """The rotation of (batch, heads, length, width) by tables (length, width / 2)."""
    first, second = (heads[..., ::2], heads[..., 1::2]) if interleaved else heads.chunk(2, dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.stack(turned, dim=-1).flatten(-2) if interleaved else torch.cat(turned, dim=-1)
