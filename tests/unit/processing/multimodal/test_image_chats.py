"""Messages of chats with images: a part that a template would leave out is refused."""

from __future__ import annotations

from typing import Any

import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.multimodal.image_chats import _without_media

TEXT = {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize("part", ["What?", None, 3, {"type": "text"}, {"type": "text", "text": None}])
def test_parts_that_would_be_left_out(part: Any) -> None:
    with pytest.raises(UnsupportedError, match="which templates leave out"):
        _without_media([{"role": "user", "content": [TEXT, part]}], takes_videos=False)


def test_images_are_taken_out_of_their_parts() -> None:
    found = _without_media([{"role": "user", "content": [{"type": "image", "image": "a.png"}, TEXT]}], False)
    assert found.images == ["a.png"]
    assert found.messages[0]["content"][1] == TEXT
