"""What an image generator returns."""

from __future__ import annotations

from typing import Any


class ImagePipelineOutput(dict[str, Any]):
    """Named results: `out.images`, `out["images"]` and `out[0]` are the same.

    `images` is a list of PIL images, or an array. `nsfw_content_detected`, where the family has a safety checker, tells
    of each image whether it was replaced, or is None if nothing was checked.
    """

    @classmethod
    def of(cls, return_dict: bool, **values: Any) -> Any:
        """Make the output, or the tuple of its values."""
        return cls(values) if return_dict else tuple(values.values())

    def __getattr__(self, name: str) -> Any:
        try:
            return dict.__getitem__(self, name)
        except KeyError:
            raise AttributeError(f"this output has no {name!r}; it has {', '.join(self)}") from None

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The values alone."""
        return tuple(self.values())
