"""Tiny random pipelines that make images, in the layout of diffusers: a folder a component and model_index.json.

Images are 64 pixels wide, latents an eighth of that. The components have the parts of the real ones, and of every kind
of block at least one. Needs torch, transformers and diffusers.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.text import generator_tokenizers
from zoo.vision import image_text_tokenizers

HEAD = "diffusion"
"""What `zoo.build` calls these models by."""

SAMPLE = 8
"""Width and height of the latents."""

_WIDTH, _POOLED, _T5_WIDTH, _TIME = 32, 24, 80, 8

_CLIP = {
    "clip": (_WIDTH, "quick_gelu", False),  # of SD 1 and SDXL
    "clip-h": (_WIDTH, "gelu", False),  # of SD 2
    "clip-projected": (_WIDTH, "quick_gelu", True),  # the first of SD 3
    "clip-narrow": (_POOLED, "gelu", True),  # the second of SDXL and SD 3
}
"""Text encoder -> width, activation, whether it has a projection."""

_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_PNDM = ("PNDMScheduler", {**_BETAS, "set_alpha_to_one": False, "skip_prk_steps": True})
_EULER = ("EulerDiscreteScheduler", {**_BETAS, "timestep_spacing": "leading"})
_TRAILING = ("EulerAncestralDiscreteScheduler", {**_BETAS, "timestep_spacing": "trailing"})
_VELOCITY = ("DDIMScheduler", {**_BETAS, "set_alpha_to_one": False, "prediction_type": "v_prediction"})
_LCM = ("LCMScheduler", {**_BETAS, "set_alpha_to_one": True})
_FLOW = ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0})

_UNET = {
    "sample_size": SAMPLE,
    "layers_per_block": 1,
    "block_out_channels": (16, 32, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": _WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
_XL = {
    **_UNET,
    "attention_head_dim": (2, 4, 4),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": _TIME,
    "transformer_layers_per_block": (1, 1, 2),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
_VAE = {
    "sample_size": 8 * SAMPLE,
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
_SD3_VAE = {
    **_VAE,
    "latent_channels": 16,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_MMDIT = {
    "sample_size": SAMPLE,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": _T5_WIDTH,
    "caption_projection_dim": 32,
    "pooled_projection_dim": _WIDTH + _POOLED,
    "pos_embed_max_size": 12,
}


@dataclass(frozen=True)
class Family:
    """A kind of pipeline.

    Attributes:
        pipeline: diffusers' class.
        scheduler: its class and configuration.
        denoiser: the configuration of the UNet, or of SD3's transformer.
        encoders: the text encoders, see `_CLIP`, or "t5"; None where the pipeline has the place and nothing in it.
        pad: the token that the first tokenizer pads with: "end" or "!".
        vae: the configuration of the VAE.
        vae_class: diffusers' class of the VAE.
        index: what model_index.json says besides.
        checker: whether the folder has a safety checker, which finds something in light images.
    """

    pipeline: str
    scheduler: tuple[str, Mapping[str, Any]]
    denoiser: Mapping[str, Any]
    encoders: tuple[str | None, ...] = ("clip",)
    pad: str = "end"
    vae: Mapping[str, Any] = field(default_factory=lambda: _VAE)
    vae_class: str = "AutoencoderKL"
    index: Mapping[str, Any] = field(default_factory=dict)
    checker: bool = False


_XL_ENCODERS = ("clip", "clip-narrow")
_XL_VAE = {**_VAE, "scaling_factor": 0.13025, "force_upcast": True}

FAMILIES: Mapping[str, Family] = {
    # stable-diffusion-v1-5, with its checker
    "sd": Family("StableDiffusionPipeline", _PNDM, _UNET, checker=True),
    # stable-diffusion-2-1: velocities, linear projections, another padding
    "sd2": Family(
        "StableDiffusionPipeline",
        _VELOCITY,
        {**_UNET, "use_linear_projection": True, "attention_head_dim": (2, 4, 4)},
        encoders=("clip-h",),
        pad="!",
    ),
    # stable-diffusion-inpainting: 9 channels
    "sd-inpaint": Family("StableDiffusionInpaintPipeline", _PNDM, {**_UNET, "in_channels": 9, "out_channels": 4}),
    # sd-turbo with the tiny VAE of TAESD
    "turbo": Family(
        "StableDiffusionPipeline",
        _TRAILING,
        _UNET,
        vae={
            "encoder_block_out_channels": (8, 8, 8, 8),
            "decoder_block_out_channels": (8, 8, 8, 8),
            "num_encoder_blocks": (1, 1, 1, 1),
            "num_decoder_blocks": (1, 1, 1, 1),
        },
        vae_class="AutoencoderTiny",
    ),
    "sdxl": Family(
        "StableDiffusionXLPipeline",
        _EULER,
        {
            **_XL,
            "cross_attention_dim": _WIDTH + _POOLED,
            "projection_class_embeddings_input_dim": _POOLED + 6 * _TIME,
        },
        encoders=_XL_ENCODERS,
        vae=_XL_VAE,
        index={"force_zeros_for_empty_prompt": True},
    ),
    "sdxl-refiner": Family(
        "StableDiffusionXLImg2ImgPipeline",
        _EULER,
        {**_XL, "cross_attention_dim": _POOLED, "projection_class_embeddings_input_dim": _POOLED + 5 * _TIME},
        encoders=(None, "clip-narrow"),
        vae=_XL_VAE,
        index={"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True},
    ),
    # LCM_Dreamshaper_v7: guidance as an embedding
    "lcm": Family("LatentConsistencyModelPipeline", _LCM, {**_UNET, "time_cond_proj_dim": 16}),
    "sd3": Family(
        "StableDiffusion3Pipeline", _FLOW, _MMDIT, encoders=("clip-projected", "clip-narrow", "t5"), vae=_SD3_VAE
    ),
    # stable-diffusion-3.5-medium: normed queries and keys, a second attention. It has no T5, as memory is short without
    # it, and diffusers needs it as an argument: from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    "sd35": Family(
        "StableDiffusion3Pipeline",
        _FLOW,
        {**_MMDIT, "qk_norm": "rms_norm", "dual_attention_layers": (0,)},
        encoders=("clip-projected", "clip-narrow", None),
        vae=_SD3_VAE,
    ),
}  # fmt: skip


def build(name: str, folder: Path) -> None:
    """Write the pipeline `name` into `folder`, which exists.

    Raises:
        KeyError: no such family.
    """
    import diffusers

    from onnxpipe_export.tracing import quiet

    family = FAMILIES[name]
    parts: dict[str, Any] = {"scheduler": getattr(diffusers, family.scheduler[0])(**family.scheduler[1])}
    for number, kind in enumerate(family.encoders):
        suffix = f"_{number + 1}" if number else ""
        parts[f"tokenizer{suffix}"], parts[f"text_encoder{suffix}"] = None, None
        if kind is not None:
            tokenizer, ids = _tokenizer(kind, "!" if number else family.pad, folder / f"tokenizer{suffix}")
            parts |= {f"tokenizer{suffix}": tokenizer, f"text_encoder{suffix}": _filled(_encoder(kind, ids), kind)}
    if family.pipeline == "StableDiffusion3Pipeline":
        parts["transformer"] = _filled(diffusers.SD3Transformer2DModel(**family.denoiser), f"{name}/transformer")
    else:
        parts["unet"] = _filled(diffusers.UNet2DConditionModel(**family.denoiser), f"{name}/unet")
    parts["vae"] = _vae(family)
    extra = dict(family.index)
    if not name.startswith(("sdxl", "sd3")):
        parts |= {"safety_checker": None, "feature_extractor": None}
        extra["requires_safety_checker"] = family.checker
        if family.checker:
            parts |= {"safety_checker": _checker(), "feature_extractor": _processor()}
    with quiet():
        getattr(diffusers, family.pipeline)(**parts, **extra).save_pretrained(folder)


def _filled(model: Any, seed: str) -> Any:
    """Overwrite every parameter, so that the denoiser's prediction and the VAE's image are about as large as noise.

    Norms and factors near one, tables N(0, 1/4), matrices N(0, 1/fan-in), and what is added to a residual stream half
    of that, as in trained models.
    """
    import torch

    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for path, parameter in model.named_parameters():
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{path}".encode())).standard_normal(tuple(parameter.shape))
        if id(parameter) in tables:
            values = 0.5 * noise
        elif parameter.dim() > 1:
            values = noise / float(np.prod(parameter.shape[1:])) ** 0.5
        else:
            values = 0.1 * noise + (1.0 if path.endswith("weight") else 0.0)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.asarray(values, np.float32)))
    return model.eval()


def _vae(family: Family) -> Any:
    import diffusers

    vae = _filled(getattr(diffusers, family.vae_class)(**family.vae), family.vae_class)
    if family.vae_class == "AutoencoderTiny":  # its images are between 0 and 1
        vae.decoder.layers[-1].bias.data.fill_(0.5)
    return vae


def _tokenizer(kind: str, pad: str, folder: Path) -> tuple[Any, dict[str, int]]:
    import transformers

    folder.mkdir()
    if kind == "t5":
        generator_tokenizers.save("t5", folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        return tokenizer, {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 1}
    ids = image_text_tokenizers.save("clip", folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8")) | {"model_max_length": 77}
    if pad == "!":
        config["pad_token"] = "!"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return transformers.CLIPTokenizer.from_pretrained(folder), ids


def _encoder(kind: str, ids: Mapping[str, int]) -> Any:
    import transformers

    if kind == "t5":
        config = transformers.T5Config(
            **ids, d_model=_T5_WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
        )
        return transformers.T5EncoderModel(config)
    width, activation, projected = _CLIP[kind]
    config = transformers.CLIPTextConfig(
        **{**ids, "pad_token_id": 1, "eos_token_id": 2},  # as on the Hub, where 2 means the largest id
        hidden_size=width,
        projection_dim=width,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=activation,
    )
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config)


def _checker() -> Any:
    """Make a checker for which a light image is near the first concept, and no image near another."""
    import torch
    import transformers
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8, "projection_dim": 16,
    }  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    checker = _filled(StableDiffusionSafetyChecker(config), "checker")
    pixels = torch.stack([torch.full((3, 32, 32), level) for level in (-2.0, 2.0)])
    with torch.no_grad():
        dark, light = checker.visual_projection(checker.vision_model(pixels)[1])
        concept = ((light - dark) / (light - dark).norm() * 50).round() / 50  # so that no rounding error shows
        checker.concept_embeds[0] = concept
        checker.special_care_embeds_weights.fill_(1.0)
        checker.concept_embeds_weights.fill_(1.0)
        checker.concept_embeds_weights[0] = round(float(torch.cosine_similarity(light, concept, dim=0)), 2) - 0.04
    return checker


def _processor() -> Any:
    import transformers

    square = {"height": 32, "width": 32}
    return transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square)
