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
        AutoModelForAudioClassification,
        AutoModelForCausalLM,
        AutoModelForCTC,
        AutoModelForDepthEstimation,
        AutoModelForImageClassification,
        AutoModelForImageSegmentation,
        AutoModelForImageToImage,
        AutoModelForInstanceSegmentation,
        AutoModelForKeypointDetection,
        AutoModelForKeypointMatching,
        AutoModelForMaskedLM,
        AutoModelForMaskGeneration,
        AutoModelForObjectDetection,
        AutoModelForQuestionAnswering,
        AutoModelForSemanticSegmentation,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
        AutoModelForSpeechSeq2Seq,
        AutoModelForTextToSpectrogram,
        AutoModelForTextToWaveform,
        AutoModelForTokenClassification,
        AutoModelForUniversalSegmentation,
        AutoModelForVideoClassification,
        AutoModelForZeroShotAudioClassification,
        AutoModelForZeroShotImageClassification,
        AutoModelForZeroShotObjectDetection,
    )
    from onnxpipe.models.text_to_audio.vocoder import SpeechT5HifiGan
    from onnxpipe.processing.audio.base import FeatureExtractor
    from onnxpipe.processing.audio.io.load import load_audio
    from onnxpipe.processing.auto import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor, AutoVideoProcessor
    from onnxpipe.processing.batch_feature import BatchFeature
    from onnxpipe.processing.images.base import ImageProcessor
    from onnxpipe.processing.images.drawing.draw import draw
    from onnxpipe.processing.images.io.load import load_image
    from onnxpipe.processing.model_output import ModelOutput
    from onnxpipe.processing.text.batch_encoding import BatchEncoding
    from onnxpipe.processing.text.tokenizer import AutoTokenizer, Tokenizer
    from onnxpipe.tasks.audio_classification import AudioClassificationPipeline
    from onnxpipe.tasks.background_removal import BackgroundRemovalPipeline
    from onnxpipe.tasks.base.datasets import KeyDataset, KeyPairDataset, PipelineIterator
    from onnxpipe.tasks.base.pipeline import Pipeline
    from onnxpipe.tasks.depth_estimation import DepthEstimationPipeline
    from onnxpipe.tasks.embedding import EmbeddingPipeline, SentenceSimilarityPipeline
    from onnxpipe.tasks.feature_extraction import FeatureExtractionPipeline
    from onnxpipe.tasks.fill_mask import FillMaskPipeline
    from onnxpipe.tasks.image_classification import ImageClassificationPipeline
    from onnxpipe.tasks.image_feature_extraction import ImageFeatureExtractionPipeline
    from onnxpipe.tasks.image_segmentation import ImageSegmentationPipeline
    from onnxpipe.tasks.image_to_image import ImageToImagePipeline
    from onnxpipe.tasks.keypoint_matching import KeypointMatchingPipeline
    from onnxpipe.tasks.mask_generation import MaskGenerationPipeline
    from onnxpipe.tasks.object_detection import ObjectDetectionPipeline
    from onnxpipe.tasks.question_answering import QuestionAnsweringPipeline, SquadExample
    from onnxpipe.tasks.registry import PIPELINE_REGISTRY, check_task, get_supported_tasks
    from onnxpipe.tasks.speech_recognition.pipeline import AutomaticSpeechRecognitionPipeline
    from onnxpipe.tasks.summarization import SummarizationPipeline
    from onnxpipe.tasks.text2text_generation import Text2TextGenerationPipeline
    from onnxpipe.tasks.text_classification import TextClassificationPipeline
    from onnxpipe.tasks.text_generation import TextGenerationPipeline
    from onnxpipe.tasks.text_ranking import TextRankingPipeline
    from onnxpipe.tasks.text_to_audio import TextToAudioPipeline
    from onnxpipe.tasks.token_classification import AggregationStrategy, TokenClassificationPipeline
    from onnxpipe.tasks.translation import TranslationPipeline
    from onnxpipe.tasks.video_classification import VideoClassificationPipeline
    from onnxpipe.tasks.zero_shot_audio_classification import ZeroShotAudioClassificationPipeline
    from onnxpipe.tasks.zero_shot_classification import ZeroShotClassificationPipeline
    from onnxpipe.tasks.zero_shot_image_classification import ZeroShotImageClassificationPipeline
    from onnxpipe.tasks.zero_shot_object_detection import ZeroShotObjectDetectionPipeline

_HOME = {
    "bundle": ("AutoConfig", "Bundle", "Config", "open_bundle"),
    "engine.scheduler": ("ItemError",),
    "factory": ("pipeline",),
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
        "AutoModelForAudioClassification",
        "AutoModelForCTC",
        "AutoModelForCausalLM",
        "AutoModelForDepthEstimation",
        "AutoModelForImageClassification",
        "AutoModelForImageSegmentation",
        "AutoModelForImageToImage",
        "AutoModelForInstanceSegmentation",
        "AutoModelForKeypointDetection",
        "AutoModelForKeypointMatching",
        "AutoModelForMaskGeneration",
        "AutoModelForMaskedLM",
        "AutoModelForObjectDetection",
        "AutoModelForQuestionAnswering",
        "AutoModelForSemanticSegmentation",
        "AutoModelForSeq2SeqLM",
        "AutoModelForSequenceClassification",
        "AutoModelForSpeechSeq2Seq",
        "AutoModelForTextToSpectrogram",
        "AutoModelForTextToWaveform",
        "AutoModelForTokenClassification",
        "AutoModelForUniversalSegmentation",
        "AutoModelForVideoClassification",
        "AutoModelForZeroShotAudioClassification",
        "AutoModelForZeroShotImageClassification",
        "AutoModelForZeroShotObjectDetection",
    ),
    "processing.text.batch_encoding": ("BatchEncoding",),
    "processing.text.tokenizer": ("AutoTokenizer", "Tokenizer"),
    "processing.auto": ("AutoFeatureExtractor", "AutoImageProcessor", "AutoProcessor", "AutoVideoProcessor"),
    "processing.images.base": ("ImageProcessor",),
    "processing.images.drawing.draw": ("draw",),
    "processing.batch_feature": ("BatchFeature",),
    "processing.images.io.load": ("load_image",),
    "processing.model_output": ("ModelOutput",),
    "tasks.audio_classification": ("AudioClassificationPipeline",),
    "tasks.text_to_audio": ("TextToAudioPipeline",),
    "tasks.zero_shot_audio_classification": ("ZeroShotAudioClassificationPipeline",),
    "models.text_to_audio.vocoder": ("SpeechT5HifiGan",),
    "processing.audio.io.load": ("load_audio",),
    "processing.audio.base": ("FeatureExtractor",),
    "tasks.speech_recognition.pipeline": ("AutomaticSpeechRecognitionPipeline",),
    "tasks.background_removal": ("BackgroundRemovalPipeline",),
    "tasks.base.pipeline": ("Pipeline",),
    "tasks.depth_estimation": ("DepthEstimationPipeline",),
    "tasks.embedding": ("EmbeddingPipeline", "SentenceSimilarityPipeline"),
    "tasks.feature_extraction": ("FeatureExtractionPipeline",),
    "tasks.fill_mask": ("FillMaskPipeline",),
    "tasks.image_classification": ("ImageClassificationPipeline",),
    "tasks.image_feature_extraction": ("ImageFeatureExtractionPipeline",),
    "tasks.image_segmentation": ("ImageSegmentationPipeline",),
    "tasks.image_to_image": ("ImageToImagePipeline",),
    "tasks.keypoint_matching": ("KeypointMatchingPipeline",),
    "tasks.mask_generation": ("MaskGenerationPipeline",),
    "tasks.object_detection": ("ObjectDetectionPipeline",),
    "tasks.question_answering": ("QuestionAnsweringPipeline", "SquadExample"),
    "tasks.registry": ("PIPELINE_REGISTRY", "check_task", "get_supported_tasks"),
    "tasks.base.datasets": ("KeyDataset", "KeyPairDataset", "PipelineIterator"),
    "tasks.summarization": ("SummarizationPipeline",),
    "tasks.text2text_generation": ("Text2TextGenerationPipeline",),
    "tasks.text_classification": ("TextClassificationPipeline",),
    "tasks.text_generation": ("TextGenerationPipeline",),
    "tasks.text_ranking": ("TextRankingPipeline",),
    "tasks.token_classification": ("AggregationStrategy", "TokenClassificationPipeline"),
    "tasks.translation": ("TranslationPipeline",),
    "tasks.video_classification": ("VideoClassificationPipeline",),
    "tasks.zero_shot_classification": ("ZeroShotClassificationPipeline",),
    "tasks.zero_shot_image_classification": ("ZeroShotImageClassificationPipeline",),
    "tasks.zero_shot_object_detection": ("ZeroShotObjectDetectionPipeline",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "PIPELINE_REGISTRY",
    "AggregationStrategy",
    "AsyncTextIteratorStreamer",
    "AudioClassificationPipeline",
    "AutoConfig",
    "AutoFeatureExtractor",
    "AutoImageProcessor",
    "AutoModel",
    "AutoModelForAudioClassification",
    "AutoModelForCTC",
    "AutoModelForCausalLM",
    "AutoModelForDepthEstimation",
    "AutoModelForImageClassification",
    "AutoModelForImageSegmentation",
    "AutoModelForImageToImage",
    "AutoModelForInstanceSegmentation",
    "AutoModelForKeypointDetection",
    "AutoModelForKeypointMatching",
    "AutoModelForMaskGeneration",
    "AutoModelForMaskedLM",
    "AutoModelForObjectDetection",
    "AutoModelForQuestionAnswering",
    "AutoModelForSemanticSegmentation",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForTextToSpectrogram",
    "AutoModelForTextToWaveform",
    "AutoModelForTokenClassification",
    "AutoModelForUniversalSegmentation",
    "AutoModelForVideoClassification",
    "AutoModelForZeroShotAudioClassification",
    "AutoModelForZeroShotImageClassification",
    "AutoModelForZeroShotObjectDetection",
    "AutoProcessor",
    "AutoTokenizer",
    "AutoVideoProcessor",
    "AutomaticSpeechRecognitionPipeline",
    "BackgroundRemovalPipeline",
    "BatchEncoding",
    "BatchFeature",
    "Bundle",
    "Config",
    "DepthEstimationPipeline",
    "EmbeddingPipeline",
    "FeatureExtractionPipeline",
    "FeatureExtractor",
    "FillMaskPipeline",
    "GenerationConfig",
    "ImageClassificationPipeline",
    "ImageFeatureExtractionPipeline",
    "ImageProcessor",
    "ImageSegmentationPipeline",
    "ImageToImagePipeline",
    "ItemError",
    "KeyDataset",
    "KeyPairDataset",
    "KeypointMatchingPipeline",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MaskGenerationPipeline",
    "ModelOutput",
    "ObjectDetectionPipeline",
    "Pipeline",
    "PipelineIterator",
    "QuestionAnsweringPipeline",
    "SentenceSimilarityPipeline",
    "SpeechT5HifiGan",
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
    "TextToAudioPipeline",
    "TokenClassificationPipeline",
    "Tokenizer",
    "TranslationPipeline",
    "VideoClassificationPipeline",
    "ZeroShotAudioClassificationPipeline",
    "ZeroShotClassificationPipeline",
    "ZeroShotImageClassificationPipeline",
    "ZeroShotObjectDetectionPipeline",
    "__version__",
    "check_task",
    "draw",
    "get_supported_tasks",
    "load_audio",
    "load_image",
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
