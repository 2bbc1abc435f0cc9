"""BatchFeature: what image processors, feature extractors and processors return."""

from __future__ import annotations

from typing import Any


class BatchFeature(dict[str, Any]):
    """Arrays by name; every name is an attribute too: `features["pixel_values"]`, `features.pixel_values`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"these features have no {name!r}; they have {', '.join(self)}") from None

    @property
    def data(self) -> dict[str, Any]:
        """The arrays as a plain dict."""
        return dict(self)
