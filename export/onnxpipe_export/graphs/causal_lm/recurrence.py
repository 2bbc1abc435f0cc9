"""Write recurrences over tokens (Mamba, the gated delta rule) as ONNX's Scan: one step's graph, run token by token.

transformers computes prompts by blocks of a size of its own and steps by another function, and which of the two is a
branch on the length, that tracing would make a constant. Here both are the same: `recur` applies a function of a state
and one token's inputs to each token. While the model is traced it is a node of a name of ours, and `expand` puts a Scan
with the traced function in its place.

Sources: Mamba (Gu and Dao 2023), Mamba-2 (Dao and Gu 2024), Gated Delta Networks (Yang et al. 2024).
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from onnxpipe_export import tracing
from onnxpipe_export.onnx_graph import OnnxGraph

_DOMAIN, _NODE = "onnxpipe", "Recurrence"
Step = Callable[..., tuple[Any, Any]]
"""From a state, one token's inputs, and what is the same for all tokens, to the next state and the token's output."""


@contextlib.contextmanager
def traceable_recurrences(model: Any, cache: Any) -> Iterator[None]:
    """Let the model's layers with states compute by `recur` inside.

    Args:
        model: the original.
        cache: from `kept_cache`, which notes the state that a layer begins with: Mamba's own function for several
            tokens takes none.
    """
    home = sys.modules[type(model).__module__]
    functions = {**_REPLACED, "mamba_selective_scan": lambda *args, **named: _mamba_scan(cache.read, *args, **named)}
    with contextlib.ExitStack() as stack:
        for name, function in functions.items():
            if hasattr(home, name):
                stack.enter_context(tracing.replaced(home, name, function))
        yield


def recur(step: str, state: Any, tokens: Sequence[Any], fixed: Sequence[Any] = ()) -> tuple[Any, Any]:
    """Apply a step to every token in order.

    Args:
        step: its name in `_STEPS`.
        state: float32 (batch, ...), before the first token.
        tokens: its inputs, (length, batch, ...) each.
        fixed: further inputs, the same for all tokens.

    Returns:
        The outputs (length, batch, ...), and the last state.
    """
    outputs, last = _Recurrence.apply(step, len(tokens), state, *tokens, *fixed)
    return outputs, last


class _Recurrence(torch.autograd.Function):  # type: ignore[misc]
    """The node; while tracing, the loop itself."""

    @staticmethod
    def symbolic(g: Any, step: str, count: int, state: Any, *inputs: Any) -> Any:
        outputs = g.op(f"{_DOMAIN}::{_NODE}", state, *inputs, outputs=2, step_s=step, count_i=count)
        outputs[1].setType(state.type())
        return outputs

    @staticmethod
    def forward(ctx: Any, step: str, count: int, state: Any, *inputs: Any) -> Any:
        tokens, fixed = inputs[:count], inputs[count:]
        outputs = []
        for values in zip(*tokens, strict=True):
            state, output = _STEPS[step](state, *values, *fixed)
            outputs.append(output)
        return torch.stack(outputs), state


def expand(graph: OnnxGraph) -> None:
    """Replace every node of `recur` by a Scan."""
    found = {index: node for index, node in enumerate(graph.graph.node) if node.domain == _DOMAIN}
    graph.replace_nodes({index: [_scan(graph, node)] for index, node in found.items()})
    kept = [opset for opset in graph.model.opset_import if opset.domain != _DOMAIN]
    del graph.model.opset_import[:]
    graph.model.opset_import.extend(kept)


def _scan(graph: OnnxGraph, node: Any) -> Any:
    """Make the Scan of a node: its states are the state and what is fixed, which the body gives on as it is."""
    import onnx.compose

    named = {attribute.name: attribute for attribute in node.attribute}
    step, count = named["step"].s.decode(), named["count"].i
    state, tokens, fixed = node.input[0], node.input[1 : 1 + count], node.input[1 + count :]
    body = onnx.compose.add_prefix_graph(_body(step, count, len(fixed)), f"{node.name}/")  # names are the whole file's
    rest = [graph.fresh(f"{node.name}/fixed") for _ in fixed]
    return onnx.helper.make_node(
        "Scan", [state, *fixed, *tokens], [node.output[1], *rest, node.output[0]], body=body, num_scan_inputs=count,
        name=graph.fresh(f"{node.name}/Scan"),
    )  # fmt: skip


def _body(step: str, count: int, fixed: int) -> Any:
    """Trace a step to the graph of one token: (state, fixed..., inputs...) to (state, fixed..., output)."""
    import onnx

    example = _EXAMPLES[step]()
    state, tokens, rest = example[0], example[1 : 1 + count], example[1 + count :]
    assert len(rest) == fixed
    names = ["state", *(f"fixed_{i}" for i in range(fixed))]
    inputs = [*names, *(f"token_{i}" for i in range(count))]

    class Token(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *given: Any) -> tuple[Any, ...]:
            same, now = given[1 : 1 + fixed], given[1 + fixed :]
            after, output = _STEPS[step](given[0], *now, *same)
            return (after, *(one * 1 for one in same), output)

    outputs = ["state_after", *(f"{name}_after" for name in names[1:]), "output"]
    given = dict(zip(inputs, [state, *rest, *tokens], strict=True))
    axes = {name: {i: f"{name}_{i}" for i in range(value.dim())} for name, value in given.items()}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "body.onnx"
        tracing.trace(Token().eval(), given, outputs, axes, path)
        body = onnx.load(str(path)).graph
    for value in (*body.input, *body.output):
        value.type.tensor_type.ClearField("shape")
    del body.value_info[:]
    body.name = step
    return body


def _mamba(state: Any, x: Any, dt: Any, b: Any, c: Any, a: Any) -> tuple[Any, Any]:
    """Mamba: state (batch, width, n), x and dt (batch, width), b and c (batch, n), a (width, n)."""
    after = state * torch.exp(dt[:, :, None] * a) + (dt * x)[:, :, None] * b[:, None, :]
    return after, torch.matmul(after, c[:, :, None])[:, :, 0]


def _mamba2(state: Any, x: Any, dt: Any, decay: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Mamba-2: state (batch, heads, width, n), x (batch, heads, width), dt and decay (batch, heads), b and c (batch,
    heads, n)."""
    after = state * decay[:, :, None, None] + (x * dt[:, :, None])[:, :, :, None] * b[:, :, None, :]
    return after, torch.matmul(after, c[:, :, :, None])[:, :, :, 0]


def _delta(state: Any, query: Any, key: Any, value: Any, decay: Any, beta: Any) -> tuple[Any, Any]:
    """Gated delta rule: state (batch, heads, keys, values), query and key (batch, heads, keys), value (batch, heads,
    values), decay and beta (batch, heads)."""
    decayed = state * decay[:, :, None, None]
    known = torch.matmul(key[:, :, None, :], decayed)[:, :, 0, :]
    change = (value - known) * beta[:, :, None]
    after = decayed + key[:, :, :, None] * change[:, :, None, :]
    return after, torch.matmul(query[:, :, None, :], after)[:, :, 0, :]


_STEPS: dict[str, Step] = {"mamba": _mamba, "mamba2": _mamba2, "delta": _delta}


def _random(*shapes: tuple[int, ...]) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(*shape, generator=generator) for shape in shapes]


_EXAMPLES: dict[str, Callable[[], list[Any]]] = {
    "mamba": lambda: _random((2, 3, 5), (2, 3), (2, 3), (2, 5), (2, 5), (3, 5)),
    "mamba2": lambda: _random((2, 3, 4, 5), (2, 3, 4), (2, 3), (2, 3), (2, 3, 5), (2, 3, 5)),
    "delta": lambda: _random((2, 3, 4, 5), (2, 3, 4), (2, 3, 4), (2, 3, 5), (2, 3), (2, 3)),
}
"""Arguments of each step to trace it with: no two free sizes equal."""


def _by_token(*values: Any) -> list[Any]:
    """Move the axis of tokens to the front, from (batch, length, ...)."""
    return [value.transpose(0, 1) for value in values]


def _mamba_scan(
    state: Any, hidden_states: Any, dt: Any, A: Any, B: Any, C: Any, D: Any = None, z: Any = None,  # noqa: N803
    delta_bias: Any = None, delta_softplus: bool = False, **others: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Compute transformers' `mamba_selective_scan`: everything (batch, width or n, length)."""
    dt = _steps(dt, None if delta_bias is None else delta_bias[:, None], delta_softplus)
    tokens = [value.permute(2, 0, 1) for value in (hidden_states, dt, B, C)]
    outputs, last = recur("mamba", state, tokens, [A])
    mixed = outputs.permute(1, 2, 0)
    mixed = mixed if D is None else mixed + hidden_states * D[:, None]
    return (mixed if z is None else mixed * functional.silu(z)), last


def _mamba2_scan(
    hidden_states: Any, dt: Any, A: Any, B: Any, C: Any, chunk_size: int = 0, D: Any = None,  # noqa: N803
    dt_bias: Any = None, initial_states: Any = None, dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")), **others: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Compute transformers' `mamba2_chunk_scan`: everything (batch, length, ...)."""
    dt = torch.clamp(_steps(dt, dt_bias, dt_softplus), min=dt_limit[0], max=dt_limit[1])
    groups = hidden_states.shape[2] // B.shape[2]
    b, c = (value.repeat_interleave(groups, dim=2) for value in (B, C))
    outputs, last = recur("mamba2", initial_states, _by_token(hidden_states, dt, torch.exp(dt * A), b, c))
    mixed = outputs.transpose(0, 1).contiguous()
    return (mixed if D is None else mixed + hidden_states * D[:, None]), last


def _delta_rule(
    query: Any, key: Any, value: Any, g: Any, beta: Any, initial_state: Any = None,
    use_qk_l2norm_in_kernel: bool = False, **others: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Compute transformers' `torch_chunk_gated_delta_rule`: everything (batch, length, heads, ...)."""
    groups = value.shape[2] // key.shape[2]
    if groups != 1:
        query, key = (one.repeat_interleave(groups, dim=2) for one in (query, key))
    if use_qk_l2norm_in_kernel:
        query, key = (one * torch.rsqrt((one * one).sum(dim=-1, keepdim=True) + 1e-6) for one in (query, key))
    query = query * query.shape[-1] ** -0.5
    outputs, last = recur("delta", initial_state, _by_token(query, key, value, g.exp(), beta))
    return outputs.transpose(0, 1).contiguous(), last


def _without_padding(hidden_states: Any, attention_mask: Any) -> Any:
    """Make padding 0; the mask may be of the past's tokens as well."""
    if attention_mask is None:
        return hidden_states
    return hidden_states * attention_mask[:, -hidden_states.shape[1] :, None]


def _steps(dt: Any, bias: Any, softplus: bool) -> Any:
    dt = dt if bias is None else dt + bias
    return functional.softplus(dt) if softplus else dt


_REPLACED: dict[str, Callable[..., Any]] = {
    "apply_mask_to_padding_states": _without_padding,
    "mamba2_chunk_scan": _mamba2_scan,
    "torch_chunk_gated_delta_rule": _delta_rule,
}
