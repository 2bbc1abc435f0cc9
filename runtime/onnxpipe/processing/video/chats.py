"""Preprocess the videos of chats: choose frames, prepare each like an image, lay them out as the family has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, floor, sqrt
from typing import Any, ClassVar, Unpack

import numpy as np

from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import stack
from onnxpipe.processing.images.inputs import to_image_or_array
from onnxpipe.processing.images.qwen2_vl import (
    PatchedProcessor,
    block_side,
    cut_into_patches,
    depth,
    pixel_bounds,
    size_in_blocks,
)
from onnxpipe.processing.images.settings import (
    BICUBIC,
    CLIP_MEAN,
    CLIP_STD,
    CROPPING,
    HALF,
    LANCZOS,
    ImageProcessorOverrides,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.tiles import pad_tiles, tile_side, with_long_side
from onnxpipe.processing.images.transforms import Array, ImageOrArray
from onnxpipe.processing.processor_config import Kind, ProcessorConfig
from onnxpipe.processing.video import sampling
from onnxpipe.processing.video.inputs import flatten_videos, is_frames
from onnxpipe.processing.video.metadata import VideoMetadata, metadata_of
from onnxpipe.processing.video.processors import FrameProcessor

#: Settings of choosing frames that every class has.
_CHOOSING = frozenset({"do_sample_frames", "num_frames", "fps"})


class ChatVideoProcessor(FrameProcessor):
    """Turn videos into the arrays of a model that chats about them. A video is resized as Pillow resizes its frames.

    Frames are chosen where `do_sample_frames` is set, by `num_frames` or `fps`; else a video has all of its frames.
    """

    kind: ClassVar[Kind] = "video"
    type_key: ClassVar[str] = "video_processor_type"
    also: ClassVar[frozenset[str]] = _CHOOSING
    #: Whether `num_frames` and `fps` of a call stand in for each other's setting in the file.
    one_way: ClassVar[bool] = True
    model_input_names: Sequence[str] = ("pixel_values_videos",)

    def __call__(
        self,
        videos: Any,
        *,
        video_metadata: Any = None,
        return_metadata: bool = False,
        return_tensors: Any = "np",
        **overrides: Unpack[ImageProcessorOverrides],
    ) -> BatchFeature:
        """Convert videos to the arrays of the model.

        Args:
            videos: a video or a list of them: a path, URL or bytes, an array (frames, H, W, C) or (frames, C, H, W), or
                a list of frames, each as an image may be.
            video_metadata: for videos that are given as frames: a dict for each ({"total_num_frames", "fps",
                "duration"}), or one for all.
            return_metadata: return `video_metadata` too, a `VideoMetadata` for each video.
            return_tensors: "np" for arrays; None for lists with one entry a video.
            **overrides: settings for this call alone.

        Returns:
            The arrays of the family: see its class.

        Raises:
            ImageError: something that is not a video, videos that make no batch, or too few frames to choose from.
            UnknownArgumentError, UnsupportedError: see the class.
        """
        return self.prepare(
            flatten_videos(videos), video_metadata=video_metadata, return_metadata=return_metadata,
            return_tensors=return_tensors, **overrides,
        )  # fmt: skip

    def prepare(
        self,
        videos: Sequence[Any],
        *,
        video_metadata: Any = None,
        return_metadata: bool = False,
        return_tensors: Any = "np",
        **overrides: Unpack[ImageProcessorOverrides],
    ) -> BatchFeature:
        """Convert a list of videos, each a file or its frames; else as a call."""
        check_tensor_type(return_tensors)
        settings = self.settings
        if overrides:
            settings = replace(settings, **self._parsed(overrides, "the call"))
            if self.one_way and (("num_frames" in overrides) != ("fps" in overrides)):
                settings = replace(settings, **({"fps": None} if "num_frames" in overrides else {"num_frames": None}))
        facts = _given(video_metadata, len(videos))
        loaded = [self._loaded(*pair, settings) for pair in zip(videos, facts, strict=True)]
        data = self.collect_videos([self._prepared(frames, settings) for frames, _ in loaded], settings)
        features = self.batch(data) if return_tensors is not None else BatchFeature(data)
        if return_metadata:
            features["video_metadata"] = [known for _, known in loaded]
        return features

    def _loaded(
        self, video: Any, given: VideoMetadata | None, settings: ImageProcessorSettings
    ) -> tuple[list[Any], VideoMetadata]:
        """Return the frames of a video that the model sees, and its facts."""
        if not is_frames(video):
            from onnxpipe.processing.video.read import read_video

            choose = self.choose if settings.do_sample_frames else _all
            pixels, facts = read_video(video, lambda facts: choose(facts, settings))
            return list(pixels), facts
        frames = list(video)
        facts = VideoMetadata(len(frames)) if given is None else given
        if not settings.do_sample_frames:
            return frames, facts if given else replace(facts, frames_indices=list(range(len(frames))))
        if facts.total_num_frames > len(frames):
            raise ImageError(
                f"video_metadata says that a video has {facts.total_num_frames} frames, and {len(frames)} were passed: "
                "pass all of them, or do_sample_frames=False"
            )
        chosen = self.choose(facts, settings)
        return [frames[index] for index in chosen], replace(facts, frames_indices=chosen.tolist())

    def _prepared(self, frames: list[Any], settings: ImageProcessorSettings) -> Array:
        """Prepare the frames of a video: (frames, channels, height, width)."""
        if not frames:
            raise ImageError("a video has no frames")
        images = [to_image_or_array(frame, settings) for frame in frames]
        sizes = sorted({transforms.size_of(image) for image in images})
        if len(sizes) > 1:
            raise ImageError(f"the frames of a video have different sizes, {sizes[0]} and {sizes[1]} (height, width)")
        settings = replace(settings, input_data_format="channels_last")
        if settings.do_resize:
            height, width = self.frame_size(len(images), *sizes[0], settings)
            settings = replace(settings, size={"height": height, "width": width})
        return stack("the frames of a video", self._frames(images, settings))

    # -- the steps, for families to override --------------------------------------------------------------------------
    def choose(self, video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
        """Choose frames by `sampling.uniform`."""
        return sampling.uniform(video, settings)

    def frame_size(self, count: int, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Return the height and width to which so many frames are resized."""
        return transforms.target_size(height, width, settings.size)

    def collect_videos(self, videos: list[Array], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the arrays by name, one entry a video."""
        return {"pixel_values_videos": videos}


def _all(facts: VideoMetadata, settings: ImageProcessorSettings) -> Array:
    return np.arange(facts.total_num_frames)


def _given(value: Any, count: int) -> Sequence[VideoMetadata | None]:
    """Return what a caller says of each of so many videos."""
    if value is None:
        return [None] * count
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    values = [each for entry in values for each in (entry if isinstance(entry, (list, tuple)) else [entry])]
    if len(values) != count:
        raise UnsupportedError(
            f"Received {count} videos but {len(values)} `video_metadata` entries; pass one entry per video"
        )
    return [metadata_of(each) for each in values]


class LlavaOnevisionVideoProcessor(ChatVideoProcessor):
    """LLaVA-OneVision: `pixel_values_videos` float32 (videos, frames, channels, height, width)."""

    square: ClassVar[bool] = False
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"height": 384, "width": 384}, resample=BICUBIC, do_rescale=True,
        do_normalize=True, image_mean=CLIP_MEAN, image_std=CLIP_STD, do_sample_frames=False,
    )  # fmt: skip


class InternVLVideoProcessor(LlavaOnevisionVideoProcessor):
    """InternVL: the arrays of LLaVA-OneVision; frames from the middle of equal parts."""

    square: ClassVar[bool] = True
    defaults: ClassVar = replace(LlavaOnevisionVideoProcessor.defaults, initial_shift=True)

    def choose(self, video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
        """Choose frames by `sampling.from_the_middle`."""
        return sampling.from_the_middle(video, settings)


class SmolVLMVideoProcessor(ChatVideoProcessor):
    """SmolVLM: `pixel_values` (videos, frames, channels, side, side), `pixel_attention_mask` (videos, frames, side,
    side) int64; videos with fewer frames than others have frames of zeros behind theirs."""

    one_way: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING | frozenset({"pad_size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"longest_edge": 4 * 364}, resample=LANCZOS, do_rescale=True,
        do_normalize=True, image_mean=HALF, image_std=HALF, do_pad=True, max_image_size={"longest_edge": 364},
        do_sample_frames=False,
    )  # fmt: skip
    model_input_names = ("pixel_values", "pixel_attention_mask")

    #: The longest side that a frame is resized to, whatever the settings say.
    longest_side: ClassVar[int] = 4096

    @classmethod
    def _settings_in(cls, config: ProcessorConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        settings, extra = super()._settings_in(config)
        older = extra.pop("video_sampling", None)
        if not isinstance(older, Mapping):
            return settings, extra
        chosen = {"num_frames": older.get("max_frames"), "fps": older.get("fps")}
        return {**settings, "size": settings.get("size") or older.get("video_size"), **chosen}, extra

    def choose(self, video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
        """Choose frames by `sampling.without_the_ends`."""
        return sampling.without_the_ends(video, settings)

    def frame_size(self, count: int, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Compute the size by the long side; the other side is made even."""
        size = settings.size or {}
        if "longest_edge" not in size:
            return super().frame_size(count, height, width, settings)
        return with_long_side(height, width, min(size["longest_edge"], self.longest_side), even=True)

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Resize a frame to its size, and then to a tile."""
        image = super().shape(image, settings)
        side = tile_side(settings)
        return transforms.resize(image, (side, side), settings.resample) if settings.do_resize else image

    def collect_videos(self, videos: list[Array], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the frames and the masks of their pixels."""
        most = max(map(len, videos))
        values = [pad_tiles(video, most) for video in videos] if settings.do_pad else videos
        if not settings.do_pad:
            return {"pixel_values": values}
        masks = [np.ones((len(video), *video.shape[-2:]), np.int64) for video in values]
        return {"pixel_values": values, "pixel_attention_mask": masks}


class Qwen2VLVideoProcessor(PatchedProcessor, ChatVideoProcessor):
    """Qwen2-VL, Qwen2.5-VL: `pixel_values_videos` (patches of all videos, values of a patch) and `video_grid_thw` int64
    (videos, 3). `size` has the fewest and the most pixels of a frame."""

    packed: ClassVar[frozenset[str]] = frozenset({"pixel_values_videos"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768},
        resample=BICUBIC, do_rescale=True, do_normalize=True, image_mean=CLIP_MEAN, image_std=CLIP_STD, patch_size=14,
        temporal_patch_size=2, merge_size=2, min_frames=4, max_frames=768, do_sample_frames=False,
        cap_pixels_per_frame=False, max_video_tokens=128000,
    )  # fmt: skip
    model_input_names = ("pixel_values_videos", "video_grid_thw")

    def choose(self, video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
        """Choose frames by `sampling.in_whole_patches`."""
        return sampling.in_whole_patches(video, settings)

    def frame_size(self, count: int, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Compute the size in whole blocks of patches, within the bounds of a frame's pixels."""
        least, most = pixel_bounds(settings)
        if settings.cap_pixels_per_frame:
            everything = int((settings.max_video_tokens or 0) * block_side(settings) ** 2 * 0.9)
            share = everything * depth(settings) // count
            most = max(min(most, share), int(least * 1.05))
        return size_in_blocks(height, width, block_side(settings), least, most)

    def collect_videos(self, videos: list[Array], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Cut videos into patches; the last frame is repeated to fill the last patch in time."""
        deep, side = depth(settings), settings.patch_size or 14
        filled = [np.concatenate([video, np.repeat(video[-1:], -len(video) % deep, axis=0)]) for video in videos]
        return {
            "pixel_values_videos": [cut_into_patches(video, settings) for video in filled],
            "video_grid_thw": [
                np.array([len(video) // deep, video.shape[-2] // side, video.shape[-1] // side], np.int64)
                for video in filled
            ],
        }


class Qwen3VLVideoProcessor(Qwen2VLVideoProcessor):
    """Qwen3-VL: the arrays of Qwen2-VL. `size` has the fewest and the most pixels of all frames together."""

    defaults: ClassVar = replace(
        Qwen2VLVideoProcessor.defaults, size={"shortest_edge": 128 * 32 * 32, "longest_edge": 32 * 32 * 768},
        image_mean=HALF, image_std=HALF, patch_size=16, do_sample_frames=True, fps=2, max_video_tokens=768,
    )  # fmt: skip

    def choose(self, video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
        """Choose frames by `sampling.from_end_to_end`."""
        return sampling.from_end_to_end(video, settings)

    def frame_size(self, count: int, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Compute the size in whole blocks of patches, within the bounds of all frames' pixels."""
        least, most = pixel_bounds(settings)
        deep, side = depth(settings), block_side(settings)
        if settings.cap_pixels_per_frame:
            of_frame = min((settings.max_video_tokens or 0) * side**2, most // count)
            most = max(of_frame, int(least * 1.05)) * count
        if count < deep:
            raise ImageError(f"a video of {count} frames is too short: it needs at least {deep}")
        if height < side or width < side:
            scale = max(side / height, side / width)
            height, width = int(height * scale), int(width * scale)
        return _volume_in_blocks(count, height, width, side, deep, least, most)


def _volume_in_blocks(
    count: int, height: int, width: int, side: int, deep: int, least: int, most: int
) -> tuple[int, int]:
    """Round a height and width to multiples of `side`, scaled so that all frames' pixels lie in `least`–`most`."""
    rows, columns = size_in_blocks(height, width, side, 0, transforms.MAX_RESULT)
    volume = round(count / deep) * deep * rows * columns
    if volume > most:
        scale = sqrt(count * height * width / most)
        return max(side, floor(height / scale / side) * side), max(side, floor(width / scale / side) * side)
    if volume < least:
        scale = sqrt(least / (count * height * width))
        return ceil(height * scale / side) * side, ceil(width * scale / side) * side
    return rows, columns
