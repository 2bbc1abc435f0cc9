"""Processors of Gemma 3 and PaliGemma: every image takes up the same number of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import BundleError, ImageError, UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor


class Gemma3Processor(VisionLanguageProcessor):
    """Gemma 3: a start, the image's tokens, an end; the crops of a long image after a sentence that says so.

    The marker of an image is the start; a call returns `token_type_ids` too: 1 for tokens of images.
    """

    types_name: ClassVar[str | None] = "token_type_ids"
    image_defaults: ClassVar[Mapping[str, Any]] = {
        "do_convert_rgb": True,
        "do_pan_and_scan": False,
        "pan_and_scan_min_crop_size": 256,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    unused: ClassVar[frozenset[str]] = frozenset({"num_crops"})
    marker_role: ClassVar[str] = "boi_token"
    reserved: ClassVar[tuple[str, ...]] = ("<end_of_image>",)
    defaults: ClassVar[Mapping[str, Any]] = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
        "image_seq_length": 256,
    }

    @classmethod
    def settings_of_model(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tokens of an image."""
        return {"image_seq_length": model.get("mm_tokens_per_image")}

    def prompts(
        self, texts: list[str] | None, nested: Sequence[Sequence[Any]] | None, flat: Sequence[Any] | None
    ) -> list[str] | None:
        """Return the texts; for images without a text markers alone."""
        if flat is None or (texts is not None and any(texts)):
            return texts
        counts = [len(group) for group in nested] if nested is not None else [len(flat)]
        return [" ".join([self.image_token] * count) for count in counts]

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens, and those of its crops."""
        soft = self.feature_token * self.number("image_seq_length")
        image = f"\n\n{self.image_token}{soft}{self.token('eoi_token')}\n\n"
        crops = int(features["num_crops"][index])
        if not crops:
            return image
        others = " ".join([image] * crops)
        return f"Here is the original image {image} and here are some crops to help you see better {others}"


class PaliGemmaProcessor(VisionLanguageProcessor):
    """PaliGemma: the images' tokens, then the beginning of the text, the text and a new line.

    A call returns `token_type_ids` too, which are 0: the model's answer alone has others. Texts without a marker get
    one for each of their images.
    """

    text_defaults: ClassVar[Mapping[str, Any]] = {"add_special_tokens": False, "return_token_type_ids": False}
    types_name: ClassVar[str | None] = "token_type_ids"
    defaults: ClassVar[Mapping[str, Any]] = {"image_token": "<image>", "image_seq_length": None}

    @classmethod
    def settings_of_model(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tokens of an image, by the size of the tower's images and patches."""
        tower = model.get("vision_config", {})
        if not {"image_size", "patch_size"} <= tower.keys():
            return {}
        return {"image_seq_length": (tower["image_size"] // tower["patch_size"]) ** 2}

    def prompts(
        self, texts: list[str] | None, nested: Sequence[Sequence[Any]] | None, flat: Sequence[Any] | None
    ) -> list[str] | None:
        """Return the texts with the tokens around them.

        Raises:
            UnsupportedError: there are no images.
            ImageError: another number of texts than of images, and no text has a marker.
        """
        if flat is None:
            raise UnsupportedError("`images` are expected as arguments to a `PaliGemmaProcessor` instance.")
        if texts is None:
            return None
        begin = self.tokenizer.bos_token or ""
        if any(self.image_token in text for text in texts):
            ends = [text.rfind(self.image_token) + len(self.image_token) for text in texts]
            return [f"{text[:end]}{begin}{text[end:]}\n" for text, end in zip(texts, ends)]
        counts = [len(group) for group in nested] if nested is not None else [1] * len(flat)
        if len(counts) != len(texts):
            raise ImageError(
                f"Received {len(counts)} images for {len(texts)} prompts. Each prompt should be associated with an "
                "image or list of images."
            )
        return [f"{self.image_token * count}{begin}{text}\n" for text, count in zip(texts, counts)]

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens."""
        own = getattr(self.image_processor, "image_seq_length", None)
        if own is None:
            return self.image_token * self.number("image_seq_length")
        if not isinstance(own, int) or not 0 < own < 1 << 16:
            raise BundleError(f"image_seq_length of the image processor must be a whole number; got {own!r}")
        return self.image_token * own

    def token_types(self, rows: Any) -> list[list[int]]:
        """Return 0 for every token."""
        return [np.zeros(len(row), int).tolist() for row in rows]
