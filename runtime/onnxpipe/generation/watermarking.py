"""Watermarks: a bonus for tokens of a "green" list, which depends on the tokens before (arXiv 2306.04634)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from onnxpipe.errors import UnknownArgumentError, UnsupportedError

_FIELDS = ("greenlist_ratio", "bias", "hashing_key", "seeding_scheme", "context_width")


@dataclass
class WatermarkingConfig:
    """The parameters of a watermark.

    Attributes:
        greenlist_ratio: share of the vocabulary that is green.
        bias: added to the green tokens' scores.
        hashing_key: key of the hash; it is needed to detect the mark.
        seeding_scheme: "lefthash": the list depends on the last token; "selfhash": on the candidate itself too.
        context_width: tokens that seed the list.
    """

    greenlist_ratio: float = 0.25
    bias: float = 2.0
    hashing_key: int = 15485863
    seeding_scheme: str = "lefthash"
    context_width: int = 1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WatermarkingConfig:
        """Make a config from the object of a file or of a user.

        Raises:
            UnsupportedError: a SynthID mark.
            UnknownArgumentError: a name that is not a field.
        """
        if "ngram_len" in values or "sampling_table_size" in values:
            raise UnsupportedError(
                "SynthID watermarks (watermarking_config with ngram_len and keys) are not supported; pass a "
                "WatermarkingConfig (greenlist_ratio, bias, hashing_key, seeding_scheme, context_width)"
            )
        for name in values:
            if name not in _FIELDS:
                raise UnknownArgumentError.among("WatermarkingConfig", name, _FIELDS)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def validate(self) -> None:
        """Raise ValueError for impossible values."""
        wrong = "Some of the keys in `watermarking_config` are defined incorrectly. `{}` should be {} but found {}"
        if self.seeding_scheme not in ("selfhash", "lefthash"):
            raise ValueError(wrong.format("seeding_scheme", "[`selfhash`, `lefthash`]", self.seeding_scheme))
        if not 0.0 <= self.greenlist_ratio <= 1.0:
            raise ValueError(wrong.format("greenlist_ratio", "in range between 0.0 and 1.0", self.greenlist_ratio))
        if not self.context_width >= 1:
            raise ValueError(wrong.format("context_width", "a positive integer", self.context_width))
