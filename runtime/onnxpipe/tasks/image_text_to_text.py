"""image-text-to-text: answer texts and chats that have images or videos, with a vision-language model (as transformers
5.23)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NotRequired, TypedDict, Unpack

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForImageTextToText
from onnxpipe.models.vision_language.family import EncodedImages, join_encoded, split_encoded
from onnxpipe.models.vision_language.model import VisionLanguageModel
from onnxpipe.tasks.base.call_types import GenerationCallOptions
from onnxpipe.tasks.base.chats import Chat, is_chat, is_chats
from onnxpipe.tasks.base.columns import text_columns
from onnxpipe.tasks.base.datasets import is_dataset
from onnxpipe.tasks.base.generation import GenerationOptions, GenerationPipeline, Kwargs
from onnxpipe.tasks.base.image_chats import (
    answered,
    content_parts,
    each_of,
    named_media,
    takes_texts,
    with_fetched_videos,
    with_loaded_images,
)
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import InputPart, TaskSpec
from onnxpipe.tasks.base.streaming import text_after
from onnxpipe.tasks.text_generation import ReturnType, return_type_of


@dataclass(frozen=True)
class ImageTextToTextOptions(GenerationOptions):
    """Options of image-text-to-text; every other keyword is `generate()`'s.

    Attributes:
        generate_kwargs: keywords of `generate()` as a dict, as in transformers; they may also be passed as they are.
        timeout: seconds that fetching an image or a video from the web may take; None for the loader's own limit.
        return_full_text: True returns prompt and continuation (the default), False the continuation alone.
        return_tensors: if passed at all, the answer is `generated_token_ids`: int64 (tokens,), the prompt's included.
        return_type: a `ReturnType`, instead of the two above.
        clean_up_tokenization_spaces: remove spaces before punctuation; None leaves it to the tokenizer.
        stop_sequence: a text or several after which generation stops; it stays in the answer.
        continue_final_message: continue a chat's last message; by default if that is the assistant's.
        skip_special_tokens: leave special tokens out of the text; None: unless the model writes places as such.
        processor_kwargs: keywords of the processor's call, such as settings of the image processor.
        num_frames: how many frames of a video the model sees; None: as the model's files say.
        fps: how many frames a second of a video it sees, instead of `num_frames`.
        tools: passed to the chat template.
    """

    generate_kwargs: Mapping[str, Any] | None = None
    timeout: float | None = number_option(None, least=0)
    return_full_text: bool | None = None
    return_tensors: bool | None = None
    return_type: ReturnType = ReturnType.FULL_TEXT
    clean_up_tokenization_spaces: bool | None = None
    stop_sequence: str | list[str] | None = None
    continue_final_message: bool | None = None
    skip_special_tokens: bool | None = None
    processor_kwargs: Mapping[str, Any] | None = None
    num_frames: int | None = number_option(None, least=1)
    fps: float | None = number_option(None, least=0)
    tools: Sequence[Any] | None = None

    @property
    def of_processor(self) -> dict[str, Any]:
        """The keywords of the processor's call."""
        frames = {"num_frames": self.num_frames, "fps": self.fps}
        chosen = {name: value for name, value in frames.items() if value is not None}
        return {**(self.processor_kwargs or {}), **chosen}


class ImageTextToTextCallOptions(GenerationCallOptions, total=False):
    """The options of a call: see `ImageTextToTextOptions`."""

    generate_kwargs: Mapping[str, Any] | None
    timeout: float | None
    return_full_text: bool | None
    return_tensors: bool | None
    return_type: ReturnType | None
    clean_up_tokenization_spaces: bool | None
    stop_sequence: str | list[str] | None
    continue_final_message: bool | None
    skip_special_tokens: bool | None
    processor_kwargs: Mapping[str, Any] | None
    num_frames: int | None
    fps: float | None
    tools: Sequence[Any] | None


class GeneratedFromImages(TypedDict):
    """A text or chat with its answer; with `return_tensors` it has `generated_token_ids` instead."""

    input_text: Any
    generated_text: NotRequired[Any]
    generated_token_ids: NotRequired[Array]


@dataclass
class _Prompts:
    """The prompts of one input, which its processor prepared together.

    Attributes:
        images: the model's inputs that come from images and videos.
        rows: the ids of each prompt.
        encoded: the images and videos of each prompt, once they are encoded.
    """

    images: Mapping[str, Array]
    rows: Sequence[Array]
    encoded: Sequence[EncodedImages] = field(default=())

    def of(self, number: int, model: VisionLanguageModel) -> EncodedImages:
        """Encode the images, at the first prompt of the input, and return those of one."""
        if not self.encoded:
            self.encoded = split_encoded(model.encode_images(self.images), self.rows, model.placeholders)
            self.images = {}
        return self.encoded[number]


@dataclass(frozen=True)
class _Prompt:
    """Hold what running and decoding need of a prompt.

    Attributes:
        text: the text or chat.
        length: its tokens.
        number: which prompt of its input it is.
        prompts: those of its input.
        question: the question that it was made of; its answer is the new text alone.
    """

    text: str | Chat
    length: int
    number: int
    prompts: _Prompts
    question: str | None = None


class ImageTextToTextPipeline(GenerationPipeline[ImageTextToTextOptions]):
    """Answer texts and chats with images and videos. Its options are the fields of `ImageTextToTextOptions`.

    Images are paths, URLs, base64, data URLs, PIL images or arrays. An answer is a list of `{"input_text",
    "generated_text"}`: of a chat (messages whose `content` is a list of parts, `{"type": "image", "image": …}` and
    `{"type": "text", "text": …}`) the chat with the assistant's message, of a text with the model's markers for images
    the text and its continuation. A dict `{"image", "question"}` (or `"images"`) is a question in the form that the
    model knows, a chat if it has a chat template; its answer is the new text alone. Videos (of models that take them)
    are `{"type": "video", "video": …}` in chats, and `"video"` or `"videos"` in dicts: paths, URLs, bytes or frames.

        chat = [{"role": "user", "content": [{"type": "image", "path": "photo.jpg"},
                                             {"type": "text", "text": "What is this?"}]}]
        pipe(text=chat)[0]["generated_text"][-1]["content"]
        pipe(images="photo.jpg", text="<image> What is this?", return_full_text=False)
        pipe("photo.jpg", question="What is this?")[0]["generated_text"]
        pipe(videos="clip.mp4", question="What happens?", num_frames=8)[0]["generated_text"]
        for piece in pipe.stream(text=chat): print(piece, end="", flush=True)

    An image that was shown lately is not encoded again, in whichever call or turn of a chat.
    """

    Options = ImageTextToTextOptions
    token_return_types: ClassVar[Sequence[Any]] = (ReturnType.TENSORS,)
    _load_processor: ClassVar[bool | None] = True
    _load_tokenizer: ClassVar[bool | None] = False
    _load_image_processor: ClassVar[bool | None] = False
    _load_video_processor: ClassVar[bool | None] = False
    input_modalities = "multimodal"
    #: Images are large: a stream reads few ahead.
    window: ClassVar[int] = 8

    def prepare(self) -> None:
        super().prepare()
        if self.processor is None or not hasattr(self.processor, "apply_chat_template"):
            raise UnsupportedError(
                f"{type(self).__name__} needs a processor of images and text, and {self.model.name_or_path} has "
                f"{'none' if self.processor is None else type(self.processor).__name__}: pass processor="
            )
        # a decoder continues where a row ends; an encoder counts places from where it begins
        self.tokenizer.padding_side = "right" if self.model.is_encoder_decoder else "left"

    def parse(self, kwargs: Mapping[str, Any], base: ImageTextToTextOptions | None) -> ImageTextToTextOptions:
        passed = dict(kwargs)
        for name, value in (passed.pop("generate_kwargs", None) or {}).items():
            if passed.get(name) is not None:
                raise ValueError(
                    f"'{name}' is defined twice, once in 'generate_kwargs' and once as a direct parameter, please use "
                    "only one"
                )
            passed[name] = value
        options = super().parse(passed, base)
        kind = return_type_of(passed) or options.return_type
        return replace(options, return_type=kind, return_full_text=None, return_tensors=None)

    def generate_kwargs(self, options: ImageTextToTextOptions) -> Kwargs:
        kwargs = super().generate_kwargs(options)
        if options.stop_sequence is not None:
            texts = options.stop_sequence
            kwargs |= {"stop_strings": [texts] if isinstance(texts, str) else texts, "tokenizer": self.tokenizer}
        return kwargs

    # -- the call ---------------------------------------------------------------------------------------------------
    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        *args: Any,
        question: str | None = None,
        videos: Any = None,
        **options: Unpack[ImageTextToTextCallOptions],
    ) -> Any:
        """Answer a text with images, a chat, several of them, or a stream.

        Args:
            images: an image, a list of them, or a list with a list for each text; or, alone, what `text` may be, or
                dicts {"images", "text"} as a generator or dataset.
            text: a text with a marker for each image, or a list of texts; a chat; a list of chats.
            question: a question about the images and videos, instead of a text: `{"images": …, "question": …}`.
            videos: a video, or a list of them in the order of their markers.
            *args, **options: see `Pipeline.__call__` and `ImageTextToTextOptions`.

        Raises:
            ValueError: nothing was given, images without a text, images beside a chat, a question beside a text.
            ImageError: an image or a video that cannot be read, or more of them than markers, or fewer.
        """
        return super().__call__(self.first_argument(images, text, question, videos), *args, **options)

    def first_argument(self, images: Any, text: Any, question: str | None = None, videos: Any = None) -> Any:
        """Make one input, or a list or stream of inputs, of the three arguments.

        Raises:
            ValueError: nothing was given, images without a text, images beside a chat, a question beside a text.
        """
        if question is not None:
            if text is not None or not isinstance(question, str):
                raise ValueError("pass question= as a str, and no text= beside it")
            return {"images": images, "videos": videos, "question": question}
        if videos is not None:
            if text is None or is_chats(text):
                raise ValueError(
                    "pass text= (no chat) or question= beside videos=; those of a chat are in its messages, {'type': "
                    "'video', 'video': …}"
                )
            return {"images": images, "videos": videos, "text": text}
        if images is None and text is None:
            raise ValueError("You must at least provide either text or images.")
        if is_chats(text) and images is not None:
            raise ValueError(
                "Invalid input: you passed `chat` and `images` as separate input arguments. Images must be placed "
                "inside the chat message's `content`. For example, 'content': [{'type': 'image', 'url': 'image_url'}, "
                "{'type': 'text', 'text': 'Describe the image.'}]"
            )
        alone: Any = images if text is None else text if images is None else None
        if is_chats(alone):
            chat = [alone[i] for i in range(len(alone))]
            return Chat(chat) if isinstance(chat[0], Mapping) else [Chat(each) for each in chat]
        if images is None:
            return text
        if text is not None:
            return {"images": images, "text": text}
        if isinstance(images, Mapping) or hasattr(images, "__next__") or is_dataset(images):
            return images
        raise ValueError("You must provide text for this pipeline.")

    def stream(  # type: ignore[override]  # as in a call
        self, images: Any = None, text: Any = None, *, question: str | None = None, videos: Any = None, **options: Any
    ) -> Iterator[str]:
        """Stream the answer to one text or chat in pieces; arguments as in a call, see `GenerationPipeline.stream`."""
        return super().stream(self.first_argument(images, text, question, videos), **options)

    def one_input(self, inputs: Any) -> Any:
        named = inputs.get("text", inputs.get("question")) if isinstance(inputs, Mapping) else ""
        several = not isinstance(named, str)
        if several or not isinstance(inputs, (str, Chat, Mapping)):
            raise ValueError("stream() answers one text or chat at a time")
        return inputs

    def encode(self, value: Any, options: ImageTextToTextOptions) -> Iterator[Row]:
        chat = Chat(value) if is_chat(value) else value
        question: str | None = None
        if isinstance(chat, Mapping) and isinstance(chat.get("question"), str):
            question = chat["question"]
            chat = self._asked(chat, question)
        texts: Sequence[str | Chat]
        if isinstance(chat, Chat):
            chat.check()
            texts, features = [chat], self._chat_features(chat, options)
        else:
            media = chat if isinstance(chat, Mapping) else {}
            given = media.get("text") if isinstance(chat, Mapping) else chat
            plain: list[str] = [given] if isinstance(given, str) else list(given or ())
            if not plain or not all(isinstance(text, str) for text in plain):
                raise TypeError(
                    "an input of image-text-to-text is a chat (a list of dicts with 'role' and 'content'), a text, or "
                    f"a dict of images= and text=, got {type(value).__name__} with the text {given!r:.80}"
                )
            texts, features = plain, self._features(media, plain, options)
        yield from self._rows(texts, features, question, options)

    def _asked(self, value: Mapping[str, Any], question: str) -> Chat | Mapping[str, Any]:
        """Put a question about images in the form that the model knows; an empty one is refused."""
        if not question.strip():
            raise UnsupportedError("the question is empty: ask something about the image")
        media = {name: named_media(value, name) for name in ("image", "video")}
        if self.processor.chat_template is None:
            return {f"{name}s": found for name, found in media.items()} | {"text": question}
        parts = [{"type": name, name: each} for name, found in media.items() for each in each_of(name, found)]
        return Chat([{"role": "user", "content": [*parts, {"type": "text", "text": question}]}])

    def _rows(
        self,
        texts: Sequence[str | Chat],
        features: Mapping[str, Any],
        question: str | None,
        options: ImageTextToTextOptions,
    ) -> Iterator[Row]:
        ids, masks = features["input_ids"], features["attention_mask"]
        rows = [np.asarray(row)[np.asarray(mask, bool)] for row, mask in zip(ids, masks, strict=True)]
        images = {name: features[name] for name in self.model.family.inputs if name in features}
        prompts = _Prompts(images, rows)
        for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
            length = 0 if self.model.is_encoder_decoder else len(row)  # of the prompt in what is generated
            yield self.row(row, None, _Prompt(text, length, number, prompts, question), options)

    def _features(
        self, media: Mapping[str, Any], texts: list[str], options: ImageTextToTextOptions
    ) -> Mapping[str, Any]:
        """Make the model's inputs for texts with images and videos."""
        kwargs, videos = options.of_processor, named_media(media, "video")
        if len(texts) > 1:
            kwargs.setdefault("padding", True)
        loaded = with_loaded_images(named_media(media, "image"), options.timeout)
        if videos is not None:
            kwargs = {**self.processor.video_options(kwargs), "videos": with_fetched_videos(videos, options.timeout)}
        features: Mapping[str, Any] = self.processor(images=loaded, text=texts, return_tensors="np", **kwargs)
        return features

    def _chat_features(self, chat: Chat, options: ImageTextToTextOptions) -> Mapping[str, Any]:
        """Make the model's inputs for a chat."""
        continues, texts = self._continues(chat, options), takes_texts(self.processor.chat_template)
        features: Mapping[str, Any] = self.processor.apply_chat_template(
            [content_parts(message, options.timeout, texts=texts) for message in chat.messages],
            tools=options.tools,
            add_generation_prompt=not continues,
            continue_final_message=continues,
            tokenize=True,
            return_dict=True,
            return_tensors="np",
            processor_kwargs=options.of_processor,
        )
        return features

    def _continues(self, chat: Chat, options: ImageTextToTextOptions) -> bool:
        continues = options.continue_final_message
        return not chat.unanswered if continues is None else continues

    def model_inputs(self, rows: Sequence[Row]) -> Kwargs:
        return {"encoded_images": join_encoded([row.extra.prompts.of(row.extra.number, self.model) for row in rows])}

    # -- the answer -------------------------------------------------------------------------------------------------
    def decode_kwargs(self, options: ImageTextToTextOptions) -> Kwargs:
        skips = options.skip_special_tokens
        return {
            "skip_special_tokens": getattr(self.processor, "skips_special_tokens", True) if skips is None else skips,
            "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces,
        }

    def continues_prompt(self, value: Any, options: ImageTextToTextOptions) -> bool:
        return True

    def decode(self, rows: Answered, options: ImageTextToTextOptions) -> list[dict[str, Any]]:
        return [record for row, outputs in rows for record in self._records(row.extra, outputs, options)]

    def _records(
        self, prompt: _Prompt, outputs: Mapping[str, Array], options: ImageTextToTextOptions
    ) -> Iterator[dict[str, Any]]:
        """Make a record for each sequence that was generated for a prompt."""
        named = list(prompt.text.messages) if isinstance(prompt.text, Chat) else prompt.text
        named = named if prompt.question is None else prompt.question
        for sequence in outputs["sequences"]:
            kept = sequence[sequence >= 0]
            if options.return_type is ReturnType.TENSORS:
                yield {"input_text": named, "generated_token_ids": kept}
                continue
            before, generated = kept[: prompt.length], kept[prompt.length :]
            text = text_after(self.tokenizer, before, generated, **self.decode_kwargs(options))
            yield {"input_text": named, "generated_text": self._whole(prompt, text, options)}

    def _whole(self, prompt: _Prompt, text: str, options: ImageTextToTextOptions) -> Any:
        """Put the prompt before the new text, unless that alone is wanted."""
        if options.return_type is ReturnType.NEW_TEXT or prompt.question is not None:
            return text
        if isinstance(prompt.text, str):
            return prompt.text + text
        return answered(prompt.text, text, continues=self._continues(prompt.text, options))


TASK = TaskSpec(
    name="image-text-to-text",
    pipeline=ImageTextToTextPipeline,
    auto_classes=(AutoModelForImageTextToText,),
    help="Answer texts and chats that have images or videos.",
    example='"photo.jpg", question="What is this?"',
    default_model=("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "2c9ba3b"),
    input="multimodal",
    parts=(InputPart("image"), InputPart("question", option="question")),
    takes_videos=True,
    columns=text_columns("generated_text"),
    text_key="generated_text",
    streams=True,
    chats=True,
)
