"""Export OneFormer: one graph from an image and its task as text, to masks and a class a mask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.shapes import sizes_as_tensors
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision.multihead import plain_attention
from onnxpipe_export.graphs.vision.patches import traceable
from onnxpipe_export.graphs.vision.windows import forgetful
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_OUTPUTS = ("class_queries_logits", "masks_queries_logits")
_TASKS = ("panoptic", "semantic", "instance")


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graph `model`: pixel_values (batch, 3, height, width), task_inputs int64 (batch, tokens of a task).

    The model does not use pixel_mask.
    """
    model = checkpoint.model

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        with forgetful(model):
            answer = model(**tensors)
        return {name: answer[name] for name in _OUTPUTS}

    return [
        WrappedExport(
            checkpoint,
            "model",
            ("pixel_values", "task_inputs"),
            _OUTPUTS,
            {
                "pixel_values": {0: BATCH, 2: "height", 3: "width"},
                "task_inputs": {0: BATCH},
                "class_queries_logits": {0: BATCH},
                "masks_queries_logits": {0: BATCH, 2: "mask_height", 3: "mask_width"},
            },
            forward,
            lambda: _feeds(checkpoint, None, ["panoptic", "semantic"], _sizes(checkpoint)[1], 3),
            lambda tokenizer: _cases(checkpoint, tokenizer),
            makers.VISION,
            decisions=frozenset({"class_queries_logits"}),
            replacements=lambda: _replaced(model),
            eager=False,
            user_feeds=lambda prepared, tokenizer: {
                "pixel_values": prepared["pixel_values"],
                "task_inputs": _words(checkpoint, tokenizer, ["panoptic"]),
            },
        )
    ]


@contextlib.contextmanager
def _replaced(model: Any) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for patch in (traceable, plain_attention):
            stack.enter_context(patch(model))
        stack.enter_context(sizes_as_tensors())
        for module in model.modules():
            make = _METHODS.get(type(module).__name__)
            if make is not None:
                stack.enter_context(tracing.replaced(module, "forward", partial(make, module)))
        yield


def _layer(
    layer: Any,
    index: int,
    output: Any,
    multi_stage_features: list[Any],
    multi_stage_positional_embeddings: list[Any],
    attention_mask: Any = None,
    query_embeddings: Any = None,
    output_attentions: bool | None = False,
) -> tuple[Any]:
    """Compute a layer of the decoder. A query whose mask hides every place attends to all.

    The original writes that into the mask at places that depend on the data.
    """
    level = index % layer.num_feature_levels
    hidden = attention_mask & ~attention_mask.all(-1, keepdim=True)
    output, _ = layer.cross_attn(
        output,
        multi_stage_features[level],
        memory_mask=hidden,
        memory_key_padding_mask=None,
        pos=multi_stage_positional_embeddings[level],
        query_pos=query_embeddings,
    )
    output, _ = layer.self_attn(output, output_mask=None, output_key_padding_mask=None, query_pos=query_embeddings)
    return (layer.ffn(output),)


def _positions(module: Any, shape: Any, device: Any, dtype: Any, mask: Any = None) -> Any:
    """Compute sines and cosines of rows and columns, (batch, 2 * features, height, width).

    The original caches those of the last size, which tracing would make constants.
    """
    import torch

    batch, _, height, width = shape
    features = module.num_position_features
    step = torch.arange(features).to(dtype)
    rate = module.temperature ** (2 * torch.div(step, 2, rounding_mode="floor") / features)

    def waves(length: Any) -> Any:
        place = torch.arange(1, length + 1).to(dtype)
        if module.normalize:
            place = place / (place[-1:] + 1e-6) * module.scale
        angle = place[:, None] / rate
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)

    rows, columns = waves(height)[:, None], waves(width)[None]
    rows, columns = rows.expand(-1, width, -1), columns.expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2).permute(2, 0, 1)[None].expand(batch, -1, -1, -1)


_METHODS: Mapping[str, Callable[..., Any]] = {
    "OneFormerTransformerDecoderLayer": _layer,
    "OneFormerSinePositionEmbedding": _positions,
}
"""Class -> the replacement of its forward, with the module as first argument."""


def _sizes(checkpoint: Checkpoint) -> list[tuple[int, int]]:
    short = int(checkpoint.preprocessor.get("size", {}).get("shortest_edge", 512))
    return vision_cases.sizes(short, short * 4 // 3, multiple=32)


def _feeds(checkpoint: Checkpoint, tokenizer: Any, tasks: list[str], size: tuple[int, int], seed: int) -> Any:
    """Make feeds of synthetic images with a task each; without a tokenizer tasks are random ids."""
    return {
        "pixel_values": vision_cases.synthetic_pixels(checkpoint, len(tasks), *size, seed=seed),
        "task_inputs": _words(checkpoint, tokenizer, tasks),
    }


def _words(checkpoint: Checkpoint, tokenizer: Any, tasks: list[str]) -> np.ndarray:
    """Make ids of "the task is ...", 0 at padding, as the processor does."""
    length = int(checkpoint.config.task_seq_len)
    if tokenizer is None:
        return np.random.default_rng(4).integers(1, 1000, (len(tasks), length))
    texts = [f"the task is {task}" for task in tasks]
    arrays = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="np")
    return np.asarray(arrays["input_ids"] * arrays["attention_mask"], np.int64)


def _cases(checkpoint: Checkpoint, tokenizer: Any) -> list[Case]:
    """Make cases of each task at each size, and of all tasks in a batch."""
    cases = []
    for number, size in enumerate(_sizes(checkpoint)):
        for place, task in enumerate(_TASKS):
            feeds = _feeds(checkpoint, tokenizer, [task], size, seed=number + place)
            cases.append(Case(feeds, golden=number == 3 and place == 1, calibrates=True))
        cases.append(Case(_feeds(checkpoint, tokenizer, list(_TASKS), size, seed=9 + number)))
    return cases
