"""Which tasks a config names, for a folder without a manifest and for the exporter."""

from __future__ import annotations

from typing import Any

import pytest

from onnxpipe.bundle.config import Config
from onnxpipe.bundle.tasks import architecture_tasks, infer_tasks, served_tasks

TEXT_TO_TEXT = ("text2text-generation", "translation", "summarization")


@pytest.mark.parametrize(
    ("architecture", "model_type", "tasks"),
    [
        ("BertForSequenceClassification", "bert", ("text-classification",)),
        ("XLMForQuestionAnsweringSimple", "xlm", ("question-answering",)),
        ("XLMWithLMHeadModel", "xlm", ("fill-mask",)),
        ("OpenAIGPTLMHeadModel", "openai-gpt", ("text-generation",)),
        ("GPT2DoubleHeadsModel", "gpt2", ()),
        ("BertForPreTraining", "bert", ("feature-extraction",)),
        ("ProphetNetForSeq2SeqLM", "prophetnet", ("text2text-generation",)),
        ("BigBirdPegasusForConditionalGeneration", "bigbird_pegasus", ("text2text-generation",)),
        ("WhisperForConditionalGeneration", "whisper", ("automatic-speech-recognition",)),
        ("BlipForConditionalGeneration", "blip", ("image-to-text",)),
        ("BlipForQuestionAnswering", "blip", ("visual-question-answering",)),
        ("GitForCausalLM", "git", ("image-to-text",)),
        ("LayoutLMv3ForTokenClassification", "layoutlmv3", ("object-detection",)),
        ("ViltForQuestionAnswering", "vilt", ("visual-question-answering",)),
        ("VisionEncoderDecoderModel", "vision-encoder-decoder", ("image-to-text",)),
        ("CsmForConditionalGeneration", "csm", ()),
        ("ViTModel", "vit", ("image-feature-extraction",)),
        ("OwlViTForObjectDetection", "owlvit", ("zero-shot-object-detection",)),
        ("DetrForObjectDetection", "detr", ("object-detection",)),
        ("Wav2Vec2ForSequenceClassification", "wav2vec2", ("audio-classification",)),
        ("SpeechT5HifiGan", "hifigan", ("vocoder",)),
        ("WeirdForSomething", "weird", ()),
    ],
)
def test_tasks_of_an_architecture(architecture: str, model_type: str, tasks: tuple[str, ...]) -> None:
    assert architecture_tasks(architecture, model_type) == tasks


@pytest.mark.parametrize(
    ("task", "config", "sentence_transformers", "tasks"),
    [
        ("text2text-generation", {"model_type": "bigbird_pegasus"}, False, ("summarization", "text2text-generation")),
        ("text2text-generation", {"model_type": "marian"}, False, ("translation", "text2text-generation")),
        ("text2text-generation", {"model_type": "blenderbot"}, False, ("text2text-generation",)),
        ("text2text-generation", {"model_type": "t5"}, False, TEXT_TO_TEXT),
        ("text2text-generation", {"model_type": "of a day to come"}, False, TEXT_TO_TEXT),
        ("text-classification", {"num_labels": 1}, False, ("text-ranking", "text-classification")),
        ("text-classification", {"num_labels": 2}, False, ("text-classification",)),
        ("text-classification", {"id2label": {"0": "no", "1": "ENTAILMENT"}}, False,
         ("zero-shot-classification", "text-classification")),
        ("image-segmentation", {"id2label": {"0": "Background"}}, False, ("image-segmentation", "background-removal")),
        ("image-segmentation", {"id2label": {"0": "cat"}}, False, ("image-segmentation",)),
        ("feature-extraction", {}, True, ("sentence-similarity", "embedding", "feature-extraction")),
        ("fill-mask", {}, True, ("fill-mask",)),
        ("vocoder", {}, False, ("vocoder",)),
    ],
)  # fmt: skip
def test_tasks_that_a_graph_serves(
    task: str, config: dict[str, Any], sentence_transformers: bool, tasks: tuple[str, ...]
) -> None:
    assert served_tasks(task, config, sentence_transformers) == tasks
    assert served_tasks(task, Config(config), sentence_transformers) == tasks


def test_a_folder_without_a_manifest_serves_what_an_export_of_it_does() -> None:
    for architecture, model_type in [
        ("BertForSequenceClassification", "bert"),
        ("BertModel", "bert"),
        ("BigBirdPegasusForConditionalGeneration", "bigbird_pegasus"),
        ("M2M100ForConditionalGeneration", "m2m_100"),
    ]:
        config = {"architectures": [architecture], "model_type": model_type}
        (task,) = architecture_tasks(architecture, model_type)
        assert infer_tasks(config, False) == served_tasks(task, config, False)


def test_a_sentence_transformer_of_any_class_embeds() -> None:
    config = {"architectures": ["MPNetForMaskedLM"], "model_type": "mpnet"}
    assert infer_tasks(config, True) == ("sentence-similarity", "embedding", "fill-mask", "feature-extraction")
    ranker = {"architectures": ["BertForSequenceClassification"], "num_labels": 1}
    assert infer_tasks(ranker, True) == ("text-ranking", "text-classification")
