"""Replace a few steps of speech models while they are traced: the same numbers, in traceable steps."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from onnxpipe_export import tracing
from onnxpipe_export.graphs.audio.patches import computed_positions
from onnxpipe_export.graphs.wrapped import replaced_in


def traceable(model: Any) -> AbstractContextManager[None]:
    """Replace what tracing cannot follow in `model` inside."""
    return _FAMILIES.get(model.config.model_type, lambda model: contextlib.nullcontext())(model)


@contextlib.contextmanager
def _moonshine(model: Any) -> Iterator[None]:
    """Replace Moonshine's rotation and its count of frames.

    Tracing loses count of the axes of what is repeated, and makes a constant of an int().
    """
    home = sys.modules[type(model).__module__]
    with (
        tracing.replaced(home, "apply_rotary_pos_emb", turn_pairs),
        tracing.replaced(model.get_encoder(), "_get_feat_extract_output_lengths", _moonshine_frames),
    ):
        yield


def _moonshine_frames(samples: Any) -> Any:
    """Count the frames that three convolutions leave of the samples."""
    for width, step in ((127, 64), (7, 3), (3, 2)):
        samples = (samples - width) // step + 1
    return samples


def _seamless(model: Any) -> AbstractContextManager[None]:
    """Replace SeamlessM4T's positions, a table that grows with the recording."""
    return replaced_in(*computed_positions(model.get_encoder()))


@contextlib.contextmanager
def _seamless_v2(model: Any) -> Iterator[None]:
    """Replace SeamlessM4T v2's mask of chunks.

    The original's has the length of the traced recording, and is boolean, which only fused attention takes for a mask:
    plain attention adds it.
    """
    encoder = model.get_encoder().encoder
    size, left = encoder.config.speech_encoder_chunk_size, encoder.config.speech_encoder_left_chunk_num

    def mask_of_chunks(attention_mask: Any, hidden_states: Any) -> Any:
        chunk = torch.arange(hidden_states.shape[1]) // size
        back = chunk[:, None] - chunk[None, :]
        visible = (back >= 0) if left < 0 else (back >= 0) & (back <= left)
        visible = visible[None, None] if attention_mask is None else attention_mask[:, None, None, :].bool() & visible
        return torch.where(visible, 0.0, torch.finfo(torch.float32).min)

    with tracing.replaced(encoder, "_apply_chunk_attention", mask_of_chunks):
        yield


def turn_pairs(query: Any, key: Any, cos: Any, sin: Any) -> tuple[Any, Any]:
    """Rotate neighbouring pairs of a head's first numbers by their positions (GPT-J's way; Su et al. 2021, RoFormer).

    Args:
        query, key: float32 (batch, heads, length, width).
        cos, sin: float32 (batch or 1, length, rotated numbers), the second half of which repeats the first.
    """
    half = int(cos.shape[-1]) // 2
    cos, sin = (angle[:, None, :, :half] for angle in (cos, sin))
    return _turned(query, cos, sin), _turned(key, cos, sin)


def _turned(value: Any, cos: Any, sin: Any) -> Any:
    turned = 2 * int(cos.shape[-1])
    first, second = value[..., 0:turned:2], value[..., 1:turned:2]
    pairs = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1)
    flat = pairs.reshape(value.shape[0], value.shape[1], value.shape[2], turned)
    return flat if turned == int(value.shape[-1]) else torch.cat((flat, value[..., turned:]), dim=-1)


_FAMILIES: Mapping[str, Callable[[Any], AbstractContextManager[None]]] = {
    "moonshine": _moonshine,
    "seamless_m4t": _seamless,
    "seamless_m4t_v2": _seamless_v2,
}
