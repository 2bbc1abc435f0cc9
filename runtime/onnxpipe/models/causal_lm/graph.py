"""The graphs of a causal language model, in each of the forms that exporters write, behind one interface.

- ours and newer ones on the Hub: one graph "model" for prompt and steps, with `past_key_values.N.key/value`;
- older ones of optimum and transformers.js: "decoder_model_merged" with a switch `use_cache_branch`;
- "decoder_model" for the prompt and "decoder_with_past_model" for the steps;
- any of the first three without caches, as `use_cache=False` exports them: each step runs the whole rows again.

Some layers keep a state instead of keys and values (the convolutions of LFM2, Mamba's): `past_conv.N`, `past_ssm.N`.

A graph with ONNX Runtime's GroupQueryAttention takes rows of different lengths that begin at position 0 (`ragged`);
every other takes rows padded on the left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle, Config
from onnxpipe.bundle.graph_reader import operators
from onnxpipe.engine import Session
from onnxpipe.engine.binding import Binding, DeviceArray, StateArray
from onnxpipe.errors import RowTooLongError, UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.cache_shape import cache_shape, kept_arrays, state_shape, warn_uncached
from onnxpipe.models.causal_lm.inputs import one_row

Array = NDArray[Any]

#: What a graph is fed besides tokens and caches, if it has such inputs.
_FED = ("attention_mask", "num_logits_to_keep", "use_cache_branch")

#: Scalings of rotary positions whose frequencies change with a row's length; most graphs have those of short rows.
_BY_LENGTH = ("dynamic", "longrope", "su")


class CausalGraph:
    """A causal model's sessions.

    Attributes:
        session: the one that runs the steps.
        precision: of that one.
        uncached: whether it keeps nothing between steps.
        ragged: whether rows of different lengths begin at position 0, and buffers of past and present are shared.
        caches: names of a cached array in the inputs ("past_key_values.0.key") to their names in the outputs.
        states: names of those that do not grow, in the inputs, to the shape of a row.
        changes_after: tokens of a row beyond which its rotary frequencies are others; None where they never are, or
            where the graph has no others.
    """

    def __init__(
        self, prompt: Session, steps: Session, precision: str, config: Config, changes_after: int | None = None
    ) -> None:
        self.prompt, self.session, self.precision, self._config = prompt, steps, precision, config.get_text_config()
        growing, states = kept_arrays(steps)
        self.caches = {**growing, **states}
        self._constant = _constant_positions(self._config)
        # graphs of onnxruntime-genai choose between two tables, for all rows of a batch at once
        one_set = self._constant is not None and changes_after is None
        self._of_batch = one_set and "If" in operators(steps.path)
        self.changes_after = self._constant if self._of_batch else changes_after
        missing = [name for name in growing.values() if name not in steps.outputs]
        self.uncached = not self.caches and "logits" in steps.outputs
        self.ragged = not self.uncached and "GroupQueryAttention" in operators(steps.path)
        if not (self.caches or self.uncached) or missing:
            raise UnsupportedError(
                f"{steps.path} cannot generate: it has no cache (past_key_values.N.key in, present.N.key out). "
                "Export the model again: onnxpipe export MODEL --task text-generation -o DIR"
            )
        self._heads = {name: cache_shape(steps, name, self._config) for name in growing}
        self.states = {name: state_shape(steps, name) for name in states}

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener) -> CausalGraph:
        """Load the graphs of a bundle, in whichever form it has them."""
        available = bundle.graphs.keys()
        pair = ("decoder_model", "decoder_with_past_model")
        if "encoder_model" in available:
            raise UnsupportedError(
                f"{bundle.folder} is an encoder-decoder model, not a causal one: AutoModelForSeq2SeqLM and the tasks "
                "text2text-generation, summarization and translation load it"
            )
        alone = ("model", "decoder_model_merged", *(() if pair[1] in available else pair[:1]))
        for name in alone:
            if name in available:
                session, precision = opener(name)
                graph = cls(session, session, precision, bundle.config, bundle.changes_after)
                if graph.uncached:
                    warn_uncached(session, "text-generation")
                return graph
        if not all(name in available for name in pair):
            what = f". It is {bundle.foreign}" if bundle.foreign else ""
            raise UnsupportedError(
                f"{bundle.folder} is not a causal language model: it has {', '.join(sorted(available))}, but neither "
                f"model nor decoder_model_merged nor decoder_model with decoder_with_past_model{what}"
            )
        steps, precision = opener(pair[1])
        return cls(opener(pair[0])[0], steps, precision, bundle.config)

    def check_inputs(self, given: Collection[str]) -> None:
        """Refuse a graph with an input that nothing here gives.

        Args:
            given: what is fed for tokens.

        Raises:
            UnsupportedError: it has one.
        """
        known = {*given, *_FED, *self.caches}
        unknown = [name for name in (*self.prompt.inputs, *self.session.inputs) if name not in known]
        if unknown:
            raise UnsupportedError(
                f"{self.session.path} cannot generate: it takes {unknown[0]!r}, which is none of the tokens' inputs "
                f"({', '.join(given)}), of the masks' or of the caches' (an input past... with an output present...)"
            )

    @property
    def gives_hidden(self) -> bool:
        """Whether the graph gives the last hidden states."""
        return "last_hidden_state" in self.session.outputs and self.prompt is self.session

    def buffers(self, rows: int, room: int) -> dict[str, DeviceArray]:
        """Make empty caches, float (rows, key-value heads, room, head size) each, and states of zeros."""
        inputs, device = self.session.inputs, self.session.device
        buffers = {
            name: DeviceArray((rows, heads, room, size), inputs[name].dtype, device)
            for name, (heads, size) in self._heads.items()
        }
        return buffers | self.new_states(rows)

    @property
    def token_bytes(self) -> int:
        """The bytes that one token of a row takes in the caches."""
        inputs = self.session.inputs
        return sum(heads * size * inputs[name].dtype.itemsize for name, (heads, size) in self._heads.items())

    def new_states(self, rows: int) -> dict[str, DeviceArray]:
        """Make states of zeros: what rows begin with."""
        inputs, device = self.session.inputs, self.session.device
        return {name: StateArray((rows, *shape), inputs[name].dtype, device) for name, shape in self.states.items()}

    def check_crop(self) -> None:
        """Refuse to forget tokens of a row where a state has taken them in.

        Raises:
            UnsupportedError: the graph has states.
        """
        if self.states:
            raise UnsupportedError(
                f"{self.session.path} keeps states ({next(iter(self.states))}), from which a token cannot be taken "
                "back: assisted generation (assistant_model, prompt_lookup_num_tokens) does not work with this model"
            )

    def feeds(self, tokens: Mapping[str, Array], mask: Array, keep: int, *, cached: bool) -> dict[str, Array]:
        """Make the feeds of a run besides the caches; inputs that the graph does not have are left out.

        Args:
            tokens: the new tokens and their positions, as `onnxpipe.models.causal_lm.inputs.DecoderInputs` gives them.
            mask: int64 (rows, cached and new tokens).
            keep: how many of the last tokens' logits are needed; 0 for all.
            cached: whether anything is in the caches.
        """
        feeds = {
            **tokens,
            "attention_mask": mask,
            "num_logits_to_keep": np.array(keep, np.int64),
            "use_cache_branch": np.array([cached]),
        }
        known = (self.session if cached else self.prompt).inputs
        return {name: value for name, value in feeds.items() if name in known}

    def check_length(self, length: int, rows: int) -> None:
        """Refuse rows that are longer than the graph is right for.

        Args:
            length: of the longest row.
            rows: how many rows run together.

        Raises:
            RowTooLongError: they are.
        """
        constant = self._constant
        if constant is None or length <= constant or (self.changes_after is not None and not self._of_batch):
            return
        if self.changes_after is None:
            raise _too_long(length, constant)
        if rows > 1:
            raise RowTooLongError(
                f"a row has {length} tokens, and from {constant + 1} on {self.session.path} rotates all rows of a "
                "batch as long ones, which changes the answers of shorter rows: run them one by one (batch_size=1)"
            )

    def explained(self, error: RuntimeError, length: int) -> RuntimeError:
        """The error, or a clearer one if a row of `length` tokens is beyond the model's positions."""
        limit = _positions(self._config) if self._constant is None or self.changes_after else self._constant
        return error if limit is None or length <= limit else _too_long(length, limit)

    def logits(self, output: Array, positions: Array, keep: int) -> Array:
        """Take the last `keep` real positions of the graph's output: float32 (rows, keep, vocabulary)."""
        if output.shape[1] == keep:
            return output
        if not self.ragged:  # padded on the left
            return output[:, -keep:]
        last = positions.argmax(axis=1)
        wanted = np.maximum(last[:, None] + np.arange(1 - keep, 1), 0)
        return np.asarray(np.take_along_axis(output, wanted[:, :, None], axis=1))


def _too_long(length: int, limit: int) -> RowTooLongError:
    return RowTooLongError(
        f"a row has {length} tokens and the model has positions for {limit}: pass a smaller max_new_tokens (or "
        f"max_length={limit}), or cut the prompt (truncation=True; handle_long_generation='hole' in pipelines)"
    )


def _positions(config: Config) -> int | None:
    """How many positions a row has."""
    limit = config.get("max_position_embeddings")
    return limit if isinstance(limit, int) else None


def _constant_positions(config: Config) -> int | None:
    """How many tokens a row may have before its rotary frequencies are others; None where they never are."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping) or scaling.get("rope_type", scaling.get("type")) not in _BY_LENGTH:
        return None
    original = scaling.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    limit = original or _positions(config)
    return limit if isinstance(limit, int) else None


class Runner:
    """Runs a causal model's graphs for one decoding, with bound caches."""

    def __init__(self, graph: CausalGraph, hidden: bool) -> None:
        if hidden and not graph.gives_hidden:
            raise UnsupportedError(
                f"{graph.session.path} has no output last_hidden_state, which contrastive search needs: export the "
                "model again with this onnxpipe"
            )
        self._graph = graph
        self._wanted = ("logits", "last_hidden_state") if hidden else ("logits",)
        self._steps = Binding(graph.session)
        self._prompt = self._steps if graph.prompt is graph.session else Binding(graph.prompt)
        self._present: Mapping[str, DeviceArray] = {}
        self._outputs: dict[str, DeviceArray] = {}  # the same by the names of the outputs
        self.hidden: Array | None = None

    def run(
        self,
        tokens: Mapping[str, Array],
        mask: Array,
        positions: Array,
        keep: int,
        past: Mapping[str, DeviceArray],
        present: Mapping[str, DeviceArray],
        *,
        cached: bool,
    ) -> Array:
        """Compute the logits, float32 (rows, keep, vocabulary), in memory that the next run uses again.

        See `CausalGraph.feeds`. `positions` are places in a row, int64 (rows, new). `present` is filled, and may be
        `past`: what stays the same mapping from run to run is bound once, so neither may be changed.
        """
        graph, longest = self._graph, int(positions.max()) + 1
        graph.check_length(longest, len(positions))
        feeds: dict[str, Any] = graph.feeds(tokens, mask, keep, cached=cached)
        binding = self._steps if cached else self._prompt
        outputs: dict[str, DeviceArray | None] = dict.fromkeys(self._wanted)
        width = keep if "num_logits_to_keep" in feeds else positions.shape[1]
        place = outputs["logits"] = binding.buffer("logits", (len(positions), width))
        if present is not self._present:
            self._present, self._outputs = present, {graph.caches[name]: value for name, value in present.items()}
        binding.hold(past if cached or graph.prompt is graph.session else {}, self._outputs)
        try:
            found = binding.run(feeds, outputs)
        except RuntimeError as error:
            raise graph.explained(error, longest) from error
        self.hidden = found.get("last_hidden_state")
        return graph.logits(found["logits"] if place is None else place.numpy(), positions, keep)

    def run_apart(self, tokens: Mapping[str, Array], inside: Array, caches: Mapping[str, DeviceArray]) -> Array:
        """Compute the logits after prompts of different lengths one by one, float32 (rows, 1, vocabulary).

        A state would take the padding in: some graphs leave it out by the mask, others do not.

        Args:
            tokens: as in `run`, of all rows.
            inside: bool (rows, width): where a row's tokens are.
            caches: those of all rows, with room for the width at least; they are filled.
        """
        parts: list[Array] = []
        hidden: list[Array] = []
        for row, shown in enumerate(inside):
            columns = np.flatnonzero(shown)
            places = np.arange(len(columns))[None]
            past = self._graph.buffers(1, len(columns) if self._graph.ragged else 0)
            present = self._graph.buffers(1, len(columns))
            if self._graph.ragged:
                present = {**past, **self._graph.new_states(1)}
            alone = one_row(tokens, row, columns)
            parts.append(self.run(alone, np.ones_like(places), places, 1, past, present, cached=False).copy())
            for name, cache in caches.items():
                cache.put(row, present[name], columns)
            if self.hidden is not None:
                hidden.append(np.pad(self.hidden, ((0, 0), (inside.shape[1] - len(columns), 0), (0, 0))))
        self.hidden = np.concatenate(hidden) if hidden else None
        return np.concatenate(parts)
