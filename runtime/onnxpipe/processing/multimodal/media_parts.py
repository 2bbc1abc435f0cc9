"""Parts of messages that hold an image or a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import UnsupportedError

#: The keys of a part of a message that say where its image, or its video, is, as transformers has them.
SOURCES = {"image": ("image", "url", "path", "base64"), "video": ("video", "url", "path")}


def media_name(part: Mapping[str, Any]) -> str | None:
    """Return whether a part is for an "image" or a "video"; None for any other."""
    name = str(part.get("type")).removesuffix("_url")
    return name if name in SOURCES else None


def source_of(part: Mapping[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    """Return where the image or video of a part is, None if it does not say, and the part without that.

    Raises:
        UnsupportedError: the part says so twice.
    """
    kind = part["type"]
    keys = [key for key in dict.fromkeys((kind, *SOURCES[name])) if part.get(key) is not None]
    if len(keys) > 1:
        raise UnsupportedError(
            f"a part of a message says by {' and by '.join(map(repr, keys))} where its {name} is: give one of them; "
            f"another {name} is a part of its own"
        )
    source = part[keys[0]] if keys else None
    if kind != name:
        return (source.get("url", "") if isinstance(source, Mapping) else source), {"type": name}
    return source, {key: value for key, value in part.items() if key not in SOURCES[name]}
