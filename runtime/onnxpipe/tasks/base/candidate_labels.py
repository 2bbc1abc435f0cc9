"""Labels chosen at call time, as a model of two encoders reads them: once for any number of pictures or sounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.models.dual_encoder import DualEncoderModel
from onnxpipe.processing.text.tokenizer import Tokenizer

#: Sets of labels that are kept.
_KEPT = 8


class LabelTexts:
    """The sentences that labels make, and what a model makes of these.

    Args:
        model: its encoder of texts is run, unless it is one joint graph.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: DualEncoderModel, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._found: OrderedDict[Any, dict[str, Array]] = OrderedDict()

    def __len__(self) -> int:
        """How many sets of labels are kept."""
        return len(self._found)

    def features(self, labels: Sequence[str], template: str, keywords: Mapping[str, Any]) -> dict[str, Array]:
        """`text_embeds` of the labels (of a joint graph: their token ids and masks).

        Args:
            labels: the labels.
            template: the sentence in which a label takes the place of `{}`.
            keywords: of the tokenizer's call.
        """
        sentences = tuple(template.format(label) for label in labels)
        key = (sentences, repr(sorted(keywords.items())))
        if key not in self._found:
            encoded = self._tokenizer(list(sentences), **keywords, return_tensors="np")
            feeds = {name: np.asarray(encoded[name], np.int64) for name in self._model.text_inputs if name in encoded}
            self._found[key] = feeds if self._model.joint else self._model.run_texts(feeds)
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return self._found[key]

    def similarities(self, texts: Mapping[str, Array], feeds: Mapping[str, Array]) -> Array:
        """Logits, float32 (pictures or sounds, labels), of a batch against what `features` gave."""
        if self._model.joint:
            return self._model.run_joint({**texts, **feeds})
        return self._model.similarity(self._model.run_other(feeds), texts["text_embeds"])


def check_labels(task: str, labels: Any) -> None:
    """Refuses labels that are no list of texts, or an empty one.

    Raises:
        ValueError: a text, or nothing in it.
    """
    if isinstance(labels, str):
        raise ValueError(f"candidate_labels of {task} is the text {labels!r}: pass a list of labels")
    if labels is not None and not len(labels):
        raise ValueError(f"candidate_labels of {task} is empty: there is nothing to choose from")


def ranked(scores: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    """`{"score", "label"}`, best first."""
    pairs = zip(scores, labels, strict=True)
    return [{"score": float(score), "label": label} for score, label in sorted(pairs, key=lambda pair: -pair[0])]
