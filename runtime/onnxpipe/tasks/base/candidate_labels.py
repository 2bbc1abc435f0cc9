"""Encode the candidate labels of a call with a dual encoder: once for any number of images or recordings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.models.dual_encoder import DualEncoderModel
from onnxpipe.processing.text.inputs import text_list
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base.call_types import LabelScore

#: Sets of labels whose encodings are kept.
_CAPACITY = 8


class CandidateLabelEncoder:
    """Encode candidate labels, and keep the encodings of the last sets of labels.

    Args:
        model: its encoder of texts runs, unless it is one joint graph.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: DualEncoderModel, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._kept: OrderedDict[Any, dict[str, Array]] = OrderedDict()

    def __len__(self) -> int:
        """The number of sets of labels that are kept."""
        return len(self._kept)

    def features(self, labels: Sequence[str], template: str, kwargs: Mapping[str, Any]) -> dict[str, Array]:
        """Encode labels: their `text_embeds` (for a joint graph: their token ids and masks).

        Args:
            labels: the labels.
            template: the sentence in which a label takes the place of `{}`.
            kwargs: keywords of the tokenizer's call.
        """
        sentences = tuple(template.format(label) for label in labels)
        key = (sentences, repr(sorted(kwargs.items())))
        if key not in self._kept:
            encoded = self._tokenizer(list(sentences), **kwargs, return_tensors="np")
            feeds = {name: np.asarray(encoded[name], np.int64) for name in self._model.text_inputs if name in encoded}
            self._kept[key] = feeds if self._model.joint else self._model.run_texts(feeds)
            while len(self._kept) > _CAPACITY:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def similarities(self, texts: Mapping[str, Array], feeds: Mapping[str, Array]) -> Array:
        """Compare a batch with the labels: logits, float32 (images or recordings, labels).

        Args:
            texts: the labels, from `features`.
            feeds: the batch.
        """
        if self._model.joint:
            return self._model.run_joint({**texts, **feeds})
        return self._model.similarity(self._model.run_other(feeds), texts["text_embeds"])


def check_labels(task: str, labels: Any) -> None:
    """Refuse labels that are a text, an empty list, or a list with something that is not a text.

    Raises:
        ValueError: they are.
    """
    if isinstance(labels, str):
        raise ValueError(f"candidate_labels of {task} is the text {labels!r}: pass a list of labels")
    if labels is not None and not len(labels):
        raise ValueError(f"candidate_labels of {task} is empty: there is nothing to choose from")
    if labels is not None:
        text_list(labels, "candidate_labels")


def ranked(scores: Array, labels: Sequence[str]) -> list[LabelScore]:
    """Pair labels with their scores, best first."""
    pairs = zip(scores, labels, strict=True)
    return [{"score": float(score), "label": label} for score, label in sorted(pairs, key=lambda pair: -pair[0])]
