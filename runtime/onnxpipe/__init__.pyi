# Written by `make stub` from the tasks' records: do not edit.
# fmt: off
# ruff: noqa
import os
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

from onnxpipe._version import __version__ as __version__
from onnxpipe.bundle import AutoConfig as AutoConfig
from onnxpipe.bundle import Bundle as Bundle
from onnxpipe.bundle import Config as Config
from onnxpipe.bundle import open_bundle as open_bundle
from onnxpipe.diffusion.random import Generator as Generator
from onnxpipe.diffusion.schedulers.ddim import DDIMScheduler as DDIMScheduler
from onnxpipe.diffusion.schedulers.ddpm import DDPMScheduler as DDPMScheduler
from onnxpipe.diffusion.schedulers.dpm_solver import DPMSolverMultistepScheduler as DPMSolverMultistepScheduler
from onnxpipe.diffusion.schedulers.euler import EulerDiscreteScheduler as EulerDiscreteScheduler
from onnxpipe.diffusion.schedulers.euler_ancestral import EulerAncestralDiscreteScheduler as EulerAncestralDiscreteScheduler
from onnxpipe.diffusion.schedulers.flow_match_euler import FlowMatchEulerDiscreteScheduler as FlowMatchEulerDiscreteScheduler
from onnxpipe.diffusion.schedulers.heun import HeunDiscreteScheduler as HeunDiscreteScheduler
from onnxpipe.diffusion.schedulers.lcm import LCMScheduler as LCMScheduler
from onnxpipe.diffusion.schedulers.lms import LMSDiscreteScheduler as LMSDiscreteScheduler
from onnxpipe.diffusion.schedulers.pndm import PNDMScheduler as PNDMScheduler
from onnxpipe.diffusion.schedulers.unipc import UniPCMultistepScheduler as UniPCMultistepScheduler
from onnxpipe.engine.scheduler import ItemError as ItemError
from onnxpipe.generation import AsyncTextIteratorStreamer as AsyncTextIteratorStreamer
from onnxpipe.generation import GenerationConfig as GenerationConfig
from onnxpipe.generation import LogitsProcessor as LogitsProcessor
from onnxpipe.generation import LogitsProcessorList as LogitsProcessorList
from onnxpipe.generation import StoppingCriteria as StoppingCriteria
from onnxpipe.generation import StoppingCriteriaList as StoppingCriteriaList
from onnxpipe.generation import TextIteratorStreamer as TextIteratorStreamer
from onnxpipe.generation import TextStreamer as TextStreamer
from onnxpipe.generation import set_seed as set_seed
from onnxpipe.models.auto import AutoModel as AutoModel
from onnxpipe.models.auto import AutoModelForAudioClassification as AutoModelForAudioClassification
from onnxpipe.models.auto import AutoModelForCTC as AutoModelForCTC
from onnxpipe.models.auto import AutoModelForCausalLM as AutoModelForCausalLM
from onnxpipe.models.auto import AutoModelForDepthEstimation as AutoModelForDepthEstimation
from onnxpipe.models.auto import AutoModelForDocumentQuestionAnswering as AutoModelForDocumentQuestionAnswering
from onnxpipe.models.auto import AutoModelForImageClassification as AutoModelForImageClassification
from onnxpipe.models.auto import AutoModelForImageSegmentation as AutoModelForImageSegmentation
from onnxpipe.models.auto import AutoModelForImageTextToText as AutoModelForImageTextToText
from onnxpipe.models.auto import AutoModelForImageToImage as AutoModelForImageToImage
from onnxpipe.models.auto import AutoModelForInstanceSegmentation as AutoModelForInstanceSegmentation
from onnxpipe.models.auto import AutoModelForKeypointDetection as AutoModelForKeypointDetection
from onnxpipe.models.auto import AutoModelForKeypointMatching as AutoModelForKeypointMatching
from onnxpipe.models.auto import AutoModelForMaskGeneration as AutoModelForMaskGeneration
from onnxpipe.models.auto import AutoModelForMaskedLM as AutoModelForMaskedLM
from onnxpipe.models.auto import AutoModelForObjectDetection as AutoModelForObjectDetection
from onnxpipe.models.auto import AutoModelForQuestionAnswering as AutoModelForQuestionAnswering
from onnxpipe.models.auto import AutoModelForSemanticSegmentation as AutoModelForSemanticSegmentation
from onnxpipe.models.auto import AutoModelForSeq2SeqLM as AutoModelForSeq2SeqLM
from onnxpipe.models.auto import AutoModelForSequenceClassification as AutoModelForSequenceClassification
from onnxpipe.models.auto import AutoModelForSpeechSeq2Seq as AutoModelForSpeechSeq2Seq
from onnxpipe.models.auto import AutoModelForTableQuestionAnswering as AutoModelForTableQuestionAnswering
from onnxpipe.models.auto import AutoModelForTextToSpectrogram as AutoModelForTextToSpectrogram
from onnxpipe.models.auto import AutoModelForTextToWaveform as AutoModelForTextToWaveform
from onnxpipe.models.auto import AutoModelForTokenClassification as AutoModelForTokenClassification
from onnxpipe.models.auto import AutoModelForUniversalSegmentation as AutoModelForUniversalSegmentation
from onnxpipe.models.auto import AutoModelForVideoClassification as AutoModelForVideoClassification
from onnxpipe.models.auto import AutoModelForVision2Seq as AutoModelForVision2Seq
from onnxpipe.models.auto import AutoModelForVisualQuestionAnswering as AutoModelForVisualQuestionAnswering
from onnxpipe.models.auto import AutoModelForZeroShotAudioClassification as AutoModelForZeroShotAudioClassification
from onnxpipe.models.auto import AutoModelForZeroShotImageClassification as AutoModelForZeroShotImageClassification
from onnxpipe.models.auto import AutoModelForZeroShotObjectDetection as AutoModelForZeroShotObjectDetection
from onnxpipe.models.text_to_audio.vocoder import SpeechT5HifiGan as SpeechT5HifiGan
from onnxpipe.processing.audio.base import FeatureExtractor as FeatureExtractor
from onnxpipe.processing.audio.io.load import load_audio as load_audio
from onnxpipe.processing.auto import AutoFeatureExtractor as AutoFeatureExtractor
from onnxpipe.processing.auto import AutoImageProcessor as AutoImageProcessor
from onnxpipe.processing.auto import AutoProcessor as AutoProcessor
from onnxpipe.processing.auto import AutoVideoProcessor as AutoVideoProcessor
from onnxpipe.processing.batch_feature import BatchFeature as BatchFeature
from onnxpipe.processing.images.base import ImageProcessor as ImageProcessor
from onnxpipe.processing.images.drawing.draw import draw as draw
from onnxpipe.processing.images.io.load import load_image as load_image
from onnxpipe.processing.model_output import ModelOutput as ModelOutput
from onnxpipe.processing.text.batch_encoding import BatchEncoding as BatchEncoding
from onnxpipe.processing.text.decision.config import DecisionConfig as DecisionConfig
from onnxpipe.processing.text.tokenizer import AutoTokenizer as AutoTokenizer
from onnxpipe.processing.text.tokenizer import Tokenizer as Tokenizer
from onnxpipe.tasks.any_to_any import AnyToAnyPipeline as AnyToAnyPipeline
from onnxpipe.tasks.audio_classification import AudioClassificationPipeline as AudioClassificationPipeline
from onnxpipe.tasks.background_removal import BackgroundRemovalPipeline as BackgroundRemovalPipeline
from onnxpipe.tasks.base.datasets import KeyDataset as KeyDataset
from onnxpipe.tasks.base.datasets import KeyPairDataset as KeyPairDataset
from onnxpipe.tasks.base.datasets import PipelineIterator as PipelineIterator
from onnxpipe.tasks.base.pipeline import Pipeline as Pipeline
from onnxpipe.tasks.decision import DecisionPipeline as DecisionPipeline
from onnxpipe.tasks.depth_estimation import DepthEstimationPipeline as DepthEstimationPipeline
from onnxpipe.tasks.document_questions.pipeline import DocumentQuestionAnsweringPipeline as DocumentQuestionAnsweringPipeline
from onnxpipe.tasks.embedding import EmbeddingPipeline as EmbeddingPipeline
from onnxpipe.tasks.embedding import SentenceSimilarityPipeline as SentenceSimilarityPipeline
from onnxpipe.tasks.feature_extraction import FeatureExtractionPipeline as FeatureExtractionPipeline
from onnxpipe.tasks.fill_mask import FillMaskPipeline as FillMaskPipeline
from onnxpipe.tasks.image_classification import ImageClassificationPipeline as ImageClassificationPipeline
from onnxpipe.tasks.image_feature_extraction import ImageFeatureExtractionPipeline as ImageFeatureExtractionPipeline
from onnxpipe.tasks.image_generation.outputs import ImagePipelineOutput as ImagePipelineOutput
from onnxpipe.tasks.image_generation.pipelines import AutoPipelineForImage2Image as AutoPipelineForImage2Image
from onnxpipe.tasks.image_generation.pipelines import AutoPipelineForInpainting as AutoPipelineForInpainting
from onnxpipe.tasks.image_generation.pipelines import AutoPipelineForText2Image as AutoPipelineForText2Image
from onnxpipe.tasks.image_generation.pipelines import DiffusionPipeline as DiffusionPipeline
from onnxpipe.tasks.image_generation.pipelines import LatentConsistencyModelImg2ImgPipeline as LatentConsistencyModelImg2ImgPipeline
from onnxpipe.tasks.image_generation.pipelines import LatentConsistencyModelPipeline as LatentConsistencyModelPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusion3Img2ImgPipeline as StableDiffusion3Img2ImgPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusion3InpaintPipeline as StableDiffusion3InpaintPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusion3Pipeline as StableDiffusion3Pipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusionImg2ImgPipeline as StableDiffusionImg2ImgPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusionInpaintPipeline as StableDiffusionInpaintPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusionPipeline as StableDiffusionPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusionXLImg2ImgPipeline as StableDiffusionXLImg2ImgPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusionXLInpaintPipeline as StableDiffusionXLInpaintPipeline
from onnxpipe.tasks.image_generation.pipelines import StableDiffusionXLPipeline as StableDiffusionXLPipeline
from onnxpipe.tasks.image_segmentation import ImageSegmentationPipeline as ImageSegmentationPipeline
from onnxpipe.tasks.image_text_to_text import ImageTextToTextPipeline as ImageTextToTextPipeline
from onnxpipe.tasks.image_to_image import ImageToImagePipeline as ImageToImagePipeline
from onnxpipe.tasks.image_to_text import ImageToTextPipeline as ImageToTextPipeline
from onnxpipe.tasks.inpainting import InpaintingPipeline as InpaintingPipeline
from onnxpipe.tasks.keypoint_matching import KeypointMatchingPipeline as KeypointMatchingPipeline
from onnxpipe.tasks.mask_generation import MaskGenerationPipeline as MaskGenerationPipeline
from onnxpipe.tasks.object_detection import ObjectDetectionPipeline as ObjectDetectionPipeline
from onnxpipe.tasks.ocr import OcrPipeline as OcrPipeline
from onnxpipe.tasks.question_answering import QuestionAnsweringPipeline as QuestionAnsweringPipeline
from onnxpipe.tasks.question_answering import SquadExample as SquadExample
from onnxpipe.tasks.registry import PIPELINE_REGISTRY as PIPELINE_REGISTRY
from onnxpipe.tasks.registry import check_task as check_task
from onnxpipe.tasks.registry import get_supported_tasks as get_supported_tasks
from onnxpipe.tasks.speech_recognition.pipeline import AutomaticSpeechRecognitionPipeline as AutomaticSpeechRecognitionPipeline
from onnxpipe.tasks.summarization import SummarizationPipeline as SummarizationPipeline
from onnxpipe.tasks.table_question_answering import TableQuestionAnsweringPipeline as TableQuestionAnsweringPipeline
from onnxpipe.tasks.text2text_generation import Text2TextGenerationPipeline as Text2TextGenerationPipeline
from onnxpipe.tasks.text_classification import TextClassificationPipeline as TextClassificationPipeline
from onnxpipe.tasks.text_generation import TextGenerationPipeline as TextGenerationPipeline
from onnxpipe.tasks.text_ranking import TextRankingPipeline as TextRankingPipeline
from onnxpipe.tasks.text_to_audio import TextToAudioPipeline as TextToAudioPipeline
from onnxpipe.tasks.text_to_image import TextToImagePipeline as TextToImagePipeline
from onnxpipe.tasks.token_classification import AggregationStrategy as AggregationStrategy
from onnxpipe.tasks.token_classification import TokenClassificationPipeline as TokenClassificationPipeline
from onnxpipe.tasks.translation import TranslationPipeline as TranslationPipeline
from onnxpipe.tasks.video_classification import VideoClassificationPipeline as VideoClassificationPipeline
from onnxpipe.tasks.visual_question_answering import VisualQuestionAnsweringPipeline as VisualQuestionAnsweringPipeline
from onnxpipe.tasks.zero_shot_audio_classification import ZeroShotAudioClassificationPipeline as ZeroShotAudioClassificationPipeline
from onnxpipe.tasks.zero_shot_classification import ZeroShotClassificationPipeline as ZeroShotClassificationPipeline
from onnxpipe.tasks.zero_shot_image_classification import ZeroShotImageClassificationPipeline as ZeroShotImageClassificationPipeline
from onnxpipe.tasks.zero_shot_object_detection import ZeroShotObjectDetectionPipeline as ZeroShotObjectDetectionPipeline
from onnxpipe.models.base import Model

__all__ = [
    "AggregationStrategy", "AnyToAnyPipeline", "AsyncTextIteratorStreamer", "AudioClassificationPipeline", "AutoConfig",
    "AutoFeatureExtractor", "AutoImageProcessor", "AutoModel", "AutoModelForAudioClassification", "AutoModelForCTC",
    "AutoModelForCausalLM", "AutoModelForDepthEstimation", "AutoModelForDocumentQuestionAnswering",
    "AutoModelForImageClassification", "AutoModelForImageSegmentation", "AutoModelForImageTextToText",
    "AutoModelForImageToImage", "AutoModelForInstanceSegmentation", "AutoModelForKeypointDetection",
    "AutoModelForKeypointMatching", "AutoModelForMaskGeneration", "AutoModelForMaskedLM", "AutoModelForObjectDetection",
    "AutoModelForQuestionAnswering", "AutoModelForSemanticSegmentation", "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification", "AutoModelForSpeechSeq2Seq", "AutoModelForTableQuestionAnswering",
    "AutoModelForTextToSpectrogram", "AutoModelForTextToWaveform", "AutoModelForTokenClassification",
    "AutoModelForUniversalSegmentation", "AutoModelForVideoClassification", "AutoModelForVision2Seq",
    "AutoModelForVisualQuestionAnswering", "AutoModelForZeroShotAudioClassification",
    "AutoModelForZeroShotImageClassification", "AutoModelForZeroShotObjectDetection", "AutoPipelineForImage2Image",
    "AutoPipelineForInpainting", "AutoPipelineForText2Image", "AutoProcessor", "AutoTokenizer", "AutoVideoProcessor",
    "AutomaticSpeechRecognitionPipeline", "BackgroundRemovalPipeline", "BatchEncoding", "BatchFeature", "Bundle",
    "Config", "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "DecisionConfig", "DecisionPipeline",
    "DepthEstimationPipeline", "DiffusionPipeline", "DocumentQuestionAnsweringPipeline", "EmbeddingPipeline",
    "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "FeatureExtractionPipeline", "FeatureExtractor",
    "FillMaskPipeline", "FlowMatchEulerDiscreteScheduler", "GenerationConfig", "Generator", "HeunDiscreteScheduler",
    "ImageClassificationPipeline", "ImageFeatureExtractionPipeline", "ImagePipelineOutput", "ImageProcessor",
    "ImageSegmentationPipeline", "ImageTextToTextPipeline", "ImageToImagePipeline", "ImageToTextPipeline",
    "InpaintingPipeline", "ItemError", "KeyDataset", "KeyPairDataset", "KeypointMatchingPipeline", "LCMScheduler",
    "LMSDiscreteScheduler", "LatentConsistencyModelImg2ImgPipeline", "LatentConsistencyModelPipeline",
    "LogitsProcessor", "LogitsProcessorList", "MaskGenerationPipeline", "ModelOutput", "ObjectDetectionPipeline",
    "OcrPipeline", "PIPELINE_REGISTRY", "PNDMScheduler", "Pipeline", "PipelineIterator", "QuestionAnsweringPipeline",
    "SentenceSimilarityPipeline", "SpeechT5HifiGan", "SquadExample", "StableDiffusion3Img2ImgPipeline",
    "StableDiffusion3InpaintPipeline", "StableDiffusion3Pipeline", "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline", "StableDiffusionPipeline", "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline", "StableDiffusionXLPipeline", "StoppingCriteria", "StoppingCriteriaList",
    "SummarizationPipeline", "TableQuestionAnsweringPipeline", "Text2TextGenerationPipeline",
    "TextClassificationPipeline", "TextGenerationPipeline", "TextIteratorStreamer", "TextRankingPipeline",
    "TextStreamer", "TextToAudioPipeline", "TextToImagePipeline", "TokenClassificationPipeline", "Tokenizer",
    "TranslationPipeline", "UniPCMultistepScheduler", "VideoClassificationPipeline", "VisualQuestionAnsweringPipeline",
    "ZeroShotAudioClassificationPipeline", "ZeroShotClassificationPipeline", "ZeroShotImageClassificationPipeline",
    "ZeroShotObjectDetectionPipeline", "__version__", "check_task", "draw", "get_supported_tasks", "load_audio",
    "load_image", "open_bundle", "pipeline", "set_seed"
]

_PipelineT = TypeVar("_PipelineT", bound=Pipeline[Any])

@overload
def pipeline(
    task: str | None = None, model: str | os.PathLike[str] | Model | None = None, config: str | Config | None = None,
    tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    *, pipeline_class: type[_PipelineT], torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]]
    | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> _PipelineT: ...

@overload
def pipeline(
    task: Literal["any-to-any"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> AnyToAnyPipeline: ...

@overload
def pipeline(
    task: Literal["audio-classification"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> AudioClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["automatic-speech-recognition"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> AutomaticSpeechRecognitionPipeline: ...

@overload
def pipeline(
    task: Literal["background-removal"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> BackgroundRemovalPipeline: ...

@overload
def pipeline(
    task: Literal["decision"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None = None,
    tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> DecisionPipeline: ...

@overload
def pipeline(
    task: Literal["depth-estimation"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None
    = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> DepthEstimationPipeline: ...

@overload
def pipeline(
    task: Literal["document-question-answering"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> DocumentQuestionAnsweringPipeline: ...

@overload
def pipeline(
    task: Literal["embedding", "sentence-embedding"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> EmbeddingPipeline: ...

@overload
def pipeline(
    task: Literal["feature-extraction"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> FeatureExtractionPipeline: ...

@overload
def pipeline(
    task: Literal["fill-mask"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None = None,
    tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> FillMaskPipeline: ...

@overload
def pipeline(
    task: Literal["image-classification"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ImageClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["image-feature-extraction"], model: str | os.PathLike[str] | Model | None = None, config: str | Config
    | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ImageFeatureExtractionPipeline: ...

@overload
def pipeline(
    task: Literal["image-segmentation"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ImageSegmentationPipeline: ...

@overload
def pipeline(
    task: Literal["image-text-to-text"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ImageTextToTextPipeline: ...

@overload
def pipeline(
    task: Literal["image-to-image"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ImageToImagePipeline: ...

@overload
def pipeline(
    task: Literal["image-to-text"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ImageToTextPipeline: ...

@overload
def pipeline(
    task: Literal["inpainting"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> InpaintingPipeline: ...

@overload
def pipeline(
    task: Literal["keypoint-matching"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None
    = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> KeypointMatchingPipeline: ...

@overload
def pipeline(
    task: Literal["mask-generation"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> MaskGenerationPipeline: ...

@overload
def pipeline(
    task: Literal["object-detection"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None
    = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ObjectDetectionPipeline: ...

@overload
def pipeline(
    task: Literal["ocr"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None = None,
    tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> OcrPipeline: ...

@overload
def pipeline(
    task: Literal["question-answering"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> QuestionAnsweringPipeline: ...

@overload
def pipeline(
    task: Literal["sentence-similarity"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> SentenceSimilarityPipeline: ...

@overload
def pipeline(
    task: Literal["summarization"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> SummarizationPipeline: ...

@overload
def pipeline(
    task: Literal["table-question-answering"], model: str | os.PathLike[str] | Model | None = None, config: str | Config
    | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> TableQuestionAnsweringPipeline: ...

@overload
def pipeline(
    task: Literal["text-classification", "sentiment-analysis"], model: str | os.PathLike[str] | Model | None = None,
    config: str | Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None,
    feature_extractor: Any = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None,
    framework: str | None = None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None,
    device: Any = None, device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None,
    model_kwargs: dict[str, Any] | None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers:
    Sequence[str | tuple[str, dict[str, Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None,
    threads: int | None = None, run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None =
    None, model_file_name: str | None = None, onnx: Literal["community"] | None = None, cache_dir: str |
    os.PathLike[str] | None = None, local_files_only: bool = False, **kwargs: Any
) -> TextClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["text-generation"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> TextGenerationPipeline: ...

@overload
def pipeline(
    task: Literal["text-ranking"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> TextRankingPipeline: ...

@overload
def pipeline(
    task: Literal["text-to-audio", "text-to-speech"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> TextToAudioPipeline: ...

@overload
def pipeline(
    task: Literal["text-to-image"], model: str | os.PathLike[str] | Model | None = None, config: str | Config | None =
    None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> TextToImagePipeline: ...

@overload
def pipeline(
    task: Literal["text2text-generation"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> Text2TextGenerationPipeline: ...

@overload
def pipeline(
    task: Literal["token-classification", "ner"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> TokenClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["translation", "translation_en_to_fr", "translation_en_to_de", "translation_en_to_ro"], model: str |
    os.PathLike[str] | Model | None = None, config: str | Config | None = None, tokenizer: str | tuple[str, dict[str,
    Any]] | Tokenizer | None = None, feature_extractor: Any = None, image_processor: Any = None, video_processor: Any =
    None, processor: Any = None, framework: str | None = None, revision: str | None = None, use_fast: bool = True,
    token: str | bool | None = None, device: Any = None, device_map: Any = None, dtype: Any = "auto", trust_remote_code:
    bool | None = None, model_kwargs: dict[str, Any] | None = None, pipeline_class: None = None, *, torch_dtype: Any =
    None, providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None, provider_options: Sequence[dict[str,
    Any]] | None = None, threads: int | None = None, run_timeout: float | None = None, file_name: str | None = None,
    subfolder: str | None = None, model_file_name: str | None = None, onnx: Literal["community"] | None = None,
    cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool = False, **kwargs: Any
) -> TranslationPipeline: ...

@overload
def pipeline(
    task: Literal["video-classification"], model: str | os.PathLike[str] | Model | None = None, config: str | Config |
    None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> VideoClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["visual-question-answering", "vqa"], model: str | os.PathLike[str] | Model | None = None, config: str
    | Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor:
    Any = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> VisualQuestionAnsweringPipeline: ...

@overload
def pipeline(
    task: Literal["zero-shot-audio-classification"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> ZeroShotAudioClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["zero-shot-classification"], model: str | os.PathLike[str] | Model | None = None, config: str | Config
    | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> ZeroShotClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["zero-shot-image-classification"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> ZeroShotImageClassificationPipeline: ...

@overload
def pipeline(
    task: Literal["zero-shot-object-detection"], model: str | os.PathLike[str] | Model | None = None, config: str |
    Config | None = None, tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any
    = None, image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None =
    None, revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None,
    device_map: Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] |
    None = None, pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str,
    Any]]] | None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None,
    run_timeout: float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str |
    None = None, onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False, **kwargs: Any
) -> ZeroShotObjectDetectionPipeline: ...

@overload
def pipeline(
    task: str | None = None, model: str | os.PathLike[str] | Model | None = None, config: str | Config | None = None,
    tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None, feature_extractor: Any = None,
    image_processor: Any = None, video_processor: Any = None, processor: Any = None, framework: str | None = None,
    revision: str | None = None, use_fast: bool = True, token: str | bool | None = None, device: Any = None, device_map:
    Any = None, dtype: Any = "auto", trust_remote_code: bool | None = None, model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None, *, torch_dtype: Any = None, providers: Sequence[str | tuple[str, dict[str, Any]]] |
    None = None, provider_options: Sequence[dict[str, Any]] | None = None, threads: int | None = None, run_timeout:
    float | None = None, file_name: str | None = None, subfolder: str | None = None, model_file_name: str | None = None,
    onnx: Literal["community"] | None = None, cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool =
    False, **kwargs: Any
) -> Pipeline[Any]: ...
