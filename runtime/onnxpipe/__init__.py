"""onnxpipe: `pipeline()` without PyTorch.

    from onnxpipe import pipeline

    pipe = pipeline("text-classification", model="folder-or-hub-id")
    pipe("We love this")            # [{'label': 'POSITIVE', 'score': 0.99}]

Everything is imported when it is first used, so that `import onnxpipe` is cheap. Type checkers read `__init__.pyi`,
which `make stub` writes.
"""

from __future__ import annotations

import importlib
from typing import Any

from onnxpipe._version import __version__ as __version__

#: Every public name by its module, but for the classes of the tasks, which their records name.
_NAMES: dict[str, tuple[str, ...]] = {
    "bundle": ("AutoConfig", "Bundle", "Config", "open_bundle"),
    "diffusion.random": ("Generator",),
    "diffusion.schedulers.ddim": ("DDIMScheduler",),
    "diffusion.schedulers.ddpm": ("DDPMScheduler",),
    "diffusion.schedulers.dpm_solver": ("DPMSolverMultistepScheduler",),
    "diffusion.schedulers.euler": ("EulerDiscreteScheduler",),
    "diffusion.schedulers.euler_ancestral": ("EulerAncestralDiscreteScheduler",),
    "diffusion.schedulers.flow_match_euler": ("FlowMatchEulerDiscreteScheduler",),
    "diffusion.schedulers.heun": ("HeunDiscreteScheduler",),
    "diffusion.schedulers.lcm": ("LCMScheduler",),
    "diffusion.schedulers.lms": ("LMSDiscreteScheduler",),
    "diffusion.schedulers.pndm": ("PNDMScheduler",),
    "diffusion.schedulers.unipc": ("UniPCMultistepScheduler",),
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
        "AutoModelForDocumentQuestionAnswering",
        "AutoModelForImageClassification",
        "AutoModelForImageSegmentation",
        "AutoModelForImageTextToText",
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
        "AutoModelForTableQuestionAnswering",
        "AutoModelForTextToSpectrogram",
        "AutoModelForTextToWaveform",
        "AutoModelForTokenClassification",
        "AutoModelForUniversalSegmentation",
        "AutoModelForVideoClassification",
        "AutoModelForVision2Seq",
        "AutoModelForVisualQuestionAnswering",
        "AutoModelForZeroShotAudioClassification",
        "AutoModelForZeroShotImageClassification",
        "AutoModelForZeroShotObjectDetection",
    ),
    "models.text_to_audio.vocoder": ("SpeechT5HifiGan",),
    "processing.audio.base": ("FeatureExtractor",),
    "processing.audio.io.load": ("load_audio",),
    "processing.auto": ("AutoFeatureExtractor", "AutoImageProcessor", "AutoProcessor", "AutoVideoProcessor"),
    "processing.batch_feature": ("BatchFeature",),
    "processing.images.base": ("ImageProcessor",),
    "processing.images.drawing.draw": ("draw",),
    "processing.images.io.load": ("load_image",),
    "processing.model_output": ("ModelOutput",),
    "processing.text.batch_encoding": ("BatchEncoding",),
    "processing.text.decision.config": ("DecisionConfig",),
    "processing.text.tokenizer": ("AutoTokenizer", "Tokenizer"),
    "tasks.base.datasets": ("KeyDataset", "KeyPairDataset", "PipelineIterator"),
    "tasks.base.pipeline": ("Pipeline",),
    "tasks.image_generation.outputs": ("ImagePipelineOutput",),
    "tasks.image_generation.pipelines": (
        "AutoPipelineForImage2Image",
        "AutoPipelineForInpainting",
        "AutoPipelineForText2Image",
        "DiffusionPipeline",
        "LatentConsistencyModelImg2ImgPipeline",
        "LatentConsistencyModelPipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",
        "StableDiffusion3Pipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLPipeline",
    ),
    "tasks.question_answering": ("SquadExample",),
    "tasks.registry": ("PIPELINE_REGISTRY", "check_task", "get_supported_tasks"),
    "tasks.token_classification": ("AggregationStrategy",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        value: Any = sorted([*_MODULE_OF, *_task_classes(), "__version__"])
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(f"onnxpipe.{_MODULE_OF[name]}"), name)
    elif name.endswith("Pipeline") and name in (classes := _task_classes()):
        value = classes[name]
    else:
        raise AttributeError(f"module 'onnxpipe' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__getattr__("__all__"))


def _task_classes() -> dict[str, Any]:
    """The pipeline classes of the tasks by name."""
    tasks = importlib.import_module("onnxpipe.tasks.registry").all_tasks()
    return {spec.pipeline.__name__: spec.pipeline for spec in tasks}
