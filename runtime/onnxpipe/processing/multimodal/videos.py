"""Give vision-language processors videos: their frames are chosen and prepared, and named in the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.video.chats import ChatVideoProcessor

#: Keywords of a call that say something of videos beside the settings of their processor.
_OF_CALLS = frozenset({"video_metadata", "return_metadata"})


class VideoMixin:
    """Adds videos to a processor of texts and images.

    Attributes:
        video_processor: for videos; None where the family takes none.
        video_token, video_token_id: the marker of a video in a text, and its id; None where there is none.
    """

    #: The name of the token in tokenizers and settings; None for families that take no videos.
    video_role: ClassVar[str | None] = None

    video_processor: ChatVideoProcessor | None
    video_token: str | None
    video_token_id: int | None

    def video_replacement(self, features: BatchFeature, index: int) -> str:
        """Return what stands in the prompt for a video.

        Args:
            features: the video processor's arrays of all videos, with `video_metadata`.
            index: which video.

        Raises:
            UnsupportedError: the family takes no videos.
        """
        raise UnsupportedError(f"{type(self).__name__} takes no videos")

    def video_features(self, videos: list[Any], options: Mapping[str, Any]) -> BatchFeature:
        """Prepare videos: the video processor's arrays, with `video_metadata`.

        Raises:
            UnsupportedError: the family takes no videos, or its processor was made without theirs.
        """
        if self.video_token is None:
            raise UnsupportedError(f"{type(self).__name__} takes no videos")
        if self.video_processor is None:
            raise UnsupportedError(
                f"this {type(self).__name__} has no video processor: load it with AutoProcessor, or set its "
                "video_processor"
            )
        return self.video_processor.prepare(videos, **{**options, "return_metadata": True})

    def joined(self, texts: list[str], images: BatchFeature, videos: BatchFeature) -> BatchFeature:
        """Join the arrays of images and videos.

        Args:
            texts: the texts, with markers.
            images, videos: the arrays; empty for none.

        Raises:
            UnsupportedError: the family does not take both in one call.
        """
        return BatchFeature({**images, **videos})

    def video_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a chat's call: frames are chosen if it says how many, unless it says otherwise."""
        chosen = options.get("fps") is not None or options.get("num_frames") is not None
        return {"do_sample_frames": True, **options} if chosen else dict(options)

    @property
    def video_settings(self) -> frozenset[str]:
        """The keywords of a call that are for videos."""
        if self.video_processor is None:
            return frozenset()
        return self.video_processor.known_settings | self.video_processor.shorthands | _OF_CALLS
