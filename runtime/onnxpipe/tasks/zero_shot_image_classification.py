"""zero-shot-image-classification: labels chosen at call time, compared with a picture."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array, Row, stack
from onnxpipe.engine.scheduler import Outputs
from onnxpipe.processing.scores import sigmoid, softmax
from onnxpipe.tasks.base import Answered
from onnxpipe.tasks.images import ImageOptions, ImagePipeline

#: Sets of labels whose embeddings are kept.
_KEPT = 8


@dataclass(frozen=True)
class ZeroShotImageClassificationOptions(ImageOptions):
    """Parameters of zero-shot-image-classification.

    Attributes:
        candidate_labels: the labels, a list.
        hypothesis_template: the sentence in which a label takes the place of `{}`.
        tokenizer_kwargs: keywords of the tokenizer's call (deprecated in transformers).
    """

    candidate_labels: Sequence[str] | None = None
    hypothesis_template: str = "This is a photo of {}."
    tokenizer_kwargs: Mapping[str, Any] | None = None


class ZeroShotImageClassificationPipeline(ImagePipeline):
    """Scores labels for a picture: a list of `{"score", "label"}`, best first.

    Its parameters are those of `ZeroShotImageClassificationOptions`. The labels of a call hold for all its pictures,
    and are read by the model once.
    """

    Options = ZeroShotImageClassificationOptions
    _load_tokenizer = True
    input_modalities = "multimodal"

    def prepare(self) -> None:
        super().prepare()
        self._texts: OrderedDict[Any, dict[str, Array]] = OrderedDict()

    def __call__(self, inputs: Any = None, candidate_labels: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. The labels may be the second positional argument."""
        if candidate_labels is not None:
            kwargs["candidate_labels"] = candidate_labels
        if kwargs.get("candidate_labels") is None and self.options.candidate_labels is None:
            raise TypeError("zero-shot-image-classification needs candidate_labels=[...]")
        return super().__call__(inputs, *args, **kwargs)

    def parse(
        self, given: Mapping[str, Any], base: ZeroShotImageClassificationOptions | None
    ) -> ZeroShotImageClassificationOptions:
        labels = given.get("candidate_labels")
        if isinstance(labels, str):
            raise ValueError(f"candidate_labels is the text {labels!r}: pass a list of labels")
        if labels is not None and not len(labels):
            raise ValueError("candidate_labels is empty: there is nothing to choose from")
        if given.get("tokenizer_kwargs") is not None:
            warnings.warn("The `tokenizer_kwargs` argument is deprecated.", FutureWarning, stacklevel=4)
        options: ZeroShotImageClassificationOptions = super().parse(given, base)
        return options

    def run(self, rows: Sequence[Row], options: ZeroShotImageClassificationOptions) -> list[Outputs]:
        texts = self._text_features(options)
        images = stack(rows, self.padding())
        if self.model.joint:
            logits = self.model.run_joint({**texts, **images})
        else:
            logits = self.model.similarity(self.model.run_images(images)["image_embeds"], texts["text_embeds"])
        return [{"logits": row} for row in logits]

    def decode(self, rows: Answered, options: ZeroShotImageClassificationOptions) -> list[dict[str, Any]]:
        logits = rows[0][1]["logits"].astype(np.float32)
        scores = sigmoid(logits) if self._siglip else softmax(logits)
        pairs = zip(scores, options.candidate_labels or (), strict=True)
        return [{"score": float(score), "label": label} for score, label in sorted(pairs, key=lambda pair: -pair[0])]

    @property
    def _siglip(self) -> bool:
        return "siglip" in self.model.config.model_type

    def _text_features(self, options: ZeroShotImageClassificationOptions) -> dict[str, Array]:
        """The labels' embeddings (of a model of one graph: their token ids), computed once for a set of labels."""
        sentences = tuple(options.hypothesis_template.format(label) for label in options.candidate_labels or ())
        key = (sentences, repr(sorted((options.tokenizer_kwargs or {}).items())))
        if key not in self._texts:
            feeds = self._tokens(sentences, options)
            self._texts[key] = feeds if self.model.joint else self.model.run_texts(feeds)
            while len(self._texts) > _KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(key)
        return self._texts[key]

    def _tokens(self, sentences: Sequence[str], options: ZeroShotImageClassificationOptions) -> dict[str, Array]:
        keywords: dict[str, Any] = {"padding": True}
        if self._siglip:
            keywords = {"padding": "max_length", "max_length": 64, "truncation": True}
        keywords = {**keywords, **(options.tokenizer_kwargs or {}), "return_tensors": "np"}
        encoded = self.tokenizer(list(sentences), **keywords)
        return {name: np.asarray(encoded[name], np.int64) for name in self.model.text_inputs if name in encoded}
