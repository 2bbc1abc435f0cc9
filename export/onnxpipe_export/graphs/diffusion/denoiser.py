"""The graph that denoises: the UNet of Stable Diffusion and SDXL, and SD 3's transformer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.diffusion.samples import Samples
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision.makers import DENOISER

_SIZE, _OTHER = (16, 16), (12, 20)
"""Heights and widths of the cases' latents: halved three times, the first stays even and the second does not."""

_EXAMPLE = (9, 15)
"""Height and width of the traced latents. Where a size does not halve evenly, a UNet passes the size on for
upsampling. Tracing keeps only the branch that the example takes: with an odd size this one, right for every size."""

_TIMESTEPS = (0.0, 1.0, 500.0, 999.0, 333.25)
"""Of the cases: the ends, the middle, and one between two steps, as schedulers with even distances ask for."""

_STATE = {0: BATCH, 1: "sequence_length"}
_SPATIAL = {0: BATCH, 2: "height", 3: "width"}
_AESTHETIC_IDS = 5
"""Length of a refiner's time_ids where they end in an aesthetic score, and not in the target size."""


@dataclass(frozen=True)
class _Row:
    """What goes into a case: how many images, of what size, at which step, and the first of the prompts."""

    count: int
    size: tuple[int, int]
    timestep: float
    prompt: int = 0


_ROWS = (
    *(_Row(1, _SIZE, timestep, number) for number, timestep in enumerate(_TIMESTEPS)),
    _Row(3, _SIZE, 500.0),
    _Row(3, _OTHER, 666.5, 2),
)

_GOLDEN = (_ROWS[0], _ROWS[4])


def describe_unet(checkpoint: Checkpoint, samples: Samples) -> WrappedExport:
    """Describe a UNet.

    Raises:
        ExportError: it takes something that no pipeline of onnxpipe gives it.
    """
    config = checkpoint.config
    _check_unet(config)
    inputs = ["sample", "timestep", "encoder_hidden_states"]
    if config.addition_embed_type == "text_time":
        inputs += ["text_embeds", "time_ids"]
    if config.time_cond_proj_dim is not None:
        inputs.append("timestep_cond")

    def forward(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        added = {name: tensors[name] for name in ("text_embeds", "time_ids") if name in tensors}
        answer = checkpoint.model(
            tensors["sample"],
            tensors["timestep"],
            tensors["encoder_hidden_states"],
            timestep_cond=tensors.get("timestep_cond"),
            added_cond_kwargs=added or None,
            return_dict=False,
        )
        return {"out_sample": answer[0]}

    def feeds(row: _Row) -> dict[str, np.ndarray]:
        prompts = (np.arange(row.count) + row.prompt) % len(samples.latents)
        made = {
            "sample": _with_mask(samples, row, config.in_channels),
            "timestep": np.array(row.timestep, np.float32),
            "encoder_hidden_states": samples.prompt_states(_width(config))[prompts],
        }
        if "time_ids" in inputs:
            made["text_embeds"] = samples.pooled_states()[prompts]
            made["time_ids"] = np.tile(_time_ids(config, made["text_embeds"].shape[1], row), (row.count, 1))
        if "timestep_cond" in inputs:  # an embedding of the guidance: sines and cosines
            made["timestep_cond"] = np.sin(samples.noise(9, (row.count, config.time_cond_proj_dim)))
        return made

    return _export(
        checkpoint,
        "unet",
        tuple(inputs),
        "out_sample",
        {
            "sample": _SPATIAL,
            "encoder_hidden_states": _STATE,
            "out_sample": _SPATIAL,
            **{name: {0: BATCH} for name in ("text_embeds", "time_ids", "timestep_cond") if name in inputs},
        },
        forward,
        feeds,
    )


def describe_transformer(checkpoint: Checkpoint, samples: Samples) -> WrappedExport:
    """Describe the transformer of SD 3."""
    config = checkpoint.config

    def forward(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"out_hidden_states": checkpoint.model(**tensors, return_dict=False)[0]}

    def feeds(row: _Row) -> dict[str, np.ndarray]:
        prompts = (np.arange(row.count) + row.prompt) % len(samples.latents)
        return {
            "hidden_states": samples.noisy(row.prompt, row.count, row.size, row.timestep),
            "encoder_hidden_states": samples.prompt_states(config.joint_attention_dim)[prompts],
            "pooled_projections": samples.pooled_states()[prompts],
            "timestep": np.full(row.count, row.timestep, np.float32),
        }

    return _export(
        checkpoint,
        "transformer",
        ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep"),
        "out_hidden_states",
        {
            "hidden_states": _SPATIAL,
            "encoder_hidden_states": _STATE,
            "pooled_projections": {0: BATCH},
            "timestep": {0: BATCH},
            "out_hidden_states": _SPATIAL,
        },
        forward,
        feeds,
        example=(10, 14),  # it cuts latents into patches of two by two
    )


def _export(
    checkpoint: Checkpoint,
    name: str,
    inputs: tuple[str, ...],
    output: str,
    axes: Mapping[str, Mapping[int, str]],
    forward: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    feeds: Callable[[_Row], Mapping[str, np.ndarray]],
    example: tuple[int, int] = _EXAMPLE,
) -> WrappedExport:
    @cache
    def cases() -> Sequence[Case]:
        return [Case(feeds(row), row in _GOLDEN, calibrates=True) for row in _ROWS]

    return WrappedExport(
        checkpoint=checkpoint,
        name=name,
        inputs=inputs,
        outputs=(output,),
        axes=axes,
        forward=forward,
        example=lambda: feeds(_Row(2, example, 481.0)),
        make_cases=lambda _: cases(),
        makers=DENOISER,
        eager=False,
    )


def _check_unet(config: Any) -> None:
    given = {
        "addition_embed_type": config.addition_embed_type not in (None, "text_time"),
        "class_embed_type": config.class_embed_type is not None or config.num_class_embeds is not None,
        "encoder_hid_dim_type": config.encoder_hid_dim_type not in (None, "text_proj"),
        "dual_cross_attention": bool(config.dual_cross_attention),
    }
    found = [name for name, unknown in given.items() if unknown]
    if found:
        raise ExportError(f"this UNet cannot be exported: no pipeline of onnxpipe gives it what {found[0]} asks for")


def _width(config: Any) -> int:
    width = config.cross_attention_dim
    return int(width if isinstance(width, int) else width[0])


def _with_mask(samples: Samples, row: _Row, channels: int) -> np.ndarray:
    """Make the denoiser's input: noisy latents, and for a UNet that inpaints a mask and the masked image's latents."""
    latents = samples.noisy(row.prompt, row.count, row.size, row.timestep)
    if channels == latents.shape[1]:
        return latents
    mask = np.zeros((row.count, 1, *row.size), np.float32)
    mask[:, :, : row.size[0] // 2] = 1.0
    clean = samples.noisy(row.prompt, row.count, row.size, 0.0)
    return np.concatenate([latents, mask, clean * (1 - mask)], axis=1)


def _time_ids(config: Any, pooled: int, row: _Row) -> np.ndarray:
    """Give SDXL's sizes: original, corner, target; a refiner that takes five numbers gets a quality for the target."""
    count = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim
    height, width = (64.0 * side for side in row.size)
    target = [6.0] if count == _AESTHETIC_IDS else [height, width]
    return np.array([height, width, 0.0, 16.0 * row.prompt, *target], np.float32)
