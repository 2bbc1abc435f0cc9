"""The types of `pipeline()` and of calls: mypy checks them with the package (`make lint`), nothing runs them."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import onnxpipe
from onnxpipe import (
    KeyDataset,
    ObjectDetectionPipeline,
    Pipeline,
    PipelineIterator,
    TextClassificationPipeline,
    TokenClassificationPipeline,
    TranslationPipeline,
    pipeline,
)
from onnxpipe.tasks.base.call_types import DetectedObject, LabelScore


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


def image_calls() -> None:
    detector = pipeline("object-detection")
    assert_type(detector("street.jpg", threshold=0.7), list[DetectedObject])
    assert_type(detector(["street.jpg"])[0][0]["box"]["xmin"], int)
    assert_type(detector(KeyDataset([], "image")), PipelineIterator[list[DetectedObject]])
    detector("street.jpg", threshhold=0.7)  # type: ignore[call-overload]
    classify = pipeline("zero-shot-image-classification")
    assert_type(classify("street.jpg", ["a car", "a dog"])[0]["score"], float)
    assert_type(pipeline("depth-estimation")("street.jpg")["predicted_depth"], NDArray[np.float32])
    assert_type(pipeline("mask-generation")(np.zeros((8, 8, 3)))["masks"], list[NDArray[np.bool_]])
    assert_type(pipeline("keypoint-matching")(["a.jpg", "b.jpg"])[0]["score"], float)
    assert_type(pipeline("image-feature-extraction")("a.jpg", return_tensors=True), NDArray[Any])


def audio_calls() -> None:
    transcribe = pipeline("automatic-speech-recognition")
    assert_type(transcribe("talk.flac", return_timestamps="word")["text"], str)
    assert_type(transcribe(["talk.flac"])[0]["chunks"][0]["timestamp"], tuple[float | None, float | None])
    assert_type(pipeline("audio-classification")("talk.flac", top_k=1)[0]["label"], str)


def generating_calls() -> None:
    generate = pipeline("text-generation")
    assert_type(generate("Once", max_new_tokens=5)[0]["generated_text"], str)
    assert_type(generate([{"role": "user", "content": "Hi"}])[0]["generated_text"][-1]["content"], Any)
    generate("Once", max_new_token=5)  # type: ignore[call-overload]
    assert_type(pipeline("translation_en_to_fr")("Hello")[0]["translation_text"], str)
    assert_type(pipeline("summarization")(["A long text."], min_length=5)[0]["summary_text"], str)


def text_calls() -> None:
    classify = pipeline("sentiment-analysis")
    assert_type(classify("Good"), list[LabelScore])
    assert_type(classify(["Good"], top_k=2), list[list[LabelScore]])
    assert_type(pipeline("question-answering")(question="Who?", context="Ann.")["answer"], str)
    assert_type(pipeline("text-ranking")("cats", ["A cat."])[0]["index"], int)
    assert_type(pipeline("sentence-similarity")("cats", ["A cat."]), list[float])
    assert_type(pipeline("embedding")("cats"), NDArray[np.float32])
    assert_type(pipeline("feature-extraction")("cats"), list[list[list[float]]])
    assert_type(pipeline("zero-shot-classification")("cats", ["pets"])["labels"], list[str])
    assert_type(pipeline("ner")("Ann")[0]["word"], str)
    assert_type(pipeline("text-to-speech")("Hello")["sampling_rate"], int)
    assert_type([fill["token_str"] for fill in pipeline("fill-mask")("a [MASK]") if isinstance(fill, dict)], list[str])
