"""Chats with images: load the images of messages, and add the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from onnxpipe.tasks.base.chats import Chat

#: The keys of a part of a message that say where its image is, as transformers has them.
_SOURCES = ("image", "url", "path", "base64")


def with_loaded_images(images: Any, timeout: float | None) -> Any:
    """Load an image, or those of a list, or of a list of lists; None and empty lists stay.

    Raises:
        ImageError: one of them cannot be read.
    """
    from onnxpipe.processing.images.io.load import load_image

    if isinstance(images, (list, tuple)):
        return [with_loaded_images(image, timeout) for image in images]
    return None if images is None else load_image(images, timeout)


def takes_texts(template: Any) -> bool:
    """Whether a chat template takes a content that is a text, not only a list of parts.

    Many templates (those of LLaVA and SmolVLM) loop over parts and write nothing for a text, without an error.
    """
    return re.search(r"is\s+(not\s+)?string", str(template)) is not None


def content_parts(message: Mapping[str, Any], timeout: float | None, *, texts: bool) -> Mapping[str, Any]:
    """Return a message whose parts hold their images, loaded, instead of where they are.

    Args:
        message: the message.
        timeout: seconds that fetching an image may take.
        texts: whether the template takes a content that is a text; else it becomes a part.

    Raises:
        ImageError: an image cannot be read.
    """
    content = message["content"]
    if isinstance(content, str) and not texts:
        content = [{"type": "text", "text": content}]
    if not isinstance(content, (list, tuple)):
        return message
    return {**message, "content": [_loaded(part, timeout) for part in content]}


def _loaded(part: Any, timeout: float | None) -> Any:
    if not isinstance(part, Mapping):
        return part
    if part.get("type") == "image_url":
        named = part.get("image_url")
        source = named.get("url") if isinstance(named, Mapping) else named
        return {"type": "image", "image": with_loaded_images(source, timeout)}
    if part.get("type") != "image":
        return part
    found = [part[name] for name in _SOURCES if part.get(name) is not None]
    rest = {name: value for name, value in part.items() if name not in _SOURCES}
    return {**rest, "image": with_loaded_images(found[0], timeout)} if found else rest


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
