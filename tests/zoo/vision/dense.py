"""The zoo's vision families that answer with maps (masks, depth, a larger image), and those of videos."""

from __future__ import annotations

from typing import Any

from zoo.vision.family import (
    ANIMALS,
    HALF,
    IMAGENET,
    RESNET,
    SWIN,
    THINGS,
    VIT,
    Family,
    Head,
    Settled,
    classifier,
    config_of,
    labels,
    processor,
    segmenter,
    square,
    with_backbone,
)

_MIX = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]}
_FOUR_STAGES = ("stage1", "stage2", "stage3", "stage4")
_SWIN = SWIN | {"depths": [1, 2, 2, 1], "num_heads": [1, 2, 2, 4]}
_FUSED = {"neck_hidden_sizes": [8, 12, 16, 24], "fusion_hidden_size": 16}
_DINOV2 = VIT | {"mlp_ratio": 2, "num_hidden_layers": 4, "reshape_hidden_states": False}
_EDGES = {"shortest_edge": 64, "longest_edge": 96}


def _universal(class_name: str, path: str, **config: Any) -> Head:
    layers = (Settled((path,), deviation=5.0),)
    return Head("image-segmentation", class_name, layers, {**labels(*THINGS), **config})


def _depth(class_name: str, path: str, mean: float = 6.0, deviation: float = 2.0) -> Head:
    return Head("depth-estimation", class_name, (Settled((path,), mean, deviation),))


def _video(class_name: str) -> Head:
    return Head("video-classification", class_name, (Settled(("classifier",)),), labels(*ANIMALS))


def _maskformer(**more: Any) -> Any:
    import transformers

    backbone = transformers.SwinConfig(out_features=list(_FOUR_STAGES), **_SWIN)
    decoder = config_of("DetrConfig", d_model=32, encoder_layers=1, decoder_layers=2, decoder_attention_heads=4,
                        decoder_ffn_dim=48, num_queries=8, use_timm_backbone=False,
                        backbone_config=transformers.ResNetConfig(**RESNET))()  # fmt: skip
    return transformers.MaskFormerConfig(
        backbone_config=backbone, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **more
    )


FAMILIES: tuple[Family, ...] = (
    Family(
        "segformer",
        config_of("SegformerConfig", **_MIX, decoder_hidden_size=24),
        (
            segmenter("SegformerForSemanticSegmentation", "decode_head.classifier"),
            classifier("SegformerForImageClassification"),
        ),
        processor("SegformerImageProcessor", square(64), IMAGENET, do_reduce_labels=False),
        size=64,
    ),
    Family(
        "upernet",
        with_backbone("UperNetConfig", "ConvNextConfig", _FOUR_STAGES,
                      {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1], "layer_scale_init_value": 1.0},
                      hidden_size=16, pool_scales=[1, 2], auxiliary_in_channels=32, auxiliary_channels=16),
        (segmenter("UperNetForSemanticSegmentation", "decode_head.classifier"),),
        processor("SegformerImageProcessor", square(64), IMAGENET, do_reduce_labels=False),
        size=64,
    ),
    Family(
        "maskformer",
        _maskformer,
        (_universal("MaskFormerForInstanceSegmentation", "class_predictor"),),
        processor("MaskFormerImageProcessor", _EDGES, IMAGENET, size_divisor=32, do_pad=True, ignore_index=255,
                  do_reduce_labels=False),
        size=64,
    ),
    Family(
        "mask2former",
        with_backbone("Mask2FormerConfig", "SwinConfig", _FOUR_STAGES, _SWIN, feature_size=32, mask_feature_size=32,
                      hidden_dim=32, encoder_feedforward_dim=48, encoder_layers=2, decoder_layers=3,
                      num_attention_heads=4, dim_feedforward=48, num_queries=8),
        (_universal("Mask2FormerForUniversalSegmentation", "class_predictor"),),
        processor("Mask2FormerImageProcessor", _EDGES, IMAGENET, size_divisor=32, do_pad=True, ignore_index=255,
                  do_reduce_labels=False),
        size=64,
    ),
    Family(
        "eomt",
        config_of("EomtConfig", **VIT | {"image_size": 64, "num_hidden_layers": 3}, mlp_ratio=2, num_blocks=1,
                  num_queries=8, num_register_tokens=2),
        (_universal("EomtForUniversalSegmentation", "class_predictor"),),
        processor("EomtImageProcessor", {"shortest_edge": 64, "longest_edge": 64}, IMAGENET, do_pad=True,
                  do_split_image=False, ignore_index=255),
        size=64,
    ),
    Family(
        "dpt",
        config_of("DPTConfig", **VIT | {"num_hidden_layers": 4}, **_FUSED, backbone_out_indices=[0, 1, 2, 3]),
        (_depth("DPTForDepthEstimation", "head.head.4"), segmenter("DPTForSemanticSegmentation", "head.head.4")),
        processor("DPTImageProcessor", square(32), HALF, resample=3, keep_aspect_ratio=False, ensure_multiple_of=1,
                  do_pad=False),
    ),
    Family(
        "glpn",
        config_of("GLPNConfig", **_MIX, decoder_hidden_size=16),
        (_depth("GLPNForDepthEstimation", "head.head.2", 0.0, 1.5),),
        {"image_processor_type": "GLPNImageProcessor", "do_resize": True, "do_rescale": True,
         "rescale_factor": 1 / 255, "resample": 2, "size_divisor": 32},
        size=64,
    ),
    Family(
        "depth_anything",
        with_backbone("DepthAnythingConfig", "Dinov2Config", _FOUR_STAGES, _DINOV2, **_FUSED, patch_size=8,
                      reassemble_hidden_size=32, head_hidden_size=8),
        (_depth("DepthAnythingForDepthEstimation", "head.conv3"),),
        processor("DPTImageProcessor", square(32), IMAGENET, resample=3, keep_aspect_ratio=True, ensure_multiple_of=8,
                  do_pad=False),
    ),
    Family(
        "zoedepth",
        with_backbone("ZoeDepthConfig", "BeitConfig", _FOUR_STAGES,
                      VIT | {"num_hidden_layers": 4, "use_relative_position_bias": True,
                             "reshape_hidden_states": False, "image_size": 64, "patch_size": 16},
                      **_FUSED, num_relative_features=8, bottleneck_features=16, num_attractors=[4, 3, 2, 1],
                      bin_embedding_dim=16, attractor_alpha=100,
                      bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}]),
        (Head("depth-estimation", "ZoeDepthForDepthEstimation"),),
        processor("ZoeDepthImageProcessor", {"height": 64, "width": 96}, HALF, keep_aspect_ratio=True,
                  ensure_multiple_of=32, do_pad=True),
        size=64,
    ),
    Family(
        "swin2sr",
        config_of("Swin2SRConfig", image_size=32, embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=4),
        (Head("image-to-image", "Swin2SRForImageSuperResolution",
              (Settled(("upsample.final_convolution",), 0.5, 0.2),)),),
        {"image_processor_type": "Swin2SRImageProcessor", "do_rescale": True, "rescale_factor": 1 / 255, "do_pad": True,
         "pad_size": 8},
    ),
    Family(
        "videomae",
        config_of("VideoMAEConfig", **VIT, num_frames=4),
        (_video("VideoMAEForVideoClassification"),),
        processor("VideoMAEImageProcessor", {"shortest_edge": 36}, IMAGENET, do_center_crop=True, crop_size=square(32)),
        frames=4,
    ),
    Family(
        "vivit",
        config_of("VivitConfig", **VIT | {"hidden_act": "gelu_fast"}, num_frames=4, tubelet_size=[2, 8, 8]),
        (_video("VivitForVideoClassification"),),
        processor("VivitImageProcessor", {"shortest_edge": 36}, HALF, do_center_crop=True, crop_size=square(32),
                  offset=True) | {"rescale_factor": 1 / 127.5},
        frames=4,
    ),
    Family(
        "timesformer",
        config_of("TimesformerConfig", **VIT, num_frames=4),
        (_video("TimesformerForVideoClassification"),),
        processor("VideoMAEImageProcessor", {"shortest_edge": 36}, IMAGENET, do_center_crop=True, crop_size=square(32)),
        frames=4,
    ),
)  # fmt: skip
