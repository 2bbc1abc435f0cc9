"""Processors of Qwen2-VL, Qwen2.5-VL and Qwen3-VL: a token for each block of patches of an image or a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor

_START, _END = "<|vision_start|>", "<|vision_end|>"


class Qwen2VLProcessor(VisionLanguageProcessor):
    """Qwen2-VL; a call returns `mm_token_type_ids` too: 1 for tokens of images, 2 for those of videos."""

    types_name: ClassVar[str | None] = "mm_token_type_ids"
    reserved: ClassVar[tuple[str, ...]] = (_START, _END)
    video_role: ClassVar[str | None] = "video_token"
    defaults: ClassVar[Mapping[str, Any]] = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens."""
        patches = int(features["image_grid_thw"][index].prod())
        return self.image_token * (patches // int(self.image_processor.merge_size) ** 2)

    def video_replacement(self, features: BatchFeature, index: int) -> str:
        """Return the video's tokens."""
        patches = int(features["video_grid_thw"][index].prod())
        return str(self.video_token) * (patches // self._merge_of_videos)

    @property
    def _merge_of_videos(self) -> int:
        """How many patches of a video become one token."""
        return int(getattr(self.video_processor, "merge_size", 2)) ** 2

    @property
    def _deep(self) -> int:
        """How many frames of a video become one."""
        return int(getattr(self.video_processor, "temporal_patch_size", 2))

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
    """Qwen2.5-VL: a call with videos returns `second_per_grid_ts` too: the seconds of each video's patch in time."""

    def video_features(self, videos: list[Any], options: Mapping[str, Any]) -> BatchFeature:
        """Prepare videos, and say how long a patch in time lasts."""
        features = super().video_features(videos, options)
        seconds = [self._deep / facts.sampled_fps for facts in features["video_metadata"]]
        return BatchFeature({**features, "second_per_grid_ts": np.array(seconds)})


class Qwen3VLProcessor(Qwen2VLProcessor):
    """Qwen3-VL: the text says at what time each moment of a video is."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"return_token_type_ids": False}

    def video_replacement(self, features: BatchFeature, index: int) -> str:
        """Return the tokens of each moment, with the mean time of its first and last frame before them."""
        moments, height, width = (int(side) for side in features["video_grid_thw"][index])
        tokens = str(self.video_token) * (height * width // self._merge_of_videos)
        times = features["video_metadata"][index].timestamps
        times += times[-1:] * (-len(times) % self._deep)
        ends = [(times[i * self._deep] + times[(i + 1) * self._deep - 1]) / 2 for i in range(moments)]
        return "".join(f"<{seconds:.1f} seconds>{_START}{tokens}{_END}" for seconds in ends)
