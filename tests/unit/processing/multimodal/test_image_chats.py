"""Messages of chats with images: a part that a template would leave out is refused."""

from __future__ import annotations

from typing import Any

import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.multimodal.image_chats import _without_media
from onnxpipe.tasks.base.image_chats import content_parts

TEXT = {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize("part", ["What?", None, 3, {"type": "text"}, {"type": "text", "text": None}])
def test_parts_that_would_be_left_out(part: Any) -> None:
    with pytest.raises(UnsupportedError, match="which templates leave out"):
        _without_media([{"role": "user", "content": [TEXT, part]}], takes_videos=False)


def test_a_message_without_parts_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="the content of a message is empty"):
        _without_media([{"role": "user", "content": []}], takes_videos=False)
    call = {"role": "assistant", "content": [], "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}
    assert _without_media([call], takes_videos=False).messages == [call]


def test_images_are_taken_out_of_their_parts() -> None:
    found = _without_media([{"role": "user", "content": [{"type": "image", "image": "a.png"}, TEXT]}], False)
    assert found.images == ["a.png"]
    assert found.messages[0]["content"][1] == TEXT


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "url": "http://localhost/a.png", "path": "b.png"},
        {"type": "image", "image": "a.png", "base64": "aGk="},
        {"type": "image_url", "image_url": {"url": "a.png"}, "url": "b.png"},
        {"type": "video", "video": "a.mp4", "path": "b.mp4"},
    ],
)
def test_two_sources_in_one_part_are_refused(part: dict[str, Any]) -> None:
    message = {"role": "user", "content": [part, TEXT]}
    with pytest.raises(UnsupportedError, match="give one of them"):
        _without_media([message], takes_videos=True)
    with pytest.raises(UnsupportedError, match="give one of them"):
        content_parts(message, None, texts=True)


def test_what_is_none_is_no_source() -> None:
    part = {"type": "image", "url": None, "path": "b.png", "detail": "low"}
    found = _without_media([{"role": "user", "content": [part]}], False)
    assert (found.images, found.messages[0]["content"]) == (["b.png"], [{"type": "image", "detail": "low"}])
