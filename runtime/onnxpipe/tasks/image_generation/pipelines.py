"""The image generators with diffusers' names.

from onnxpipe import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("folder-or-hub-id")
pipe("an astronaut riding a horse", num_inference_steps=25, seed=42).images[0].save("astronaut.png")
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from onnxpipe.errors import UnsupportedError
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.tasks.image_generation.base import ImageGenerator
from onnxpipe.tasks.image_generation.families import (
    LATENT_CONSISTENCY,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_3,
    STABLE_DIFFUSION_XL,
    DiffusionFamily,
    Mode,
)
from onnxpipe.tasks.image_generation.loading import LoadOptions, load_diffusion_model, load_parts

logger = logging.getLogger("onnxpipe")


class DiffusionPipeline(ImageGenerator):
    """The base of the image generators. `from_pretrained` loads the one that a folder was saved from.

    Call a pipeline with the arguments of `ImageRequest` that its family takes; it returns an object with `images`, and
    for families with a safety checker `nsfw_content_detected`.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **keywords: Any) -> Any:
        """Load a pipeline from a folder or the Hub. A model without graphs is exported first, where PyTorch is.

        Args:
            pretrained_model_name_or_path: folder or Hub id.
            **keywords: `dtype` (or `torch_dtype`), the precision of the graph that denoises, or one for each graph;
                `device`, `providers`, `provider_options`, `threads`, `run_timeout` as in `pipeline()`;
                `low_memory=True` to open graphs when they run and close them after; `scheduler`, `vae`,
                `safety_checker`, `text_encoder` and the like instead of the folder's (`safety_checker=None`: none); the
                Hub's `revision`, `token`, `cache_dir`, `local_files_only`. `use_safetensors` and `variant` choose among
                files of PyTorch, so they make no difference here.

        Raises:
            ModelNotFoundError, NotExportedError, BundleError, PrecisionError, DeviceError.
            UnsupportedError: the folder is of a family that is not offered, or not of this class's.
        """
        options = LoadOptions.of(cls.__name__, keywords)
        model = load_diffusion_model(pretrained_model_name_or_path, options, cls._task())
        chosen = cls._class_for(model)
        parts = load_parts(model, options.parts, options.hub)
        if options.parts.get("safety_checker", ...) is None and "safety_checker" in model.graphs.names:
            logger.warning(
                "You have disabled the safety checker of %s: what it generates may not be fit to be shown.",
                model.name_or_path,
            )
        return chosen(model=model, **parts)

    @classmethod
    def from_pipe(cls, pipeline: ImageGenerator, **parts: Any) -> Any:
        """Make a pipeline of another mode from the parts of one, which share the graphs.

        Args:
            pipeline: the other pipeline.
            **parts: parts to take instead of its own: `scheduler`, `safety_checker`.
        """
        chosen = cls._class_for(pipeline.model)
        return chosen(**{**pipeline.components, **parts})

    @classmethod
    def _task(cls) -> str:
        return getattr(cls, "mode", "text-to-image")

    @classmethod
    def _class_for(cls, model: DiffusionModel) -> type[ImageGenerator]:
        """Choose the class for a model: that of its folder, or this one if it is of the same family."""
        found = class_of(model)
        if not hasattr(cls, "family"):
            return found
        if _KIN[cls.family] != _KIN[found.family]:
            raise UnsupportedError(
                f"{model.name_or_path} is a {found.__name__}, not a {cls.__name__}: load it with {found.__name__} or "
                "DiffusionPipeline"
            )
        return cls


class _FromText(DiffusionPipeline):
    mode: ClassVar[Mode] = "text-to-image"

    def __call__(self, prompt: str | list[str] | None = None, **arguments: Any) -> Any:
        """Make images of prompts.

        Args:
            prompt: a text, or several.
            **arguments: see `ImageRequest`.

        Raises:
            UnknownArgumentError: one that this pipeline does not take.
            UnsupportedError, TypeError: a value that does not fit.
        """
        return self.generate({"prompt": prompt, **arguments})


class _FromImage(DiffusionPipeline):
    mode: ClassVar[Mode] = "image-to-image"

    def __call__(self, prompt: str | list[str] | None = None, image: Any = None, **arguments: Any) -> Any:
        """Make images of prompts from images.

        Args:
            prompt: a text, or several.
            image: the image to start from, or several: paths, URLs, PIL images, arrays, latents.
            **arguments: see `ImageRequest`.

        Raises:
            UnknownArgumentError: one that this pipeline does not take.
            UnsupportedError, TypeError, ImageError: a value that does not fit.
        """
        return self.generate({"prompt": prompt, "image": image, **arguments})


class _Inpainting(DiffusionPipeline):
    mode: ClassVar[Mode] = "inpainting"

    def __call__(
        self, prompt: str | list[str] | None = None, image: Any = None, mask_image: Any = None, **arguments: Any
    ) -> Any:
        """Paint into images what prompts say.

        Args:
            prompt: a text, or several.
            image: the image to paint into, or several.
            mask_image: white where it is painted over; one, or one for each image.
            **arguments: see `ImageRequest`.

        Raises:
            UnknownArgumentError: one that this pipeline does not take.
            UnsupportedError, TypeError, ImageError: a value that does not fit.
        """
        return self.generate({"prompt": prompt, "image": image, "mask_image": mask_image, **arguments})


class StableDiffusionPipeline(_FromText):
    """Stable Diffusion 1 and 2: images of prompts."""

    family = STABLE_DIFFUSION


class StableDiffusionImg2ImgPipeline(_FromImage):
    """Stable Diffusion 1 and 2: images from images."""

    family = STABLE_DIFFUSION


class StableDiffusionInpaintPipeline(_Inpainting):
    """Stable Diffusion 1 and 2: painting into images, with a UNet of 4 or of 9 channels."""

    family = STABLE_DIFFUSION


class StableDiffusionXLPipeline(_FromText):
    """SDXL: images of prompts."""

    family = STABLE_DIFFUSION_XL


class StableDiffusionXLImg2ImgPipeline(_FromImage):
    """SDXL: images from images, and its refiner."""

    family = STABLE_DIFFUSION_XL


class StableDiffusionXLInpaintPipeline(_Inpainting):
    """SDXL: painting into images."""

    family = STABLE_DIFFUSION_XL


class StableDiffusion3Pipeline(_FromText):
    """Stable Diffusion 3 and 3.5: images of prompts."""

    family = STABLE_DIFFUSION_3


class StableDiffusion3Img2ImgPipeline(_FromImage):
    """Stable Diffusion 3 and 3.5: images from images."""

    family = STABLE_DIFFUSION_3


class StableDiffusion3InpaintPipeline(_Inpainting):
    """Stable Diffusion 3 and 3.5: painting into images."""

    family = STABLE_DIFFUSION_3


class LatentConsistencyModelPipeline(_FromText):
    """Latent consistency models: images of prompts in a few steps."""

    family = LATENT_CONSISTENCY


class LatentConsistencyModelImg2ImgPipeline(_FromImage):
    """Latent consistency models: images from images in a few steps."""

    family = LATENT_CONSISTENCY


#: The pipelines by name.
PIPELINES: Mapping[str, type[DiffusionPipeline]] = {
    each.__name__: each
    for each in (
        StableDiffusionPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,
        StableDiffusionXLPipeline, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline,
        StableDiffusion3Pipeline, StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline,
        LatentConsistencyModelPipeline, LatentConsistencyModelImg2ImgPipeline,
    )
}  # fmt: skip
#: Families whose folders have the same components.
_KIN: Mapping[DiffusionFamily, str] = {
    STABLE_DIFFUSION: "1", LATENT_CONSISTENCY: "1", STABLE_DIFFUSION_XL: "xl", STABLE_DIFFUSION_3: "3"
}  # fmt: skip


def class_of(model: DiffusionModel) -> type[DiffusionPipeline]:
    """Find the class that a model's folder was saved from.

    Raises:
        UnsupportedError: it is not offered.
    """
    name = model.pipeline_class
    if name not in PIPELINES:
        raise UnsupportedError(
            f"{model.name_or_path} is a {name or 'folder that names no class'}, which is not offered here; there are "
            f"{', '.join(sorted(PIPELINES))}. Flux and PixArt cannot be exported yet"
        )
    return PIPELINES[name]


def class_for(model: DiffusionModel, mode: Mode) -> type[DiffusionPipeline]:
    """Find the class of a model's family that does something else with it.

    Raises:
        UnsupportedError: the family does not do that, or the model's UNet is for something else.
    """
    family = class_of(model).family
    found = next((each for each in PIPELINES.values() if (each.family, each.mode) == (family, mode)), None)
    if found is None:
        raise UnsupportedError(f"{model.name_or_path} ({family.title}) is not for {mode}")
    if mode != "inpainting" and model.denoiser.in_channels != model.vae.channels:
        raise UnsupportedError(
            f"{model.name_or_path} has a UNet of {model.denoiser.in_channels} channels, which is for inpainting only"
        )
    return found


class _AutoPipeline(DiffusionPipeline):
    """Loads the pipeline of a folder's family for one mode."""

    @classmethod
    def _class_for(cls, model: DiffusionModel) -> type[ImageGenerator]:
        return class_for(model, cls.mode)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse: the class of the family is built instead."""
        raise UnsupportedError(f"{cls.__name__} is not built itself: use {cls.__name__}.from_pretrained()")


class AutoPipelineForText2Image(_AutoPipeline):
    """Loads the pipeline that makes images of prompts, of whatever family a folder is."""

    mode = "text-to-image"


class AutoPipelineForImage2Image(_AutoPipeline):
    """Loads the pipeline that makes images from images, of whatever family a folder is."""

    mode = "image-to-image"


class AutoPipelineForInpainting(_AutoPipeline):
    """Loads the pipeline that paints into images, of whatever family a folder is."""

    mode = "inpainting"
