"""Processors of Qwen2-VL, Qwen2.5-VL and Qwen3-VL: a token for each block of patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor


class Qwen2VLProcessor(VisionLanguageProcessor):
    """Qwen2-VL; a call returns `mm_token_type_ids` too: 1 for tokens of images."""

    types_name: ClassVar[str | None] = "mm_token_type_ids"
    reserved: ClassVar[tuple[str, ...]] = ("<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
    defaults: ClassVar[Mapping[str, Any]] = {"image_token": "<|image_pad|>"}

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens."""
        patches = int(features["image_grid_thw"][index].prod())
        return self.image_token * (patches // int(self.image_processor.merge_size) ** 2)

    def post_process_image_text_to_text(
        self,
        generated_outputs: Any,
        skip_special_tokens: bool | None = None,
        clean_up_tokenization_spaces: bool = False,
        **options: Any,
    ) -> Any:
        """Decode generated ids (texts, tokens) to a list of texts, with the spaces as they are."""
        return super().post_process_image_text_to_text(
            generated_outputs, skip_special_tokens, clean_up_tokenization_spaces=clean_up_tokenization_spaces, **options
        )


class Qwen2_5_VLProcessor(Qwen2VLProcessor):  # noqa: N801 - transformers' name
    """Qwen2.5-VL: as Qwen2-VL."""


class Qwen3VLProcessor(Qwen2VLProcessor):
    """Qwen3-VL: as Qwen2-VL."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"return_token_type_ids": False}
