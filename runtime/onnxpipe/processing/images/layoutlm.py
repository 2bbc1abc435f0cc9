"""Preprocess pages for LayoutLMv2 and LayoutLMv3: resize them, and read their words with tesseract before."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from onnxpipe.errors import BundleError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.images.inputs import to_image_or_array
from onnxpipe.processing.images.io.pillow import import_pillow
from onnxpipe.processing.images.settings import BILINEAR, HALF, NORMALIZING, ImageProcessorSettings
from onnxpipe.processing.images.transforms import Array
from onnxpipe.processing.ocr import tesseract
from onnxpipe.processing.ocr.words import to_page
from onnxpipe.processing.processor_config import ProcessorConfig

if TYPE_CHECKING:
    from PIL.Image import Image


#: Arguments of tesseract that a model's file may hold -> their form, and what errors call it.
_FROM_FILES = {
    "tesseract_config": (re.compile(r"\s*(--(psm|oem|dpi)[ =]\d{1,4}\s*)*"), "--psm, --oem and --dpi with numbers"),
    "ocr_lang": (re.compile(r"[A-Za-z_]{1,40}(\+[A-Za-z_]{1,40}){0,20}"), "codes of languages, joined by +"),
}


class _PageImageProcessor(ImageProcessor):
    """What the image processors of pages share: with `apply_ocr` a call returns `words` and `boxes` (0-1000) as well.

    The settings `ocr_lang` and `tesseract_config` are tesseract's; lists of both are lists with one entry an image.
    """

    also: ClassVar[frozenset[str]] = frozenset({"ocr_lang"})

    @classmethod
    def _settings_in(cls, config: ProcessorConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `ProcessorBase._settings_in`.

        Raises:
            BundleError: arguments of tesseract that a model's file may not pass: some name files to read or to write.
        """
        settings, extra = super()._settings_in(config)
        for name, (pattern, allowed) in _FROM_FILES.items():
            value = settings.get(name)
            if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
                raise BundleError(
                    f"{config.name}: {name} is {value!r:.80}, and a model's file may hold {allowed} only; pass other "
                    f"values yourself ({name}=)"
                )
        return settings, extra

    def _features(self, images: list[Any], settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        features = super()._features(images, settings, stacked)
        if settings.apply_ocr:
            pages = [_page(image, settings) for image in images]
            read = [tesseract.read(page, settings.ocr_lang, settings.tesseract_config or "") for page in pages]
            features["words"] = [[word.text for word in words] for words in read]
            features["boxes"] = [[to_page(word.box, *page.size) for word in words] for page, words in zip(pages, read)]
        return features


class LayoutLMv2ImageProcessor(_PageImageProcessor):
    """LayoutLMv2, LayoutXLM: bytes as they are, blue before red."""

    unused: ClassVar[frozenset[str]] = NORMALIZING | {"do_rescale", "rescale_factor"}
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"height": 224, "width": 224}, resample=BILINEAR, apply_ocr=True, tesseract_config=""
    )

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Keep the bytes."""
        return values

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """Put the channels into the order of detectron2: BGR."""
        return np.ascontiguousarray(values[::-1])


class LayoutLMv3ImageProcessor(_PageImageProcessor):
    """LayoutLMv3."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"height": 224, "width": 224}, resample=BILINEAR, do_rescale=True, do_normalize=True,
        image_mean=HALF, image_std=HALF, apply_ocr=True, tesseract_config="",
    )  # fmt: skip


def _page(image: Any, settings: ImageProcessorSettings) -> Image:
    """Return the image as a program reads it: a PIL image in RGB."""
    loaded = to_image_or_array(image, settings)
    return import_pillow().fromarray(loaded) if isinstance(loaded, np.ndarray) else loaded
