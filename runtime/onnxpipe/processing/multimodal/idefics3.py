"""Processors of Idefics 3 and SmolVLM: each tile of an image has a tag with its row and column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor

_FAKE, _WHOLE = "<fake_token_around_image>", "<global-img>"


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
    """SmolVLM: as Idefics 3."""
