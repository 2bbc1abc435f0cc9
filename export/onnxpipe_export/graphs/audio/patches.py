"""Replace parts of audio models while they are traced: the same numbers, no length as a constant.

Where a recording's last frames depend on the padding behind them (through a convolution that knows no mask), the
padding is set to zeros, as a recording alone has there. So an answer does not depend on its neighbours, while the
original's does; a recording alone is answered as the original answers it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from onnxpipe_export import tracing

_Change = tuple[Any, str, Any]
"""(owner, attribute, its replacement)."""


@contextlib.contextmanager
def traceable(model: Any, *, masked: bool) -> Iterator[None]:
    """Replace the parts of `model` that cannot be traced inside.

    Args:
        model: a transformers audio model.
        masked: whether it takes a mask.
    """
    with contextlib.ExitStack() as stack:
        for find_changes in (_lengths, _attention, computed_positions, _squeezing):
            for owner, name, value in find_changes(model):
                stack.enter_context(tracing.replaced(owner, name, value))
        if masked:
            stack.enter_context(_hidden_padding(model))
        yield


def plain_weights(model: Any) -> None:
    """Replace every weight that is stored as direction and length (weight normalisation) by the product, in place."""
    import torch

    for module in model.modules():
        if torch.nn.utils.parametrize.is_parametrized(module, "weight"):
            torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        elif hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)


# Lengths


def _lengths(model: Any) -> list[_Change]:
    name = "_get_feature_vector_attention_mask"
    return [(module, name, partial(frame_mask, module)) for module in model.modules() if hasattr(module, name)]


def frame_mask(model: Any, frames: Any, attention_mask: Any, add_adapter: bool | None = None) -> Any:
    """Make the mask of frames, bool (batch, frames): the original sets ones at the ends and sums."""
    import torch

    kwargs = {} if add_adapter is None else {"add_adapter": add_adapter}
    lengths = model._get_feat_extract_output_lengths(attention_mask.sum(-1), **kwargs)
    return torch.arange(frames) < lengths.to(torch.int64)[:, None]


# Attention that torch computes in one function, which makes lengths constants


def _attention(model: Any) -> list[_Change]:
    name = "torch_multi_head_self_attention"
    return [(module, name, partial(wavlm_attention, module)) for module in model.modules() if hasattr(module, name)]


def wavlm_attention(
    module: Any, hidden_states: Any, attention_mask: Any, bias: Any, _attentions: Any = None
) -> tuple[Any, None]:
    """Compute WavLM's attention; older versions of transformers say whether they want its weights, and do not.

    Args:
        module: a WavLMAttention.
        hidden_states: (batch, length, width).
        attention_mask: bool (batch, length), False at frames that are hidden; or None.
        bias: (batch * heads, length, length), added to the scores.
    """

    def heads(projected: Any) -> Any:
        return projected.unflatten(-1, (module.num_heads, module.head_dim)).transpose(1, 2)

    queries, keys, values = (heads(layer(hidden_states)) for layer in (module.q_proj, module.k_proj, module.v_proj))
    scores = queries * module.scaling @ keys.transpose(2, 3) + bias.unflatten(0, (-1, module.num_heads))
    if attention_mask is not None:
        scores = scores.masked_fill(attention_mask.ne(1)[:, None, None, :], float("-inf"))
    return module.out_proj((scores.softmax(-1) @ values).transpose(1, 2).flatten(2)), None


# Positions that the original computes once and keeps


def computed_positions(model: Any) -> list[_Change]:
    """List the changes that compute the positions of a conformer anew, for any length."""
    changes: list[_Change] = []
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RelPositionalEmbedding"):
            changes.append((module, "forward", partial(relative_positions, angle_steps(module.d_model))))
        elif kind.endswith("RelPositionalEncoding"):
            changes.append((module, "forward", partial(repeated_positions, module.inv_freq)))
        elif kind.endswith("RotaryPositionalEmbedding"):
            changes.append((module, "forward", partial(rotary_positions, module.inv_freq)))
    return changes


def angle_steps(width: int) -> Any:
    """Compute by how much the angle of each pair of columns grows from one position to the next, (width / 2,)."""
    import torch

    return torch.exp(torch.arange(0, width, 2).float() * -(math.log(10000.0) / width))


def relative_positions(steps: Any, hidden_states: Any) -> Any:
    """Compute sines and cosines of every distance, from length - 1 down to 1 - length: (1, 2 length - 1, width).

    In double precision, as half precision cannot distinguish far distances.
    """
    import torch

    length = hidden_states.shape[1]
    distance = (length - 1 - torch.arange(2 * length - 1)).double()[:, None]
    angles = distance * steps.double()
    both = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return both.to(hidden_states.dtype)[None]


def repeated_positions(steps: Any, hidden_states: Any) -> Any:
    """Compute the relative positions for every row, (batch, 2 length - 1, width)."""
    return relative_positions(steps, hidden_states).expand(hidden_states.shape[0], -1, -1)


def rotary_positions(steps: Any, hidden_states: Any) -> Any:
    """Compute cosines and sines of every position: (2, length, 1, 1, width)."""
    import torch

    angles = torch.arange(hidden_states.shape[1]).double()[:, None] * steps.double()
    both = torch.cat((angles, angles), dim=-1)[:, None, None, :]
    return torch.stack([both.cos(), both.sin()]).to(hidden_states.dtype)


# SEW, which squeezes every so many frames into one and stretches them again


def _squeezing(model: Any) -> list[_Change]:
    return [
        (module, "forward", partial(_squeezed, module))
        for module in model.modules()
        if type(module).__name__ in ("SEWEncoder", "SEWDEncoder")
    ]


def _squeezed(encoder: Any, hidden_states: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
    """Compute the forward of SEW's encoders.

    A recording alone loses the frames that do not fill a squeezed one; here it does so in a batch too, as these frames
    are not squeezed together with padding.

    Args:
        encoder: a SEWEncoder or SEWDEncoder.
        hidden_states: (batch, frames, width).
        attention_mask: bool (batch, frames), or None.
        kwargs: passed on to the layers.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    factor, frames = encoder.config.squeeze_factor, hidden_states.shape[1]
    squeezed = None if attention_mask is None else attention_mask[:, factor - 1 :: factor].bool()
    if attention_mask is not None:
        hidden_states = hidden_states.masked_fill(~attention_mask.bool()[..., None], 0.0)
    turned = hidden_states.transpose(1, 2)
    pooled = encoder.pool(turned)
    hidden_states = (pooled + encoder.pos_conv_embed(turned)[..., : pooled.shape[-1]]).transpose(1, 2)
    hidden_states = encoder.upsample(_squeezed_layers(encoder, hidden_states, squeezed, kwargs))
    if squeezed is not None:
        stretched = squeezed[..., None].expand(-1, -1, factor).flatten(1)
        hidden_states = hidden_states.masked_fill(~stretched[..., None], 0.0)
    hidden_states = torch.nn.functional.pad(hidden_states, (0, 0, 0, factor - 1))[:, :frames]
    return BaseModelOutput(last_hidden_state=hidden_states)


def _squeezed_layers(encoder: Any, hidden_states: Any, mask: Any, kwargs: dict[str, Any]) -> Any:
    import torch
    from transformers.masking_utils import create_bidirectional_mask

    if hasattr(encoder, "encoder"):  # SEW-D: DeBERTa's layers, which always have a mask
        mask = torch.ones_like(hidden_states[..., 0], dtype=torch.int64) if mask is None else mask.long()
        return encoder.encoder(hidden_states, mask, **kwargs).last_hidden_state
    mask = create_bidirectional_mask(config=encoder.config, inputs_embeds=hidden_states, attention_mask=mask)
    hidden_states = encoder.layer_norm(hidden_states)
    for layer in encoder.layers:
        hidden_states = layer(hidden_states, attention_mask=mask, **kwargs)
    return hidden_states


# Convolutions that do not know the mask


@contextlib.contextmanager
def _hidden_padding(model: Any) -> Iterator[None]:
    """Let convolutions over frames get zeros where the encoder's mask says that padding is."""
    encoder = _encoder(model)
    if encoder is None:
        yield
        return
    known: dict[str, Any] = {}

    def noting(forward: Callable[..., Any], hidden_states: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        known["mask"] = attention_mask
        return forward(hidden_states, attention_mask=attention_mask, **kwargs)

    with contextlib.ExitStack() as stack:
        stack.enter_context(tracing.replaced(encoder, "forward", partial(noting, encoder.forward)))
        for convolution in _unmasked_convolutions(encoder):
            blind = partial(_masked_convolution, convolution.forward, known)
            stack.enter_context(tracing.replaced(convolution, "forward", blind))
        for step, layer in enumerate(_adapter_layers(model)):
            blind = partial(_masked_adapter, layer.forward, known, layer.conv.stride[0], step)
            stack.enter_context(tracing.replaced(layer, "forward", blind))
        yield


def _encoder(model: Any) -> Any:
    """Return the encoder of the families whose layers have convolutions without masks, None of others."""
    base = getattr(model, model.base_model_prefix, None)
    encoder = getattr(base, "encoder", None)
    return encoder if hasattr(encoder, "pos_conv_embed") and not hasattr(encoder, "upsample") else None


def _unmasked_convolutions(encoder: Any) -> list[Any]:
    """List the convolutions of layers (Conformer), and of positions where a norm or a convolution comes before."""
    import torch

    inner = [layer.conv_module.depthwise_conv for layer in encoder.layers if hasattr(layer, "conv_module")]
    positions = [one for one in encoder.pos_conv_embed.modules() if isinstance(one, torch.nn.Conv1d)]
    plain = len(positions) == 1 and getattr(encoder.pos_conv_embed, "batch_norm", None) is None
    return inner if plain else [*inner, *positions]


def _masked_convolution(forward: Callable[..., Any], known: dict[str, Any], hidden_states: Any) -> Any:
    """Apply a convolution to `hidden_states` (batch, width, frames) with zeros at padding."""
    return forward(hidden_states.masked_fill(~known["mask"].bool()[:, None], 0.0))


def _adapter_layers(model: Any) -> list[Any]:
    """List the strided convolutions after wav2vec 2.0's encoder."""
    adapter = getattr(getattr(model, model.base_model_prefix, None), "adapter", None)
    return [] if adapter is None else [layer for layer in adapter.layers if hasattr(layer, "conv")]


def _masked_adapter(
    forward: Callable[..., Any], known: dict[str, Any], stride: int, step: int, hidden_states: Any
) -> Any:
    """Apply a convolution to `hidden_states` (batch, width, frames), after `step` layers, with zeros at padding."""
    import torch

    lengths = known["mask"].sum(-1)
    for _ in range(step):
        lengths = (lengths + stride - 1) // stride
    there = torch.arange(hidden_states.shape[-1]) < lengths[:, None]
    return forward(hidden_states.masked_fill(~there[:, None], 0.0))
