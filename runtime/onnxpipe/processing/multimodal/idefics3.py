"""Processors of Idefics 3 and SmolVLM: each tile of an image has a tag with its row and column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.count_words import count_words
from onnxpipe.processing.multimodal.placeholders import in_order
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor

_FAKE, _WHOLE = "<fake_token_around_image>", "<global-img>"

#: The checkpoints' template, which writes nothing for a video, with its marker.
_VIDEO_TEMPLATE = """\
<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}\
{% if message['content'] is string %}{{ ': ' + message['content'] }}{% else %}\
{{ ':' if message['content'][0]['type'] == 'image' else ': ' }}\
{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}\
{% elif part['type'] == 'image' %}{{ '<image>' }}{% elif part['type'] == 'video' %}{{ '<video>' }}{% endif %}\
{% endfor %}{% endif %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""


class Idefics3Processor(VisionLanguageProcessor):
    """Idefics 3: the tiles row by row, then the whole image, each between fake tokens."""

    grouped: ClassVar[bool] = True
    image_defaults: ClassVar[Mapping[str, Any]] = {"return_row_col_info": True}
    unused: ClassVar[frozenset[str]] = frozenset({"rows", "cols"})
    reserved: ClassVar[tuple[str, ...]] = (_FAKE, _WHOLE)
    defaults: ClassVar[Mapping[str, Any]] = {"image_token": "<image>", "image_seq_len": 169}

    @classmethod
    def settings_of_model(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tokens of a tile, by the tower's patches and how many become one token."""
        tower, scale = model.get("vision_config", {}), model.get("scale_factor")
        if not {"image_size", "patch_size"} <= tower.keys() or not scale:
            return {}
        return {"image_seq_len": int((tower["image_size"] // tower["patch_size"]) ** 2 / scale**2)}

    @property
    def call_options(self) -> frozenset[str]:
        """The keywords that a call takes beside `images`, `text` and `return_tensors`."""
        return super().call_options - {"return_mm_token_type_ids", "return_row_col_info"}

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the tiles with their tags, a line for each row, and the whole image."""
        rows, columns = ([n for sample in features[name] for n in sample][index] for name in ("rows", "cols"))
        tokens = self.image_token * self.number("image_seq_len")
        lines = [
            "".join(f"{_FAKE}<row_{row + 1}_col_{column + 1}>{tokens}" for column in range(columns)) + "\n"
            for row in range(rows)
        ]
        blank = "\n" if lines else ""
        return f"{''.join(lines)}{blank}{_FAKE}{_WHOLE}{tokens}{_FAKE}"


class SmolVLMProcessor(Idefics3Processor):
    """SmolVLM: as Idefics 3; the frames of a video are whole images, and the text says at what time each is."""

    video_role: ClassVar[str | None] = "video_token"
    video_template: ClassVar[str | None] = _VIDEO_TEMPLATE
    defaults: ClassVar[Mapping[str, Any]] = {**Idefics3Processor.defaults, "video_token": "<video>"}

    def video_replacement(self, features: BatchFeature, index: int) -> str:
        """Return a sentence about the video, and its frames, each with its time."""
        facts = features["video_metadata"][index]
        times = facts.timestamps
        duration = timedelta(seconds=int(times[-1] if facts.duration is None else facts.duration))
        tokens = self.image_token * self.number("image_seq_len")
        frames = (
            f"\nFrame from {int(time // 60):02d}:{int(time % 60):02d}:{_FAKE}{_WHOLE}{tokens}{_FAKE}" for time in times
        )
        return (
            f"You are provided the following series of {count_words(len(times))} frames from a {duration} [H:MM:SS] "
            f"video.\n{''.join(frames)}\n\n"
        )

    def video_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a chat's call: frames are chosen if the processor's files say how."""
        named = {name: getattr(self.video_processor, name, None) for name in ("num_frames", "fps")}
        return super().video_options({**named, **options})

    def joined(self, texts: list[str], images: BatchFeature, videos: BatchFeature) -> BatchFeature:
        """Lay the tiles of images and the frames of videos in a row for each text, in the order of its markers.

        transformers has the same arrays where there are only images or only videos. Of both it keeps the frames alone,
        which its models refuse.

        Raises:
            UnsupportedError: there are both and no text, or the sizes of tiles and of frames differ.
        """
        if not images or not videos:
            return super().joined(texts, images, videos)
        if not texts:
            raise UnsupportedError(
                f"{type(self).__name__} takes images and videos in one call only with a text, whose markers say in "
                "which order they come"
            )
        assert self.video_token is not None
        joined = BatchFeature({"video_metadata": videos["video_metadata"]})
        for name in ("pixel_values", "pixel_attention_mask"):
            if name in images and name in videos:
                parts = {self.image_token: _tiles(images, name), self.video_token: _frames(videos, name)}
                joined[name] = _padded(in_order(texts, parts))
        return joined


def _tiles(images: BatchFeature, name: str) -> Iterator[np.ndarray]:
    """Yield the tiles of each image."""
    for sample, rows, columns in zip(images[name], images["rows"], images["cols"], strict=True):
        start = 0
        for row, column in zip(rows, columns, strict=True):
            yield sample[start : start + row * column + 1]
            start += row * column + 1


def _frames(videos: BatchFeature, name: str) -> Iterator[np.ndarray]:
    """Yield the frames of each video."""
    for clip, facts in zip(videos[name], videos["video_metadata"], strict=True):
        yield clip[: len(facts.timestamps)]


def _padded(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Join the parts of each row, with zeros behind those of rows that have fewer."""
    like = next(part for row in rows for part in row)
    if any(part.shape[1:] != like.shape[1:] for row in rows for part in row):
        raise UnsupportedError(
            "tiles of images and frames of videos in one call must have one size: set the same max_image_size in the "
            "files of both processors"
        )
    most = max(sum(map(len, row)) for row in rows)
    padded = np.zeros((len(rows), most, *like.shape[1:]), like.dtype)
    for number, row in enumerate(rows):
        if row:
            padded[number, : sum(map(len, row))] = np.concatenate(row)
    return padded
