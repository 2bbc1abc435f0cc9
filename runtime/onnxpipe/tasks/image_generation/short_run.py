"""Short runs of an image generator that can be repeated: by diffusers for the export, and to verify anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from onnxpipe.bundle import HubOptions
from onnxpipe.diffusion import schedulers
from onnxpipe.engine.batching import Array
from onnxpipe.errors import BundleError
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.processing.images.generated import to_pil
from onnxpipe.tasks.image_generation.families import Mode
from onnxpipe.tasks.image_generation.loading import load_parts
from onnxpipe.tasks.image_generation.pipelines import class_for

#: Arrays that a call takes as images.
_IMAGES = ("image", "mask_image")
#: The options of a run, and the largest that a number may be: a run is short, whatever a file says.
_OPTIONS: Mapping[str, float | None] = {
    "prompt": None,
    "negative_prompt": None,
    "num_inference_steps": 8,
    "num_images_per_prompt": 4,
    "height": 256,
    "width": 256,
    "strength": 1,
    "guidance_scale": 100,
}


@dataclass(frozen=True)
class ShortRun:
    """A run.

    Attributes:
        mode: what it starts from.
        options: the arguments of the call that JSON holds: the prompt, steps, sizes, scales.
        arrays: those that it does not: "latents", and "image" and "mask_image" as (1, height, width, 3) in [0, 1].
        seed: of the noise that is drawn besides.
        scheduler: the class of the scheduler; None for the folder's own.
        config: fields of that scheduler which differ from the folder's.
    """

    mode: Mode
    options: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    seed: int = 0
    scheduler: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Describe the run in JSON, all but its arrays."""
        return {"mode": self.mode, "seed": self.seed, "options": dict(self.options)}

    @classmethod
    def of(cls, described: Any, arrays: Mapping[str, Array]) -> ShortRun:
        """Read a run with the folder's own scheduler, as `described` wrote it.

        Raises:
            BundleError: it is not one.
        """
        if not isinstance(described, Mapping) or described.get("mode") not in get_args(Mode):
            raise BundleError("certificate.json describes no run of the pipeline")
        options, seed = described.get("options"), described.get("seed")
        if not isinstance(options, Mapping) or not isinstance(seed, int):
            raise BundleError("certificate.json describes a run of the pipeline without options or a seed")
        for name, value in options.items():
            largest = _OPTIONS.get(name)
            fits = isinstance(value, str) if largest is None else isinstance(value, (int, float)) and value <= largest
            if name not in _OPTIONS or not fits:
                raise BundleError(f"certificate.json describes a run of the pipeline with {name}={value!r:.40}")
        return cls(described["mode"], options, arrays, seed)

    def arguments(self) -> dict[str, Any]:
        """Make the arguments of the call but for the noise; images are PIL images."""
        arrays = {name: to_pil(array)[0] if name in _IMAGES else array for name, array in self.arrays.items()}
        return {**self.options, **arrays, "output_type": "np"}


def repeat(model: DiffusionModel, run: ShortRun) -> Array:
    """Run with the graphs of a model, without a safety checker; returns float32 (images, height, width, 3) in [0, 1].

    Raises:
        UnsupportedError: the model does not do such a run.
    """
    parts = load_parts(model, {"safety_checker": None}, HubOptions())
    if run.scheduler is not None:
        kind = getattr(schedulers, run.scheduler)
        parts["scheduler"] = kind.from_config(parts["scheduler"].config, **run.config)
    pipe = class_for(model, run.mode)(model=model, **parts)
    pipe.set_progress_bar_config(disable=True)
    return np.asarray(pipe.generate({**run.arguments(), "seed": run.seed}).images)
