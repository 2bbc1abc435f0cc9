"""What the tasks on pages share: words are read off an image, and tokens go to the model with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.ocr.pages import Page
from onnxpipe.processing.ocr.reader import Ocr, WordReader
from onnxpipe.processing.text.pages import token_boxes

if TYPE_CHECKING:
    from PIL.Image import Image

    from onnxpipe.processing.text.batch_encoding import BatchEncoding
    from onnxpipe.processing.text.tokenizer import Tokenizer

#: The longest window of a tokenizer that names no limit: that of all families.
_LONGEST = 512
#: The values of an encoding that models read.
_FOR_MODEL = ("input_ids", "attention_mask", "token_type_ids")


def load_page(source: Any, timeout: float | None) -> Image:
    """Load an image with its transparency: words are read as they stand on white, models see the colours beneath."""
    from onnxpipe.processing.images.io.load import load_with_alpha

    return load_with_alpha(source, timeout)


class ReadingOptions(Protocol):
    """Options about the program that reads words."""

    @property
    def ocr(self) -> str | WordReader:
        """The program, or a function."""

    @property
    def lang(self) -> str | None:
        """Languages by tesseract's codes."""

    @property
    def tesseract_config(self) -> str:
        """Further arguments of tesseract."""


@dataclass(frozen=True)
class PageEncoder:
    """Reads pages, and makes the feeds of a model that takes words with boxes: LayoutLM, LiLT and their kin.

    Args:
        name: the model's, for errors.
        inputs: the names of its graph's inputs.
        tokenizer: its tokenizer.
        image_processor: its image processor; None if it does not look at the image.

    Raises:
        UnsupportedError: the graph takes no boxes.
        ValueError: it takes an image, and there is no image processor.
    """

    name: str
    inputs: Sequence[str]
    tokenizer: Tokenizer
    image_processor: Any

    def __post_init__(self) -> None:
        if "bbox" not in self.inputs:
            raise UnsupportedError(
                f"{self.name} takes no boxes (its inputs: {', '.join(self.inputs)}), so it cannot read pages"
            )
        if self.pixels is not None and self.image_processor is None:
            raise ValueError(
                f"{self.name} looks at the image too, and has no preprocessor_config.json: pass image_processor="
            )

    @property
    def pixels(self) -> str | None:
        """The input for the image: LayoutLMv2 calls it "image"; None if the model does not look at it."""
        return next((name for name in ("pixel_values", "image") if name in self.inputs), None)

    @property
    def longest(self) -> int:
        """The longest row in tokens."""
        return min(self.tokenizer.model_max_length, _LONGEST)

    def read(self, image: Image, options: ReadingOptions) -> Page:
        """Read the words of an image; tesseract as the image processor's file says, where the options do not.

        Where the image is transparent, the words stand on white.
        """
        from onnxpipe.processing.images.inputs import on_white

        own = self.image_processor if options.ocr == "tesseract" else None
        lang = options.lang or getattr(own, "ocr_lang", None)
        config = options.tesseract_config or getattr(own, "tesseract_config", None) or ""
        return Page.of_words(Ocr(options.ocr, lang, config).read(on_white(image)), image.size)

    def token_feeds(self, encoding: BatchEncoding, row: int, page: Page, part: int) -> dict[str, Array]:
        """Make the feeds of a row's tokens, each with the box of its word.

        Args:
            encoding: the page's words, tokenized.
            row: the row of the encoding.
            page: the page.
            part: which text of a pair the page is, 0 or 1.
        """
        found = {name: values[row] for name, values in encoding.items() if name in _FOR_MODEL}
        found["bbox"] = token_boxes(self.tokenizer, encoding, row, page.boxes, part)
        return {name: np.asarray(values, np.int64) for name, values in found.items()}

    def pixel_feeds(self, image: Image | None) -> dict[str, Array]:
        """Prepare the image for a model that looks at it; what is transparent has its colour, as in transformers."""
        if self.pixels is None:
            return {}
        if image is None:
            raise UnsupportedError(f"{self.name} looks at the image too: pass image= with word_boxes=")
        quiet = {"apply_ocr": False} if "apply_ocr" in getattr(self.image_processor, "known_settings", ()) else {}
        processed = self.image_processor(image.convert("RGB"), return_tensors="np", **quiet)
        return {self.pixels: processed["pixel_values"][0]}
