"""Processors of Idefics 3 and SmolVLM: each tile of an image has a tag with its row and column."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.count_words import count_words
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
        """Return the arrays of either.

        Raises:
            UnsupportedError: there are both.
        """
        if images and videos:
            raise UnsupportedError(
                f"{type(self).__name__} takes images or videos in one call, and not both: ask about them in turn"
            )
        return super().joined(texts, images, videos)
