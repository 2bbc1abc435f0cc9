"""Which task a model is for, told from its config, where no manifest says it."""

from __future__ import annotations

from onnxpipe.bundle.config import Config

#: Ending of the architecture's name to tasks, best first.
_HEADS: dict[str, tuple[str, ...]] = {
    "ForSequenceClassification": ("text-classification",),
    "ForTokenClassification": ("token-classification",),
    "ForQuestionAnswering": ("question-answering",),
    "ForMaskedLM": ("fill-mask",),
    "ForCausalLM": ("text-generation",),
    "GPT2LMHeadModel": ("text-generation",),
    "WithLMHeadModel": ("fill-mask",),
    "MarianMTModel": ("translation", "text2text-generation"),
    "ForSeq2SeqLM": ("text2text-generation",),
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
    "MODNet": ("background-removal",),
    "BriaRMBG": ("background-removal",),
    "BiRefNet": ("background-removal",),
    "VisionModel": ("image-feature-extraction",),
    "HeadModel": (),
    "HeadsModel": (),
    "Model": ("feature-extraction",),
}

#: Types of encoder-decoder models, whose classes end in ForConditionalGeneration whatever they take and give, to tasks,
#: best first.
_CONDITIONAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("t5", "mt5", "umt5", "longt5", "switch_transformers"), ("text2text-generation", "translation", "summarization")
    ),
    **dict.fromkeys(
        ("bart", "pegasus", "pegasus_x", "led", "mvp", "plbart", "prophetnet"),
        ("summarization", "text2text-generation"),
    ),
    **dict.fromkeys(("mbart", "m2m_100", "nllb-moe", "fsmt"), ("translation", "text2text-generation")),
    **dict.fromkeys(("blenderbot", "blenderbot-small"), ("text2text-generation",)),
    **dict.fromkeys(("moonshine", "speech_to_text", "whisper"), ("automatic-speech-recognition",)),
    **dict.fromkeys(("musicgen", "musicgen_melody"), ("text-to-audio",)),
}

#: Types of models of pictures whose class's name ends as those of texts do, or as those that are asked without words.
_SEEING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("align", "altclip", "chinese_clip", "clip", "clipseg", "metaclip_2", "siglip", "siglip2"),
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
         "swinv2", "vit", "vit_mae", "vit_msn"),
        ("image-feature-extraction",),
    ),
}  # fmt: skip
_SEEING_ENDINGS = ("Model", "ForObjectDetection")

#: The same for models of sound.
_SOUNDING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
         "wav2vec2-conformer", "wavlm"),
        ("audio-classification",),
    ),
    "clap": ("zero-shot-audio-classification",),
    **dict.fromkeys(("seamless_m4t", "seamless_m4t_v2"), ("automatic-speech-recognition",)),
    **dict.fromkeys(("bark", "vits"), ("text-to-audio",)),
}  # fmt: skip
_SOUNDING_ENDINGS = ("ForSequenceClassification", "ClapModel", "BarkModel", "VitsModel", "SeamlessM4TModel",
                     "SeamlessM4Tv2Model")  # fmt: skip

#: Types whose configs name no architecture.
_NAMELESS: dict[str, tuple[str, ...]] = {"style_text_to_speech_2": ("text-to-audio",)}

#: Words that the labels of a model trained on natural language inference hold, whatever their case and order.
_INFERENCE = "entail"


def infer_tasks(config: Config, sentence_transformers: bool) -> tuple[str, ...]:
    """Tasks that a model without a manifest is for, best first; empty if that cannot be told.

    Args:
        config: its config.
        sentence_transformers: whether the folder has the modules.json of that library.
    """
    tasks: list[str] = list(_NAMELESS.get(str(config.model_type), ()))
    for architecture in config.architectures or ():
        if str(architecture).endswith("ForConditionalGeneration"):
            tasks += _CONDITIONAL.get(str(config.model_type), ())
            continue
        if config.model_type in _SEEING and str(architecture).endswith(_SEEING_ENDINGS):
            tasks += _SEEING[str(config.model_type)]
            continue
        if config.model_type in _SOUNDING and str(architecture).endswith(_SOUNDING_ENDINGS):
            tasks += _SOUNDING[str(config.model_type)]
            continue
        heads = [head for head in _HEADS if str(architecture).endswith(head)]
        if heads:
            tasks += _HEADS[heads[0]]
    labels = [str(label).lower() for label in config.id2label.values()]
    if "image-segmentation" in tasks and "background" in labels:
        tasks.append("background-removal")
    if "text-classification" in tasks and any(label.startswith(_INFERENCE) for label in labels):
        tasks.append("zero-shot-classification")
    if "text-classification" in tasks and len(labels) == 1:
        tasks = ["text-ranking", *tasks]
    if sentence_transformers and "text-ranking" not in tasks:
        tasks = ["sentence-similarity", *tasks]
        if "feature-extraction" not in tasks:
            tasks.append("feature-extraction")
    return tuple(dict.fromkeys(tasks))
