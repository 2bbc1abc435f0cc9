"""image-to-text: write about images: captions, and the text that they show (semantics of transformers 4.57)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Padding, Row
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForVision2Seq
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import ResultColumns, ranked_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.generate_kwargs import check_names, explained_length, generate_arguments, with_generate
from onnxpipe.tasks.base.generation import GenerationOptions, GenerationPipeline, Kwargs
from onnxpipe.tasks.base.image import check_image_processor, first_argument, known_feeds
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec

#: Pixels of a patch, of which most encoders make one state: the cost of an image's row is counted in them.
_PATCH = 16 * 16


@dataclass(frozen=True)
class ImageToTextOptions(GenerationOptions):
    """Options of image-to-text. Parameters of `generate()` go into `generate_kwargs`; loose ones raise.

    Attributes:
        max_new_tokens: the most tokens of a text; 256 unless the model says otherwise.
        generate_kwargs: the fields of a `GenerationConfig` and the arguments of `generate()`: `{"num_beams": 4}`.
        prompt: the beginning of the text, for models that continue one (BLIP, GIT); VisionEncoderDecoder models do not.
        timeout: seconds that fetching an image from the web may take; None for the loader's own limit.
    """

    max_new_tokens: int | None = number_option(None, least=1)
    generate_kwargs: Mapping[str, Any] | None = None
    prompt: str | None = None
    timeout: float | None = number_option(None, least=0)
    generate: Mapping[str, Any] = field(default_factory=dict, repr=False)  # not an option: loose parameters raise


class ImageToTextCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ImageToTextOptions`."""

    max_new_tokens: int | None
    generate_kwargs: Mapping[str, Any] | None
    prompt: str | None
    seed: int | None
    response_format: Mapping[str, Any] | None


class ImageText(TypedDict):
    """A text about an image."""

    generated_text: str


class ImageToTextPipeline(GenerationPipeline[ImageToTextOptions]):
    """Write about images: `[{"generated_text": str}]`, with `num_return_sequences` texts; a list gives a list of these.

    Its options are those of `ImageToTextOptions`.
    """

    Options = ImageToTextOptions
    _load_tokenizer: ClassVar[bool | None] = True
    _load_image_processor: ClassVar[bool | None] = True
    _load_video_processor: ClassVar[bool | None] = False
    input_modalities = "image"
    legacy: ClassVar[bool] = True
    rows_are_tokens = False
    #: Images are large: a stream reads few ahead.
    window = 16

    def prepare(self) -> None:
        super().prepare()
        check_image_processor(self)

    # -- options ------------------------------------------------------------------------------------------------------
    def parse(self, kwargs: Mapping[str, Any], base: ImageToTextOptions | None) -> ImageToTextOptions:
        """See `GenerationPipeline.parse`; what `generate_kwargs` holds goes to `generate()`.

        Raises:
            UnknownArgumentError: a keyword that is not an option of the task, parameters of `generate()` among them.
            ValueError: `max_new_tokens` twice, a prompt that is not a text, or one for a model that takes none.
        """
        check_names(type(self).__name__, self.Options, kwargs)
        if not isinstance(kwargs.get("prompt"), str | None):
            raise ValueError(
                f"Received an invalid text input, got - {type(kwargs['prompt'])} - but expected a single string. "
                "Note also that one single text can be provided for conditional image to text generation."
            )
        options = super().parse(kwargs, base)
        if options.prompt is not None and not self.model.takes_prompt:
            raise ValueError(f"Model type {self.model.config.model_type} does not support conditional text generation")
        passed = generate_arguments(kwargs)
        self._check_names(passed, set())
        return with_generate(options, passed)

    # -- the call -----------------------------------------------------------------------------------------------------
    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ImageToTextCallOptions]
        ) -> list[list[ImageText]]: ...
        @overload
        def __call__(self, inputs: ImageInput, **options: Unpack[ImageToTextCallOptions]) -> list[ImageText]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[ImageToTextCallOptions]
        ) -> PipelineIterator[list[ImageText]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    else:

        def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
            """See `Pipeline.__call__`."""
            return super().__call__(first_argument(self, ("images", "image"), inputs, kwargs), *args, **kwargs)

    def encode(self, value: Any, options: ImageToTextOptions) -> Iterable[Row]:
        from onnxpipe.processing.images.io.load import load_image

        image = load_image(value, options.timeout)
        processed = self.image_processor(image, return_tensors="np")
        inputs = self.model.image_inputs
        feeds = {name: array[0] for name, array in known_feeds(processed, inputs, self.model.name_or_path).items()}
        pixels = max(int(np.prod(array.shape[-2:])) for array in feeds.values())
        start, ids = 1, self.model.prompt_ids(self.tokenizer, options.prompt)
        if ids is not None:
            feeds["input_ids"], start = np.asarray(ids, np.int64), len(ids)
        resolved = self.resolved(options)
        copies = max(resolved.get("num_beams") or 1, resolved.get("num_return_sequences") or 1)
        return [Row(feeds, pixels // _PATCH + (start + self.new_tokens(resolved, start)) * copies)]

    def padding(self) -> Padding:
        """No padding: only images of one shape share a run."""
        return Padding(None)

    def _groups(self, rows: Sequence[Row], resolved: Mapping[str, Any]) -> list[list[int]]:
        """Run all rows at once: nothing is padded."""
        return [list(range(len(rows)))]

    def run(self, rows: Sequence[Row], options: ImageToTextOptions) -> list[Outputs]:
        with explained_length(self.model, self.new_tokens(self.resolved(options), 1)):
            return super().run(rows, options)

    def decode(self, rows: Answered, options: ImageToTextOptions) -> list[dict[str, Any]]:
        ((_, outputs),) = rows
        kwargs: Kwargs = self.decode_kwargs(options)
        return [{"generated_text": self.tokenizer.decode(tokens[tokens >= 0], **kwargs)}
                for tokens in outputs["sequences"]]  # fmt: skip

    def continues_prompt(self, value: Any, options: ImageToTextOptions) -> bool:
        return options.prompt is not None

    def one_input(self, inputs: Any) -> Any:
        """Check the single image of `stream`.

        Raises:
            ValueError: there are several.
        """
        if isinstance(inputs, list | tuple):
            raise UnsupportedError(f"stream() answers one image at a time, got {len(inputs)}")
        return inputs


def _columns(params: Mapping[str, Any], labels: int | None) -> ResultColumns:
    kwargs = params.get("generate_kwargs") or {}
    return ranked_columns(("generated_text",), int(kwargs.get("num_return_sequences") or 1))


TASK = TaskSpec(
    name="image-to-text",
    pipeline=ImageToTextPipeline,
    auto_classes=(AutoModelForVision2Seq,),
    help="Write about images: captions, and the text that they show.",
    example='"photo.jpg"',
    default_model=("ydshieh/vit-gpt2-coco-en", "5bebf1e"),
    input="image",
    columns=_columns,
    text_key="generated_text",
)
