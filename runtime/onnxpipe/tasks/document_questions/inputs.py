"""The inputs of document-question-answering: the ways of passing images, questions and words, and what each needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import GeneratorType
from typing import Any

from onnxpipe.errors import UnknownArgumentError
from onnxpipe.processing.text.inputs import described, one_text
from onnxpipe.tasks.base.datasets import is_dataset

_KEYS = ("image", "question", "word_boxes")


def joined(image: Any, question: Any, word_boxes: Any) -> Any:
    """Join the parts of a call to an input, a list of inputs, or a stream of them.

    Raises:
        ValueError: lists of images and questions of different lengths.
    """
    if question is None and word_boxes is None:
        return image
    if isinstance(word_boxes, Iterator):
        word_boxes = list(word_boxes)  # every question of the call reads them
    words = {} if word_boxes is None else {"word_boxes": word_boxes}
    if isinstance(question, (list, tuple)):
        images = image if isinstance(image, (list, tuple)) else [image] * len(question)
        if len(images) != len(question):
            raise ValueError(
                f"there are {len(images)} images and {len(question)} questions: pass one image, or as many"
            )
        return [{"image": each, "question": one, **words} for each, one in zip(images, question)]
    if isinstance(image, list):
        return [{"image": each, "question": question, **words} for each in image]
    if isinstance(image, GeneratorType):
        return ({"image": each, "question": question, **words} for each in image)
    if is_dataset(image):
        return ({"image": image[i], "question": question, **words} for i in range(len(image)))
    return {"image": image, "question": question, **words}


def checked(value: Any) -> Mapping[str, Any]:
    """Check an input.

    Raises:
        ValueError: it has no question, or an empty one.
        UnknownArgumentError: a key that is not known.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"the input is {described(value)}: pass an image with question=, or a dict of both")
    for name in value:
        if name not in _KEYS:
            raise UnknownArgumentError.among("an input of document-question-answering", str(name), _KEYS)
    question = one_text(value.get("question"), "question")
    if not question.strip():
        raise ValueError("question is empty: ask something")
    return value
