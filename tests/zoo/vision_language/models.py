"""Tiny random vision-language models in the layout of the Hub, whose text varies with the images and ends."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.text import generator_tokenizers, generator_weights
from zoo.text.generators import CAUSAL, Generator
from zoo.vision.family import HALF

SIDE, PATCH = 32, 8
"""The side of an image and of a patch in pixels."""

_CLIP = {
    "model_type": "clip_vision_model",
    "image_size": SIDE,
    "patch_size": PATCH,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "projection_dim": 32,
}
_PLAIN_TEMPLATE = """\
{%- for message in messages %}
{{- message['role'] | upper + ': ' }}
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}
{%- for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{%- endfor %}
{%- for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{%- endfor %}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{%- endif %}"""


@dataclass(frozen=True)
class Family:
    """A family.

    Attributes:
        stem: the start of its classes' names.
        text: the generator (`zoo.text.generators`) that its language model and tokenizer are.
        vision: the configuration of its tower.
        config: makes what the configuration says besides, from the ids of tokens.
        image_processor: the content of preprocessor_config.json.
        processor: the content of processor_config.json.
        template: the chat template.
        tokens: special tokens that the tokenizer gets besides those of `text`.
        projector: the end of the name of the layer whose outputs are the features.
    """

    stem: str
    text: str
    vision: Mapping[str, Any]
    config: Callable[[Mapping[str, int]], Mapping[str, Any]]
    image_processor: Mapping[str, Any]
    processor: Mapping[str, Any]
    template: str = _PLAIN_TEMPLATE
    tokens: tuple[str, ...] = ("<image>",)
    projector: str = "multi_modal_projector.linear_2"
    generation: Mapping[str, Any] = field(default_factory=dict)


_SQUARE = {"height": SIDE, "width": SIDE}

FAMILIES: dict[str, Family] = {
    "llava": Family(
        "Llava",
        "llama",
        _CLIP,
        lambda ids: {"image_token_index": ids["<image>"], "image_seq_length": 16},
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIDE}, "crop_size": _SQUARE, **HALF},
        {
            "processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": PATCH,
            "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default",
        },
    ),
}  # fmt: skip


def build(family: str, folder: Path) -> None:
    """Write the model `family` into `folder`, which exists."""
    import transformers

    spec = FAMILIES[family]
    text = CAUSAL[spec.text]
    vocabulary = _tokenizer(spec, folder)
    ids = _ids(text, vocabulary)
    language = _language_model(text, vocabulary, ids, f"{family}/text")
    config = getattr(transformers, f"{spec.stem}Config")(
        vision_config=dict(spec.vision), text_config=language.config.to_dict(), **spec.config(vocabulary),
        tie_word_embeddings=language.config.tie_word_embeddings,
    )  # fmt: skip
    model = getattr(transformers, f"{spec.stem}ForConditionalGeneration")(config).eval()
    _fill(model, spec, family)
    model.get_decoder().load_state_dict(language.model.state_dict())
    model.get_output_embeddings().load_state_dict(language.lm_head.state_dict())
    model.generation_config = transformers.GenerationConfig(**ids)
    model.save_pretrained(folder)
    _write(folder / "preprocessor_config.json", spec.image_processor)
    _write(folder / "processor_config.json", spec.processor)


def _tokenizer(spec: Family, folder: Path) -> dict[str, int]:
    """Write the tokenizer with its additional tokens and the chat template; return its vocabulary."""
    from tokenizers import AddedToken, Tokenizer

    generator_tokenizers.save(spec.text, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in spec.tokens])
    tokenizer.save(str(folder / "tokenizer.json"))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("chat_template", None)
    config.pop("added_tokens_decoder", None)
    _write(path, {**config, "padding_side": "left", "pad_token": config.get("pad_token") or config.get("eos_token")})
    (folder / "chat_template.jinja").write_text(spec.template, encoding="utf-8")
    return dict(tokenizer.get_vocab(with_added_tokens=True))


def _ids(text: Generator, vocabulary: Mapping[str, int]) -> dict[str, Any]:
    return {
        f"{name}_token_id": vocabulary[token] if isinstance(token, str) else [vocabulary[each] for each in token]
        for name, token in text.tokens.items()
    }


def _language_model(text: Generator, vocabulary: dict[str, int], ids: dict[str, Any], seed: str) -> Any:
    """Make the language model with the weights of the zoo's generators, whose text varies and ends."""
    import torch
    import transformers

    config = getattr(transformers, f"{text.stem}Config")(
        vocab_size=max(vocabulary.values()) + 1, **{**text.config, **ids}
    )
    model = getattr(transformers, text.stem + text.kind)(config).eval()
    model.tie_weights()
    if not text.config.get("tie_word_embeddings", True):
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    gains = generator_weights.Gains(text.words, text.queries, text.mixers, text.feeds)
    generator_weights.fill(model, gains, seed, vocabulary, ids)
    return model


def _fill(model: Any, spec: Family, seed: str) -> None:
    """Overwrite the weights of tower and projector, so that features differ by image and are as large as embeddings."""
    import torch

    for name, parameter in model.named_parameters():
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(parameter.shape))
        if parameter.ndim > 1:
            fan_in = int(np.prod(parameter.shape[1:]))
            values = noise * ((0.6 if name.endswith(f"{spec.projector}.weight") else 1.5) / fan_in**0.5)
            if "embedding" in name and "patch" not in name:
                values = noise * 0.5
        else:
            values = 0.1 * noise + float("norm" in name and name.endswith("weight"))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
