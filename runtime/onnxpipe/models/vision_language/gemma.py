"""Gemma 3 and PaliGemma: decoders in which the tokens of an image, or of a prompt, see each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxpipe.models.causal_lm.inputs import Positions, TokenFeature
from onnxpipe.models.vision_language.family import Array, EncodedImages, Family, token_of

_TYPES = "token_type_ids"


class Gemma3(Family):
    """Gemma 3: tokens of images have the type 1, all others 0."""

    def extra(self, rows: Sequence[Array], images: EncodedImages) -> dict[str, TokenFeature]:
        """Make `token_type_ids`."""
        token = token_of(self.config, "image")
        return {_TYPES: TokenFeature([(row == token).astype(np.int64) for row in rows])}


class PaliGemma(Family):
    """PaliGemma: the tokens of the prompt have the type 0, generated ones 1; positions begin at 1."""

    def positions(self, rows: Sequence[Array], images: EncodedImages) -> Positions | None:
        """Count from 1."""
        return Positions([np.arange(1, len(row) + 1)[None] for row in rows], np.ones(len(rows), np.int64))

    def extra(self, rows: Sequence[Array], images: EncodedImages) -> dict[str, TokenFeature]:
        """Make `token_type_ids`."""
        return {_TYPES: TokenFeature([np.zeros(len(row), np.int64) for row in rows], 1)}
