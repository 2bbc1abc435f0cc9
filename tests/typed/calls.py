"""The types of `pipeline()` and of calls: mypy checks them with the package (`make lint`), nothing runs them."""

from __future__ import annotations

from typing import Any, assert_type

import onnxpipe
from onnxpipe import (
    ObjectDetectionPipeline,
    Pipeline,
    TextClassificationPipeline,
    TokenClassificationPipeline,
    TranslationPipeline,
    pipeline,
)


class Own(Pipeline):
    pass


def pipelines(task: str) -> None:
    assert_type(pipeline("object-detection"), ObjectDetectionPipeline)
    assert_type(pipeline("object-detection", "folder", device="cpu"), ObjectDetectionPipeline)
    assert_type(pipeline("ner", model="folder"), TokenClassificationPipeline)
    assert_type(pipeline("sentiment-analysis"), TextClassificationPipeline)
    assert_type(pipeline("translation"), TranslationPipeline)
    assert_type(pipeline("translation_en_to_fr"), TranslationPipeline)
    assert_type(pipeline(task), Pipeline[Any])
    assert_type(pipeline(model="folder"), Pipeline[Any])
    assert_type(pipeline("object-detection", pipeline_class=Own), Own)
    assert_type(onnxpipe.__version__, str)
