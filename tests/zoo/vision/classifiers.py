"""The zoo's vision families that classify and give features; some of them also segment."""

from __future__ import annotations

from dataclasses import replace

from zoo.vision.family import (
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
    features,
    labels,
    processor,
    segmenter,
    square,
)

_CONVNEXT = {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1]}
_CONVNEXT_PROCESSOR = processor("ConvNextImageProcessor", {"shortest_edge": 64}, IMAGENET, resample=3, crop_pct=0.875)
_CROPPED_64 = {"do_center_crop": True, "crop_size": square(64)}
_CROPPED_32 = {"do_center_crop": True, "crop_size": square(32)}
_BIT_PROCESSOR = processor(
    "BitImageProcessor", {"shortest_edge": 36}, IMAGENET, resample=3, do_convert_rgb=True, **_CROPPED_32
)
_DINOV2 = VIT | {"mlp_ratio": 2}
_BEIT = VIT | {"use_relative_position_bias": True, "layer_scale_init_value": 0.1}
_BEIT_PROCESSOR = processor(
    "BeitImageProcessor", square(32), HALF, resample=3, do_center_crop=False, do_reduce_labels=False
)
_PYRAMID = {"num_hidden_layers": 4, "out_indices": [1, 2, 3, 4], "pool_scales": [1, 2]}

FAMILIES: tuple[Family, ...] = (
    Family(
        "vit",
        config_of("ViTConfig", **VIT),
        (classifier("ViTForImageClassification"), features("ViTModel")),
        processor("ViTImageProcessor", square(32), HALF),
    ),
    Family(
        "deit",
        config_of("DeiTConfig", **VIT),
        (classifier("DeiTForImageClassification"), features("DeiTModel")),
        processor("DeiTImageProcessor", square(36), IMAGENET, resample=3, **_CROPPED_32),
    ),
    Family(
        "beit",
        config_of("BeitConfig", **_BEIT),
        (
            classifier("BeitForImageClassification"),
            features("BeitModel"),
            segmenter("BeitForSemanticSegmentation", "decode_head.classifier", **_PYRAMID),
        ),
        _BEIT_PROCESSOR,
    ),
    Family(
        "data2vec-vision",
        config_of("Data2VecVisionConfig", **_BEIT),
        (
            classifier("Data2VecVisionForImageClassification"),
            features("Data2VecVisionModel"),
            segmenter("Data2VecVisionForSemanticSegmentation", "decode_head.classifier", **_PYRAMID),
        ),
        _BEIT_PROCESSOR,
    ),
    Family(
        "swin",
        config_of("SwinConfig", **SWIN),
        (classifier("SwinForImageClassification"), features("SwinModel")),
        processor("ViTImageProcessor", square(64), IMAGENET, resample=3),
        size=64,
    ),
    Family(
        "swinv2",
        config_of("Swinv2Config", **SWIN),
        (classifier("Swinv2ForImageClassification"), features("Swinv2Model")),
        processor("ViTImageProcessor", square(64), IMAGENET, resample=3),
        size=64,
    ),
    Family(
        "convnext",
        config_of("ConvNextConfig", **_CONVNEXT, layer_scale_init_value=1.0),
        (classifier("ConvNextForImageClassification"), features("ConvNextModel")),
        _CONVNEXT_PROCESSOR,
        size=64,
    ),
    Family(
        "convnextv2",
        config_of("ConvNextV2Config", **_CONVNEXT),
        (classifier("ConvNextV2ForImageClassification"), features("ConvNextV2Model")),
        _CONVNEXT_PROCESSOR,
        size=64,
    ),
    Family(
        "resnet",
        config_of("ResNetConfig", **RESNET),
        (classifier("ResNetForImageClassification", "classifier.1"), features("ResNetModel")),
        _CONVNEXT_PROCESSOR,
        size=64,
    ),
    Family(
        "regnet",
        config_of("RegNetConfig", **RESNET | {"layer_type": "y"}, groups_width=8),
        (classifier("RegNetForImageClassification", "classifier.1"), features("RegNetModel")),
        _CONVNEXT_PROCESSOR,
        size=64,
    ),
    Family(
        "mobilenet_v1",
        config_of("MobileNetV1Config", depth_multiplier=0.25, image_size=64),
        (classifier("MobileNetV1ForImageClassification"), features("MobileNetV1Model")),
        processor("MobileNetV1ImageProcessor", {"shortest_edge": 72}, HALF, **_CROPPED_64),
        size=64,
    ),
    Family(
        "mobilenet_v2",
        config_of("MobileNetV2Config", depth_multiplier=0.25, image_size=64),
        (
            classifier("MobileNetV2ForImageClassification"),
            features("MobileNetV2Model"),
            Head(
                "image-segmentation",
                "MobileNetV2ForSemanticSegmentation",
                (Settled(("segmentation_head.classifier.convolution",)),),
                {**labels("background", *THINGS), "output_stride": 8},
                {"size": square(65), "do_center_crop": False},
            ),
        ),
        processor("MobileNetV2ImageProcessor", {"shortest_edge": 72}, HALF, **_CROPPED_64),
        size=64,
    ),
    Family(
        "mobilevit",
        config_of("MobileViTConfig", hidden_sizes=[16, 20, 24], neck_hidden_sizes=[8, 8, 12, 16, 20, 24, 32],
                  image_size=64, aspp_out_channels=16),
        (
            classifier("MobileViTForImageClassification"),
            features("MobileViTModel"),
            segmenter("MobileViTForSemanticSegmentation", "segmentation_head.classifier.convolution"),
        ),
        processor("MobileViTImageProcessor", {"shortest_edge": 72}, do_flip_channel_order=True, **_CROPPED_64),
        size=64,
    ),
    Family(
        "mobilevitv2",
        config_of("MobileViTV2Config", base_attn_unit_dims=[16, 24, 32], n_attn_blocks=[1, 1, 1], width_multiplier=0.25,
                  image_size=64, aspp_out_channels=16),
        (
            classifier("MobileViTV2ForImageClassification"),
            features("MobileViTV2Model"),
            segmenter("MobileViTV2ForSemanticSegmentation", "segmentation_head.classifier.convolution"),
        ),
        processor("MobileViTImageProcessor", {"shortest_edge": 72}, do_flip_channel_order=True, **_CROPPED_64),
        size=64,
    ),
    Family(
        "efficientnet",
        config_of("EfficientNetConfig", image_size=64, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320,
                  in_channels=[32, 16, 24], out_channels=[16, 24, 40], kernel_sizes=[3, 5, 3], strides=[1, 2, 2],
                  num_block_repeats=[1, 1, 1], expand_ratios=[1, 4, 4], depthwise_padding=[]),
        (classifier("EfficientNetForImageClassification"), features("EfficientNetModel")),
        processor("EfficientNetImageProcessor", square(64), IMAGENET, resample=0, do_center_crop=False,
                  rescale_offset=False, include_top=True),
        size=64,
    ),
    Family(
        "dinov2",
        config_of("Dinov2Config", **_DINOV2),
        (classifier("Dinov2ForImageClassification"), features("Dinov2Model")),
        _BIT_PROCESSOR,
    ),
    Family(
        "dinov2_with_registers",
        config_of("Dinov2WithRegistersConfig", **_DINOV2, num_register_tokens=2),
        (classifier("Dinov2WithRegistersForImageClassification"), features("Dinov2WithRegistersModel")),
        _BIT_PROCESSOR,
    ),
    Family(
        "dinov3_vit",
        config_of("DINOv3ViTConfig", **VIT, num_register_tokens=2),
        (features("DINOv3ViTModel"),),
        processor("DINOv3ViTImageProcessorFast", square(32), IMAGENET),
    ),
    Family(
        "siglip",
        config_of("SiglipConfig", text_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                                               "num_attention_heads": 2, "vocab_size": 16},
                  vision_config=VIT),
        (classifier("SiglipForImageClassification"),),
        processor("SiglipImageProcessor", square(32), HALF, resample=3),
    ),
    Family(
        "vit_msn",
        config_of("ViTMSNConfig", **VIT),
        (classifier("ViTMSNForImageClassification"), features("ViTMSNModel")),
        processor("ViTImageProcessor", square(32), IMAGENET),
    ),
    Family(
        "levit",
        config_of("LevitConfig", image_size=64, hidden_sizes=[16, 24, 32], num_attention_heads=[2, 2, 4],
                  depths=[1, 1, 1], key_dim=[8, 8, 8],
                  down_ops=[["Subsample", 8, 2, 2, 2, 2], ["Subsample", 8, 3, 2, 2, 2]]),
        (classifier("LevitForImageClassification", "classifier.linear"), replace(features("LevitModel"), seed=6)),
        processor("LevitImageProcessor", {"shortest_edge": 64}, IMAGENET, resample=3, **_CROPPED_64),
        size=64,
    ),
    Family(
        "poolformer",
        config_of("PoolFormerConfig", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_scale_init_value=1.0),
        (classifier("PoolFormerForImageClassification"), features("PoolFormerModel")),
        processor("PoolFormerImageProcessor", {"shortest_edge": 64}, IMAGENET, resample=3, crop_pct=0.9, **_CROPPED_64),
        size=64,
    ),
    Family(
        "pvt",
        config_of("PvtConfig", image_size=64, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
                  num_attention_heads=[1, 2, 2, 4], mlp_ratios=[2, 2, 2, 2]),
        (classifier("PvtForImageClassification", num_labels=3), features("PvtModel")),
        processor("PvtImageProcessor", square(64), IMAGENET),
        size=64,
    ),
    Family(
        "bit",
        config_of("BitConfig", embedding_size=8, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], num_groups=2),
        (classifier("BitForImageClassification", "classifier.1"), features("BitModel")),
        _BIT_PROCESSOR,
    ),
    Family(
        "focalnet",
        config_of("FocalNetConfig", image_size=32, embed_dim=8, hidden_sizes=[8, 16, 24], depths=[1, 1, 1],
                  focal_levels=[2, 2, 2], focal_windows=[3, 3, 3]),
        (classifier("FocalNetForImageClassification"), features("FocalNetModel")),
        _BIT_PROCESSOR,
    ),
    Family(
        "hiera",
        config_of("HieraConfig", image_size=[64, 64], embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 4],
                  num_query_pool=2, masked_unit_size=[4, 4], masked_unit_attention=[True, True, False]),
        (classifier("HieraForImageClassification"), features("HieraModel")),
        processor("BitImageProcessor", {"shortest_edge": 72}, IMAGENET, resample=3, do_convert_rgb=True, **_CROPPED_64),
        size=64,
    ),
)  # fmt: skip
