"""Which image processors there are, and which of them a family of models has."""

from __future__ import annotations

from onnxpipe.processing.images import (
    classifiers,
    depth,
    detr,
    keypoints,
    maskformer,
    naflex,
    owl,
    plain,
    restoration,
    sam,
)
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.video import processors as video

_MODULES = (classifiers, depth, detr, keypoints, maskformer, naflex, owl, plain, restoration, sam, video)

#: By name.
CLASSES: dict[str, type[ImageProcessor]] = {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, ImageProcessor) and not name.startswith("_")
    if value is not ImageProcessor
}

#: Class -> the families that have it, by transformers' `model_type`.
_BY_CLASS = {
    "BeitImageProcessor": "beit data2vec-vision",
    "BitImageProcessor": "bit dinov2 dinov2_with_registers focalnet hiera pixio",
    "BlipImageProcessor": "blip blip-2 instructblip",
    "CLIPImageProcessor": "clip clip_vision_model aimv2 aimv2_vision_model altclip git groupvit metaclip_2 mlcd xclip",
    "ChineseCLIPImageProcessor": "chinese_clip",
    "ConditionalDetrImageProcessor": "conditional_detr dab-detr",
    "ConvNextImageProcessor": "convnext convnextv2 cvt regnet resnet",
    "DINOv3ViTImageProcessor": "dinov3_vit dinov3_convnext",
    "DPTImageProcessor": "dpt depth_anything",
    "DeformableDetrImageProcessor": "deformable_detr lw_detr",
    "DeiTImageProcessor": "deit",
    "DetrImageProcessor": "detr table-transformer",
    "EfficientNetImageProcessor": "efficientnet align",
    "EfficientLoFTRImageProcessor": "efficientloftr",
    "EomtImageProcessor": "eomt eomt_dinov3",
    "GLPNImageProcessor": "glpn",
    "GroundingDinoImageProcessor": "grounding-dino mm-grounding-dino",
    "LevitImageProcessor": "levit",
    "LightGlueImageProcessor": "lightglue",
    "Mask2FormerImageProcessor": "mask2former",
    "MaskFormerImageProcessor": "maskformer",
    "MobileNetV1ImageProcessor": "mobilenet_v1",
    "MobileNetV2ImageProcessor": "mobilenet_v2",
    "MobileViTImageProcessor": "mobilevit mobilevitv2",
    "OneFormerImageProcessor": "oneformer",
    "OwlViTImageProcessor": "owlvit",
    "Owlv2ImageProcessor": "owlv2",
    "PerceiverImageProcessor": "perceiver",
    "PoolFormerImageProcessor": "poolformer",
    "PromptDepthAnythingImageProcessor": "prompt_depth_anything",
    "PvtImageProcessor": "pvt pvt_v2",
    "RTDetrImageProcessor": "rt_detr rt_detr_v2 d_fine deimv2",
    "Sam2ImageProcessor": "sam2 edgetam sam2_video",
    "SamImageProcessor": "sam sam_hq",
    "SegformerImageProcessor": "segformer upernet",
    "Siglip2ImageProcessor": "siglip2",
    "SiglipImageProcessor": "siglip siglip_vision_model paligemma",
    "SuperGlueImageProcessor": "superglue",
    "SuperPointImageProcessor": "superpoint",
    "Swin2SRImageProcessor": "swin2sr",
    "TextNetImageProcessor": "textnet",
    "ViTImageProcessor": "vit clipseg dinat ijepa mgp-str swiftformer swin swinv2 trocr vit_mae vit_msn",
    "VideoMAEImageProcessor": "videomae timesformer",
    "ViltImageProcessor": "vilt",
    "VitMatteImageProcessor": "vitmatte",
    "VivitImageProcessor": "vivit",
    "YolosImageProcessor": "yolos",
    "ZoeDepthImageProcessor": "zoedepth",
}


#: Family -> the name of its class, for folders whose files do not say.
FAMILIES: dict[str, str] = {family: name for name, families in _BY_CLASS.items() for family in families.split()}


def class_of_family(model_type: str) -> type[ImageProcessor] | None:
    """The class of a family, None where none is known."""
    return CLASSES.get(FAMILIES.get(model_type, ""))
