"""Export vision-language models in the cut of the Hub's folders: three graphs.

- `vision_encoder`: the pixels of images to `image_features`; see the family's file for its inputs.
- `embed_tokens`: input_ids (batch, length) to inputs_embeds (batch, length, width).
- `decoder_model_merged`: as `onnxpipe_export.graphs.causal_lm.graph` says, with inputs_embeds instead of input_ids.

The runtime puts the features of images where a prompt has their placeholders. The decoder is exported as the causal
language model that it is, so all that holds for those (attention, precisions, cases) holds here.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from onnxpipe.errors import ExportError
from onnxpipe_export import tasks
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.causal_lm import cases as causal_cases
from onnxpipe_export.graphs.causal_lm import graph as causal
from onnxpipe_export.graphs.graph import Attention, Case, Feeds, GraphExport
from onnxpipe_export.graphs.vision_language.family import Family
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

FAMILIES: Mapping[str, str] = {
    "florence2": "florence2",
    "gemma3": "square_tiles",
    "git": "git",
    "idefics3": "idefics3",
    "internvl": "square_tiles",
    "llava": "llava",
    "llava_next": "llava_next",
    "llava_onevision": "llava_next",
    "paligemma": "square_tiles",
    "smolvlm": "idefics3",
    "qwen2_5_vl": "qwen_vl",
    "qwen2_vl": "qwen_vl",
    "qwen3_vl": "qwen_vl",
}
"""model_type -> the module in this folder that describes it."""


def describe(checkpoint: Checkpoint, attention: Attention = "auto") -> list[GraphExport]:
    """Describe the three graphs of `checkpoint`.

    Raises:
        ExportError: the family is not known here, or its decoder does not attend that way.
    """
    family = family_of(checkpoint)
    if family.graphs is not None:
        if attention != "auto":
            raise ExportError(f"attention={attention!r} is for decoders without an encoder; leave it out")
        return family.graphs(checkpoint, _embeddings(checkpoint))
    text = dataclasses.replace(
        checkpoint,
        model=(family.text or text_model)(checkpoint.model),
        config=checkpoint.model.config.get_text_config(),
        task=tasks.TASKS["text-generation"],
    )
    plain = causal.describe(text, attention, position_axes=family.position_axes, extras=family.extras)
    fields = {each.name: getattr(plain, each.name) for each in dataclasses.fields(plain)}
    fields |= {"name": "decoder_model_merged", "tokens": "inputs_embeds"}
    return [family.vision, _embeddings(checkpoint), DecoderExport(**fields, whole=checkpoint, family=family)]


def family_of(checkpoint: Checkpoint) -> Family:
    """Describe the family of a checkpoint.

    Raises:
        ExportError: it is not known here.
    """
    kind = checkpoint.config.model_type
    if kind not in FAMILIES:
        raise ExportError(
            f"models of the type '{kind}' cannot be exported for {checkpoint.task.name}; those that can are "
            f"{', '.join(sorted(FAMILIES))}"
        )
    module = importlib.import_module(f"onnxpipe_export.graphs.vision_language.{FAMILIES[kind]}")
    family: Family = module.describe(checkpoint)
    return family


def text_model(model: Any) -> Any:
    """Make the causal language model of a vision-language model's text part, which shares its weights."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config = model.config.get_text_config()
    decoder = model.get_decoder()
    try:
        with torch.device("meta"):
            text = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)
    except KeyError as error:
        raise ExportError(f"transformers has no causal language model for a {config.model_type}") from error
    setattr(text, text.base_model_prefix, decoder)
    text.set_output_embeddings(model.get_output_embeddings())
    text.generation_config = model.generation_config
    return text.eval()


def _embeddings(checkpoint: Checkpoint) -> WrappedExport:
    table = checkpoint.model.get_input_embeddings()
    size = int(table.weight.shape[0])

    def feeds(rows: int, length: int, seed: int) -> dict[str, np.ndarray]:
        return {"input_ids": np.random.default_rng(seed).integers(0, size, (rows, length))}

    def cases() -> list[Case]:
        return [Case(feeds(1, 5, 0), golden=True), Case(feeds(3, 7, 1)), Case(feeds(1, 64, 2)), Case(feeds(4, 1, 3))]

    return WrappedExport(
        checkpoint,
        "embed_tokens",
        ("input_ids",),
        ("inputs_embeds",),
        {name: {0: BATCH, 1: "sequence_length"} for name in ("input_ids", "inputs_embeds")},
        lambda tensors: {"inputs_embeds": table(tensors["input_ids"])},
        lambda: feeds(2, 5, 4),
        lambda tokenizer: cases(),
        makers.EMBEDDING,
        eager=False,
    )


@dataclass(frozen=True, kw_only=True)
class DecoderExport(causal.CausalLMExport):
    """The export of `decoder_model_merged`, whose cases have features of images among the tokens.

    Attributes:
        whole: the whole model.
        family: its family.
    """

    whole: Checkpoint
    family: Family

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make the cases of a causal language model, and prompts with none, one and two images between texts."""
        texts = causal_cases.rows_of(self, tokenizer)
        rows = [self.merged(text, images) for text, images in zip(texts, ((0,), (1, 2), (), (3,)), strict=False)]
        rows = [row for row in rows if len(row) <= self.max_length]
        merged = [Case(causal_cases.batch(self, [row], keep=1), calibrates=True) for row in rows]
        merged += [
            Case(causal_cases.batch(self, rows, keep=1)),
            Case(causal_cases.continued(self, rows[:1], 2, keep=2)),
            Case(causal_cases.continued(self, rows, 1, keep=1)),
        ]
        if self.extras:
            merged.append(Case(self._with_extras(causal_cases.batch(self, rows, keep=1)), decides=False))
        return [*super().cases(tokenizer), *(case for case in merged if case.feeds)]

    def _with_extras(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Give the tokens of a batch of prompts random further inputs."""
        shape = feeds[self.tokens].shape[:2]
        inside = feeds["attention_mask"][:, -shape[1] :].astype(bool)
        found = {**feeds}
        for extra in self.extras:
            found[extra.name] = np.where(
                inside.reshape(*shape, *(1 for _ in extra.shape)), extra.random(*shape), extra.neutral(*shape)
            )
        return found

    def merged(self, text: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
        """Embed a text with these synthetic images after its first half: float32 (length, width)."""
        half = -(-len(text) // 2)
        images = [
            self.family.features(self.whole.model, self.family.join([[self.family.image(number)]]))
            for number in numbers
        ]
        return np.concatenate([self.fed(text[:half]), *images, self.fed(text[half:])])
