"""Processors of models that take more than an image: texts beside it, the name of a task, points in it.

processor(text=["a cat", "a dog"], images=image, padding=True)   # input_ids, attention_mask, pixel_values
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from onnxpipe.errors import ImageError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.images.postprocess import detection
from onnxpipe.processing.images.settings import RENAMED
from onnxpipe.processing.images.transforms import Array
from onnxpipe.processing.processor_config import ProcessorConfig
from onnxpipe.processing.text.keywords import TokenizerCallOptions
from onnxpipe.processing.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from onnxpipe.processing.video.chats import ChatVideoProcessor

_OF_TEXT = frozenset({*TokenizerCallOptions.__annotations__, "add_special_tokens"})
"""The keywords of a tokenizer's call."""


class TextImageProcessor:
    """An image processor and a tokenizer in one object.

    Args:
        image_processor: for images.
        tokenizer: for texts; None for models that take none.

    Attributes:
        image_processor, tokenizer: as above.
        video_processor: for videos; None where the family takes none.
    """

    #: Whether the image processor alone is what a model without a tokenizer needs.
    needs_tokenizer: ClassVar[bool] = True

    def __init__(self, image_processor: ImageProcessor, tokenizer: Tokenizer | None = None) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.video_processor: ChatVideoProcessor | None = None

    @classmethod
    def from_parts(
        cls, image_processor: ImageProcessor, tokenizer: Tokenizer | None, config: ProcessorConfig
    ) -> TextImageProcessor:
        """Make a processor of its parts; `config` says what else the model's folder holds."""
        return cls(image_processor, tokenizer)

    @property
    def _tokenizer_or_raise(self) -> Tokenizer:
        if self.tokenizer is None:
            raise UnsupportedError(f"{type(self).__name__} has no tokenizer, so it takes no text")
        return self.tokenizer

    @property
    def model_input_names(self) -> list[str]:
        """The arrays that a call with both may return."""
        text_names = [] if self.tokenizer is None else self.tokenizer.model_input_names
        return list(dict.fromkeys([*text_names, *self.image_processor.model_input_names]))

    def decode(self, *args: Any, **options: Any) -> Any:
        """Call the tokenizer's `decode`."""
        return self._tokenizer_or_raise.decode(*args, **options)

    def batch_decode(self, *args: Any, **options: Any) -> Any:
        """Call the tokenizer's `batch_decode`."""
        return self._tokenizer_or_raise.batch_decode(*args, **options)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Write the files of the parts and return their paths."""
        parts = (self.tokenizer, self.image_processor, self.video_processor)
        return [path for part in parts if part is not None for path in part.save_pretrained(save_directory)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("post_process_"):
            return getattr(self.image_processor, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


class Processor(TextImageProcessor):
    """Texts and images in one call: CLIP, SigLIP, ALIGN, BLIP, ViLT and similar models.

    Args:
        image_processor, tokenizer: see `TextImageProcessor`.
        text_options: keywords of the tokenizer's call that hold unless a call passes others.

    Attributes:
        text_options: these, and those of the class.
    """

    #: `text_options` of the class.
    text_defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        image_processor: ImageProcessor,
        tokenizer: Tokenizer | None = None,
        text_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer)
        self.text_options = {**self.text_defaults, **(text_options or {})}

    def __call__(
        self, images: Any = None, text: Any = None, *, return_tensors: Any = "np", **options: Any
    ) -> BatchFeature:
        """Make the arrays for the model.

        Args:
            images: an image or a list of them; see `ImageProcessor`.
            text: a text or a list of them.
            return_tensors: "np" for arrays (texts of different lengths then need padding=True); None for lists.
            **options: keywords of the tokenizer's call, and settings of the image processor.

        Returns:
            The tokenizer's arrays of the texts, and the image processor's of the images.

        Raises:
            UnknownArgumentError: a keyword of neither.
            UnsupportedError: neither images nor texts, or texts where there is no tokenizer.
        """
        check_tensor_type(return_tensors)
        if images is None and text is None:
            raise UnsupportedError("pass images=, text=, or both")
        for_text, for_images = self._split(options)
        features = BatchFeature()
        if text is not None:
            features.update(self._texts(text, {**self.text_options, **for_text, "return_tensors": return_tensors}))
        if images is not None:
            features.update(self.image_processor(images, return_tensors=return_tensors, **for_images))
        return features

    def _split(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split a call's keywords into the tokenizer's and the image processor's."""
        of_text, of_images = _OF_TEXT, self.image_processor.known_settings
        for name in options:
            if name not in of_text and RENAMED.get(name, name) not in of_images:
                raise UnknownArgumentError.among(type(self).__name__, name, {*of_text, *of_images})
        return (
            {name: value for name, value in options.items() if name in of_text},
            {name: value for name, value in options.items() if name not in of_text},
        )

    def _texts(self, text: Any, options: dict[str, Any]) -> Mapping[str, Any]:
        return self._tokenizer_or_raise(text, **options).data


class AlignProcessor(Processor):
    """ALIGN: texts are padded to 64 tokens."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"padding": "max_length", "max_length": 64}


class BlipProcessor(Processor):
    """BLIP: no token types."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"return_token_type_ids": False}


class Siglip2Processor(Processor):
    """SigLIP 2: texts are padded to, and cut at, 64 tokens."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"padding": "max_length", "truncation": True, "max_length": 64}


class OwlProcessor(Processor):
    """OWL-ViT, OWLv2: for each image a list of what to look for."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"padding": "max_length"}

    def _texts(self, text: Any, options: dict[str, Any]) -> Mapping[str, Any]:
        """Tokenize the queries of all images, one image after the other, each list filled up to the longest."""
        if isinstance(text, (list, tuple)) and text and isinstance(text[0], (list, tuple)):
            most = max(len(queries) for queries in text)
            text = [query for queries in text for query in [*queries, *[" "] * (most - len(queries))]]
        tokens = super()._texts([text] if isinstance(text, str) else list(text), options)
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}

    def post_process_grounded_object_detection(
        self,
        outputs: Mapping[str, Any],
        threshold: float = 0.1,
        target_sizes: Any = None,
        text_labels: Sequence[Sequence[str]] | None = None,
    ) -> list[dict[str, Any]]:
        """Call `post_process_object_detection` and add `text_labels`: the words of each box, or None without any.

        Raises:
            UnsupportedError: lists of words for another number of images.
        """
        detections: list[dict[str, Any]] = self.image_processor.post_process_object_detection(
            outputs, threshold=threshold, target_sizes=target_sizes
        )
        if text_labels is not None and len(text_labels) != len(detections):
            raise UnsupportedError("Make sure that you pass in as many lists of text labels as images")
        for i, one in enumerate(detections):
            one["text_labels"] = None if text_labels is None else [text_labels[i][label] for label in one["labels"]]
        return detections


class GroundingDinoProcessor(Processor):
    """Grounding DINO: labels become one text, "a cat. a dog."."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"return_token_type_ids": True}

    def _texts(self, text: Any, options: dict[str, Any]) -> Mapping[str, Any]:
        if _are_labels(text):
            text = _sentence(text)
        elif isinstance(text, (list, tuple)) and all(_are_labels(labels) for labels in text):
            text = [_sentence(labels) for labels in text]
        return super()._texts(text, options)

    def post_process_grounded_object_detection(
        self,
        outputs: Mapping[str, Any],
        input_ids: Any = None,
        threshold: float = 0.25,
        text_threshold: float = 0.25,
        target_sizes: Any = None,
    ) -> list[dict[str, Any]]:
        """Find the boxes and the phrases that they show; see `detection.grounding_dino_phrases`."""
        ids = outputs["input_ids"] if input_ids is None else input_ids
        return detection.grounding_dino_phrases(
            outputs, ids, self._tokenizer_or_raise.decode, threshold, text_threshold, target_sizes
        )


def _are_labels(text: Any) -> bool:
    """Whether these are single labels, and not texts that have a dot after each label already."""
    return isinstance(text, (list, tuple)) and all(isinstance(label, str) and "." not in label for label in text)


def _sentence(labels: Sequence[str]) -> str:
    return ". ".join(label.strip().lower() for label in labels) + "."


class OneFormerProcessor(TextImageProcessor):
    """OneFormer: the name of the task beside the image.

    Attributes:
        task_seq_length: how many tokens the sentence of the task is padded to.
    """

    task_seq_length = 77

    def __call__(
        self, images: Any = None, task_inputs: Any = None, *, return_tensors: Any = "np", **options: Any
    ) -> BatchFeature:
        """Make the arrays for the model.

        Args:
            images, return_tensors: see `Processor`.
            task_inputs: "semantic", "instance" or "panoptic", or a list with one for each image.
            **options: settings of the image processor.

        Returns:
            `pixel_values`, `pixel_mask`, and `task_inputs` int64 (tasks, task_seq_length), 0 where nothing is.
        """
        if task_inputs is None or images is None:
            missing = "task_inputs" if task_inputs is None else "images"
            raise UnsupportedError(f"OneFormerProcessor needs {missing}=")
        prepare: Any = self.image_processor
        features: BatchFeature = prepare(images, task_inputs, return_tensors=return_tensors, **options)
        tokens = self._tokenizer_or_raise(
            features["task_inputs"], padding="max_length", max_length=self.task_seq_length, truncation=True,
            return_tensors="np",
        )  # fmt: skip
        features["task_inputs"] = tokens["input_ids"] * tokens["attention_mask"]
        return features


class SamProcessor(TextImageProcessor):
    """SAM and SAM 2: points and boxes in the image, scaled to the size that the model gets. They need no tokenizer."""

    needs_tokenizer: ClassVar[bool] = False

    def __call__(
        self,
        images: Any = None,
        *,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        return_tensors: Any = "np",
        **options: Any,
    ) -> BatchFeature:
        """Make the arrays for the model.

        Args:
            images, return_tensors: see `Processor`.
            input_points: for each image points [x, y], or prompts of several points; in its own pixels.
            input_labels: for each point 1 (inside what is looked for) or 0 (outside), in the same nesting.
            input_boxes: for each image boxes [left, top, right, bottom].
            **options: settings of the image processor.

        Returns:
            The image processor's arrays, and `input_points` float32 (images, prompts, points, 2), `input_labels` int64
            (images, prompts, points), `input_boxes` float32 (images, boxes, 4) as far as they were passed.

        Raises:
            ImageError: images with different numbers of points, or prompts for another number of images.
        """
        features = self.image_processor(images, return_tensors=return_tensors, **options)
        sizes = [tuple(int(side) for side in size) for size in features["original_sizes"]]
        if input_points is not None:
            points = [self._scaled(p, size) for p, size in _per_image("input_points", input_points, sizes)]
            features["input_points"] = _joined("input_points", points, 4).astype(np.float32)
        if input_labels is not None:
            labels = [np.asarray(each) for each, _ in _per_image("input_labels", input_labels, sizes)]
            features["input_labels"] = _joined("input_labels", labels, 3).astype(np.int64)
        if input_boxes is not None:
            boxes = [self._scaled(b, size, 4) for b, size in _per_image("input_boxes", input_boxes, sizes)]
            features["input_boxes"] = _joined("input_boxes", boxes, 3).astype(np.float32)
        return features

    def _scaled(self, values: Any, size: tuple[int, ...], count: int = 2) -> Array:
        """Scale coordinates (…, `count` numbers) from an image of (height, width) to the size that the model gets."""
        places = np.asarray(values, np.float64)
        if places.shape[-1:] != (count,):
            raise ImageError(f"each of these must have {count} numbers; the shape is {places.shape}")
        target = self.image_processor.target_size(size[0], size[1], self.image_processor.settings)
        scale = np.array([target[1] / size[1], target[0] / size[0]])
        return np.asarray(places * np.tile(scale, count // 2))


def _per_image(name: str, values: Any, sizes: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pair the values of each image with its size."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, (list, tuple)) or not values or not isinstance(values[0], (list, tuple)):
        raise ImageError(f"{name} must be a list with one list for each image; got {values!r}")
    if len(values) != len(sizes) and len(sizes) != 1:
        raise ImageError(f"{name} is for {len(values)} images, and there are {len(sizes)}")
    return [(value, sizes[i if len(sizes) > 1 else 0]) for i, value in enumerate(values)]


def _joined(name: str, rows: list[Array], axes: int) -> Array:
    """Stack the rows to an array of that many axes, with an axis for prompts inserted where there is none."""
    if len({row.shape for row in rows}) > 1:
        raise ImageError(f"{name}: images have different numbers of points: {[row.shape for row in rows]}")
    joined = np.stack(rows)
    if joined.ndim == axes - 1:
        joined = joined[:, None]
    if joined.ndim != axes:
        raise ImageError(f"{name} must have {axes - 1} or {axes} levels; got the shape {joined.shape}")
    return joined
