"""Export ViLT's model of questions about images: one graph from tokens and pixels to the scores of answers.

Height and width of the images are free, multiples of the patch; the images of a batch have one size, so there is no
mask of pixels. The original adds the patches in a random order, which changes nothing, as each has its position; here
they stay in their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import max_length
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.seq2seq.questions import QUESTIONS
from onnxpipe_export.graphs.vision.cases import sizes, synthetic_pixels, tokens
from onnxpipe_export.graphs.vision.sizes import base_size
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_WORDS = ("input_ids", "attention_mask", "token_type_ids")


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graph "model".

    Inputs: input_ids, attention_mask, token_type_ids int64 (batch, length), pixel_values float32 (batch, 3, height,
    width). Output: logits float32 (batch, answers).

    Raises:
        ExportError: the original takes only some of an image's patches, chosen at random.
    """
    model = checkpoint.model
    most = int(getattr(checkpoint.config, "max_image_length", -1))
    if most >= 0:
        raise ExportError(
            f"{checkpoint.folder.name}: max_image_length is {most}, so that the original looks at some patches of a "
            "larger image, chosen at random. Set it to -1 in config.json to look at all of them"
        )
    text = {0: BATCH, 1: "sequence_length"}
    pixels = {0: BATCH, 2: "height", 3: "width"}
    return [
        WrappedExport(
            checkpoint=checkpoint,
            name="model",
            inputs=(*_WORDS, "pixel_values"),
            outputs=("logits",),
            axes={**dict.fromkeys(_WORDS, text), "pixel_values": pixels, "logits": {0: BATCH}},
            forward=lambda feeds: {"logits": model(**feeds, return_dict=True).logits},
            example=lambda: _batch(checkpoint, [0, 1, 3], 1),
            make_cases=lambda tokenizer: _cases(checkpoint),
            makers=makers.VISION,
            decisions=frozenset({"logits"}),
            max_length=max_length(model),
            replacements=lambda: tracing.replaced(model.vilt.embeddings, "visual_embed", _all_patches(model)),
            eager=False,  # ViLT attends in one way
        )
    ]


def _all_patches(model: Any) -> Any:
    """Make the replacement of `visual_embed`: all patches in order, with the table of positions at the image's size."""
    import torch

    parts = model.vilt.embeddings
    side = parts.config.image_size // parts.config.patch_size

    def embed(pixel_values: Any, pixel_mask: Any, max_image_length: int = -1) -> tuple[Any, Any, Any]:
        patches = parts.patch_embeddings(pixel_values)
        batch, width = patches.shape[0], parts.config.hidden_size
        table = parts.position_embeddings[:, 1:].transpose(1, 2).reshape(1, width, side, side)
        size = patches.shape[2], patches.shape[3]
        places = torch.nn.functional.interpolate(table, size=size, mode="bilinear", align_corners=True)
        image = (patches + places).flatten(2).transpose(1, 2)
        first = (parts.cls_token + parts.position_embeddings[:, :1]).expand(batch, -1, -1)
        together = torch.cat((first, image), dim=1)
        return together, torch.ones_like(together[:, :, 0], dtype=torch.int64), None

    return embed


def _batch(checkpoint: Checkpoint, numbers: Sequence[int], size: int) -> dict[str, np.ndarray]:
    """Tokenize questions, padded to one length, each about a synthetic image of the size with this number."""
    height, width = _sizes(checkpoint)[size]
    longest = max_length(checkpoint.model)
    words = tokens(checkpoint.tokenizer, [QUESTIONS[number] for number in numbers], _WORDS, longest)
    pixels = [synthetic_pixels(checkpoint, 1, height, width, number + 10 * size) for number in numbers]
    return {**words, "pixel_values": np.concatenate(pixels)}


def _sizes(checkpoint: Checkpoint) -> list[tuple[int, int]]:
    return sizes(*base_size(checkpoint), checkpoint.config.patch_size)


def _cases(checkpoint: Checkpoint) -> list[Case]:
    alone = [Case(_batch(checkpoint, [number], number % 4), golden=number == 3, calibrates=True)
             for number in range(len(QUESTIONS))]  # fmt: skip
    together = [Case(_batch(checkpoint, numbers, size)) for numbers, size in (((0, 1), 0), ((2, 4, 5), 1), ((3, 2), 2))]
    return [*alone, *together]
