"""text-to-image: make images of prompts, as diffusers does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, overload

from onnxpipe.engine.batching import Padding, Row
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForTextToImage
from onnxpipe.tasks.base.call_types import Stream
from onnxpipe.tasks.base.columns import no_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.image_generation.families import Mode
from onnxpipe.tasks.image_generation.task import (
    ImageGenerationCallOptions,
    PromptedImages,
    SizedOptions,
    with_seed,
)

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class TextToImageOptions(SizedOptions):
    """Options of text-to-image."""


class TextToImageCallOptions(ImageGenerationCallOptions, total=False):
    """The options of a call: see `TextToImageOptions`."""

    height: int | None
    width: int | None


class TextToImagePipeline(Pipeline[TextToImageOptions]):
    """Make images of prompts: a PIL image of each, or a list of them with `num_images_per_prompt`.

    A prompt is a text, or a dict with it and with options of its own: `{"prompt": ..., "negative_prompt": ...}`.
    Images are made one prompt at a time, whatever `batch_size` is, so that none depends on its neighbours.
    `image.info["generation"]` holds the seed, the scheduler and the prompt. The pipelines with diffusers' names
    (`onnxpipe.StableDiffusionPipeline` and others) take more, and work on batches.

    Args:
        *args: as in `Pipeline`.
        low_memory: open each graph when it runs, and close it after.
        scheduler: a scheduler instead of the model's, e.g. `EulerDiscreteScheduler.from_pretrained(...)`.
        vae: the autoencoder of another pipeline, or a folder that has one, instead of the model's.
        **options: as in `Pipeline`.

    Attributes:
        generator: the pipeline with diffusers' name.
    """

    Options = TextToImageOptions
    _load_tokenizer = False
    output_modalities = ("image",)
    mode: ClassVar[Mode] = "text-to-image"
    #: An image takes seconds, so a stream does not read far ahead.
    window = 1

    def __init__(
        self, *args: Any, low_memory: bool = False, scheduler: Any = None, vae: Any = None, **options: Any
    ) -> None:
        self._low_memory = low_memory
        self._passed = {"scheduler": scheduler, "vae": vae}
        super().__init__(*args, **options)

    def prepare(self) -> None:
        self._images = PromptedImages(self.model, self.mode, self._low_memory, self._passed)
        self.generator = self._images.generator

    @property
    def scheduler(self) -> Any:
        """The scheduler; another one may take its place."""
        return self.generator.scheduler

    @scheduler.setter
    def scheduler(self, value: Any) -> None:
        self.generator.scheduler = value

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[TextToImageCallOptions]
        ) -> list[Image | list[Image]]: ...
        @overload
        def __call__(
            self, inputs: str | Mapping[str, Any], **options: Unpack[TextToImageCallOptions]
        ) -> Image | list[Image]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[TextToImageCallOptions]
        ) -> PipelineIterator[Image | list[Image]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def dispatch(
        self,
        inputs: Any,
        options: TextToImageOptions,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        return super().dispatch(inputs, with_seed(options), num_workers, batch_size, on_error)

    def encode(self, value: Any, options: TextToImageOptions) -> Iterable[Row]:
        value = {"prompt": value} if isinstance(value, str) else value
        if not isinstance(value, Mapping) or not isinstance(value.get("prompt"), str):
            raise UnsupportedError(f"an input is a prompt, or a dict that has one, not {value!r:.80}")
        return [self._images.row(value, options, self.parse)]

    def padding(self) -> Padding:
        """Any padding: every prompt is a batch of its own to the model."""
        return Padding(0)

    def run(self, rows: Sequence[Row], options: TextToImageOptions) -> list[Outputs]:
        return self._images.run(rows, options)

    def decode(self, rows: Answered, options: TextToImageOptions) -> Image | list[Image]:
        return self._images.answer(rows)


TASK = TaskSpec(
    name="text-to-image",
    pipeline=TextToImagePipeline,
    auto_classes=(AutoModelForTextToImage,),
    help="Make images of prompts.",
    example='"a lighthouse at dusk"',
    default_model=("stabilityai/sd-turbo", "b261bac"),
    columns=no_columns(),
    output="image",
    draws=True,
)
