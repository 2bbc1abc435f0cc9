"""Find what a decoder keeps from step to step: keys and values, which grow, and states, which do not; their shapes.

An input is kept where an output has its name with "present" for "past": past_key_values.0.key and present.0.key,
past_conv.0 and present_conv.0, cache_params.past.ssm.0 and cache_params.present.ssm.0. Those that begin with
"past_key_values." grow with each token, on the third of four axes; all others are states.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from onnxpipe.bundle import Config
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError

logger = logging.getLogger("onnxpipe")

_GROWING = "past_key_values."
_PAST = re.compile(r"past(_key_values)?(?=[._])")


def kept_arrays(steps: Session) -> tuple[dict[str, str], dict[str, str]]:
    """Find what a decoder's graph keeps: the names in the inputs to those in the outputs.

    Returns:
        Those that grow, all inputs named past_key_values.*, whether their outputs are there or not; and the states.
    """
    names = {name: _PAST.sub("present", name, count=1) for name in steps.inputs if _PAST.search(name)}
    growing = {name: out for name, out in names.items() if name.startswith(_GROWING)}
    return growing, {name: out for name, out in names.items() if name not in growing and out in steps.outputs}


def warn_uncached(session: Session, task: str) -> None:
    """Say of a decoder that keeps nothing that it is slow, and how to make a better one."""
    logger.warning(
        "%s has no cache (past_key_values), so each new token computes its whole row again: export the model with one, "
        "onnxpipe export MODEL --task %s -o DIR",
        session.path,
        task,
    )


def state_shape(session: Session, name: str) -> tuple[int, ...]:
    """Shape of a row of the state `name`.

    Raises:
        UnsupportedError: the graph does not fix it.
    """
    shape = session.inputs[name].shape[1:]
    sizes = tuple(size for size in shape if isinstance(size, int) and size >= 0)
    if len(sizes) != len(shape):
        raise UnsupportedError(
            f"{session.path}: the state {name!r} has the shape {session.inputs[name].shape}; all but the first must "
            "be numbers: export the model again"
        )
    return sizes


def cache_shape(session: Session, name: str, config: Config) -> tuple[int, int]:
    """Number and size of the heads of the input `name`, (rows, heads, length, size): the graph's, else the config's.

    Raises:
        UnsupportedError: it does not have four axes, or neither graph nor config has the numbers.
    """
    spec = session.inputs[name]
    if len(spec.shape) != 4:
        raise UnsupportedError(
            f"{session.path}: {name!r} has {len(spec.shape)} axes instead of 4; export the model again"
        )
    heads, size = spec.shape[1], spec.shape[3]
    attention = _first(config, "decoder_attention_heads", "num_attention_heads", "num_heads", "n_head")
    if not isinstance(heads, int):
        heads = config.get("num_key_value_heads") or attention
    if not isinstance(size, int):
        width = _first(config, "hidden_size", "d_model", "n_embd")
        size = _first(config, "head_dim", "d_kv") or (width // attention if width and attention else None)
    if not isinstance(heads, int) or not isinstance(size, int):
        raise UnsupportedError(
            f"{session.path}: neither the graph nor config.json has the number and size of the heads of {name!r}"
        )
    return heads, size


def _first(config: Config, *names: str) -> Any:
    """The config's value for the first of several names that it has."""
    return next((value for name in names if (value := config.get(name))), None)
