"""Tell from a model's config which tasks the model is for. The exporter asks here too: nothing else infers tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe.bundle.config import Config

#: Ending of the architecture's name to the task of its graph; the first ending that fits counts. Classes that end in
#: "Model" come last, and "LMHeadModel" alone ends GPT2LMHeadModel, a causal model, while the encoders that say so are
#: XLM and its kin: XLMWithLMHeadModel.
_HEADS: dict[str, tuple[str, ...]] = {
    "ForSequenceClassification": ("text-classification",),
    "ForTokenClassification": ("token-classification",),
    "TapasForQuestionAnswering": ("table-question-answering",),
    "ForQuestionAnswering": ("question-answering",),
    "ForQuestionAnsweringSimple": ("question-answering",),
    "ForMaskedLM": ("fill-mask",),
    "GitForCausalLM": ("image-to-text",),
    "ForCausalLM": ("text-generation",),
    "WithLMHeadModel": ("fill-mask",),
    "LMHeadModel": ("text-generation",),
    "MarianMTModel": ("text2text-generation",),
    "ForSeq2SeqLM": ("text2text-generation",),
    "ForPreTraining": ("feature-extraction",),
    "ForImageClassification": ("image-classification",),
    "ForImageClassificationWithTeacher": ("image-classification",),
    "ForObjectDetection": ("object-detection",),
    "ForSemanticSegmentation": ("image-segmentation",),
    "ForInstanceSegmentation": ("image-segmentation",),
    "ForUniversalSegmentation": ("image-segmentation",),
    "ForSegmentation": ("image-segmentation",),
    "ForDepthEstimation": ("depth-estimation",),
    "ForImageSuperResolution": ("image-to-image",),
    "ForVideoClassification": ("video-classification",),
    "ForKeypointMatching": ("keypoint-matching",),
    "ForKeypointDetection": ("keypoint-detection",),
    "ForCTC": ("automatic-speech-recognition",),
    "ForSpeechToText": ("automatic-speech-recognition",),
    "ForAudioClassification": ("audio-classification",),
    "ForTextToSpeech": ("text-to-audio",),
    "HifiGan": ("vocoder",),
    "MODNet": ("background-removal",),
    "BriaRMBG": ("background-removal",),
    "BiRefNet": ("background-removal",),
    "VisionEncoderDecoderModel": ("image-to-text",),
    "VisionModel": ("image-feature-extraction",),
    "VisionModelWithProjection": ("image-feature-extraction",),
    "TextModelWithProjection": ("feature-extraction",),
    "HeadModel": (),
    "HeadsModel": (),
    "Model": ("feature-extraction",),
}

#: Types of encoder-decoder models of text to the tasks they serve, best first. Of a type that is not listed all three
#: are assumed: a prefix in the text selects the task of T5-like models.
_TEXT_TO_TEXT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("t5", "mt5", "umt5", "longt5", "switch_transformers"), ("text2text-generation", "translation", "summarization")
    ),
    **dict.fromkeys(
        ("bart", "bigbird_pegasus", "pegasus", "pegasus_x", "led", "mvp", "plbart", "prophetnet"),
        ("summarization", "text2text-generation"),
    ),
    **dict.fromkeys(("marian", "mbart", "m2m_100", "nllb-moe", "fsmt"), ("translation", "text2text-generation")),
    **dict.fromkeys(("blenderbot", "blenderbot-small"), ("text2text-generation",)),
}
_ALL_TEXT_TO_TEXT = ("text2text-generation", "translation", "summarization")

#: Types of encoder-decoder models of other modalities, whose classes end in ForConditionalGeneration too.
_CONDITIONAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("moonshine", "speech_to_text", "whisper"), ("automatic-speech-recognition",)),
    **dict.fromkeys(("musicgen", "musicgen_melody"), ("text-to-audio",)),
    **dict.fromkeys(
        ("florence2", "gemma3", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "paligemma",
         "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "smolvlm"),
        ("image-text-to-text",),
    ),
    **dict.fromkeys(("blip", "pix2struct"), ("image-to-text",)),
}  # fmt: skip

#: Types of vision models whose class name ends as those of text models do, or as that of the detectors that need no
#: text.
_VISION_TYPES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("align", "altclip", "chinese_clip", "clip", "clipseg", "groupvit", "metaclip_2", "siglip", "siglip2"),
        ("zero-shot-image-classification",),
    ),
    **dict.fromkeys(
        ("grounding-dino", "mm-grounding-dino", "omdet-turbo", "owlv2", "owlvit"), ("zero-shot-object-detection",)
    ),
    **dict.fromkeys(("sam", "sam2", "sam2_video", "sam_hq"), ("mask-generation",)),
    **dict.fromkeys(
        ("beit", "bit", "convnext", "convnextv2", "data2vec-vision", "deit", "dinov2", "dinov2_with_registers",
         "dinov3_convnext", "dinov3_vit", "efficientnet", "focalnet", "hiera", "ijepa", "levit", "mobilenet_v1",
         "mobilenet_v2", "mobilevit", "mobilevitv2", "poolformer", "pvt", "regnet", "resnet", "segformer", "swin",
         "swinv2", "timm_wrapper", "vit", "vit_mae", "vit_msn"),
        ("image-feature-extraction",),
    ),
}  # fmt: skip
_VISION_ENDINGS = ("Model", "ForObjectDetection")

#: Types of models that read pages: words with boxes, whose classes end as those of text models do.
_DOCUMENT_TYPES = frozenset({"layoutlm", "layoutlmv2", "layoutlmv3", "lilt"})
#: Types of models that answer questions about images, whose class names end as those of text models do.
_QUESTION_TYPES = frozenset({"blip", "vilt"})

#: The same for audio models.
_AUDIO_TYPES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
         "wav2vec2-conformer", "wavlm"),
        ("audio-classification",),
    ),
    "clap": ("zero-shot-audio-classification",),
    **dict.fromkeys(("seamless_m4t", "seamless_m4t_v2"), ("automatic-speech-recognition",)),
    **dict.fromkeys(("bark", "vits"), ("text-to-audio",)),
}  # fmt: skip
_AUDIO_ENDINGS = ("ForSequenceClassification", "ClapModel", "BarkModel", "VitsModel", "SeamlessM4TModel",
                  "SeamlessM4Tv2Model")  # fmt: skip

#: What image generation does with a folder, by the beginning of its pipeline's class: the first that fits counts. A
#: refiner goes on from an image, and a UNet of nine channels does nothing but inpaint, so the folders that were saved
#: from such a class are for that alone.
_DIFFUSION: dict[str, tuple[str, ...]] = {
    "StableDiffusionInpaint": ("inpainting",),
    "StableDiffusionXLInpaint": ("inpainting",),
    "StableDiffusionXLImg2Img": ("image-to-image", "inpainting"),
    "StableDiffusion3Inpaint": ("inpainting",),
    "StableDiffusion": ("text-to-image", "image-to-image", "inpainting"),
    "LatentConsistencyModel": ("text-to-image", "image-to-image"),
}

#: Types whose configs name no architecture.
_TYPES_WITHOUT_ARCHITECTURE: dict[str, tuple[str, ...]] = {"style_text_to_speech_2": ("text-to-audio",)}

#: One label of every model trained on natural language inference starts with this, in whatever case.
_NLI_LABEL = "entail"

#: Tasks of sentence-transformers models, which the graph for feature extraction serves.
_EMBEDDING = ("sentence-similarity", "embedding")


def infer_tasks(config: Config | Mapping[str, Any], sentence_transformers: bool) -> tuple[str, ...]:
    """Infer the tasks that a model is for, best first; empty if its config does not tell.

    Args:
        config: its config.
        sentence_transformers: whether the folder has the modules.json of that library.
    """
    config = _as_config(config)
    model_type = str(config.model_type)
    heads = list(_TYPES_WITHOUT_ARCHITECTURE.get(model_type, ()))
    for architecture in config.architectures or ():
        heads += architecture_tasks(str(architecture), model_type)
    tasks = [task for head in heads for task in served_tasks(head, config, sentence_transformers)]
    if sentence_transformers and "text-ranking" not in tasks:  # whatever class the encoder was trained as
        tasks = [*_EMBEDDING, *tasks, "feature-extraction"]
    return tuple(dict.fromkeys(tasks))


def architecture_tasks(architecture: str, model_type: str) -> tuple[str, ...]:
    """Look up the task of a transformers class; empty if its name does not tell.

    It is the task of the graph; `served_tasks` knows which others the same graph serves.

    Args:
        architecture: the name of the class, e.g. "BertForSequenceClassification".
        model_type: the config's `model_type`, for class names that families of several modalities share.
    """
    if architecture.endswith("Pipeline"):
        return next((tasks for name, tasks in _DIFFUSION.items() if architecture.startswith(name)), ())
    if architecture.endswith("ForConditionalGeneration"):
        return ("text2text-generation",) if model_type in _TEXT_TO_TEXT else _CONDITIONAL.get(model_type, ())
    if model_type in _VISION_TYPES and architecture.endswith(_VISION_ENDINGS):
        return _VISION_TYPES[model_type]
    if model_type in _DOCUMENT_TYPES and architecture.endswith("ForQuestionAnswering"):
        return ("document-question-answering",)
    if model_type in _DOCUMENT_TYPES and architecture.endswith("ForTokenClassification"):
        return ("object-detection",)
    if model_type in _QUESTION_TYPES and architecture.endswith("ForQuestionAnswering"):
        return ("visual-question-answering",)
    if model_type in _AUDIO_TYPES and architecture.endswith(_AUDIO_ENDINGS):
        return _AUDIO_TYPES[model_type]
    return next((tasks for ending, tasks in _HEADS.items() if architecture.endswith(ending)), ())


def served_tasks(task: str, config: Config | Mapping[str, Any], sentence_transformers: bool) -> tuple[str, ...]:
    """List every task that a model exported for `task` serves, best first.

    Args:
        task: the task of its graphs, e.g. "text-classification".
        config: its config, for the type and the labels.
        sentence_transformers: whether the folder has the modules.json of that library.
    """
    config = _as_config(config)
    if task == "image-text-to-text":
        return (task, "any-to-any")
    labels = [str(label).lower() for label in config.id2label.values()]
    if task == "text2text-generation":
        return _TEXT_TO_TEXT.get(str(config.model_type), _ALL_TEXT_TO_TEXT)
    if task == "feature-extraction" and sentence_transformers:
        return (*_EMBEDDING, task)
    if task == "image-to-text" and (config.get("encoder") or {}).get("model_type") == "donut-swin":
        return (task, "document-question-answering")
    if task == "image-segmentation" and "background" in labels:
        return (task, "background-removal")
    if task == "text-classification" and len(labels) == 1:
        return ("text-ranking", task)
    if task == "text-classification" and any(label.startswith(_NLI_LABEL) for label in labels):
        return ("zero-shot-classification", task)
    return (task,)


def _as_config(config: Config | Mapping[str, Any]) -> Config:
    return config if isinstance(config, Config) else Config(config)
