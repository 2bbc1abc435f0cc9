"""any-to-any: answer texts and chats with whatever the model takes: images, videos (semantics of transformers 5.23)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForImageTextToText
from onnxpipe.tasks.base.chats import Chat, is_chat, is_chats
from onnxpipe.tasks.base.columns import text_columns
from onnxpipe.tasks.base.datasets import is_dataset
from onnxpipe.tasks.base.spec import InputPart, TaskSpec
from onnxpipe.tasks.image_text_to_text import (
    ImageTextToTextCallOptions,
    ImageTextToTextOptions,
    ImageTextToTextPipeline,
)

_MODES = ("text", "image", "audio")


@dataclass(frozen=True)
class AnyToAnyOptions(ImageTextToTextOptions):
    """Options of any-to-any: those of image-text-to-text, and one more.

    Attributes:
        generation_mode: what is generated: None or "text"; the models here give nothing else.
    """

    generation_mode: str | None = None


class AnyToAnyCallOptions(ImageTextToTextCallOptions, total=False):
    """The options of a call: see `AnyToAnyOptions`."""

    generation_mode: Literal["text"] | None


class AnyToAnyPipeline(ImageTextToTextPipeline):
    """Answer texts and chats with images and videos. Its options are the fields of `AnyToAnyOptions`.

    Inputs and answers are those of image-text-to-text, but the text comes first, and a list of dicts `{"text",
    "images"}` is a list of inputs.

        pipe("<image> What is this?", images="photo.jpg")
        pipe([{"text": "<image> What is this?", "images": "photo.jpg"}])
    """

    Options = AnyToAnyOptions

    def parse(self, kwargs: Mapping[str, Any], base: ImageTextToTextOptions | None) -> ImageTextToTextOptions:
        mode = kwargs.get("generation_mode")
        if mode is not None and mode not in _MODES:
            raise ValueError(
                f"`generation_mode` can be only one of the `text`, `audio`, `image` but got generation_mode[={mode}]"
            )
        if mode is not None and mode not in self.output_modalities:
            raise ValueError(
                f"`generation_mode={mode}` is not supported for {type(self.model).__name__}. The model can only output "
                f"the following modalities: {self.output_modalities}"
            )
        return super().parse(kwargs, base)

    def __call__(  # type: ignore[override]  # transformers' order of arguments
        self,
        text: Any = None,
        images: Any = None,
        videos: Any = None,
        audio: Any = None,
        *args: Any,
        question: str | None = None,
        **options: Unpack[AnyToAnyCallOptions],
    ) -> Any:
        """Answer a text with images, a chat, several of them, or a stream.

        Args:
            text: a text with a marker for each image and video, a list of texts, a chat, a list of chats, or dicts
                {"text", "images", "videos"}, also as a list, a generator or a dataset.
            images: an image, a list of them, or a list with a list for each text.
            videos: a video, or a list of them in the order of their markers.
            audio: refused: the models that run here take images and videos.
            question: as in image-text-to-text.
            *args, **options: see `Pipeline.__call__` and `AnyToAnyOptions`.

        Raises:
            ValueError: nothing was given, images without a text, or images beside a chat.
            TypeError: the first argument is no text.
            UnsupportedError: audio, or videos for a model that takes none.
            ImageError: an image or a video that cannot be read, or more of them than markers, or fewer.
        """
        value = self._argument(text, images, videos, audio, question)
        return super(ImageTextToTextPipeline, self).__call__(value, *args, **options)

    def stream(  # type: ignore[override]  # as in a call
        self, text: Any = None, images: Any = None, videos: Any = None, *, question: str | None = None, **options: Any
    ) -> Iterator[str]:
        """Stream the answer to one text or chat in pieces; arguments as in a call, see `GenerationPipeline.stream`."""
        value = self._argument(text, images, videos, None, question)
        return super(ImageTextToTextPipeline, self).stream(value, **options)

    def _argument(self, text: Any, images: Any, videos: Any, audio: Any, question: str | None) -> Any:
        """Make one input, or a list or stream of inputs, of the arguments of a call."""
        if audio is not None:
            raise UnsupportedError("audio=: the models of any-to-any that run here take texts, images and videos")
        if isinstance(text, (list, tuple)) and text and isinstance(text[0], Mapping) and not is_chat(text):
            return list(text)
        if text is None or isinstance(text, (str, Mapping, Chat)) or is_chats(text):
            return text if isinstance(text, Mapping) else self.first_argument(images, text, question, videos)
        if isinstance(text, (list, tuple)) and all(isinstance(each, str) for each in text):
            # one call of the processor: the answers are one flat list
            return {"text": list(text), "images": images, "videos": videos}
        if hasattr(text, "__next__") or is_dataset(text):
            return text
        raise TypeError(
            f"the first argument of any-to-any is a text or a chat, got {type(text).__name__}: pass images="
        )


TASK = TaskSpec(
    name="any-to-any",
    pipeline=AnyToAnyPipeline,
    auto_classes=(AutoModelForImageTextToText,),
    help="Answer texts and chats with whatever the model takes: images, videos.",
    example='images="photo.jpg", question="What is this?"',
    default_model=("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "2c9ba3b"),
    input="multimodal",
    parts=(InputPart("image"), InputPart("question", option="question")),
    takes_videos=True,
    columns=text_columns("generated_text"),
    text_key="generated_text",
    streams=True,
    chats=True,
)
