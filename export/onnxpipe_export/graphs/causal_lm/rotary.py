"""Find a model's rotary positions as a table: which rotation it applies, by trying it, and the sines of all positions.

Source: RoFormer (Su et al. 2021). "Half": the first half of a head is rotated with the second (GPT-NeoX, Llama);
"interleaved": even elements with odd ones (GPT-J, Cohere).
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from onnxpipe_export import tracing

_FUNCTION = "apply_rotary_pos_emb"
_PROBED = 6
_FORMS = ((False, False), (True, True), (True, False))
"""Whether a family rotates interleaved elements, and whether it gives each angle twice in a row: Llama, Cohere, GLM."""


@dataclass(frozen=True)
class RotaryModule:
    """A module of the model that computes cosines and sines.

    Attributes:
        name: its name in the model.
        module: the module.
        kinds: the values of its `layer_type` argument, (None,) where it has none.
    """

    name: str
    module: Any
    kinds: tuple[str | None, ...]

    def angles(self, positions: int, kind: str | None) -> tuple[Any, Any]:
        """Compute cosines and sines of the positions 0.., float32 (1, positions, rotated part of a head).

        The frequencies are those of rows of `positions` tokens, where they depend on the length.
        """
        arguments = (torch.zeros(1, 1, 1), torch.arange(positions)[None])
        with torch.inference_mode():
            cos, sin = self.module(*arguments) if kind is None else self.module(*arguments, kind)
        return cos.clone(), sin.clone()


@dataclass(frozen=True)
class Rotary:
    """How a model rotates queries and keys, where a table can express it.

    Attributes:
        home: the Python module in which the family's `apply_rotary_pos_emb` is looked up.
        modules: the modules that compute the cosines and sines.
        interleaved: which of the two rotations.
        pairwise: whether the modules give each angle twice in a row; else all angles, and all again.
    """

    home: Any
    modules: tuple[RotaryModule, ...]
    interleaved: bool
    pairwise: bool

    @property
    def width(self) -> int:
        """Angles of a head."""
        return int(self.table(self.modules[0], self.modules[0].kinds[0], 1)[0].shape[-1])

    def table(self, module: RotaryModule, kind: str | None, positions: int) -> tuple[Any, Any]:
        """Compute cosines and sines of the positions 0.., float32 (positions, half of the rotated part of a head)."""
        return _halved(*module.angles(positions, kind), self.pairwise)


def find_rotary(model: Any) -> Rotary | None:
    """Find the model's rotation, None where it has none or another one than those two."""
    home = sys.modules[type(model).__module__]
    apply = getattr(home, _FUNCTION, None)
    modules = tuple(_modules(model))
    if apply is None or not modules:
        return None
    for interleaved, pairwise in _FORMS:
        if all(_is(apply, module, kind, interleaved, pairwise) for module in modules for kind in module.kinds):
            return Rotary(home, modules, interleaved, pairwise)
    return None


@contextlib.contextmanager
def frequencies_by_row(model: Any) -> Iterator[None]:
    """Let models with longrope choose the frequencies of each row by its own length inside.

    They have two sets of frequencies, for rows up to the original's positions and for longer ones (LongRoPE, Ding et
    al. 2024). transformers chooses one for a whole batch by its longest row, and so for a row alone as here.
    """
    with contextlib.ExitStack() as patches:
        for module in (each.module for each in _modules(model) if each.module.rope_type == "longrope"):
            patches.enter_context(tracing.replaced(module, "forward", _by_row(module)))
        yield


def _by_row(module: Any) -> Callable[..., tuple[Any, Any]]:
    """Make a forward that runs the module's own with both sets, and takes the one of each row."""
    limit = module.config.rope_parameters["original_max_position_embeddings"]
    plain = inspect.unwrap(type(module).forward)  # without the choice for the whole batch
    with torch.inference_mode():
        module(torch.zeros(1, 1, 1), torch.tensor([[limit]]))  # computes the long set
    sets = [_WithFrequencies(module, one.clone()) for one in (module.original_inv_freq, module.long_inv_freq)]

    def forward(x: Any, position_ids: Any) -> tuple[Any, Any]:
        short, long = (plain(one, x, position_ids) for one in sets)
        longer = (position_ids.max(dim=1).values >= limit)[:, None, None]
        return torch.where(longer, long[0], short[0]), torch.where(longer, long[1], short[1])

    return forward


class _WithFrequencies:
    """A rotary module with other frequencies.

    Args:
        module: the module.
        frequencies: float32 (half of the rotated part of a head,).
    """

    def __init__(self, module: Any, frequencies: Any) -> None:
        self.module, self.inv_freq = module, frequencies

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def _modules(model: Any) -> Iterator[RotaryModule]:
    for name, module in model.named_modules():
        if type(module).__name__.endswith("RotaryEmbedding") and hasattr(module, "rope_type"):
            takes_kind = "layer_type" in inspect.signature(module.forward).parameters
            kinds = tuple(module.rope_type) if takes_kind and isinstance(module.rope_type, dict) else (None,)
            yield RotaryModule(name, module, kinds)


def _is(apply: Callable[..., Any], module: RotaryModule, kind: str | None, interleaved: bool, pairwise: bool) -> bool:
    """Tell whether `apply` does this rotation, by trying it on random queries and keys."""
    cos, sin = module.angles(_PROBED, kind)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 2, _PROBED, cos.shape[-1], generator=generator) for _ in range(2))
    try:
        turned = apply(query, key, cos, sin)
    except (TypeError, ValueError, RuntimeError):  # of another signature
        return False
    tables = _halved(cos, sin, pairwise)
    expected = (_turn(query, *tables, interleaved), _turn(key, *tables, interleaved))
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(turned, expected, strict=True))


def _halved(cos: Any, sin: Any, pairwise: bool) -> tuple[Any, Any]:
    """Drop the repeated half of cosines and sines: both halves (or neighbours) have the same angle."""
    if pairwise:
        return cos[0, :, ::2].contiguous(), sin[0, :, ::2].contiguous()
    width = cos.shape[-1] // 2
    return cos[0, :, :width].contiguous(), sin[0, :, :width].contiguous()


def _turn(heads: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    """Rotate (batch, heads, length, width) by tables (length, width / 2)."""
    first, second = (heads[..., ::2], heads[..., 1::2]) if interleaved else heads.chunk(2, dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.stack(turned, dim=-1).flatten(-2) if interleaved else torch.cat(turned, dim=-1)
