"""Weights of the zoo's vision models: random, the same every time, and large enough that decisions are clear."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

_SCALED = ("lambda", "gamma", "layer_scale", "layerscale", "logit_scale")
"""Words in the names of factors that checkpoints have near one, or near nothing."""

_QUIET = ("bbox", "log_binomial", "attractor", "seed_bin")
"""Words in the names of what decides on boxes and on ZoeDepth's bins, where large weights saturate."""


def fill(model: Any, seed: str) -> None:
    """Overwrite every parameter: norms and factors near one, tables N(0, 1/4), the rest N(0, 2/fan-in).

    As in trained models, where deformable attention looks depends little on the image, and boxes lie well inside the
    image: else rounding errors grow (a box's inverse sigmoid is steep at the image's edge). And most values after a
    batch normalisation are above 0, where activations change little: deep random networks are chaotic otherwise (Yang
    and others 2019, "A mean field theory of batch normalization").
    """
    import torch

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    norms = [norm for norm in _batch_norms(model) if not isinstance(norm, torch.nn.BatchNorm1d)]
    shifted = {id(norm.bias) for norm in norms}
    for norm in norms:
        norm.bias.detach().fill_(1.0)  # of frozen ones it is not a parameter
    for name, parameter in model.named_parameters():
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(parameter.shape))
        if any(word in name for word in _SCALED):
            values = 0.1 * noise + 1.0
        elif "sampling_offsets" in name:
            values = noise * (0.5 if parameter.dim() == 1 else 0.5 / float(parameter.shape[-1]) ** 0.5)
        elif id(parameter) in embeddings or "position_embed" in name or "bias_table" in name:
            values = 0.5 * noise
        elif parameter.dim() > 1 and min(parameter.shape[1:]) > 0:
            values = noise * (2.0 / float(np.prod(parameter.shape[1:]))) ** 0.5
        else:
            values = 0.1 * noise + (1.0 if name.endswith("weight") or id(parameter) in shifted else 0.0)
        if any(word in name for word in _QUIET):
            values = 0.4 * values
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.asarray(values, np.float32)))


def rank_as_scored(model: Any, last: str, first: str) -> None:
    """Give the head `last` the weights of `first`, and let the layers of the decoder change little in between."""
    import torch

    with torch.no_grad():
        model.get_submodule(last).load_state_dict(model.get_submodule(first).state_dict())
        for name, parameter in model.named_parameters():
            if "decoder.layers" in name and parameter.dim() > 1:
                parameter.mul_(0.25)


def settle_norms(model: Any, pixel_values: Any) -> None:
    """Give every batch normalisation the statistics of synthetic images, rounded so that no rounding error shows."""
    import torch

    norms = _batch_norms(model)
    seen: dict[Any, tuple[Any, Any]] = {}

    def measure(module: Any, given: Any) -> None:
        axes = [axis for axis in range(given[0].dim()) if axis != 1]
        mean, variance = given[0].double().mean(axes), given[0].double().var(axes, unbiased=False)
        with torch.no_grad():
            module.running_mean.copy_(_rounded(mean))
            module.running_var.copy_(_rounded(variance).clamp_min(0.01))
        seen[module] = (mean, variance)

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    with torch.no_grad():
        if norms:
            model(pixel_values=pixel_values)
    for hook in hooks:
        hook.remove()


def _batch_norms(model: Any) -> list[Any]:
    """Batch normalisations, frozen ones too."""
    import torch

    return [module for module in model.modules() if isinstance(getattr(module, "running_var", None), torch.Tensor)]


def settle_head(model: Any, paths: Sequence[str], pixel_values: Any, *, mean: float, deviation: float) -> None:
    """Scale and centre layers so that each of their channels has this mean and deviation on synthetic images.

    Both corrections are rounded, so that rounding errors of the forward pass do not reach the weights.
    """
    import torch

    for path in paths:
        layer = model.get_submodule(path)
        axis = -1 if isinstance(layer, torch.nn.Linear) else 1
        seen: list[Any] = []

        def keep(module: Any, given: Any, output: Any, seen: list[Any] = seen, axis: int = axis) -> None:
            seen.append(output.detach().double().movedim(axis, -1).reshape(-1, output.shape[axis]))

        hook = layer.register_forward_hook(keep)
        with torch.no_grad():
            model(pixel_values=pixel_values)
            hook.remove()
            values = torch.cat(seen)
            scale = float(_rounded(torch.tensor(deviation / max(float(values.std(0).mean()), 1e-6))))
            shift = _rounded(values.mean(0) * scale - mean)
            layer.weight.mul_(scale)
            if layer.bias is not None:
                layer.bias.mul_(scale).sub_(shift.float())


def _rounded(values: Any) -> Any:
    """To two digits after the point, or two that count where a value is small."""
    import torch

    digits = 10.0 ** torch.ceil(-torch.log10(values.abs().clamp(1e-9, 0.99)) + 1)
    return (values * digits).round() / digits
