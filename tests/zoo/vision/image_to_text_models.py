"""Tiny models that write about images, as whole folders in the Hub's layout, the same bytes every time.

    from zoo.vision.image_to_text_models import MODELS
    MODELS["vit-gpt2", "image-to-text"](folder)

Settings are those of nlpconnect/vit-gpt2-image-captioning, microsoft/trocr-small-printed, naver-clova-ix/donut-base,
Salesforce/blip-image-captioning-base and blip-vqa-base, microsoft/git-base-coco, with small sizes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from zoo.text import byte_level_tokenizers, sentencepiece_tokenizers, tokenization
from zoo.text.synthetic_tokenizer import SIZE, to_json
from zoo.vision.family import CLIP, HALF, IMAGENET, VIT, labels, processor, square
from zoo.vision.image_to_text_weights import Writer, draw, fill

TASK = "image-to-text"
MISSING: Mapping[tuple[str, str], str] = {}
"""(family, task) -> why it cannot be exported."""

_IMAGES = 8
_TAGS = ("<s_cord>", "<s_menu>", "</s_menu>", "<s_nm>", "</s_nm>", "<sep/>", "<yes/>")
_DECODER = {
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 64,
    **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "decoder_layerdrop"), 0.0),
}

Ids = Mapping[str, int]


@dataclass(frozen=True)
class Family:
    """A family.

    Attributes:
        class_name: transformers' class.
        config: makes the configuration of the special ids and the size of the vocabulary.
        tokenizer: writes the tokenizer's files, and returns its tokens with their ids.
        tokens: special token -> the name of its id.
        processor: preprocessor_config.json.
        norm: the path of the decoder's last norm.
        generation: what generation_config.json says beside the special ids.
    """

    class_name: str
    config: Callable[[Ids], Any]
    tokenizer: Callable[[Path], Ids]
    tokens: Mapping[str, str]
    processor: Mapping[str, Any]
    norm: str
    generation: Mapping[str, Any] = field(default_factory=dict)


def _gpt2(folder: Path) -> Ids:
    synthetic = byte_level_tokenizers.gpt2("gpt2")
    assert synthetic.backend is not None
    synthetic.backend.save(str(folder / "tokenizer.json"))
    end = "<|endoftext|>"
    config = {**synthetic.config, "pad_token": end, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_bytes(to_json(config))
    return dict(synthetic.backend.get_vocab(with_added_tokens=True))


def _saved(name: str, folder: Path, *tags: str, **config: Any) -> Ids:
    """Write a tokenizer of encoders, with further tokens that are not special, and further settings."""
    tokenization.save(name, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    _to_json(folder / "tokenizer_config.json", {**settings, **config})
    path = folder / "tokenizer.json"
    backend = Tokenizer.from_file(str(path))
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    backend.save(str(path))
    return dict(backend.get_vocab(with_added_tokens=True))


def _pair(encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> Callable[[Ids], Any]:
    """Makes the configuration of an encoder and a decoder; special ids stand outside and in the decoder's."""

    def make(ids: Ids) -> Any:
        import transformers

        inner = {"is_decoder": True, "add_cross_attention": True, **decoder}
        own = {name: value for name, value in ids.items() if name != "decoder_start_token_id"}
        parts = [
            transformers.AutoConfig.for_model(**encoder),
            transformers.AutoConfig.for_model(**inner, **own),
        ]
        outer = {name: value for name, value in ids.items() if name != "vocab_size"}
        config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(*parts, **outer)
        config.tie_word_embeddings = False
        return config

    return make


def _t5(folder: Path) -> Ids:
    synthetic = sentencepiece_tokenizers.t5("t5")
    assert synthetic.backend is not None
    synthetic.backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_bytes(to_json({**synthetic.config, "model_max_length": 64}))
    return dict(synthetic.backend.get_vocab(with_added_tokens=True))


def _pix2struct(ids: Ids) -> Any:
    import transformers

    sizes = {"hidden_size": 32, "d_kv": 8, "d_ff": 64, "dropout_rate": 0.0}
    text = {**sizes, **ids, "num_layers": 2, "num_heads": 4}
    vision = {**sizes, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_embed_hidden_size": 768, "seq_len": 64,
              "attention_dropout": 0.0}  # fmt: skip
    ends = {name: value for name, value in ids.items() if name != "vocab_size"}
    config = transformers.Pix2StructConfig(text_config=text, vision_config=vision, **ends)
    config.tie_word_embeddings = False
    return config


def _words(folder: Path) -> Ids:
    return _saved("bert", folder, model_input_names=["input_ids", "attention_mask"])


def _blip(ids: Ids) -> Any:
    import transformers

    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    text = {**tower, **dropout, "encoder_hidden_size": 32, "max_position_embeddings": 300}
    text |= {"sep_token_id": ids["sep_token_id"], "pad_token_id": ids["pad_token_id"], "eos_token_id": 2}
    text |= {"vocab_size": ids["vocab_size"] + 2, "bos_token_id": ids["vocab_size"]}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    return transformers.BlipConfig(text_config=text, vision_config=vision)


def _git(ids: Ids) -> Any:
    import transformers

    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    return transformers.GitConfig(vision_config=vision, max_position_embeddings=300, **{**tower, **dropout, **ids})


_VIT = {"model_type": "vit", **VIT, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_SWIN = {
    "model_type": "donut-swin",
    "image_size": [64, 48],
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 3,
    "drop_path_rate": 0.0,
}
_FAIRSEQ = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "decoder_start": "</s>"}
_BERT = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]"}
_GPT2_IDS = dict.fromkeys(("bos", "eos", "pad", "decoder_start"), "<|endoftext|>")

_PATCHES = {
    "image_processor_type": "Pix2StructImageProcessor", "do_convert_rgb": True, "do_normalize": True, "max_patches": 30,
    "patch_size": square(16), "is_vqa": False,
}  # fmt: skip
"""google/pix2struct-textcaps-base's, with fewer patches."""

FAMILIES: Mapping[str, Family] = {
    "vit-gpt2": Family(
        "VisionEncoderDecoderModel",
        _pair(_VIT, {"model_type": "gpt2", "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64,
                     **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)}),
        _gpt2, _GPT2_IDS, processor("ViTImageProcessor", square(32), HALF), "decoder.transformer.ln_f",
        {"max_length": 16},
    ),
    "trocr": Family(
        "VisionEncoderDecoderModel",
        _pair(_VIT, {"model_type": "trocr", "d_model": 48, "cross_attention_hidden_size": 32, **_DECODER}),
        partial(_saved, "xlm-roberta"), _FAIRSEQ, processor("ViTImageProcessor", square(32), HALF),
        "decoder.model.decoder.layers.1.final_layer_norm",
        {"early_stopping": True, "length_penalty": 2.0, "max_length": 18, "no_repeat_ngram_size": 3, "num_beams": 4},
    ),
    "donut": Family(
        "VisionEncoderDecoderModel",
        _pair(_SWIN, {"model_type": "mbart", "d_model": 32, "scale_embedding": True, "add_final_layer_norm": True,
                      **_DECODER}),
        lambda folder: _saved("xlm-roberta", folder, *_TAGS), {**_FAIRSEQ, "decoder_start": "<s_cord>"},
        {**processor("DonutImageProcessor", {"height": 64, "width": 48}, IMAGENET), "do_thumbnail": True,
         "do_align_long_axis": False, "do_pad": True},
        "decoder.model.decoder.layer_norm",
        {"max_length": 24},
    ),
    "blip": Family(
        "BlipForConditionalGeneration", _blip, _words, _BERT,
        processor("BlipImageProcessor", square(32), CLIP), "text_decoder.cls.predictions.transform.LayerNorm",
    ),
    "pix2struct": Family(
        "Pix2StructForConditionalGeneration", _pix2struct, _t5,
        {"eos": "</s>", "pad": "<pad>", "decoder_start": "<pad>"}, _PATCHES, "decoder.final_layer_norm",
        {"max_length": 18},
    ),
    "git": Family(
        "GitForCausalLM", _git, _words, {"bos": "[CLS]", "eos": "[SEP]", "pad": "[PAD]"},
        processor("CLIPImageProcessor", {"shortest_edge": 32}, CLIP, resample=3, do_center_crop=True,
                  crop_size=square(32), do_convert_rgb=True),
        "git.encoder.layer.1.output.LayerNorm",
    ),
}  # fmt: skip

QUESTIONS = Family(
    "BlipForQuestionAnswering", _blip, _words, _BERT,
    processor("BlipImageProcessor", square(32), CLIP), "text_decoder.cls.predictions.transform.LayerNorm",
)  # fmt: skip
"""BLIP's model of questions about images."""


def _write(name: str, family: Family, folder: Path) -> None:
    """Write the whole folder of a family."""
    import transformers

    from onnxpipe_export.tracing import quiet

    folder.mkdir(parents=True, exist_ok=True)
    tokens = family.tokenizer(folder)
    _to_json(folder / "preprocessor_config.json", dict(family.processor))
    special = {f"{key}_token_id": tokens[token] for key, token in family.tokens.items()}
    size = max(max(tokens.values()) + 1, SIZE)
    model = getattr(transformers, family.class_name)(family.config({**special, "vocab_size": size})).eval()
    model.tie_weights()
    fill(_writer(model, family, tokens, special), name, _images(family))
    model.generation_config = transformers.GenerationConfig()
    with quiet():
        model.save_pretrained(folder)
    if "decoder_start" in family.tokens:
        _to_json(folder / "generation_config.json", {**special, **family.generation})
    else:
        (folder / "generation_config.json").unlink(missing_ok=True)


def _writer(model: Any, family: Family, tokens: Ids, special: Ids) -> Writer:
    blip = "blip" in model.config.model_type
    end = special["sep_token_id" if blip else "eos_token_id"]
    first = special.get("decoder_start_token_id", special.get("bos_token_id"))
    start = model.config.text_config.bos_token_id if blip else first
    odd = [number for token, number in tokens.items() if token[0] in "<[" and number not in (end, start)]
    head: Callable[[Any], Any] = lambda model: _language_model(model).get_output_embeddings()  # noqa: E731
    return Writer(model, family.norm, head, _run, (start,), end, tuple(odd), range(300, SIZE - 2))


def _language_model(model: Any) -> Any:
    """Return the part of a model that has the output layer."""
    if hasattr(model, "text_decoder"):
        return model.text_decoder
    return model.decoder if model.main_input_name == "flattened_patches" else model


def _run(model: Any, image: Any, ids: Any) -> Any:
    """Compute the logits for the decoder's tokens and an image; a question about it is always the same."""
    import torch

    if model.main_input_name == "flattened_patches":
        return model(flattened_patches=image, decoder_input_ids=ids, use_cache=False).logits
    if model.config.model_type == "git":
        return model(pixel_values=image, input_ids=ids, use_cache=False).logits
    if not hasattr(model, "text_decoder"):
        return model(pixel_values=image, decoder_input_ids=ids, use_cache=False).logits
    states = model.vision_model(pixel_values=image)[0]
    if hasattr(model, "text_encoder"):
        states = model.text_encoder(input_ids=torch.arange(400, 409)[None], encoder_hidden_states=states)[0]
    return model.text_decoder(input_ids=ids, encoder_hidden_states=states).logits


def _images(family: Family) -> list[Any]:
    """Prepare synthetic images as the model takes them, one row each."""
    import torch

    from onnxpipe_export.cases import images as image_cases

    if "max_patches" in family.processor:
        from onnxpipe.processing.images.pix2struct import Pix2StructImageProcessor

        patches = Pix2StructImageProcessor(max_patches=30)
        shapes = [(120, 90), (48, 200), (64, 64), (210, 60)] * 2
        images = [image_cases.synthetic_image(number, shape) for number, shape in enumerate(shapes)]
        return [torch.from_numpy(patches(image)["flattened_patches"]) for image in images]
    size = family.processor.get("crop_size", family.processor["size"])
    images = [image_cases.synthetic_image(number, (size["height"], size["width"])) for number in range(_IMAGES)]
    return [torch.from_numpy(image_cases.pixels(image, family.processor)[None]) for image in images]


def _write_vilt(folder: Path) -> None:
    """Write ViLT's folder, as dandelin/vilt-b32-finetuned-vqa is."""
    import torch
    import transformers

    from onnxpipe_export.tracing import quiet

    folder.mkdir(parents=True, exist_ok=True)
    tokens = _saved("bert", folder, model_max_length=40)
    _to_json(folder / "preprocessor_config.json", _VILT_PROCESSOR)
    sizes = {name: value for name, value in VIT.items() if name not in ("image_size", "patch_size")}
    config = transformers.ViltConfig(
        vocab_size=max(max(tokens.values()) + 1, SIZE), max_position_embeddings=40, image_size=64, patch_size=16,
        max_image_length=-1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes, **labels(*_ANSWERS),
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ViltForQuestionAnswering(config).eval()
    draw(model, "vilt")
    with torch.no_grad():
        model.classifier[3].weight.mul_(2.0)
    with quiet():
        model.save_pretrained(folder)


_ANSWERS = ("yes", "no", "2", "a cat", "red", "the street", "nothing")
_VILT_PROCESSOR = {
    **processor("ViltImageProcessor", {"shortest_edge": 64}, HALF), "size_divisor": 16, "do_pad": True, "resample": 3,
}  # fmt: skip


def _to_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {
    **{(name, TASK): partial(_write, name, family) for name, family in FAMILIES.items()},
    ("blip", "visual-question-answering"): partial(_write, "blip questions", QUESTIONS),
    ("vilt", "visual-question-answering"): _write_vilt,
}
"""(family, task) -> what writes its folder."""
