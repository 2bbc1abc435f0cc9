"""Which image processors, feature extractors and processors there are, in which module each lies, and which families
of models have it. A class is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.processor_config import MOONSHINE

if TYPE_CHECKING:
    from onnxpipe.processing.audio.base import FeatureExtractor
    from onnxpipe.processing.images.base import ImageProcessor
    from onnxpipe.processing.multimodal.audio_text import SpeechProcessor
    from onnxpipe.processing.multimodal.image_text import TextImageProcessor
    from onnxpipe.processing.video.chats import ChatVideoProcessor

T = TypeVar("T")


class ClassTable(Mapping[str, type[T]], Generic[T]):
    """Classes by name, each imported at its first use.

    Args:
        title: what errors call such a class.
        modules: module below `onnxpipe.processing` -> class -> the families that have it, by transformers'
            `model_type`, separated by spaces.
        type_keys: where a file names the class, best first.
        canonical: from the name in a file to the name here.

    Attributes:
        families: family -> the name of its class, for folders whose files do not say.
    """

    def __init__(
        self,
        title: str,
        modules: Mapping[str, Mapping[str, str]],
        type_keys: tuple[str, ...] = (),
        canonical: Callable[[str], str] = str,
    ) -> None:
        self._title, self._type_keys, self._canonical = title, type_keys, canonical
        self._modules = {name: module for module, classes in modules.items() for name in classes}
        self.families: dict[str, str] = {
            family: name
            for classes in modules.values()
            for name, families in classes.items()
            for family in families.split()
        }

    def __getitem__(self, name: str) -> type[T]:
        found: type[T] = getattr(import_module(f"onnxpipe.processing.{self._modules[name]}"), name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._modules  # a file may say anything

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def module_of(self, name: str) -> str:
        """The full name of a class's module."""
        return f"onnxpipe.processing.{self._modules[name]}"

    def has_name(self, name: str) -> bool:
        """Whether a file's name for a class is one of these."""
        return self._canonical(name) in self

    def class_for(self, config: Mapping[str, Any], model: Mapping[str, Any], source: str) -> type[T]:
        """The class that a processor's config names; if it names none, that of the model's family.

        Args:
            config: `preprocessor_config.json`.
            model: `config.json`.
            source: the file, for errors.

        Raises:
            UnsupportedError: there is no such class here.
        """
        named = next((config[key] for key in self._type_keys if config.get(key)), None)
        name = self._canonical(str(named)) if named else self.families.get(str(model.get("model_type", "")))
        if name in self._modules:
            return self[name]
        known = ", ".join(sorted(self))
        if named:
            raise UnsupportedError(f"{source} names the {self._title} {named!r}, which is not here; known: {known}")
        model_type = model.get("model_type")
        family = f"the family {model_type!r} has none here" if model_type else "its family is unknown"
        raise UnsupportedError(f"{source} names no {self._title}, and {family}; known: {known}")


#: What transformers.js calls the image processor that belongs to no family, alone or as that of families which
#: transformers does not have, or not under these names.
_OF_NO_FAMILY = frozenset(
    {"ImageFeatureExtractor", "ImageProcessor"}
    | {f"{family}{kind}" for family in ("MobileNetV3", "MobileNetV4", "Sapiens")
       for kind in ("FeatureExtractor", "ImageProcessor")}
)  # fmt: skip


def canonical_image_name(name: str) -> str:
    """The name here of an image processor: without the suffixes of variants, and by the new name of the kind."""
    if name in _OF_NO_FAMILY:
        return "PlainImageProcessor"
    for suffix in ("Fast", "Pil"):
        name = name.removesuffix(suffix)
    return name.replace("FeatureExtractor", "ImageProcessor").replace("VideoProcessor", "ImageProcessor")


_IMAGES: Mapping[str, Mapping[str, str]] = {
    "images.classifiers": {
        "BeitImageProcessor": "beit data2vec-vision",
        "BitImageProcessor": "bit dinov2 dinov2_with_registers focalnet hiera pixio",
        "BlipImageProcessor": "blip blip-2 instructblip",
        "CLIPImageProcessor": "clip clip_vision_model aimv2 aimv2_vision_model altclip florence2 git groupvit "
        "metaclip_2 mlcd xclip",
        "ChineseCLIPImageProcessor": "chinese_clip",
        "ConvNextImageProcessor": "convnext convnextv2 cvt regnet resnet",
        "DINOv3ViTImageProcessor": "dinov3_vit dinov3_convnext",
        "DeiTImageProcessor": "deit",
        "EfficientNetImageProcessor": "efficientnet align",
        "LevitImageProcessor": "levit",
        "MobileNetV1ImageProcessor": "mobilenet_v1",
        "MobileNetV2ImageProcessor": "mobilenet_v2",
        "MobileViTImageProcessor": "mobilevit mobilevitv2",
        "PerceiverImageProcessor": "perceiver",
        "PoolFormerImageProcessor": "poolformer",
        "PvtImageProcessor": "pvt pvt_v2",
        "SegformerImageProcessor": "segformer upernet",
        "SiglipImageProcessor": "siglip siglip_vision_model paligemma",
        "TextNetImageProcessor": "textnet",
        "ViTImageProcessor": "vit clipseg dinat ijepa mgp-str swiftformer swin swinv2 trocr vit_mae vit_msn",
    },
    "images.depth": {
        "DPTImageProcessor": "dpt depth_anything",
        "GLPNImageProcessor": "glpn",
        "PromptDepthAnythingImageProcessor": "prompt_depth_anything",
        "ZoeDepthImageProcessor": "zoedepth",
    },
    "images.detr": {
        "ConditionalDetrImageProcessor": "conditional_detr dab-detr",
        "DeformableDetrImageProcessor": "deformable_detr lw_detr",
        "DetrImageProcessor": "detr table-transformer",
        "GroundingDinoImageProcessor": "grounding-dino mm-grounding-dino",
        "RTDetrImageProcessor": "rt_detr rt_detr_v2 d_fine deimv2",
        "YolosImageProcessor": "yolos",
    },
    "images.donut": {"DonutImageProcessor": "donut-swin"},
    "images.keypoints": {
        "EfficientLoFTRImageProcessor": "efficientloftr",
        "LightGlueImageProcessor": "lightglue",
        "SuperGlueImageProcessor": "superglue",
        "SuperPointImageProcessor": "superpoint",
    },
    "images.llava": {
        "LlavaImageProcessor": "llava",
        "LlavaNextImageProcessor": "llava_next",
        "LlavaOnevisionImageProcessor": "llava_onevision",
    },
    "images.layoutlm": {
        "LayoutLMv2ImageProcessor": "layoutlmv2 layoutxlm",
        "LayoutLMv3ImageProcessor": "layoutlmv3 udop",
    },
    "images.maskformer": {
        "EomtImageProcessor": "eomt eomt_dinov3",
        "Mask2FormerImageProcessor": "mask2former",
        "MaskFormerImageProcessor": "maskformer",
        "OneFormerImageProcessor": "oneformer",
    },
    "images.naflex": {"Siglip2ImageProcessor": "siglip2", "ViltImageProcessor": "vilt"},
    "images.pix2struct": {"Pix2StructImageProcessor": "pix2struct"},
    "images.owl": {"OwlViTImageProcessor": "owlvit", "Owlv2ImageProcessor": "owlv2"},
    "images.plain": {"PlainImageProcessor": ""},
    "images.qwen2_vl": {"Qwen2VLImageProcessor": "qwen2_vl qwen2_5_vl qwen3_vl"},
    "images.restoration": {"Swin2SRImageProcessor": "swin2sr", "VitMatteImageProcessor": "vitmatte"},
    "images.sam": {"Sam2ImageProcessor": "sam2 edgetam sam2_video", "SamImageProcessor": "sam sam_hq"},
    "images.timm": {"TimmWrapperImageProcessor": "timm_wrapper"},
    "images.tiles": {
        "Gemma3ImageProcessor": "gemma3",
        "GotOcr2ImageProcessor": "got_ocr2 internvl",
        "Idefics3ImageProcessor": "idefics3",
        "SmolVLMImageProcessor": "smolvlm",
    },
    "video.processors": {
        "TimesformerImageProcessor": "",
        "VideoMAEImageProcessor": "videomae timesformer",
        "VivitImageProcessor": "vivit",
    },
}

_CHAT_VIDEOS: Mapping[str, Mapping[str, str]] = {
    "video.chats": {
        "InternVLVideoProcessor": "internvl",
        "LlavaOnevisionVideoProcessor": "llava_onevision",
        "Qwen2VLVideoProcessor": "qwen2_vl qwen2_5_vl",
        "Qwen3VLVideoProcessor": "qwen3_vl",
        "SmolVLMVideoProcessor": "smolvlm",
    },
}

_AUDIO: Mapping[str, Mapping[str, str]] = {
    "audio.ast": {"ASTFeatureExtractor": "audio-spectrogram-transformer"},
    "audio.clap": {"ClapFeatureExtractor": "clap"},
    "audio.encodec": {
        "DacFeatureExtractor": "dac xcodec",
        "EncodecFeatureExtractor": "encodec csm mimi moshi musicgen",
    },
    "audio.mctct": {"MCTCTFeatureExtractor": "mctct"},
    "audio.parakeet": {"ParakeetFeatureExtractor": "parakeet_ctc parakeet_encoder parakeet_tdt parakeet_rnnt"},
    "audio.seamless_m4t": {"SeamlessM4TFeatureExtractor": "seamless_m4t seamless_m4t_v2"},
    "audio.speech_to_text": {"Speech2TextFeatureExtractor": "speech_to_text"},
    "audio.speecht5": {"SpeechT5FeatureExtractor": "speecht5"},
    "audio.wav2vec2": {
        "Wav2Vec2FeatureExtractor": "wav2vec2 wav2vec2-bert wav2vec2-conformer data2vec-audio hubert moonshine sew "
        "sew-d unispeech unispeech-sat wavlm"
    },
    "audio.whisper": {"WhisperFeatureExtractor": "whisper audioflamingo3 glmasr qwen2_audio voxtral"},
}

_IMAGE_TEXT: Mapping[str, Mapping[str, str]] = {
    "multimodal.donut": {"DonutProcessor": "donut donut-swin"},
    "multimodal.florence2": {"Florence2Processor": "florence2"},
    "multimodal.gemma": {"Gemma3Processor": "gemma3", "PaliGemmaProcessor": "paligemma"},
    "multimodal.idefics3": {"Idefics3Processor": "idefics3", "SmolVLMProcessor": "smolvlm"},
    "multimodal.image_text": {
        "AlignProcessor": "align",
        "BlipProcessor": "blip",
        "GroundingDinoProcessor": "grounding-dino mm-grounding-dino",
        "OneFormerProcessor": "oneformer",
        "OwlProcessor": "owlvit owlv2",
        "Processor": "",
        "SamProcessor": "sam sam2",
        "Siglip2Processor": "siglip2",
    },
    "multimodal.internvl": {"InternVLProcessor": "internvl"},
    "multimodal.llava": {
        "LlavaNextProcessor": "llava_next",
        "LlavaOnevisionProcessor": "llava_onevision",
        "LlavaProcessor": "llava",
    },
    "multimodal.qwen_vl": {
        "Qwen2VLProcessor": "qwen2_vl",
        "Qwen2_5_VLProcessor": "qwen2_5_vl",
        "Qwen3VLProcessor": "qwen3_vl",
    },
}

_AUDIO_TEXT: Mapping[str, Mapping[str, str]] = {
    "multimodal.audio_text": {"ClapProcessor": "clap", "SpeechProcessor": "", "SpeechT5Processor": "speecht5"},
}

#: Image processors, those of models that label videos among them.
IMAGE_PROCESSORS: ClassTable[ImageProcessor] = ClassTable(
    "image processor",
    _IMAGES,
    ("video_processor_type", "image_processor_type", "feature_extractor_type"),
    canonical_image_name,
)
#: Processors of the videos of chats, which are prepared otherwise than images.
CHAT_VIDEO_PROCESSORS: ClassTable[ChatVideoProcessor] = ClassTable(
    "video processor", _CHAT_VIDEOS, ("video_processor_type",)
)
FEATURE_EXTRACTORS: ClassTable[FeatureExtractor] = ClassTable(
    "feature extractor",
    _AUDIO,
    ("feature_extractor_type",),
    lambda name: "Wav2Vec2FeatureExtractor" if name == MOONSHINE else name,
)
#: Tokenizer and image processor, or tokenizer and feature extractor, in one.
IMAGE_TEXT_PROCESSORS: ClassTable[TextImageProcessor] = ClassTable("processor", _IMAGE_TEXT)
AUDIO_TEXT_PROCESSORS: ClassTable[SpeechProcessor] = ClassTable("processor", _AUDIO_TEXT)


def image_text_processor(model_type: str) -> type[TextImageProcessor]:
    """The class of a family's processor of texts and images."""
    return IMAGE_TEXT_PROCESSORS[IMAGE_TEXT_PROCESSORS.families.get(model_type, "Processor")]


def audio_text_processor(model_type: str) -> type[SpeechProcessor]:
    """The class of a family's processor of texts and audio."""
    return AUDIO_TEXT_PROCESSORS[AUDIO_TEXT_PROCESSORS.families.get(model_type, "SpeechProcessor")]


def is_image_config(config: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Whether a `preprocessor_config.json` says how images are prepared, and not audio.

    Args:
        config: the file's object.
        model: `config.json`.
    """
    named = config.get("feature_extractor_type")
    if config.get("image_processor_type"):
        return True
    if named in FEATURE_EXTRACTORS or (not named and model.get("model_type") in FEATURE_EXTRACTORS.families):
        return False
    if named:
        return IMAGE_PROCESSORS.has_name(str(named))
    return model.get("model_type") in IMAGE_PROCESSORS.families
