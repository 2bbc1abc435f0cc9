"""Export models of one graph from an image's or a video's pixels to features, scores, boxes, masks, depth or an image.

Input: pixel_values float32 (batch, 3, height, width), videos (batch, frames, 3, height, width); pixel_mask int64
(batch, height, width), 1 on the image and 0 on the padding at its right and bottom, where the model uses it.
Height and width are free where the original takes other sizes with its default arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.bundle.objects import same_order
from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.cases import images as image_cases
from onnxpipe_export.cases.common import stacked
from onnxpipe_export.cases.images import Size
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run, SingleRun
from onnxpipe_export.graphs.vision.sizes import Sizes, base_size, find_sizes
from onnxpipe_export.precision import makers

_ROWS = 8
_MORE_DECISIONS = 24
"""Further images where each is one decision: among the others alone, one that differs would be 5 %."""
_GOLDEN_PIXELS = 256 * 256
"""A larger image is not a golden case where a smaller one will do."""
_DECIDING = frozenset({"logits", "class_queries_logits"})


@dataclass(frozen=True)
class VisionExport(SingleRun):
    """The export of a vision model: its graph's inputs and outputs, its cases, and how to run the original on them.

    Attributes:
        checkpoint: the model.
        inputs: names of the graph's inputs.
        outputs: names of its outputs.
        sizes: the sizes of images that it takes.
        frames: how many frames a video has; 0 for models of images.
    """

    checkpoint: Checkpoint
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: Sizes
    frames: int = 0
    name: str = "model"
    max_length: int | None = None

    @property
    def decisions(self) -> frozenset[str]:
        """The outputs that are scores, of which the largest decides: of an image, a query, or a pixel."""
        return _DECIDING & frozenset(self.outputs)

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of vision models."""
        return makers.VISION

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of images alone and in batches, in every size that is verified; then of the user's own."""
        cases = [Case(row, golden=number == 0, calibrates=True) for number, row in enumerate(self._rows)]
        cases += [
            Case(stacked(self._rows[1:4]), golden=self.sizes.base[0] * self.sizes.base[1] < _GOLDEN_PIXELS),
            *(Case(self._faint(level), calibrates=True, decides=False) for level in (40, 215)),
        ]
        if self.checkpoint.task.name == "image-classification":
            cases += [Case(self.row(70 + number, self.sizes.base)) for number in range(_MORE_DECISIONS)]
        for number, size in enumerate(self.sizes.others):
            rows = [self.row(_ROWS + 3 * number + k, size) for k in range(3)]
            cases += [Case(rows[0], golden=number == 0), Case(stacked(rows[1:]))]
        if "pixel_mask" in self.inputs:
            cases += [Case(feeds) for feeds in self._padded()]
        return cases + self._user_cases()

    def mask_of(self, feeds: Feeds) -> None:
        """Return None: every output is compared whole."""

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compute the largest difference of an image's answer alone and in batches, of the base size and another."""
        worst = 0.0
        for size in (self.sizes.base, *self.sizes.others[:1]):
            rows = [self.row(40 + number, size) for number in range(4)]
            for order in ([0, 1, 2, 3], [3, 1]):
                together = run(stacked([rows[number] for number in order]))
                for place, number in enumerate(order):
                    alone = run(rows[number])
                    here = {name: value[place : place + 1] for name, value in together.items()}
                    worst = max(worst, difference(alone, here))
        return worst

    def reference(self, feeds: Feeds) -> dict[str, Any]:
        """Compute the original's outputs (float32) for `feeds`."""
        answer = run_original(self.checkpoint, {name: feeds[name] for name in self.inputs})
        return {name: answer[name] for name in self.outputs}

    def row(self, number: int, size: Size) -> dict[str, np.ndarray]:
        """Make feeds of the synthetic image (or video) with this number."""
        return self._prepared(self._images(number, size))

    def feeds(self, pixel_values: np.ndarray) -> dict[str, np.ndarray]:
        """Make feeds of pixels without padding."""
        shape = (len(pixel_values), *pixel_values.shape[-2:])
        return {"pixel_values": pixel_values} | (
            {"pixel_mask": np.ones(shape, np.int64)} if "pixel_mask" in self.inputs else {}
        )

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        from onnxpipe_export.graphs.vision.patches import traceable

        size = self.sizes.others[0] if self.sizes.others else self.sizes.base
        rows = stacked([self.row(60 + number, size) for number in range(2)])
        if "pixel_mask" in rows:
            rows = self._with_padding(rows, size)
        example = {name: torch.from_numpy(rows[name]) for name in self.inputs}
        model = self.checkpoint.model
        module = tracing.flat(model, lambda tensors: model(**tensors, return_dict=True), self.inputs, self.outputs)
        with traceable(model):
            tracing.trace(module, example, self.outputs, self._dynamic_axes(), path)

    @cached_property
    def _rows(self) -> list[dict[str, np.ndarray]]:
        return [self.row(number, self.sizes.base) for number in range(_ROWS)]

    def _images(self, number: int, size: Size) -> np.ndarray:
        count = self.frames
        return image_cases.synthetic_video(number, count, size) if count else image_cases.synthetic_image(number, size)

    def _prepared(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return self.feeds(image_cases.pixels(images, self.checkpoint.preprocessor)[None])

    def _faint(self, level: int) -> dict[str, np.ndarray]:
        """Make feeds of an image that is nearly of one grey: fog, or a dark room.

        Not exactly of one, as a norm over a map that is equal everywhere magnifies its rounding errors, in the original
        as in the graph.
        """
        images = self._images(30, self.sizes.base).astype(np.float64)
        faint = np.clip(level + (images - images.mean()) / 4, 0, 255).astype(np.uint8)
        return self._prepared(faint)

    def _padded(self) -> list[dict[str, np.ndarray]]:
        """Make batches in which an image is smaller than the others."""
        sizes = (self.sizes.base, *self.sizes.others[:1])
        return [
            self._with_padding(stacked([self.row(50, size), self.row(51, size), self.row(52, size)]), size)
            for size in sizes
        ]

    def _with_padding(self, feeds: Mapping[str, np.ndarray], size: Size) -> dict[str, np.ndarray]:
        """Turn the lower half of the first image and the right half of the last into padding."""
        pixel_values, mask = feeds["pixel_values"].copy(), feeds["pixel_mask"].copy()
        height, width = size
        mask[0, height // 2 :] = 0
        mask[-1, :, width // 2 :] = 0
        pixel_values *= mask[:, None]
        return {**feeds, "pixel_values": pixel_values, "pixel_mask": mask}

    def _user_cases(self) -> list[Case]:
        folder = self.checkpoint.calibration
        if folder is None:
            return []
        if self.frames:
            raise ExportError("calibration= is a folder of images, and this model takes videos; leave it out")
        prepared = image_cases.user_images(folder, self.checkpoint)
        return [Case(self.feeds(feeds["pixel_values"]), calibrates=True) for feeds in prepared]

    def _dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Name the free axes: the batch; height and width of the input and, under other names, of output maps."""
        axes: dict[str, dict[int, str]] = {name: {0: "batch_size"} for name in (*self.inputs, *self.outputs)}
        if not self.sizes.others:
            return axes
        axes["pixel_values"] |= {2: "height", 3: "width"}
        if "pixel_mask" in self.inputs:
            axes["pixel_mask"] |= {1: "height", 2: "width"}
        first, second = (self.reference(self.row(0, size)) for size in (self.sizes.base, self.sizes.others[0]))
        for name in self.outputs:
            shapes = zip(first[name].shape, second[name].shape, strict=True)
            changed = [axis for axis, (a, b) in enumerate(shapes) if a != b]
            names = ("output_height", "output_width") if len(changed) == 2 else ("sequence_length",) * len(changed)
            axes[name] |= dict(zip(changed, names, strict=True))
        return axes


def describe(checkpoint: Checkpoint) -> list[VisionExport]:
    """Describe the one graph of `checkpoint`.

    Raises:
        ExportError: the original does not take images of the size that its own files name, or returns no output that
            the task needs.
    """
    video = checkpoint.task.name == "video-classification"
    frames = int(getattr(checkpoint.config, "num_frames", 0) or 0) if video else 0
    size = base_size(checkpoint)
    probe = VisionExport(checkpoint, ("pixel_values",), (), Sizes(size), frames)
    try:
        answer = run_original(checkpoint, probe.row(0, size))
    except Exception as error:  # a model's forward can raise anything
        raise ExportError(
            f"the original model fails on an image of {size[0]} x {size[1]}, the size that its files name: {error}"
        ) from error
    outputs = tuple(name for name in checkpoint.task.outputs if name in answer)
    if not outputs:
        raise ExportError(
            f"{type(checkpoint.model).__name__} returns {', '.join(answer)}, and {checkpoint.task.name} needs one of "
            f"{', '.join(checkpoint.task.outputs)}"
        )
    reads_mask = not video and _reads_mask(probe, outputs, size)
    inputs = ("pixel_values", "pixel_mask") if reads_mask else ("pixel_values",)
    sizes = Sizes(size) if video else find_sizes(size, lambda other: run_original(checkpoint, probe.row(0, other)))
    return [replace(probe, inputs=inputs, outputs=outputs, sizes=sizes)]


def run_original(checkpoint: Checkpoint, feeds: Feeds) -> dict[str, Any]:
    """Run the original: every tensor that it returns for `feeds`, by name, float32."""
    import torch

    from onnxpipe_export.graphs.vision.windows import forgetful

    with torch.inference_mode(), tracing.quiet(), forgetful(checkpoint.model):
        answer = checkpoint.model(**{name: torch.from_numpy(array) for name, array in feeds.items()}, return_dict=True)
    return {name: value.float().numpy() for name, value in answer.items() if isinstance(value, torch.Tensor)}


def difference(one: Feeds, other: Feeds) -> float:
    """Compute the largest absolute difference of two answers."""
    placed = same_order(one, other)
    return max(float(np.abs(one[name] - placed[name]).max(initial=0.0)) for name in one)


def _reads_mask(probe: VisionExport, outputs: tuple[str, ...], size: Size) -> bool:
    """Tell whether the model's answer changes with pixel_mask; some take it and never use it."""
    if "pixel_mask" not in inspect.signature(probe.checkpoint.model.forward).parameters:
        return False
    whole = replace(probe, inputs=("pixel_values", "pixel_mask")).row(0, size)
    part = whole["pixel_mask"].copy()
    part[:, :, size[1] // 2 :] = 0  # enough to show where the mask shrinks to two columns
    first, second = (
        run_original(probe.checkpoint, whole | {"pixel_mask": mask}) for mask in (whole["pixel_mask"], part)
    )
    return any(
        first[name].shape != second[name].shape or not np.allclose(first[name], second[name]) for name in outputs
    )
