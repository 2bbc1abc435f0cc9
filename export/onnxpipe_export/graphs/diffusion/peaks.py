"""Watch how large a model's activations become: float16 holds no more than 65504."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LARGEST_HALF = 65504.0
"""The largest number of float16."""


@dataclass
class Peak:
    """The largest magnitude that a module of the model gave so far, and the module's name."""

    value: float = 0.0
    module: str = ""

    @property
    def overflows(self) -> bool:
        """Whether float16 cannot hold it with room for inputs that were not seen: twice as large."""
        return 2 * self.value > LARGEST_HALF


@contextlib.contextmanager
def watched(model: Any) -> Iterator[Peak]:
    """Yield the peak of all that the modules of `model` give while they run inside."""
    peak = Peak()

    def watch(name: str) -> Any:
        def look(module: Any, given: Any, answer: Any) -> None:
            for tensor in answer if isinstance(answer, (tuple, list)) else (answer,):
                if hasattr(tensor, "is_floating_point") and tensor.is_floating_point() and tensor.numel():
                    largest = float(tensor.detach().abs().max())
                    if largest > peak.value:
                        peak.value, peak.module = largest, name

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield peak
    finally:
        for hook in hooks:
            hook.remove()
