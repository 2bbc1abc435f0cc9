"""Chats with images and videos: load the images of messages, and add the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from onnxpipe.tasks.base.chats import Chat


def with_loaded_images(images: Any, timeout: float | None) -> Any:
    """Load an image, or those of a list, or of a list of lists; None and empty lists stay.

    Raises:
        ImageError: one of them cannot be read.
    """
    from onnxpipe.processing.images.io.load import load_image

    if isinstance(images, (list, tuple)):
        return [with_loaded_images(image, timeout) for image in images]
    return None if images is None else load_image(images, timeout)


def with_fetched_videos(videos: Any, timeout: float | None) -> Any:
    """Fetch the videos among these that are URLs; files, and videos that come as frames, stay.

    Raises:
        ImageError: one of them cannot be fetched.
    """
    from onnxpipe.processing.images.io.fetch import fetch
    from onnxpipe.processing.urls import is_url
    from onnxpipe.processing.video.read import MAX_VIDEO_BYTES

    if isinstance(videos, (list, tuple)):
        return [each if isinstance(each, (list, tuple)) else with_fetched_videos(each, timeout) for each in videos]
    return fetch(videos, timeout, max_bytes=MAX_VIDEO_BYTES) if isinstance(videos, str) and is_url(videos) else videos


def named_media(value: Mapping[str, Any], name: str) -> Any:
    """Return the images or the videos of an input, by their name in the plural or in the singular."""
    return value.get(f"{name}s", value.get(name))


def each_of(name: str, found: Any) -> Sequence[Any]:
    """Return the images or videos of a question, one by one; a list of frames is one video."""
    if found is None:
        return []
    if name == "video":
        from onnxpipe.processing.video.inputs import flatten_videos

        return flatten_videos(found)
    return found if isinstance(found, (list, tuple)) else [found]


def takes_texts(template: Any) -> bool:
    """Whether a chat template takes a content that is a text, not only a list of parts.

    Many templates (those of LLaVA and SmolVLM) loop over parts and write nothing for a text, without an error.
    """
    return re.search(r"is\s+(not\s+)?string", str(template)) is not None


def content_parts(message: Mapping[str, Any], timeout: float | None, *, texts: bool) -> Mapping[str, Any]:
    """Return a message whose parts hold their images, loaded, and videos, fetched, instead of where they are.

    Args:
        message: the message.
        timeout: seconds that fetching an image or a video may take.
        texts: whether the template takes a content that is a text; else it becomes a part.

    Raises:
        ImageError: an image cannot be read, or a video cannot be fetched.
    """
    content = message["content"]
    if isinstance(content, str) and not texts:
        content = [{"type": "text", "text": content}]
    if not isinstance(content, (list, tuple)):
        return message
    return {**message, "content": [_loaded(part, timeout) for part in content]}


def _loaded(part: Any, timeout: float | None) -> Any:
    from onnxpipe.processing.multimodal.media_parts import media_name, source_of

    if not isinstance(part, Mapping):
        return part
    name = media_name(part)
    if name is None:
        return part
    source, rest = source_of(part, name)
    return rest if source is None else {**rest, name: _read(name, source, timeout)}


def _read(name: str, source: Any, timeout: float | None) -> Any:
    """Load an image or the frames of a video, or fetch a video."""
    frames = isinstance(source, (list, tuple))
    return with_loaded_images(source, timeout) if name == "image" or frames else with_fetched_videos(source, timeout)


def answered(chat: Chat, text: str, *, continues: bool) -> list[Any]:
    """Return the messages of a chat with an answer: a message of the assistant, or a continuation of the last one."""
    messages = list(chat.messages)
    if not continues:
        return [*messages, {"role": "assistant", "content": text}]
    last = messages[-1]
    content = last["content"]
    if isinstance(content, str):
        return [*messages[:-1], {**last, "content": content + text}]
    part = {**content[-1], "text": content[-1]["text"] + text}
    return [*messages[:-1], {**last, "content": [*content[:-1], part]}]
