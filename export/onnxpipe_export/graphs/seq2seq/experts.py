"""Trace Switch Transformers' experts: each is run on every token, and its result counted where the token chose it.

The original selects each expert's tokens, whose number depends on the data. The sums are the same; the work is that of
all experts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from onnxpipe_export import tracing


@contextlib.contextmanager
def traceable_experts(model: Any) -> Iterator[None]:
    """Replace the experts of `model` inside; a model without them stays as it is."""
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if type(module).__name__ == "SwitchTransformersExperts":
                stack.enter_context(tracing.replaced(module, "forward", _every_expert(module)))
        yield


def _every_expert(experts: Any) -> Any:
    def forward(hidden_states: Any, selected_experts: Any, routing_weights: Any) -> Any:
        """Mix tokens (count, width) by their choice, one-hot (count, 1, experts), and its weight (count, 1)."""
        shares = (selected_experts[:, 0] * routing_weights).unbind(dim=1)
        return sum(
            expert(hidden_states) * share[:, None] for expert, share in zip(experts.values(), shares, strict=True)
        )

    return forward
