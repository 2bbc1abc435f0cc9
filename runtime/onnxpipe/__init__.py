"""onnxpipe: `pipeline()` without PyTorch.

    from onnxpipe import pipeline

    pipe = pipeline("text-classification", model="folder-or-hub-id")
    pipe("We love this")            # [{'label': 'POSITIVE', 'score': 0.99}]

Everything is imported when it is first used, so that `import onnxpipe` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onnxpipe._version import __version__

if TYPE_CHECKING:
    from onnxpipe.bundle import AutoConfig, Bundle, Config, open_bundle
    from onnxpipe.engine.scheduler import ItemError
    from onnxpipe.factory import pipeline
    from onnxpipe.generation import (
        AsyncTextIteratorStreamer,
        GenerationConfig,
        LogitsProcessor,
        LogitsProcessorList,
        StoppingCriteria,
        StoppingCriteriaList,
        TextIteratorStreamer,
        TextStreamer,
        set_seed,
    )
    from onnxpipe.models.auto import (
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForQuestionAnswering,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )
    from onnxpipe.processing import AutoTokenizer, BatchEncoding, Tokenizer
    from onnxpipe.processing.outputs import ModelOutput
    from onnxpipe.tasks.base import Pipeline
    from onnxpipe.tasks.embedding import EmbeddingPipeline, SentenceSimilarityPipeline
    from onnxpipe.tasks.feature_extraction import FeatureExtractionPipeline
    from onnxpipe.tasks.fill_mask import FillMaskPipeline
    from onnxpipe.tasks.question_answering import QuestionAnsweringPipeline, SquadExample
    from onnxpipe.tasks.registry import PIPELINE_REGISTRY, check_task, get_supported_tasks
    from onnxpipe.tasks.streams import KeyDataset, KeyPairDataset, PipelineIterator
    from onnxpipe.tasks.summarization import SummarizationPipeline
    from onnxpipe.tasks.text2text_generation import Text2TextGenerationPipeline
    from onnxpipe.tasks.text_classification import TextClassificationPipeline
    from onnxpipe.tasks.text_generation import TextGenerationPipeline
    from onnxpipe.tasks.text_ranking import TextRankingPipeline
    from onnxpipe.tasks.token_classification import AggregationStrategy, TokenClassificationPipeline
    from onnxpipe.tasks.translation import TranslationPipeline
    from onnxpipe.tasks.zero_shot_classification import ZeroShotClassificationPipeline

_HOME = {
    "bundle": ("AutoConfig", "Bundle", "Config", "open_bundle"),
    "engine.scheduler": ("ItemError",),
    "generation": (
        "AsyncTextIteratorStreamer",
        "GenerationConfig",
        "LogitsProcessor",
        "LogitsProcessorList",
        "StoppingCriteria",
        "StoppingCriteriaList",
        "TextIteratorStreamer",
        "TextStreamer",
        "set_seed",
    ),
    "models.auto": (
        "AutoModel",
        "AutoModelForCausalLM",
        "AutoModelForMaskedLM",
        "AutoModelForQuestionAnswering",
        "AutoModelForSeq2SeqLM",
        "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
    ),
    "processing.outputs": ("ModelOutput",),
    "factory": ("pipeline",),
    "processing": ("AutoTokenizer", "BatchEncoding", "Tokenizer"),
    "tasks.base": ("Pipeline",),
    "tasks.embedding": ("EmbeddingPipeline", "SentenceSimilarityPipeline"),
    "tasks.feature_extraction": ("FeatureExtractionPipeline",),
    "tasks.fill_mask": ("FillMaskPipeline",),
    "tasks.question_answering": ("QuestionAnsweringPipeline", "SquadExample"),
    "tasks.registry": ("PIPELINE_REGISTRY", "check_task", "get_supported_tasks"),
    "tasks.streams": ("KeyDataset", "KeyPairDataset", "PipelineIterator"),
    "tasks.summarization": ("SummarizationPipeline",),
    "tasks.text2text_generation": ("Text2TextGenerationPipeline",),
    "tasks.text_classification": ("TextClassificationPipeline",),
    "tasks.text_generation": ("TextGenerationPipeline",),
    "tasks.text_ranking": ("TextRankingPipeline",),
    "tasks.token_classification": ("AggregationStrategy", "TokenClassificationPipeline"),
    "tasks.translation": ("TranslationPipeline",),
    "tasks.zero_shot_classification": ("ZeroShotClassificationPipeline",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "PIPELINE_REGISTRY",
    "AggregationStrategy",
    "AsyncTextIteratorStreamer",
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForQuestionAnswering",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "BatchEncoding",
    "Bundle",
    "Config",
    "EmbeddingPipeline",
    "FeatureExtractionPipeline",
    "FillMaskPipeline",
    "GenerationConfig",
    "ItemError",
    "KeyDataset",
    "KeyPairDataset",
    "LogitsProcessor",
    "LogitsProcessorList",
    "ModelOutput",
    "Pipeline",
    "PipelineIterator",
    "QuestionAnsweringPipeline",
    "SentenceSimilarityPipeline",
    "SquadExample",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TextClassificationPipeline",
    "TextGenerationPipeline",
    "TextIteratorStreamer",
    "TextRankingPipeline",
    "TextStreamer",
    "TokenClassificationPipeline",
    "Tokenizer",
    "TranslationPipeline",
    "ZeroShotClassificationPipeline",
    "__version__",
    "check_task",
    "get_supported_tasks",
    "open_bundle",
    "pipeline",
    "set_seed",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'onnxpipe' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"onnxpipe.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
