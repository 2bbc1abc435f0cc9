"""The differences between families of vision-language models: how the images and videos of a prompt are cut into runs
of the vision encoder, and what becomes of its outputs. A family is a subclass in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Config
from onnxpipe.errors import ImageError
from onnxpipe.models.causal_lm.inputs import Positions, TokenFeature
from onnxpipe.models.vision_encoder import Piece

Array = NDArray[Any]


#: The array of a layout that says which entries are videos, bool (entries,); where there are none it may be missing.
IS_VIDEO = "is_video"


class EncodedImages(TypedDict):
    """The images and videos of one or several prompts, as `VisionLanguageModel.encode_images` gives them.

    An entry is an image, a video, or a part of one whose placeholders follow each other: a tile, a moment. Images are
    in the order of their placeholders, and so are videos.

    Attributes:
        features: for each entry float32 (features, width): what takes the place of its placeholders.
        extra: further inputs of the decoder by name: for each entry (features, ...).
        layout: what positions are computed from, such as `grid_thw`, and `IS_VIDEO`; first axis: entries.
    """

    features: list[Array]
    extra: dict[str, list[Array]]
    layout: dict[str, Array]


def join_encoded(parts: Sequence[EncodedImages]) -> EncodedImages:
    """Join the images and videos of several prompts, in order."""
    filled = [part for part in parts if part["features"]]
    names = (filled[0]["extra"], filled[0]["layout"]) if filled else ({}, {})
    return {
        "features": [image for part in filled for image in part["features"]],
        "extra": {name: [image for part in filled for image in part["extra"][name]] for name in names[0]},
        "layout": {name: np.concatenate([part["layout"][name] for part in filled]) for name in names[1]},
    }


def split_encoded(images: EncodedImages, rows: Sequence[Array], tokens: Sequence[int]) -> list[EncodedImages]:
    """Split the images and videos of several prompts: those of each, in the order of their placeholders.

    Args:
        images: all of them.
        rows: the prompts, int64 (length,) each.
        tokens: the placeholder of an image's features, and that of a video's if the model takes videos.

    Raises:
        ImageError: there are more placeholders than features or fewer, or one entry lies in two prompts.
    """
    kinds = [row[np.isin(row, tokens)] for row in rows]
    _check_totals(images, np.concatenate(kinds), tokens)
    videos = images["layout"].get(IS_VIDEO, np.zeros(len(images["features"]), bool))
    entries = [iter(np.flatnonzero(videos == bool(number)).tolist()) for number in range(len(tokens))]
    return [_chosen(images, _entries_of(kind, images["features"], entries, tokens)) for kind in kinds]


def _check_totals(images: EncodedImages, kinds: Array, tokens: Sequence[int]) -> None:
    videos = images["layout"].get(IS_VIDEO, np.zeros(len(images["features"]), bool))
    for number, (token, noun) in enumerate(zip(tokens, ("Image", "Video"))):
        found = int((kinds == token).sum())
        count = sum(len(entry) for entry, video in zip(images["features"], videos) if video == bool(number))
        if found != count:
            raise ImageError(
                f"{noun} features and {noun.lower()} tokens do not match, tokens: {found}, features: {count}. A prompt "
                f"with {noun.lower()}s has to be whole (no truncation), with the {noun.lower()}s that it names and no "
                "others"
            )


def _entries_of(
    kinds: Array, features: Sequence[Array], entries: Sequence[Iterator[int]], tokens: Sequence[int]
) -> list[int]:
    """Take the entries of a prompt's placeholders, in their order."""
    taken: list[int] = []
    at = 0
    while at < len(kinds):
        entry = next(entries[list(tokens).index(int(kinds[at]))])
        count = len(features[entry])
        if at + count > len(kinds) or (kinds[at : at + count] != kinds[at]).any():
            raise ImageError(
                f"a prompt has {len(kinds)} tokens of images or videos, and one with {count} features goes on in the "
                "next row, or behind one of another kind. Pass the images in the order of the rows"
            )
        taken.append(entry)
        at += count
    return taken


def _chosen(images: EncodedImages, entries: list[int]) -> EncodedImages:
    return {
        "features": [images["features"][entry] for entry in entries],
        "extra": {name: [values[entry] for entry in entries] for name, values in images["extra"].items()},
        "layout": {name: values[entries] for name, values in images["layout"].items()},
    }


def token_of(config: Config, kind: str) -> int | None:
    """Return the placeholder of an "image" or a "video" that a config names; None for none."""
    found = config.get(f"{kind}_token_id")
    found = config.get(f"{kind}_token_index") if found is None else found
    return found if isinstance(found, int) else None


class Family:
    """The plain family, LLaVA's: each entry of `pixel_values` is an image, whose features take its placeholders' place.

    Args:
        config: the model's.

    Attributes:
        config: the same.
    """

    #: The inputs of the model that come from images and videos, as its processor names them.
    inputs: ClassVar[frozenset[str]] = frozenset({"pixel_values"})
    #: Inputs that the processor gives and nothing here needs.
    unused: ClassVar[frozenset[str]] = frozenset()
    #: Whether videos have a placeholder of their own.
    has_videos: ClassVar[bool] = False
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
        """Compute the positions of prompts, int64 (length,) each; None where they are places in the row.

        Args:
            rows: the prompts.
            images: their images and videos, in the order of their placeholders.
        """
        return None

    def extra(self, rows: Sequence[Array], images: EncodedImages) -> dict[str, TokenFeature]:
        """Make further inputs of the decoder with a value for each token; none here."""
        return {}
