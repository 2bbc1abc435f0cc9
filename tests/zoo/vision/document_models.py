"""Tiny models that answer questions about documents: LayoutLM, LiLT, LayoutLMv3, as whole folders in the Hub's layout.

    from zoo.vision.document_models import MODELS
    MODELS["layoutlmv3", "document-question-answering"](folder)

Each folder has config.json, model.safetensors and the tokenizer's files, LayoutLMv3's the image processor's too; the
same bytes every time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from zoo.text import tokenization
from zoo.vision import image_to_text_models
from zoo.vision.family import labels
from zoo.vision.image_text_models import fill

TASK = "document-question-answering"
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_2d_position_embeddings": 1024,
}
_BERT = {"max_position_embeddings": tokenization.MAX_LENGTH, "type_vocab_size": 2}
_ROBERTA = {"max_position_embeddings": tokenization.MAX_LENGTH + 2, "type_vocab_size": 1}

_OF_LAYERS = 0.4
"""How much of what a layer computes is added to what it got."""

#: Family -> transformers' class without its ending, sizes, the zoo's tokenizer and its class.
_FAMILIES: Mapping[str, tuple[str, dict[str, Any], str, str]] = {
    "layoutlm": ("LayoutLM", _BERT, "bert", "LayoutLMTokenizer"),
    # impira/layoutlm-document-qa has RoBERTa's tokenizer
    "layoutlm-roberta": ("LayoutLM", {**_ROBERTA, "pad_token_id": 1}, "roberta", "RobertaTokenizer"),
    "lilt": ("Lilt", {**_ROBERTA, "hidden_size": 48, "channel_shrink_ratio": 4}, "roberta", "LayoutLMv3Tokenizer"),
    "layoutlmv3": (
        "LayoutLMv3",
        {**_ROBERTA, "coordinate_size": 6, "shape_size": 4, "input_size": 32, "patch_size": 8, "rel_pos_bins": 8,
         "rel_2d_pos_bins": 8, "max_rel_pos": 32, "max_rel_2d_pos": 64},
        "roberta",
        "LayoutLMv3Tokenizer",
    ),
}  # fmt: skip

#: microsoft/layoutlmv3-base's with a small image. The real one reads words too, with a program that tests may lack.
_PROCESSOR = {
    "apply_ocr": False,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "LayoutLMv3ImageProcessor",
    "resample": 2,
    "size": {"height": 32, "width": 32},
}


def _build(family: str, folder: Path, head: str = "ForQuestionAnswering", **settings: Any) -> None:
    """Write the whole folder of `family`, with the head of a class and further settings of the configuration."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    stem, sizes, tokenizer, tokenizer_class = _FAMILIES[family]
    tokenization.save(tokenizer, folder)
    _with_prefix_space(folder, tokenizer_class)
    ids = {"pad_token_id": tokenization.special_ids(folder)["pad_token_id"]}
    config = getattr(transformers, f"{stem}Config")(
        vocab_size=tokenization.SIZE, **{**_SIZES, **ids, **sizes, **settings}
    )
    model = getattr(transformers, f"{stem}{head}")(config).eval()
    fill(model, family)
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        head.weight.mul_(3.0)  # answers that are far apart
        for name, value in model.named_parameters():
            if ".output.dense." in name:  # layers change little of what they get, so 8 bits round little of it
                value.mul_(_OF_LAYERS)
    model.save_pretrained(folder)
    if family == "layoutlmv3":
        (folder / "preprocessor_config.json").write_text(json.dumps(_PROCESSOR, indent=2) + "\n", encoding="utf-8")


def _with_prefix_space(folder: Path, tokenizer_class: str) -> None:
    """Name the tokenizer's class, and let words of byte-level BPE begin with a space, as pages are words."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        if name == "tokenizer_config.json":
            content["tokenizer_class"] = tokenizer_class
            if "RobertaTokenizer" in tokenizer_class or "v3" in tokenizer_class:
                content["add_prefix_space"] = True
        elif content["pre_tokenizer"]["type"] == "ByteLevel":
            content["pre_tokenizer"]["add_prefix_space"] = content["post_processor"]["add_prefix_space"] = True
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_labelling(family: str, folder: Path) -> None:
    """Write a model that labels the words of pages, which is for object-detection."""
    names = labels("O", "B-QUESTION", "I-QUESTION", "B-ANSWER", "I-ANSWER")
    _build(family, folder, "ForTokenClassification", **names)


DONUT_TAGS = ("<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>")
"""Tokens of naver-clova-ix/donut-base-finetuned-docvqa: of the task, and around questions and answers."""


def write_donut(folder: Path) -> None:
    """Write a Donut of questions about documents. It is of the task image-to-text too, where the zoo has another."""
    family = image_to_text_models.FAMILIES["donut"]
    tags = (*image_to_text_models._TAGS, *DONUT_TAGS)
    changed = replace(
        family,
        tokenizer=lambda folder: image_to_text_models._saved("xlm-roberta", folder, *tags),
        tokens={**family.tokens, "decoder_start": "<s_docvqa>"},
    )
    image_to_text_models._write("donut-docvqa", changed, folder)


MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {
    (family, TASK): partial(_build, family) for family in _FAMILIES
}
"""(family, task) -> what writes its folder."""
