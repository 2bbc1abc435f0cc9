"""ModelOutput: what a model returns, as named arrays by attribute, by name or by position."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


class ModelOutput(dict[str, NDArray[Any]]):
    """Named numpy arrays in the order of the graph's outputs.

    `out.logits`, `out["logits"]` and `out[0]` are the same array; `out[:2]` and `out.to_tuple()` are tuples.
    """

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            return dict.__getitem__(self, name)
        except KeyError:
            raise AttributeError(f"this output has no {name!r}; it has {', '.join(self)}") from None

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[NDArray[Any], ...]:
        """The arrays alone."""
        return tuple(self.values())
