"""Render conversations with images and videos, and make the arrays for the model of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.media_parts import media_name, source_of
from onnxpipe.processing.multimodal.placeholders import Expanded, groups_of
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.chat import messages as chat
from onnxpipe.processing.text.chat.control_tokens import ControlTokens, is_marked
from onnxpipe.processing.text.chat.rendering import ChatRequest
from onnxpipe.processing.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Processed:
    """What a processor makes of texts and images.

    Attributes:
        features: the arrays for the model.
        prompts: the texts, with tokens instead of markers.
        encoding: of the prompts; None without texts.
    """

    features: BatchFeature
    prompts: Sequence[Expanded] = field(default=())
    encoding: BatchEncoding | None = None


class _Host(Protocol):
    """The part of a processor that `ImageChatMixin` uses."""

    tokenizer: Tokenizer
    chat_template: Any
    video_template: ClassVar[str | None]
    video_token: str | None

    @property
    def guarded(self) -> tuple[str, ...]: ...
    @property
    def call_options(self) -> frozenset[str]: ...
    def video_options(self, options: Mapping[str, Any]) -> dict[str, Any]: ...
    def _process(
        self,
        images: Any,
        videos: list[Any] | None,
        text: Any,
        return_tensors: Any,
        options: Mapping[str, Any],
        control: ControlTokens | None,
    ) -> Processed: ...


class ImageChatMixin:
    """Adds chat templates to a processor of texts, images and videos: `apply_chat_template`."""

    #: The template of conversations with videos, in families whose own does not know them.
    video_template: ClassVar[str | None] = None

    def apply_chat_template(
        self: _Host,
        conversation: Any,
        chat_template: str | None = None,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        return_assistant_tokens_mask: bool = False,
        tokenize: bool = False,
        return_tensors: Any = "np",
        return_dict: bool = False,
        processor_kwargs: Mapping[str, Any] | None = None,
        sanitize_control_tokens: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Render a conversation, or several, with the model's chat template; with `tokenize` make the model's arrays.

        A marker of an image that a user typed into the text of a message stays text: it can claim no image.

        Args:
            conversation: messages, dicts with "role" and "content"; a content is a text, or a list of parts: {"type":
                "text", "text": …}, {"type": "image", "image" | "url" | "path" | "base64": …}, {"type": "video",
                "video" | "url" | "path": …} (a file, or a list of frames), or {"type": "image_url", "image_url":
                {"url": …}}, likewise "video_url". Or a list of such conversations.
            chat_template: a name, or the text of a template; None for the processor's.
            tools, documents, add_generation_prompt, continue_final_message, return_assistant_tokens_mask,
            sanitize_control_tokens: see the tokenizer's `apply_chat_template`.
            tokenize: load images and videos and make the arrays for the model, instead of the text alone.
            return_tensors: "np" for arrays; None for lists.
            return_dict: return all arrays; else the `input_ids` alone.
            processor_kwargs: keywords of the processor's call.
            **kwargs: variables of the template, and keywords of the processor's call.

        Returns:
            Without `tokenize` the text, or a list for several conversations; else a `BatchFeature`, or ids.

        Raises:
            ImageError: an image or a video that cannot be read, or more than the template has markers for, or fewer.
            ValueError, TypeError, UnknownArgumentError, jinja2.TemplateError, BundleError: see the tokenizer's.
            UnsupportedError: a part of a message that the model does not take.
        """
        template = chat.choose_template(self.chat_template, chat_template, tools=tools is not None)
        chats, several = chat.conversations_of(conversation)
        parted = [_without_media(messages, self.video_token is not None) for messages in chats]
        if chat_template is None and any(each.videos for each in parted):
            template = self.video_template or template
        variables, options = _divided(template, kwargs, self.call_options)
        options = {**options, **(processor_kwargs or {})}
        request = ChatRequest(
            template, variables, tools, documents, add_generation_prompt, continue_final_message,
            return_assistant_tokens_mask, tokenize, sanitize_control_tokens,
        )  # fmt: skip
        request.check()
        control = _control(self, template, everything=sanitize_control_tokens) if tokenize else None
        texts, spans = request.render([each.messages for each in parted], self.tokenizer.special_tokens_map, control)
        if not tokenize:
            return texts if several else texts[0]
        if self.tokenizer.bos_token is not None and texts[0].startswith(self.tokenizer.bos_token):
            options["add_special_tokens"] = False  # the template has written them
        images = options.pop("images", None)
        images = [each.images for each in parted] if images is None else images if several else [images]
        videos = [each.videos for each in parted]
        if any(videos) and self.video_token is not None:
            groups_of(texts, self.video_token, None, videos, "videos")
            options = self.video_options(options)
        control = control if any(map(is_marked, texts)) else None
        flat = [video for own in videos for video in own]
        done = self._process(images, flat or None, texts, return_tensors, options, control)
        if return_assistant_tokens_mask:
            _add_masks(done, spans)
        return done.features if return_dict else done.features["input_ids"]


def _divided(
    template: str, kwargs: Mapping[str, Any], options: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide keywords into variables of the template and options of the processor's call."""
    used = chat.variables_of(template) if kwargs else frozenset()
    variables = {name: value for name, value in kwargs.items() if name in used or name not in options}
    chat.check_variables(template, variables, {*options, *_PARAMETERS})
    return variables, {name: value for name, value in kwargs.items() if name not in variables}


_PARAMETERS = tuple(ImageChatMixin.apply_chat_template.__annotations__)


def _control(host: _Host, template: str, *, everything: bool) -> ControlTokens:
    """Return the tokens that messages may not write: those of images, or all control tokens."""
    tokens, tokenizer = host.guarded, host.tokenizer
    if not everything:
        return ControlTokens.only(tokenizer.backend_tokenizer, tokens)
    return ControlTokens.of(
        tokenizer.backend_tokenizer, chat.literal_text(template), tokenizer.chat_control_tokens, tokens
    )


@dataclass
class _Parted:
    """A conversation whose parts do not hold their images and videos, and these."""

    messages: list[Any] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    videos: list[Any] = field(default_factory=list)


def _without_media(messages: Sequence[Any], takes_videos: bool) -> _Parted:
    """Take the images and videos out of the parts of messages.

    Raises:
        UnsupportedError: a content without parts, a part of another type, a text without its text, or a video for a
            model that takes none.
    """
    found = _Parted()
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, (list, tuple)):
            if not content and not message.get("tool_calls"):
                raise UnsupportedError(
                    f"the content of a message is empty: {message!r:.80}; give it a part, or leave it out"
                )
            message = {**message, "content": [_part(part, found, takes_videos) for part in content]}
        found.messages.append(message)
    return found


def _part(part: Any, found: _Parted, takes_videos: bool) -> Any:
    """Return a part of a message without its image or video, which is added to those found."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or (kind == "text" and not isinstance(part.get("text"), str)):
        raise UnsupportedError(
            f'a message has the part {part!r:.80}, which templates leave out: write {{"type": "text", "text": "..."}}'
        )
    if kind == "text":
        return part
    name = media_name(part)
    if name is None or (name == "video" and not takes_videos):
        takes = "texts, images and videos" if takes_videos else "texts and images"
        raise UnsupportedError(f"a message has a part of the type {kind!r}: chats with this model take {takes}")
    source, rest = source_of(part, name)
    if source is not None:
        (found.images if name == "image" else found.videos).append(source)
    return rest


def _add_masks(done: Processed, spans: Sequence[Sequence[tuple[int, int]]]) -> None:
    """Add `assistant_masks`: 1 for the tokens of the assistant's messages."""
    encoding, ids = done.encoding, done.features["input_ids"]
    moved = [
        [(prompt.place(start), prompt.place(end)) for start, end in own] for prompt, own in zip(done.prompts, spans)
    ]
    masks = [chat.assistant_mask(encoding, i, len(row), moved[i]) for i, row in enumerate(ids)]
    done.features["assistant_masks"] = np.array(masks) if isinstance(ids, np.ndarray) else masks
