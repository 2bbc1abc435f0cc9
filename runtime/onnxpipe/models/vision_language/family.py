"""The differences between families of vision-language models: how the images of a prompt are cut into runs of the
vision encoder, and what becomes of its outputs. A family is a subclass in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Config
from onnxpipe.errors import ImageError
from onnxpipe.models.causal_lm.inputs import Positions, TokenFeature
from onnxpipe.models.vision_encoder import Piece

Array = NDArray[Any]


class EncodedImages(TypedDict):
    """The images of one or several prompts, in order, as `VisionLanguageModel.encode_images` gives them.

    Attributes:
        features: for each image float32 (features, width): what takes the place of its placeholders.
        extra: further inputs of the decoder by name: for each image (features, ...).
        layout: inputs of the model that positions are computed from, such as `image_grid_thw`; first axis: images.
    """

    features: list[Array]
    extra: dict[str, list[Array]]
    layout: dict[str, Array]


def join_encoded(parts: Sequence[EncodedImages]) -> EncodedImages:
    """Join the images of several prompts, in order."""
    filled = [part for part in parts if part["features"]]
    names = (filled[0]["extra"], filled[0]["layout"]) if filled else ({}, {})
    return {
        "features": [image for part in filled for image in part["features"]],
        "extra": {name: [image for part in filled for image in part["extra"][name]] for name in names[0]},
        "layout": {name: np.concatenate([part["layout"][name] for part in filled]) for name in names[1]},
    }


def split_encoded(images: EncodedImages, counts: Sequence[int]) -> list[EncodedImages]:
    """Split the images of several prompts by the placeholders that each has.

    Raises:
        ImageError: they are not those of whole images.
    """
    ends = np.cumsum([0, *(len(image) for image in images["features"])])
    bounds = np.searchsorted(ends, np.cumsum([0, *counts]))
    if sum(counts) != ends[-1] or (ends[bounds] != np.cumsum([0, *counts])).any():
        raise ImageError(
            f"Image features and image tokens do not match, tokens: {list(counts)} in the prompts, features: "
            f"{[len(image) for image in images['features']]} of the images"
        )
    return [
        {
            "features": images["features"][start:end],
            "extra": {name: values[start:end] for name, values in images["extra"].items()},
            "layout": {name: values[start:end] for name, values in images["layout"].items()},
        }
        for start, end in pairwise(bounds.tolist())
    ]


class Family:
    """The plain family, LLaVA's: each entry of `pixel_values` is an image, whose features take its placeholders' place.

    Args:
        config: the model's.

    Attributes:
        config: the same.
    """

    #: The inputs of the model that come from images, as its processor names them.
    inputs: ClassVar[frozenset[str]] = frozenset({"pixel_values"})
    #: Inputs that the processor gives and nothing here needs.
    unused: ClassVar[frozenset[str]] = frozenset()
    #: Whether the vision encoder takes several pieces in one run.
    batched: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def pieces(self, images: Mapping[str, Array]) -> list[Piece]:
        """Cut the model's inputs into what single runs of the vision encoder take."""
        return [{"pixel_values": pixels[None]} for pixels in images["pixel_values"]]

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Put together what the vision encoder gave for the pieces."""
        return {"features": [piece["image_features"] for piece in pieces], "extra": {}, "layout": {}}

    def positions(self, rows: Sequence[Array], images: EncodedImages) -> Positions | None:
        """Compute the positions of prompts, int64 (length,) each; None where they are places in the row."""
        return None

    def extra(self, rows: Sequence[Array], images: EncodedImages) -> dict[str, TokenFeature]:
        """Make further inputs of the decoder with a value for each token; none here."""
        return {}
