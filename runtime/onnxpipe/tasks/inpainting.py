"""inpainting: paint into images what prompts say, as diffusers does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, overload

from onnxpipe.engine.batching import Row
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForInpainting
from onnxpipe.tasks.base.call_types import Stream
from onnxpipe.tasks.base.columns import no_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.image_generation.families import Mode
from onnxpipe.tasks.text_to_image import TextToImageCallOptions, TextToImageOptions, TextToImagePipeline

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class InpaintingOptions(TextToImageOptions):
    """Options of inpainting.

    Attributes:
        strength: how much is made anew where the mask is white: 1 forgets what was there.
    """

    strength: float | None = number_option(None, least=0, most=1)


class InpaintingCallOptions(TextToImageCallOptions, total=False):
    """The options of a call: see `InpaintingOptions`."""

    strength: float | None


class InpaintingPipeline(TextToImagePipeline):
    """Paint into images what prompts say: a PIL image of each input, or a list with `num_images_per_prompt`.

    An input is a dict of `prompt`, `image` and `mask_image`, which is white where the image is painted over; images are
    paths, URLs, bytes, PIL images or arrays. They are resized to the size of the result, which is the model's own if
    no other is asked for.

    Args:
        *args, low_memory, scheduler, vae, **options: as in `TextToImagePipeline`.
    """

    Options = InpaintingOptions
    mode: ClassVar[Mode] = "inpainting"

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[InpaintingCallOptions]
        ) -> list[Image | list[Image]]: ...
        @overload
        def __call__(
            self, inputs: str | Mapping[str, Any], **options: Unpack[InpaintingCallOptions]
        ) -> Image | list[Image]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[InpaintingCallOptions]
        ) -> PipelineIterator[Image | list[Image]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def encode(self, value: Any, options: TextToImageOptions) -> Iterable[Row]:
        given = value if isinstance(value, Mapping) else {}
        missing = [name for name in ("prompt", "image", "mask_image") if name not in given]
        if missing:
            raise UnsupportedError(f"an input is a dict of prompt, image and mask_image; it lacks {', '.join(missing)}")
        return super().encode(value, options)


TASK = TaskSpec(
    name="inpainting",
    pipeline=InpaintingPipeline,
    auto_classes=(AutoModelForInpainting,),
    help="Paint into images what prompts say.",
    example='{"prompt": "a red door", "image": "house.png", "mask_image": "door.png"}',
    default_model=("stable-diffusion-v1-5/stable-diffusion-inpainting", "8a4288a"),
    columns=no_columns(),
    output="image",
    draws=True,
    image_options={"input_image": "image", "mask": "mask_image"},
)
