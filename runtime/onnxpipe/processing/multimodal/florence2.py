"""The processor of Florence-2: names of tasks become the sentences that the model knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal import florence2_answers
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor

#: Task -> its sentence.
_TASKS: Mapping[str, str] = {
    "<OCR>": "What is the text in the image?",
    "<OCR_WITH_REGION>": "What is the text in the image, with regions?",
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    "<OD>": "Locate the objects with category name in the image.",
    "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
    "<REGION_PROPOSAL>": "Locate the region proposals in the image.",
}
#: Task -> its sentence, with a place for what the user adds.
_TASKS_OF: Mapping[str, str] = {
    "<CAPTION_TO_PHRASE_GROUNDING>": "Locate the phrases in the caption: {input}",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "Locate {input} in the image with mask",
    "<REGION_TO_SEGMENTATION>": "What is the polygon mask of region {input}",
    "<OPEN_VOCABULARY_DETECTION>": "Locate {input} in the image.",
    "<REGION_TO_CATEGORY>": "What is the region {input}?",
    "<REGION_TO_DESCRIPTION>": "What does the region {input} describe?",
    "<REGION_TO_OCR>": "What text is in the region {input}?",
}


class Florence2Processor(VisionLanguageProcessor):
    """Florence-2: one image for each text, in front of it; a text is a task ("<OD>"), or any question."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"add_special_tokens": False}
    skips_special_tokens: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {
        "image_token": "<image>",
        "num_additional_image_tokens": 0,
        "post_processor_config": None,
    }

    def prompts(
        self, texts: list[str] | None, nested: Sequence[Sequence[Any]] | None, flat: Sequence[Any] | None
    ) -> list[str] | None:
        """Return the sentences of the tasks; with images each with a marker, a beginning and an end."""
        if texts is None:
            texts = [""] * len(flat or ())
        sentences = [sentence_of(text) for text in texts]
        if flat is None:
            return sentences
        begin, end = self.tokenizer.bos_token or "", self.tokenizer.eos_token or ""
        return [f"{self.image_token}{begin}{sentence}{end}" for sentence in sentences]

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens."""
        count = getattr(self.image_processor, "image_seq_length", None)
        if not isinstance(count, int) or not 0 < count < 1 << 16:
            raise BundleError(
                f"image_seq_length in preprocessor_config.json must be the number of tokens of an image; got {count!r}"
            )
        return self.image_token * count

    def post_process_generation(
        self, text: str | None = None, sequence: Any = None, task: str | None = None, image_size: Any = None
    ) -> dict[str, Any]:
        """Read an answer: labels with boxes, lines of text or polygons, in pixels.

        Args:
            text: the answer with its special tokens; or
            sequence: its ids.
            task: such as "<OD>".
            image_size: (width, height) of the image; needed for answers with places.

        Returns:
            The task to its answer, see `florence2_answers.parse`.

        Raises:
            UnsupportedError: no task, not exactly one of text and sequence, or no size for an answer with places.
        """
        if task is None:
            raise UnsupportedError("`task` must be provided for post-processing.")
        if (text is None) == (sequence is None):
            raise UnsupportedError("Exactly one of 'text' or 'sequence' must be provided.")
        if text is None:
            ids = [int(number) for number in to_array(sequence)]
            ids = ids[1:] if ids and ids[0] == self.tokenizer.bos_token_id else ids
            text = "".join(self._words(ids))
        settings = self.settings["post_processor_config"] or {}
        banned = settings.get("phrase_grounding", {}).get("banned_grounding_tokens", ())
        area = settings.get("ocr", {}).get("AREA_THRESHOLD", 0.0)
        answer = florence2_answers.parse(text, task, image_size, banned=frozenset(banned), smallest_area=float(area))
        return {task: answer}

    def _words(self, ids: Sequence[int]) -> Iterator[str]:
        """Return the text of each token; special ones as they are."""
        special = set(self.tokenizer.all_special_tokens)
        for token in self.tokenizer.convert_ids_to_tokens(ids):
            yield token if token in special else self.tokenizer.convert_tokens_to_string([token])


def sentence_of(text: str) -> str:
    """Return the sentence of a task; a text that names none as it is.

    Raises:
        UnsupportedError: something beside a task that takes nothing.
    """
    for task, sentence in _TASKS.items():
        if task in text:
            if text != task:
                raise UnsupportedError(f"Task token {task} should be the only content in the prompt.")
            return sentence
    for task, sentence in _TASKS_OF.items():
        if task in text:
            return sentence.replace("{input}", text.replace(task, "").strip())
    return text
