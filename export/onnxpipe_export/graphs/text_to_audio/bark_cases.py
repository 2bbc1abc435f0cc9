"""Cases of Bark's causal stages: prompts as `generate` makes them, the original's continuations, and random tokens.

With and without a past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds

_GENERATED = 24
"""Tokens that the original generates for the cases."""
_SEED = 17
# Tokens of the real checkpoints where generation_config.json does not set them: transformers' defaults.
_TEXT = {"text_encoding_offset": 10_048, "text_pad_token": 129_595, "semantic_infer_token": 129_599,
         "semantic_vocab_size": 10_000, "max_input_semantic_length": 256}  # fmt: skip
_ACOUSTICS = {"coarse_infer_token": 12_050, "coarse_semantic_pad_token": 12_048, "max_coarse_input_length": 256}


@dataclass(frozen=True)
class Prompt:
    """The prompt of a stage.

    Attributes:
        ids: int64 (rows, length).
        history: history tokens of the first n positions, int64 (rows, n), or None.
    """

    ids: np.ndarray
    history: np.ndarray | None = None


@dataclass(frozen=True)
class CausalStageCases:
    """The cases of a causal stage: prompts, the original's continuations, and random tokens.

    Attributes:
        prompts: of one row each.
        inputs: names of the graph's inputs.
        past, present: names of the caches.
        shape: heads and width of a head.
        forward: the original.
        longest: the longest row.
    """

    prompts: Sequence[Prompt]
    inputs: tuple[str, ...]
    past: tuple[str, ...]
    present: tuple[str, ...]
    shape: tuple[int, int]
    forward: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    longest: int

    def example(self) -> dict[str, np.ndarray]:
        """Make two rows of five tokens after four, some with a history: no two sizes are equal by chance."""
        generator = np.random.default_rng(_SEED)
        feeds = self._first(Prompt(self._cut(2, 5), self._cut(2, 3) if self._has_history else None), keep=2)
        caches = {name: generator.standard_normal((2, self.shape[0], 4, self.shape[1])) for name in self.past}
        return self._on(feeds, {name: array.astype(np.float32) for name, array in caches.items()}, 4)

    def cases(self) -> list[Case]:
        """Make cases of prompts and their continuations, alone and in twos; one token and several at once."""
        generated = [self._generated(prompt) for prompt in self.prompts]
        cases = []
        for number, (prompt, ids) in enumerate(zip(self.prompts, generated, strict=True)):
            length = prompt.ids.shape[1]
            cases += [
                Case(self._first(Prompt(ids, prompt.history), keep=ids.shape[1] - length + 1), calibrates=True),
                Case(self._after(Prompt(ids[:, : length + 1], prompt.history), length, 1), golden=number == 0),
            ]
        both = self._pair(generated)
        length = both.ids.shape[1]
        noise = Prompt(np.random.default_rng(_SEED).permutation(both.ids, axis=1)[:, :17])
        cases += [
            Case(self._first(both, keep=1)),
            Case(self._after(both, length - 3, 1)),
            Case(self._after(Prompt(both.ids[:1], _part(both.history)), length - 5, 5)),
            Case(self._first(noise, keep=0), decides=False, golden=True),
        ]
        return cases

    def _pair(self, generated: Sequence[np.ndarray]) -> Prompt:
        length = min(ids.shape[1] for ids in generated[:2])
        ids = np.concatenate([ids[:, :length] for ids in generated[:2]])
        histories = [prompt.history for prompt in self.prompts[:2] if prompt.history is not None]
        return Prompt(ids, np.concatenate(histories) if histories else None)

    def _generated(self, prompt: Prompt) -> np.ndarray:
        """Continue a prompt with the original, the likeliest token each time; return both."""
        ids = prompt.ids
        for _ in range(min(_GENERATED, self.longest - ids.shape[1])):
            logits = self._answer(self._first(Prompt(ids, prompt.history), keep=1))["logits"]
            ids = np.concatenate([ids, logits[:, -1:].argmax(-1)], axis=1)
        return ids

    def _first(self, prompt: Prompt, *, keep: int) -> dict[str, np.ndarray]:
        """Make feeds of a first call."""
        rows, length = prompt.ids.shape
        heads, width = self.shape
        history = np.full((rows, length), -1, np.int64)
        if prompt.history is not None:
            history[:, : prompt.history.shape[1]] = prompt.history[:, :length]
        feeds = {
            "input_ids": prompt.ids,
            "attention_mask": np.ones((rows, length), np.int64),
            "position_ids": np.broadcast_to(np.arange(length), (rows, length)).copy(),
            "num_logits_to_keep": np.array(keep, np.int64),
            "history_ids": history,
            **{name: np.zeros((rows, heads, 0, width), np.float32) for name in self.past},
        }
        return {name: feeds[name] for name in self.inputs}

    def _after(self, prompt: Prompt, before: int, new: int) -> dict[str, np.ndarray]:
        """Make feeds of `new` tokens after the original's past of `before`."""
        answer = self._answer(self._first(Prompt(prompt.ids[:, :before], prompt.history), keep=1))
        feeds = self._first(Prompt(prompt.ids[:, before : before + new]), keep=new)
        caches = {name: answer[there] for name, there in zip(self.past, self.present, strict=True)}
        return self._on(feeds, caches, before)

    def _on(self, feeds: Feeds, caches: Feeds, before: int) -> dict[str, np.ndarray]:
        rows, length = feeds["input_ids"].shape
        mask = {"attention_mask": np.ones((rows, before + length), np.int64)}
        mask = mask if "attention_mask" in self.inputs else {}
        return {**feeds, **caches, **mask, "position_ids": feeds["position_ids"] + before}

    def _answer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode(), tracing.quiet():
            answer = self.forward({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in feeds.items()})
        return {name: tensor.numpy() for name, tensor in answer.items()}

    def _cut(self, rows: int, length: int) -> np.ndarray:
        return np.resize(self.prompts[0].ids[0], (rows, length))

    @property
    def _has_history(self) -> bool:
        return "history_ids" in self.inputs


def _part(history: np.ndarray | None) -> np.ndarray | None:
    return None if history is None else history[:1]


def semantic_prompts(checkpoint: Checkpoint) -> list[Prompt]:
    """Make prompts of synthetic texts of different lengths, padded as `generate` does, one of them with a voice."""
    has = {**_TEXT, **_settings(checkpoint, "semantic_config")}
    pad = int(has.get("eos_token_id") or has["semantic_vocab_size"])
    length, offset = int(has["max_input_semantic_length"]), int(has["text_encoding_offset"])
    words = int(has["text_pad_token"]) - offset
    generator = np.random.default_rng(_SEED)
    prompts = []
    for number, size in enumerate((5, 40, 12)):
        text = np.full((1, length), has["text_pad_token"], np.int64)
        text[:, :size] = generator.integers(offset, offset + words, (1, size))
        history = np.full((1, length), pad, np.int64)
        if number == 2:
            history[:, : length // 2] = generator.integers(0, has["semantic_vocab_size"], (1, length // 2))
        ids = np.concatenate([text, [[has["semantic_infer_token"]]]], axis=1)
        prompts.append(Prompt(ids, history))
    return prompts


def coarse_prompts(checkpoint: Checkpoint) -> list[Prompt]:
    """Make prompts of synthetic semantic tokens, padded, and the first of the codes that belong to them."""
    meaning = {**_TEXT, **_settings(checkpoint, "semantic_config")}
    has = {**_ACOUSTICS, **_settings(checkpoint, "coarse_acoustics_config")}
    length, vocabulary = int(has["max_coarse_input_length"]), int(meaning["semantic_vocab_size"])
    codes = int(getattr(checkpoint.model.generation_config, "codebook_size", None) or 1024)
    generator = np.random.default_rng(_SEED)
    prompts = []
    for size, known in ((length, 0), (length // 2, 8), (length // 3, 20)):
        tokens = np.full((1, length), has["coarse_semantic_pad_token"], np.int64)
        tokens[:, :size] = generator.integers(0, vocabulary, (1, size))
        first = generator.integers(0, codes, (1, known)) + vocabulary + codes * (np.arange(known) % 2)
        prompts.append(Prompt(np.concatenate([tokens, [[has["coarse_infer_token"]]], first], axis=1)))
    return prompts


def _settings(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """Return the settings of a stage in generation_config.json."""
    config = getattr(checkpoint.model.generation_config, name, None) or {}
    settings = config if isinstance(config, dict) else config.to_dict()
    return {key: value for key, value in settings.items() if value is not None}
