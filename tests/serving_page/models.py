"""Pipelines over models that are none, one for each kind of input and answer of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe import (
    DepthEstimationPipeline,
    ImageSegmentationPipeline,
    ImageToImagePipeline,
    KeypointMatchingPipeline,
    ObjectDetectionPipeline,
    TextToAudioPipeline,
    TokenClassificationPipeline,
    pipeline,
)
from unit.fakes import tokenizer
from unit.serving.stubs import FakeClassifier, ranker, sentiment, writer, zero_shot
from unit.serving.test_dialects import Whistle
from unit.tasks.test_embedding import folder
from unit.tasks.test_image import (
    FakeModel,
    Matcher,
    Panoptic,
    Processor,
    WithBoxes,
    WithDepth,
    features,
)
from unit.tasks.test_speech_recognition import ctc_pipeline


class Tagger(FakeClassifier):
    """Labels capital letters as a name."""

    def __init__(self) -> None:
        super().__init__({0: "O", 1: "NAME"})
        self.per_token = frozenset({"logits"})

    def run(self, feeds: Any) -> dict[str, Any]:
        capital = np.isin(feeds["input_ids"], tokenizer()("ABCHNU")["input_ids"])
        return {"logits": np.stack([1 - 4.0 * capital, 3.0 * capital], -1).astype(np.float32)}


def detected(feeds: Any) -> dict[str, Any]:
    """Three boxes, one of which is below the threshold."""
    count = len(feeds["pixel_values"])
    logits = np.tile(np.float32([[0.91, 0.1, 0.2], [0.2, 0.1, 0.87], [0.3, 0.1, 0.2]]), (count, 1, 1))
    boxes = np.float32([[0.1, 0.2, 0.45, 0.9], [0.55, 0.3, 0.9, 0.8], [0, 0, 1, 1]])
    return {"logits": logits, "pred_boxes": np.tile(boxes, (count, 1, 1))}


def grown(feeds: Any) -> dict[str, Any]:
    return {"reconstruction": np.repeat(np.repeat(feeds["pixel_values"] * 0.8, 2, 2), 2, 3)}


def near_and_far(feeds: Any) -> dict[str, Any]:
    return {"predicted_depth": np.linspace(0.5, 8, 64, dtype=np.float32).reshape(1, 8, 8)}


def story() -> Any:
    """A writer without a template for chats."""
    pipe = writer()
    pipe.tokenizer = tokenizer()
    return pipe


def pipes(work: Path) -> dict[str, Any]:
    """The pipelines, by the names that they are served by."""
    for name in ("similar", "speech"):
        (work / name).mkdir()
    similar = str(folder(work / "similar", "sentence_embedding"))
    return {
        "mood": sentiment(),
        "topic": zero_shot(),
        "names": TokenClassificationPipeline(Tagger(), tokenizer(), task="token-classification"),
        "rank": ranker(),
        "embed": pipeline("embedding", similar, device="cpu"),
        "chat": writer(),
        "story": story(),
        "objects": ObjectDetectionPipeline(FakeModel(detected), image_processor=WithBoxes(), task="object-detection"),
        "segments": ImageSegmentationPipeline(
            FakeModel(features), image_processor=Panoptic(), task="image-segmentation"
        ),
        "depth": DepthEstimationPipeline(FakeModel(near_and_far), image_processor=WithDepth(), task="depth-estimation"),
        "points": KeypointMatchingPipeline(FakeModel(features), image_processor=Matcher(), task="keypoint-matching"),
        "larger": ImageToImagePipeline(FakeModel(grown), image_processor=Processor(), task="image-to-image"),
        "speech": ctc_pipeline(work / "speech"),
        "say": TextToAudioPipeline(Whistle(), tokenizer(), task="text-to-audio"),
    }
