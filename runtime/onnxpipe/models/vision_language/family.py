"""The differences between families of vision-language models: how the images of a prompt are cut into runs of the
vision encoder, and what becomes of its outputs. A family is a subclass in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Config
from onnxpipe.models.causal_lm.inputs import Positions, TokenFeature

Array = NDArray[Any]

#: What one run of the vision encoder is fed, with a leading axis of 1 where the encoder takes batches; also what it
#: gave for it: `image_features` (features, width), and what else the graph has.
Piece = Mapping[str, Array]


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
