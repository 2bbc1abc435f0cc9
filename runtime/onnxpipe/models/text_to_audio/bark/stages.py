"""Bark's three stages: text to semantic tokens, those to the first codebooks, those to all codebooks.

The steps and their numbers are suno's (github.com/suno-ai/bark), in the form that transformers gave them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.engine import Session
from onnxpipe.generation import GenerationConfig, generate
from onnxpipe.generation.codebooks import AlternatingCodebooksLogitsProcessor, BarkEosPrioritizerLogitsProcessor
from onnxpipe.generation.numerics import softmax
from onnxpipe.generation.processors import SuppressTokensLogitsProcessor
from onnxpipe.generation.seed import RowStreams, derived_seeds, row_streams
from onnxpipe.models.base import Array
from onnxpipe.models.causal_lm.decoder import PaddedDecoder, RaggedDecoder
from onnxpipe.models.causal_lm.graph import CausalGraph
from onnxpipe.models.text_to_audio.bark.settings import BarkSettings
from onnxpipe.models.text_to_audio.bark.voice import Voice

#: The purposes from which each stage's seeds are derived, so that their random numbers are independent.
_SEMANTIC, _COARSE, _FINE = range(3)


class StageGraph(CausalGraph):
    """A causal stage's graph; `semantic` adds the embeddings of a history to those of the first tokens.

    Attributes:
        history: int64 (rows, n): tokens whose embeddings are added to the first ones in a decoding's first run.
    """

    history: Array | None = None

    def feeds(self, tokens: Mapping[str, Array], mask: Array, keep: int, *, cached: bool) -> dict[str, Array]:
        """See `CausalGraph.feeds`."""
        feeds = super().feeds(tokens, mask, keep, cached=cached)
        if "history_ids" in self.session.inputs:
            history = np.full(tokens["input_ids"].shape, -1, np.int64)
            if not cached and self.history is not None:
                history[:, : self.history.shape[1]] = self.history
            feeds["history_ids"] = history
        return feeds


@dataclass
class CausalStage:
    """A causal stage as a model for `onnxpipe.generation.generate`.

    Attributes:
        graph: the graph.
        config: its part of config.json.
        name_or_path: what the user called the model.
        tokens: int64 (rows, length): the graph's prompt, if processors see another one; or None.
    """

    graph: StageGraph
    config: Config
    name_or_path: str
    tokens: Array | None = None
    is_encoder_decoder: bool = False
    main_input_name: str = "input_ids"
    input_names: frozenset[str] = frozenset({"input_ids", "attention_mask"})

    @property
    def generation_config(self) -> GenerationConfig:
        """An empty config: every call passes all parameters."""
        return GenerationConfig()

    @property
    def vocab_size(self) -> int:
        """Logits of a position."""
        return int(self.config.output_vocab_size)

    @property
    def threads(self) -> int:
        """Threads of an operator."""
        return self.graph.session.threads

    def started_with(self, tokens: Array, history: Array) -> CausalStage:
        """Copy this stage, to begin with `tokens` (rows, length) and a history."""
        graph = copy.copy(self.graph)
        graph.history = history
        return CausalStage(graph, self.config, self.name_or_path, tokens)

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> RaggedDecoder | PaddedDecoder:
        """Begin a decoding; see `onnxpipe.generation.protocols.GenerationModel`."""
        rows = list(prompt if self.tokens is None else self.tokens)
        if self.graph.ragged:
            return RaggedDecoder(self.graph, rows, copies, max_length, hidden=hidden)
        return PaddedDecoder(self.graph, rows, copies, hidden=hidden)


def semantic_tokens(
    stage: CausalStage,
    settings: BarkSettings,
    config: GenerationConfig,
    text: Array,
    voice: Voice | None,
    seeds: Sequence[int],
    min_eos_p: float | None,
) -> Array:
    """Turn texts into semantic tokens: int64 (rows, tokens).

    Args:
        stage: `semantic`.
        settings: the model's numbers.
        config: parameters of this call.
        text: int64 (rows, max_input_semantic_length): tokens in the stage's own numbering, padded.
        voice: the speech to continue, or None.
        seeds: one per row.
        min_eos_p: the end is chosen from this probability on.
    """
    rows, length = text.shape
    pad = settings.semantic_pad
    history = np.full((rows, length), pad, np.int64)
    if voice is not None:
        before = voice.semantic[-length:]
        history[:, : len(before)] = before
    infer = np.full((rows, 1), settings.semantic.semantic_infer_token, np.int64)
    started = stage.started_with(np.concatenate([text, infer], axis=1), history)
    first, last = int(settings.semantic.semantic_vocab_size), stage.vocab_size
    processors = [
        SuppressTokensLogitsProcessor([*range(first, pad), *range(pad + 1, last)]),
        BarkEosPrioritizerLogitsProcessor(pad, min_eos_p),
    ]
    # The tokens that processors see stand for embeddings that are not tokens: ones, as in transformers.
    prompt = np.ones((rows, length + 1), np.int64)
    tokens = _generate(started, prompt, config, processors, derived_seeds(seeds, rows, purpose=(_SEMANTIC,)))
    return tokens[:, length + 1 :]


def coarse_codes(
    stage: CausalStage,
    settings: BarkSettings,
    config: GenerationConfig,
    semantic: Array,
    voice: Voice | None,
    seeds: Sequence[int],
) -> tuple[Array, Array]:
    """Turn semantic tokens into the codes of the first codebooks, interleaved: int64 (rows, codes), and the number of
    codes of each row, int64 (rows,).

    A row is generated in windows, each from the semantic tokens around the place, a mark, and the last codes so far.
    """
    coarse, ratio = settings.coarse, settings.ratio
    pad = int(coarse.coarse_semantic_pad_token)
    semantic = np.where(semantic == settings.semantic_pad, pad, semantic)
    rows = len(semantic)
    lengths = _coarse_lengths((semantic != pad).sum(axis=1), ratio, int(coarse.n_coarse_codebooks))
    before, codes = _coarse_history(settings, voice, rows)
    known, start = codes.shape[1], before.shape[1]
    semantic = np.concatenate([before, semantic], axis=1)
    size, most = int(coarse.max_coarse_input_length), math.floor(coarse.max_coarse_history / ratio)
    total, done = int(lengths.max()), 0
    for window in range(math.ceil(total / coarse.sliding_window_len)):
        place = start + round(done / ratio)
        around = semantic[:, max(0, place - most) :][:, :size]
        padding = np.full((rows, size - around.shape[1]), pad, np.int64)
        mark = np.full((rows, 1), coarse.coarse_infer_token, np.int64)
        prompt = np.concatenate([around, padding, mark, codes[:, -coarse.max_coarse_history :]], axis=1)
        begin = int(settings.semantic.semantic_vocab_size)
        alternating = AlternatingCodebooksLogitsProcessor(prompt.shape[1], begin, settings.codebook_size)
        config.max_new_tokens = min(int(coarse.sliding_window_len), total - done)
        own = derived_seeds(seeds, rows, purpose=(_COARSE, window))
        tokens = _generate(stage, prompt, config, [alternating], own)
        codes = np.concatenate([codes, tokens[:, prompt.shape[1] :]], axis=1)
        done = codes.shape[1] - known
    return codes[:, known:], lengths


def _coarse_lengths(tokens: Array, ratio: float, codebooks: int) -> Array:
    """Count the codes for rows of so many semantic tokens; in float32, as transformers counts."""
    frames = np.floor(tokens.astype(np.float32) * np.float32(ratio) / np.float32(codebooks))
    return np.asarray(np.round(frames * np.float32(codebooks)), np.int64)


def _coarse_history(settings: BarkSettings, voice: Voice | None, rows: int) -> tuple[Array, Array]:
    """The last semantic tokens and codes of the voice, which rows continue: int64 (rows, n) each."""
    if voice is None:
        return np.zeros((rows, 0), np.int64), np.zeros((rows, 0), np.int64)
    ratio = settings.ratio
    offsets = settings.codebook_size * np.arange(len(voice.coarse))
    codes = (voice.coarse + offsets[:, None]).T.reshape(-1) + int(settings.semantic.semantic_vocab_size)
    tokens = min(
        math.floor(settings.coarse.max_coarse_history / ratio),
        len(voice.semantic) - len(voice.semantic) % 2,
        math.floor(len(codes) / ratio),
    )
    # the last two codes are dropped: the timing of the speech is better then, says the original
    parts = voice.semantic[-tokens:], codes[-round(tokens * ratio) :][:-2]
    return np.repeat(parts[0][None], rows, axis=0), np.repeat(parts[1][None], rows, axis=0)


def _generate(
    stage: CausalStage, prompt: Array, config: GenerationConfig, processors: Sequence[Any], seeds: Sequence[int]
) -> Array:
    """Generate int64 (rows, length): the prompt and its continuation."""
    tokens: Array = generate(
        stage,
        prompt,
        config,
        processors,
        use_model_defaults=False,
        seed=seeds,
        attention_mask=np.ones_like(prompt),
    )
    return tokens


@dataclass(frozen=True)
class FineStage:
    """The stage that fills a whole window at once.

    Attributes:
        session: its graph.
        settings: the model's numbers.
    """

    session: Session
    settings: BarkSettings

    def codes(self, coarse: Array, voice: Voice | None, temperature: float | None, seeds: Sequence[int]) -> Array:
        """Fill in all codebooks: int64 (rows, codebooks, frames).

        Args:
            coarse: int64 (rows, codes): from `coarse_codes`.
            voice: the speech to continue, or None.
            temperature: None or 1 takes the likeliest code, any other draws one.
            seeds: one per row.
        """
        fine, size = self.settings.fine, self.settings.codebook_size
        coarse_books = int(self.settings.coarse.n_coarse_codebooks)
        longest, step = int(fine["max_fine_input_length"]), int(fine["max_fine_history_length"])
        rows = len(coarse)
        known = (coarse.reshape(rows, -1, coarse_books) - int(self.settings.semantic.semantic_vocab_size)) % size
        frames = known.shape[1]
        codes = np.full((rows, frames, int(fine["n_fine_codebooks"])), size, np.int64)
        codes[:, :, :coarse_books] = known
        before = np.zeros((0, codes.shape[2]), np.int64) if voice is None else voice.fine.T[-step:]
        codes = np.concatenate([np.repeat(before[None], rows, axis=0), codes], axis=1)
        missing = max(longest - codes.shape[1], 0)
        codes = np.pad(codes, ((0, 0), (0, missing), (0, 0)), constant_values=size)
        streams = row_streams(derived_seeds(seeds, rows, purpose=(_FINE,)), rows, 1)
        windows = max(0, math.ceil((frames - (longest - len(before))) / step)) + 1
        for window in range(windows):
            start = min(window * step, codes.shape[1] - longest)
            fill = min(len(before) + window * step, codes.shape[1] - step) - start
            part = codes[:, start : start + longest]  # a view: the next window sees the codes that are written here
            for book in range(coarse_books, part.shape[2]):
                feeds = {"codebook_idx": np.array(book, np.int64), "input_ids": np.ascontiguousarray(part)}
                logits = self.session.run(feeds, ["logits"])["logits"][:, fill:, :size]
                part[:, fill:, book] = _chosen(logits, temperature, streams)
        return codes[:, len(before) : len(before) + frames].swapaxes(1, 2)


def _chosen(logits: Array, temperature: float | None, streams: RowStreams) -> Array:
    """Choose a code for each place, int64 (rows, frames), from float32 (rows, frames, codes)."""
    if temperature is None or temperature == 1.0:
        best: Array = logits.argmax(-1)
        return best
    mass = softmax(logits / np.float32(temperature)).astype(np.float64).cumsum(-1)
    drawn = np.stack([streams.uniform(row, mass.shape[1]) for row in range(len(mass))])
    places = (mass <= (drawn * mass[:, :, -1])[:, :, None]).sum(-1)
    return np.asarray(np.minimum(places, mass.shape[2] - 1))
