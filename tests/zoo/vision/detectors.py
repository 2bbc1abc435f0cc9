"""The zoo's vision families that find objects; some of them also give their masks."""

from __future__ import annotations

from dataclasses import replace

from zoo.vision.family import (
    IMAGENET,
    RESNET,
    THINGS,
    VIT,
    Family,
    Head,
    Settled,
    config_of,
    detector,
    labels,
    processor,
    square,
    with_backbone,
)

_EDGES = {"shortest_edge": 48, "longest_edge": 80}
_SHRINKS = {"do_pad": True, "format": "coco_detection"}
_FOUR = ("stage1", "stage2", "stage3", "stage4")
_THREE = ("stage2", "stage3", "stage4")
_DETR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_queries": 10,
}
_RT_DETR = {
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [24, 32, 40],
    "encoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "d_model": 32,
    "num_queries": 10,
    "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 48,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "hidden_expansion": 0.5,
}
_RT_BACKBONE = RESNET | {"layer_type": "bottleneck"}
_HGNET = {
    "embedding_size": 8,
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [16, 24, 32, 40],
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 24, 32],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 24, 32, 40],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [2, 2, 2, 2],
}
_RT_PROCESSOR = processor("RTDetrImageProcessor", square(64), do_normalize=False, do_pad=False, format="coco_detection")


def _ranked_detector(class_name: str, seed: int = 0) -> Head:
    last, first = "model.decoder.class_embed.1", "model.enc_score_head"
    return replace(detector(class_name, last), ranked=(last, first), seed=seed)


FAMILIES: tuple[Family, ...] = (
    Family(
        "detr",
        with_backbone("DetrConfig", "ResNetConfig", _FOUR, RESNET, **_DETR),
        (
            detector("DetrForObjectDetection", "class_labels_classifier"),
            Head(
                "image-segmentation",
                "DetrForSegmentation",
                (Settled(("detr.class_labels_classifier",), deviation=5.0), Settled(("mask_head.output_conv",))),
                {**labels(*THINGS), "encoder_attention_heads": 8, "decoder_attention_heads": 8, "d_model": 64},
            ),
        ),
        processor("DetrImageProcessor", _EDGES, IMAGENET, **_SHRINKS),
        size=64,
    ),
    Family(
        "conditional_detr",
        with_backbone("ConditionalDetrConfig", "ResNetConfig", _FOUR, RESNET, **_DETR),
        (detector("ConditionalDetrForObjectDetection", "class_labels_classifier"),),
        processor("ConditionalDetrImageProcessor", _EDGES, IMAGENET, **_SHRINKS),
        size=64,
    ),
    Family(
        "deformable_detr",
        with_backbone("DeformableDetrConfig", "ResNetConfig", _THREE, RESNET, **_DETR | {"d_model": 64}),
        (detector("DeformableDetrForObjectDetection", "class_embed.1"),),
        processor("DeformableDetrImageProcessor", _EDGES, IMAGENET, **_SHRINKS),
        size=64,
    ),
    Family(
        "table-transformer",
        with_backbone("TableTransformerConfig", "ResNetConfig", _FOUR, RESNET, **_DETR),
        (detector("TableTransformerForObjectDetection", "class_labels_classifier"),),
        processor("DetrImageProcessor", _EDGES, IMAGENET, **_SHRINKS),
        size=64,
    ),
    Family(
        "yolos",
        config_of("YolosConfig", **VIT | {"image_size": [48, 64]}, num_detection_tokens=8),
        (detector("YolosForObjectDetection", "class_labels_classifier.layers.2"),),
        processor("YolosImageProcessor", _EDGES, IMAGENET, **_SHRINKS),
        size=48,
    ),
    Family(
        "rt_detr",
        with_backbone("RTDetrConfig", "RTDetrResNetConfig", _THREE, _RT_BACKBONE, **_RT_DETR),
        (_ranked_detector("RTDetrForObjectDetection", 1),),
        _RT_PROCESSOR,
        size=64,
    ),
    Family(
        "rt_detr_v2",
        with_backbone("RTDetrV2Config", "RTDetrResNetConfig", _THREE, _RT_BACKBONE, **_RT_DETR),
        (_ranked_detector("RTDetrV2ForObjectDetection"),),
        _RT_PROCESSOR,
        size=64,
    ),
    Family(
        "d_fine",
        with_backbone("DFineConfig", "HGNetV2Config", _THREE, _HGNET, **_RT_DETR, head_dim=8),
        (_ranked_detector("DFineForObjectDetection", 2),),
        _RT_PROCESSOR,
        size=64,
    ),
)  # fmt: skip
