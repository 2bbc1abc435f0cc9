"""Pipelines over models that are none, and a client of an application that serves them."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe import (
    Config,
    ImageClassificationPipeline,
    TextClassificationPipeline,
    TextGenerationPipeline,
    TextRankingPipeline,
    ZeroShotClassificationPipeline,
)
from unit.fakes import TEMPLATE, FakeCausal, tokenizer
from unit.tasks.test_image import FakeModel, Processor, means, plain

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
testing = pytest.importorskip("starlette.testclient")


class FakeClassifier:
    """Two logits that depend on a row's tokens alone.

    Attributes:
        broken: whether a run fails.
    """

    def __init__(self, labels: dict[int, str]) -> None:
        self.config = Config({"id2label": labels, "label2id": {v: k for k, v in labels.items()}, "model_type": "fake"})
        self.device = SimpleNamespace(type="cpu")
        self.dtype = "float32"
        self.name_or_path = "/srv/secret/model"
        self.per_token: frozenset[str] = frozenset()
        self.rows: list[int] = []
        self.broken = False

    def can_generate(self) -> bool:
        return False

    def run(self, feeds: Any) -> dict[str, Any]:
        if self.broken:
            raise RuntimeError(f"{self.name_or_path}: the graph broke")
        self.rows.append(len(feeds["input_ids"]))
        totals = (feeds["input_ids"] * feeds["attention_mask"]).sum(1)
        return {"logits": np.stack([totals % 7, totals % 5], -1).astype(np.float32) / 4}


class OneLogit(FakeClassifier):
    def run(self, feeds: Any) -> dict[str, Any]:
        return {"logits": super().run(feeds)["logits"][:, :1]}


def ranker() -> TextRankingPipeline:
    return TextRankingPipeline(OneLogit({0: "score"}), tokenizer(), task="text-ranking")


def sentiment() -> TextClassificationPipeline:
    return TextClassificationPipeline(FakeClassifier({0: "bad", 1: "good"}), tokenizer(), task="text-classification")


def zero_shot() -> ZeroShotClassificationPipeline:
    model = FakeClassifier({0: "contradiction", 1: "entailment"})
    return ZeroShotClassificationPipeline(model, tokenizer(), task="zero-shot-classification")


def writer(**generation: Any) -> TextGenerationPipeline:
    model = FakeCausal(None, **generation)
    return TextGenerationPipeline(model, tokenizer(template=TEMPLATE), task="text-generation")


def images() -> ImageClassificationPipeline:
    return ImageClassificationPipeline(FakeModel(means), image_processor=Processor(), task="image-classification")


def client(pipes: Any, **settings: Any) -> Any:
    """A client of an application."""
    from onnxpipe.serving import app

    return testing.TestClient(app(pipes, **settings), base_url="http://localhost:8000", raise_server_exceptions=False)


def png_bytes(grey: int = 200) -> bytes:
    buffer = io.BytesIO()
    plain((grey, grey, grey)).save(buffer, format="PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
