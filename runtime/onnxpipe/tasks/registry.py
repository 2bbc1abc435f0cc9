"""Which tasks there are: names, aliases, classes, default models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxpipe.models.auto import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForDepthEstimation,
    AutoModelForImageClassification,
    AutoModelForImageSegmentation,
    AutoModelForImageToImage,
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
    AutoModelForVideoClassification,
    AutoModelForZeroShotAudioClassification,
    AutoModelForZeroShotImageClassification,
    AutoModelForZeroShotObjectDetection,
)
from onnxpipe.tasks.audio_classification import AudioClassificationPipeline
from onnxpipe.tasks.background_removal import BackgroundRemovalPipeline
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
from onnxpipe.tasks.question_answering import QuestionAnsweringPipeline
from onnxpipe.tasks.speech_recognition.pipeline import AutomaticSpeechRecognitionPipeline
from onnxpipe.tasks.summarization import SummarizationPipeline
from onnxpipe.tasks.text2text_generation import Text2TextGenerationPipeline
from onnxpipe.tasks.text_classification import TextClassificationPipeline
from onnxpipe.tasks.text_generation import TextGenerationPipeline
from onnxpipe.tasks.text_ranking import TextRankingPipeline
from onnxpipe.tasks.text_to_audio import TextToAudioPipeline
from onnxpipe.tasks.token_classification import TokenClassificationPipeline
from onnxpipe.tasks.translation import TranslationPipeline
from onnxpipe.tasks.video_classification import VideoClassificationPipeline
from onnxpipe.tasks.zero_shot_audio_classification import ZeroShotAudioClassificationPipeline
from onnxpipe.tasks.zero_shot_classification import ZeroShotClassificationPipeline
from onnxpipe.tasks.zero_shot_image_classification import ZeroShotImageClassificationPipeline
from onnxpipe.tasks.zero_shot_object_detection import ZeroShotObjectDetectionPipeline

logger = logging.getLogger("onnxpipe")


def _entry(cls: type, auto: type[AutoModel], model: str, revision: str | None = None) -> dict[str, Any]:
    return {"impl": cls, "pt": (auto,), "default": {"model": (model, revision)}, "type": "text"}


def _sensed(cls: type[Pipeline], auto: type[AutoModel], model: str, revision: str | None = None) -> dict[str, Any]:
    return {**_entry(cls, auto, model, revision), "type": cls.input_modalities}


_SEQUENCE = AutoModelForSequenceClassification
_SST2 = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"
_VIT = ("google/vit-base-patch16-224", "3f49326")
_T5 = ("google-t5/t5-base", "a9723ea")

#: The keys are those of transformers' registry, so that code which reads it works. Where its versions differ (the
#: default of text-generation), they are the newer one's. "export" is our own: the task for which a model without a
#: graph is exported, where the Auto class does not tell.
SUPPORTED_TASKS: dict[str, dict[str, Any]] = {
    "audio-classification": _sensed(
        AudioClassificationPipeline, AutoModelForAudioClassification, "superb/wav2vec2-base-superb-ks", "372e048"
    ),
    "automatic-speech-recognition": {
        **_sensed(AutomaticSpeechRecognitionPipeline, AutoModelForCTC, "facebook/wav2vec2-base-960h", "22aad52"),
        "pt": (AutoModelForCTC, AutoModelForSpeechSeq2Seq),
    },
    "background-removal": {
        **_sensed(BackgroundRemovalPipeline, AutoModel, "Xenova/modnet"), "export": "image-segmentation"
    },
    "depth-estimation": _sensed(DepthEstimationPipeline, AutoModelForDepthEstimation, "Intel/dpt-large", "bc15f29"),
    "embedding": _entry(EmbeddingPipeline, AutoModel, "sentence-transformers/all-MiniLM-L6-v2"),
    "feature-extraction": _entry(
        FeatureExtractionPipeline, AutoModel, "distilbert/distilbert-base-cased", "6ea8117"
    ),
    "fill-mask": _entry(FillMaskPipeline, AutoModelForMaskedLM, "distilbert/distilroberta-base", "fb53ab8"),
    "image-classification": _sensed(ImageClassificationPipeline, AutoModelForImageClassification, *_VIT),
    "image-feature-extraction": {
        **_sensed(ImageFeatureExtractionPipeline, AutoModel, *_VIT), "export": "image-feature-extraction"
    },
    "image-segmentation": {
        **_sensed(
            ImageSegmentationPipeline, AutoModelForImageSegmentation, "facebook/detr-resnet-50-panoptic", "d53b52a"
        ),
        "pt": (AutoModelForImageSegmentation, AutoModelForSemanticSegmentation),
    },
    "image-to-image": _sensed(
        ImageToImagePipeline, AutoModelForImageToImage, "caidas/swin2SR-classical-sr-x2-64", "cee1c92"
    ),
    "keypoint-matching": _sensed(
        KeypointMatchingPipeline, AutoModelForKeypointMatching, "magic-leap-community/superglue_outdoor", "f4041f8"
    ),
    "mask-generation": _sensed(
        MaskGenerationPipeline, AutoModelForMaskGeneration, "facebook/sam-vit-huge", "87aecf0"
    ),
    "object-detection": _sensed(
        ObjectDetectionPipeline, AutoModelForObjectDetection, "facebook/detr-resnet-50", "1d5f47b"
    ),
    "question-answering": _entry(
        QuestionAnsweringPipeline,
        AutoModelForQuestionAnswering,
        "distilbert/distilbert-base-cased-distilled-squad",
        "564e9b5",
    ),
    "sentence-similarity": _entry(SentenceSimilarityPipeline, AutoModel, "sentence-transformers/all-MiniLM-L6-v2"),
    "summarization": _entry(
        SummarizationPipeline, AutoModelForSeq2SeqLM, "sshleifer/distilbart-cnn-12-6", "a4f8f3e"
    ),
    "text-classification": _entry(TextClassificationPipeline, _SEQUENCE, _SST2, "714eb0f"),
    "text-generation": _entry(TextGenerationPipeline, AutoModelForCausalLM, "HuggingFaceTB/SmolLM3-3B", "a07cc9a"),
    "text-ranking": _entry(TextRankingPipeline, _SEQUENCE, "cross-encoder/ms-marco-MiniLM-L6-v2"),
    "text-to-audio": {
        **_entry(TextToAudioPipeline, AutoModelForTextToWaveform, "suno/bark-small", "1dbd7a1"),
        "pt": (AutoModelForTextToWaveform, AutoModelForTextToSpectrogram),
    },
    "text2text-generation": _entry(Text2TextGenerationPipeline, AutoModelForSeq2SeqLM, *_T5),
    "token-classification": _entry(
        TokenClassificationPipeline,
        AutoModelForTokenClassification,
        "dbmdz/bert-large-cased-finetuned-conll03-english",
        "4c53496",
    ),
    "translation": {  # its default depends on the languages
        "impl": TranslationPipeline,
        "pt": (AutoModelForSeq2SeqLM,),
        "default": {("en", target): {"model": _T5} for target in ("fr", "de", "ro")},
        "type": "text",
    },
    "video-classification": _sensed(
        VideoClassificationPipeline,
        AutoModelForVideoClassification,
        "MCG-NJU/videomae-base-finetuned-kinetics",
        "488eb9a",
    ),
    "zero-shot-audio-classification": _sensed(
        ZeroShotAudioClassificationPipeline,
        AutoModelForZeroShotAudioClassification,
        "laion/clap-htsat-fused",
        "cca9e28",
    ),
    "zero-shot-classification": _entry(
        ZeroShotClassificationPipeline, _SEQUENCE, "facebook/bart-large-mnli", "d7645e1"
    ),
    "zero-shot-image-classification": _sensed(
        ZeroShotImageClassificationPipeline,
        AutoModelForZeroShotImageClassification,
        "openai/clip-vit-base-patch32",
        "3d74acf",
    ),
    "zero-shot-object-detection": _sensed(
        ZeroShotObjectDetectionPipeline,
        AutoModelForZeroShotObjectDetection,
        "google/owlvit-base-patch32",
        "cbc355f",
    ),
}  # fmt: skip

TASK_ALIASES: dict[str, str] = {
    "ner": "token-classification",
    "sentence-embedding": "embedding",
    "sentiment-analysis": "text-classification",
    "text-to-speech": "text-to-audio",
}


@dataclass
class PipelineRegistry:
    """Tasks by name, with the methods of transformers' registry."""

    supported_tasks: dict[str, dict[str, Any]] = field(default_factory=lambda: SUPPORTED_TASKS)
    task_aliases: dict[str, str] = field(default_factory=lambda: TASK_ALIASES)

    def get_supported_tasks(self) -> list[str]:
        """Names and aliases, sorted."""
        return sorted([*self.supported_tasks, *self.task_aliases])

    def check_task(self, task: str) -> tuple[str, dict[str, Any], tuple[str, str] | None]:
        """The task's own name, its entry, and the languages ("en", "fr") of a "translation_en_to_fr", else None.

        Raises:
            KeyError: no such task.
        """
        task = self.task_aliases.get(task, task)
        if task in self.supported_tasks:
            return task, self.supported_tasks[task], None
        if task.startswith("translation"):
            parts = task.split("_")
            if len(parts) != 4 or parts[0] != "translation" or parts[2] != "to":
                raise KeyError(f"Invalid translation task {task}, use 'translation_XX_to_YY' format")
            return "translation", self.supported_tasks["translation"], (parts[1], parts[3])
        known = [*self.get_supported_tasks(), "translation_XX_to_YY"]
        raise KeyError(f"Unknown task {task}, available tasks are {known}")

    def register_pipeline(
        self,
        task: str,
        pipeline_class: type,
        pt_model: Any = None,
        default: Mapping[str, Any] | tuple[str, str] | None = None,
        type: str | None = None,
    ) -> None:
        """Adds a task of the user's own; see `onnxpipe.tasks.base.legacy` for the class's four methods.

        Args:
            task: its name.
            pipeline_class: a subclass of `onnxpipe.Pipeline`.
            pt_model: the Auto class (or several) that loads its model; the name is transformers'.
            default: default model and revision, `(id, revision)` or `{"model": (id, revision)}`.
            type: "text", "image", "video", "audio", "multimodal"; kept.
        """
        if task in self.supported_tasks:
            logger.warning("%s is already registered. Overwriting pipeline for task %s...", task, task)
        models = pt_model if isinstance(pt_model, tuple) else () if pt_model is None else (pt_model,)
        entry: dict[str, Any] = {"impl": pipeline_class, "pt": models}
        if default is not None:
            entry["default"] = default if isinstance(default, Mapping) and "model" in default else {"model": default}
        if type is not None:
            entry["type"] = type
        self.supported_tasks[task] = entry
        pipeline_class._registered_impl = {task: entry}  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The live table."""
        return self.supported_tasks


PIPELINE_REGISTRY = PipelineRegistry()


def get_supported_tasks() -> list[str]:
    """Names and aliases of all tasks, sorted."""
    return PIPELINE_REGISTRY.get_supported_tasks()


def check_task(task: str) -> tuple[str, dict[str, Any], tuple[str, str] | None]:
    """See `PipelineRegistry.check_task`."""
    return PIPELINE_REGISTRY.check_task(task)
