"""Tiny random models of every family, in the layout of the Hub, the same bytes every time.

    from zoo import build
    build("bert", "classify", folder)       # config.json, model.safetensors, tokenizer.json, tokenizer_config.json
    build("vit", "image-classification", folder)    # the head of a vision model is its task (see `zoo.vision`)
    build("whisper", "automatic-speech-recognition", folder)    # and so is that of an audio model (see `zoo.audio`)
    build("sdxl", "diffusion", folder)      # a pipeline of diffusers (see `zoo.diffusion`)

Needs torch and transformers (4.57 or 5.23), and diffusers for its pipelines. `cache` keeps what was built and exported
between test runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.audio import families as audio
from zoo.diffusion import HEAD as DIFFUSION
from zoo.diffusion import build as build_diffusion
from zoo.text.families import HEAD as FAMILY
from zoo.text.families import build as build_family
from zoo.vision import families as vision
from zoo.vision_language import HEAD as VISION_LANGUAGE
from zoo.vision_language import build as build_vision_language

FAMILIES = (
    "bert",
    "distilbert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "electra",
    "albert",
    "mpnet",
    "deberta-v2",
    "modernbert",
    "bart",
)


@dataclass(frozen=True)
class Head:
    """What sits on the encoder: `kind` is the end of the class name, `task` what it is exported for."""

    kind: str
    task: str
    config: dict[str, Any] = field(default_factory=dict)


def _labels(*names: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


HEADS = {
    "base": Head("Model", "feature-extraction"),
    # Matrices large enough to be worth 8 bits; for the families whose config says hidden_size.
    "wide": Head("Model", "feature-extraction", {"hidden_size": 128, "intermediate_size": 256}),
    "classify": Head("ForSequenceClassification", "text-classification", _labels("negative", "neutral", "positive")),
    "nli": Head("ForSequenceClassification", "text-classification", _labels("contradiction", "neutral", "entailment")),
    "entail-first": Head(
        "ForSequenceClassification", "text-classification", _labels("ENTAILMENT", "NEUTRAL", "CONTRADICTION")
    ),
    "rank": Head("ForSequenceClassification", "text-ranking", _labels("LABEL_0")),
    "multilabel": Head(
        "ForSequenceClassification",
        "text-classification",
        {**_labels("toxic", "insult", "threat", "spam"), "problem_type": "multi_label_classification"},
    ),
    "regression": Head(
        "ForSequenceClassification", "text-classification", {**_labels("LABEL_0"), "problem_type": "regression"}
    ),
    "ner": Head("ForTokenClassification", "token-classification", _labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
    "qa": Head("ForQuestionAnswering", "question-answering"),
    "mlm": Head("ForMaskedLM", "fill-mask"),
    # Generators: families, sizes and tokenizers are in `zoo.text.generators`.
    "causal": Head("ForCausalLM", "text-generation"),
    "seq2seq": Head("ForConditionalGeneration", "text2text-generation"),
    # Their families are in `zoo.text.tables`.
    "tables": Head("ForQuestionAnswering", "table-question-answering"),
}

GENERATING = ("causal", "seq2seq")
"""The heads of the families in `zoo.text.generators`."""

MISSING = {("bart", "ner"): "transformers has no BartForTokenClassification"}
"""(family, head) -> why transformers has no such class."""

_SEEDS = {("modernbert", "ner"): "modernbert/ner/2"}
"""Where the first seed gave a near tie (see `tests/conformance/test_zoo.py`)."""


def build(family: str, head: str, folder: Path) -> Path:
    """Write the model `family` with `head` into `folder` (created if absent).

    Raises:
        KeyError: an unknown family or head.
        ValueError: a pair that transformers has no class for (see `MISSING`).
    """
    if (family, head) in MISSING:
        raise ValueError(MISSING[family, head])
    folder.mkdir(parents=True, exist_ok=True)
    if vision.is_vision(head):
        vision.build(family, head, folder)
        return folder
    if audio.is_audio(head):
        audio.build(family, head, folder)
        return folder
    if head == VISION_LANGUAGE:
        build_vision_language(family, folder)
        return folder
    if head == DIFFUSION:
        build_diffusion(family, folder)
        return folder
    if head == FAMILY:
        return build_family(family, folder)
    if head in GENERATING:
        from zoo.text import generators

        return generators.build(family, head, folder)
    if head == "tables":
        from zoo.text import tables

        return tables.build(family, folder)
    from zoo.text import encoders as models
    from zoo.text import tokenization

    tokenization.save(family, folder)
    models.make(family, HEADS[head], folder, seed=_SEEDS.get((family, head), f"{family}/{head}")).save_pretrained(
        folder
    )
    return folder


def task_of(head: str) -> str:
    """What a model with `head` is exported for."""
    if vision.is_vision(head) or audio.is_audio(head) or head == VISION_LANGUAGE:
        return head.partition("+")[0]
    return HEADS[head].task


def weights_hash(folder: Path) -> str:
    """SHA-256 over the model's tensors (name, shape, bytes) and the tokenizer: 16 hex digits.

    The files themselves differ between versions of transformers (key order, metadata); what they compute does not.
    """
    from safetensors.numpy import load_file

    files = [folder / "tokenizer.json"] if (folder / "tokenizer.json").exists() else sorted(folder.glob("vocab.json"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
    tensors = load_file(folder / "model.safetensors")
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}{tensors[name].dtype}".encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()[:16]
