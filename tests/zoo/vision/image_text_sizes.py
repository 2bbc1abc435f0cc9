"""Configs and processors of `image_text_models`: as the real checkpoints have them, with small sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Ids = Mapping[str, int]
Config = dict[str, Any]

_TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def _clip(ids: Ids) -> Config:
    """openai/clip-vit-base-patch32."""
    return {
        "model_type": "clip",
        "projection_dim": 24,
        "text_config": {**_TOWER, **ids, "max_position_embeddings": 32},
        "vision_config": {**_TOWER, "image_size": 32, "patch_size": 8},
    }


def _siglip(ids: Ids) -> Config:
    """google/siglip-base-patch16-224."""
    return {
        "model_type": "siglip",
        "text_config": {**_TOWER, **ids, "max_position_embeddings": 64},
        "vision_config": {**_TOWER, "image_size": 32, "patch_size": 8},
    }


def _siglip2(ids: Ids) -> Config:
    """google/siglip2-base-patch16-naflex."""
    return {
        "model_type": "siglip2",
        "text_config": {**_TOWER, **ids, "max_position_embeddings": 64},
        "vision_config": {**_TOWER, "num_patches": 16, "patch_size": 8},
    }


def _align(ids: Ids) -> Config:
    """kakaobrain/align-base: BERT and EfficientNet."""
    return {
        "model_type": "align",
        "projection_dim": 16,
        "text_config": {**_TOWER, **ids, "max_position_embeddings": 64, **_NO_DROPOUT},
        "vision_config": {
            "image_size": 64,
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "kernel_sizes": [3, 5],
            "in_channels": [32, 8],
            "out_channels": [8, 16],
            "strides": [1, 2],
            "num_block_repeats": [1, 2],
            "expand_ratios": [1, 4],
            "depthwise_padding": [],
            "hidden_dim": 24,
        },
    }


_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def _chinese_clip(ids: Ids) -> Config:
    """OFA-Sys/chinese-clip-vit-base-patch16."""
    return {
        "model_type": "chinese_clip",
        "projection_dim": 24,
        "text_config": {**_TOWER, **ids, "max_position_embeddings": 64, **_NO_DROPOUT},
        "vision_config": {**_TOWER, "image_size": 32, "patch_size": 8},
    }


def _owl(model_type: str) -> Callable[[Ids], Config]:
    """google/owlvit-base-patch32, google/owlv2-base-patch16-ensemble."""

    def config(ids: Ids) -> Config:
        return {
            "model_type": model_type,
            "projection_dim": 32,
            "text_config": {**_TOWER, **ids, "max_position_embeddings": 16},
            "vision_config": {**_TOWER, "image_size": 48, "patch_size": 8},
        }

    return config


def _sam(ids: Ids) -> Config:
    """facebook/sam-vit-base."""
    return {
        "model_type": "sam",
        "vision_config": {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "mlp_dim": 64,
            "image_size": 64,
            "patch_size": 8,
            "output_channels": 32,
            "num_pos_feats": 16,
            "window_size": 3,
            "global_attn_indexes": [1],
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 8, "mask_input_channels": 8},
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 32,
        },
    }


def _sam2(ids: Ids) -> Config:
    """facebook/sam2.1-hiera-tiny."""
    return {
        "model_type": "sam2",
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 16,
                "num_attention_heads": 1,
                "image_size": [96, 96],
                "window_positional_embedding_background_size": [5, 5],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 2, 2, 4],
                "window_size_per_stage": [4, 2, 4, 2],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[24, 24], [12, 12], [6, 6]],
            "fpn_hidden_size": 32,
            "fpn_top_down_levels": [2, 3],
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 96, "patch_size": 16, "mask_input_channels": 8},
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 32,
        },
    }


_SUPERPOINT = {
    "model_type": "superpoint",
    "encoder_hidden_sizes": [8, 8, 16, 16],
    "decoder_hidden_size": 16,
    "descriptor_decoder_dim": 16,
    "keypoint_threshold": 0.02,
}


def _superpoint(ids: Ids) -> Config:
    """magic-leap-community/superpoint."""
    return dict(_SUPERPOINT)


def _superglue(ids: Ids) -> Config:
    """magic-leap-community/superglue_outdoor."""
    return {
        "model_type": "superglue",
        "keypoint_detector_config": {**_SUPERPOINT, "max_keypoints": 119},
        "hidden_size": 16,
        "keypoint_encoder_sizes": [8, 16],
        "gnn_layers_types": ["self", "cross"] * 2,
        "num_attention_heads": 4,
        "sinkhorn_iterations": 20,
        "matching_threshold": 0.02,
    }


def _lightglue(ids: Ids) -> Config:
    """ETH-CVG/lightglue_superpoint."""
    return {
        "model_type": "lightglue",
        "keypoint_detector_config": dict(_SUPERPOINT),
        "descriptor_dim": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "filter_threshold": 0.02,
    }


_SWIN = {
    "model_type": "swin",
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 1, 1, 1],
    "num_heads": [2, 2, 4, 4],
    "window_size": 4,
    "drop_path_rate": 0.0,
}


def _grounding_dino(ids: Ids) -> Config:
    """IDEA-Research/grounding-dino-tiny; its tokens of ".", "?", [CLS] and [SEP] are BERT's 1012, 1029, 101 and 102."""
    return {
        "model_type": "grounding-dino",
        "backbone_config": {**_SWIN, "out_indices": [2, 3, 4]},
        "text_config": {"model_type": "bert", **_TOWER, **ids, "max_position_embeddings": 64, **_NO_DROPOUT},
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "num_queries": 6,
        "max_text_len": 48,
        "dropout": 0.0,
        "fusion_dropout": 0.0,
        "fusion_droppath": 0.0,
    }


_CLASSES = ("wall", "sky", "person", "car", "tree")
_THINGS = (2, 3)
"""Those of the classes that are things, the others are stuff."""


def _oneformer(ids: Ids) -> Config:
    """shi-labs/oneformer_ade20k_swin_tiny."""
    return {
        "model_type": "oneformer",
        "backbone_config": {**_SWIN, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
        "id2label": dict(enumerate(_CLASSES)),
        "label2id": {name: number for number, name in enumerate(_CLASSES)},
        "num_queries": 10,
        "task_seq_len": 16,
        "conv_dim": 32,
        "mask_dim": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 48,
        "encoder_layers": 2,
        "decoder_layers": 4,
        "num_attention_heads": 4,
        "dim_feedforward": 48,
        "query_dec_layers": 1,
        "dropout": 0.0,
        "text_encoder_vocab_size": ids["vocab_size"],
    }


CONFIGS: Mapping[str, Callable[[Ids], Config]] = {
    "clip": _clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "align": _align,
    "chinese_clip": _chinese_clip,
    "owlvit": _owl("owlvit"),
    "owlv2": _owl("owlv2"),
    "sam": _sam,
    "sam2": _sam2,
    "grounding-dino": _grounding_dino,
    "oneformer": _oneformer,
    "superpoint": _superpoint,
    "superglue": _superglue,
    "lightglue": _lightglue,
}
"""Family -> config.json, from the tokenizer's sizes and special ids."""

_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_HALF = [0.5, 0.5, 0.5]
_ALL = {"do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255}


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _keypoints(kind: str) -> Config:
    return {
        "do_grayscale": True,
        "do_rescale": True,
        "do_resize": True,
        "image_processor_type": kind,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": 72, "width": 96},
    }


PROCESSORS: Mapping[str, Config] = {
    "clip": {
        **_ALL,
        "crop_size": _square(32),
        "do_center_crop": True,
        "do_convert_rgb": True,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "image_processor_type": "CLIPImageProcessor",
        "resample": 3,
        "size": {"shortest_edge": 32},
    },
    "siglip": {
        **_ALL,
        "image_mean": _HALF,
        "image_std": _HALF,
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "SiglipProcessor",
        "resample": 2,
        "size": _square(32),
    },
    "siglip2": {
        **_ALL,
        "do_convert_rgb": True,
        "image_mean": _HALF,
        "image_std": _HALF,
        "image_processor_type": "Siglip2ImageProcessor",
        "max_num_patches": 16,
        "patch_size": 8,
        "processor_class": "Siglip2Processor",
        "resample": 2,
    },
    "align": {
        **_ALL,
        "crop_size": _square(64),
        "do_center_crop": False,
        "image_mean": _HALF,
        "image_std": _HALF,
        "image_processor_type": "EfficientNetImageProcessor",
        "include_top": False,
        "processor_class": "AlignProcessor",
        "resample": 2,
        "rescale_factor": 1 / 127.5,
        "rescale_offset": True,
        "size": _square(64),
    },
    "chinese_clip": {
        **_ALL,
        "crop_size": _square(32),
        "do_center_crop": False,
        "do_convert_rgb": True,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "image_processor_type": "ChineseCLIPImageProcessor",
        "resample": 3,
        "size": _square(32),
    },
    "owlvit": {
        **_ALL,
        "crop_size": _square(48),
        "do_center_crop": False,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "image_processor_type": "OwlViTImageProcessor",
        "resample": 3,
        "size": _square(48),
    },
    "owlv2": {
        **_ALL,
        "do_pad": True,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "image_processor_type": "Owlv2ImageProcessor",
        "processor_class": "Owlv2Processor",
        "resample": 2,
        "size": _square(48),
    },
    "sam": {
        **_ALL,
        "do_convert_rgb": True,
        "do_pad": True,
        "image_mean": _MEAN,
        "image_std": _STD,
        "image_processor_type": "SamImageProcessor",
        "mask_pad_size": _square(16),
        "mask_size": {"longest_edge": 16},
        "pad_size": _square(64),
        "processor_class": "SamProcessor",
        "resample": 2,
        "size": {"longest_edge": 64},
    },
    "sam2": {
        **_ALL,
        "image_mean": _MEAN,
        "image_std": _STD,
        "image_processor_type": "Sam2ImageProcessor",
        "mask_size": _square(24),
        "processor_class": "Sam2Processor",
        "resample": 2,
        "size": _square(96),
    },
    "grounding-dino": {
        **_ALL,
        "do_pad": True,
        "image_mean": _MEAN,
        "image_std": _STD,
        "format": "coco_detection",
        "image_processor_type": "GroundingDinoImageProcessor",
        "processor_class": "GroundingDinoProcessor",
        "resample": 2,
        "size": {"longest_edge": 112, "shortest_edge": 64},
    },
    "oneformer": {
        **_ALL,
        "class_info_file": "",
        "do_reduce_labels": False,
        "ignore_index": 255,
        "image_mean": _MEAN,
        "image_std": _STD,
        "image_processor_type": "OneFormerImageProcessor",
        "metadata": {
            **{str(number): name for number, name in enumerate(_CLASSES)},
            "class_names": list(_CLASSES),
            "thing_ids": list(_THINGS),
        },
        "num_labels": len(_CLASSES),
        "num_text": None,
        "processor_class": "OneFormerProcessor",
        "repo_path": None,
        "resample": 2,
        "size": {"longest_edge": 160, "shortest_edge": 96},
        "task_seq_length": 16,
    },
    "superpoint": _keypoints("SuperPointImageProcessor"),
    "superglue": _keypoints("SuperGlueImageProcessor"),
    "lightglue": _keypoints("LightGlueImageProcessor"),
}
"""Family -> preprocessor_config.json."""
