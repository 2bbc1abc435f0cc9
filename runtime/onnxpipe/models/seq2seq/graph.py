"""The graphs of an encoder-decoder model, in each of the forms that exporters write.

- "encoder_model" with "decoder_model_merged": ours, optimum's (an `If` on `use_cache_branch`) and transformers.js's;
- "encoder_model" with "decoder_model" for the first tokens and "decoder_with_past_model" for the others;
- "encoder_model" with a "decoder_model" alone, which keeps nothing: each step runs the whole rows again.

The decoder of a VisionEncoderDecoder may be a model such as GPT-2, which optimum writes with the caches of a model
without an encoder (past_key_values.N.key): it computes keys and values of the encoded states at each step.

In ours the rows of the decoder may be several times those of the encoder (`shared`): the beams of a prompt attend
to one copy of its encoded states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle, Config
from onnxpipe.engine import Session
from onnxpipe.engine.binding import DeviceArray
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.cache_shape import cache_shape, warn_uncached
from onnxpipe.models.seq2seq.inputs import full_mask
from onnxpipe.processing.arrays import to_array

Array = NDArray[Any]


_ENCODED = ("last_hidden_state", "encoder_attention_mask")


@dataclass
class Encoded:
    """The encoder's output for a batch, for decodings of it.

    Attributes:
        owner: the graphs that computed it.
        states: float32 (prompts, length, width).
        mask: int64 (prompts, length), 1 except for padding; None where the decoder takes none.
        cross: keys and values of the cross-attention: computed by the first decoding, and taken from here by the
            others if the graph can begin with them.
    """

    owner: Seq2SeqGraphs
    states: DeviceArray
    mask: Array | None
    cross: dict[str, DeviceArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.states.shape[0])

    def select(self, prompts: Array) -> Encoded:
        """Select prompts by number, int64 (n,); one may come several times."""
        if len(prompts) == len(self) and (prompts == np.arange(len(self))).all():
            return self
        cross = {name: cache.select(prompts) for name, cache in self.cross.items()}
        mask = None if self.mask is None else self.mask[prompts]
        return Encoded(self.owner, self.states.select(prompts), mask, cross)


class Seq2SeqGraphs:
    """An encoder-decoder model's sessions.

    Attributes:
        encoder: the encoder.
        first: the decoder that runs the first tokens.
        steps: the one that runs the others; often the same.
        precision: of that one.
        uncached: whether it keeps nothing between steps.
        shared: whether the decoder's rows may be a multiple of the encoder's.
        own, cross: names of the caches of self- and cross-attention in the inputs to their names in the outputs; of the
            latter there may be none.
    """

    def __init__(self, encoder: Session, first: Session, steps: Session, precision: str, config: Config) -> None:
        self.encoder, self.first, self.steps, self.precision = encoder, first, steps, precision
        names = {
            n: n.replace("past_key_values", "present", 1) for n in steps.inputs if n.startswith("past_key_values.")
        }
        self.own = {name: out for name, out in names.items() if ".encoder." not in name}
        self.cross = {name: out for name, out in names.items() if ".encoder." in name}
        missing = [out for out in names.values() if out not in first.outputs]
        lacks_cross = not self.cross and any(".decoder." in name for name in self.own)
        self.uncached = not names and "logits" in first.outputs
        if not (self.own or self.uncached) or lacks_cross or missing or "encoder_hidden_states" not in first.inputs:
            raise UnsupportedError(
                f"{steps.path} cannot generate: it lacks caches (past_key_values.N.decoder.key, N.encoder.key, ...). "
                "Export the model again: onnxpipe export MODEL --task text2text-generation -o DIR"
            )
        self.shared = _apart(first)
        self._shapes = {name: cache_shape(steps, name, config) for name in names}

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener) -> Seq2SeqGraphs:
        """Load the graphs of a bundle, in whichever form it has them."""
        available = bundle.graphs.keys()
        merged = "decoder_model_merged" in available
        pair: tuple[str, ...] = ("decoder_model_merged",) if merged else ("decoder_model", "decoder_with_past_model")
        if "decoder_model" in available and pair[-1] not in available:
            pair = pair[:1]
        missing = [name for name in ("encoder_model", *pair) if name not in available]
        if missing:
            raise UnsupportedError(
                f"{bundle.folder} is not an encoder-decoder model: it has {', '.join(sorted(available))}, but not "
                f"{', '.join(missing)}"
            )
        encoder, _ = opener("encoder_model")
        steps, precision = opener(pair[-1])
        graphs = cls(encoder, steps if len(pair) == 1 else opener(pair[0])[0], steps, precision, bundle.config)
        if graphs.uncached:
            warn_uncached(steps, bundle.tasks[0] if bundle.tasks else "text2text-generation")
        return graphs

    def encode(self, feeds: Mapping[str, Array], mask: Array | None) -> Encoded:
        """Encode a batch.

        Args:
            feeds: the encoder's inputs.
            mask: int64 (prompts, length): the mask of its states, unless it gives one of its own (audio encoders do:
                they have fewer states than frames); None where the decoder takes none.
        """
        outputs = self.encoder.run(feeds, [name for name in _ENCODED if name in self.encoder.outputs])
        return self.encoded(outputs["last_hidden_state"], outputs.get("encoder_attention_mask", mask))

    def encoded(self, states: Array, mask: Any) -> Encoded:
        """Wrap states that are encoded already.

        Args:
            states: float32 (prompts, length, width).
            mask: int (prompts, length), 1 except for padding; None for all ones. Without effect if the decoder takes
                none.

        Raises:
            ValueError: the mask has another shape.
        """
        masked = "encoder_attention_mask" in self.steps.inputs
        return Encoded(
            self, DeviceArray.of(states, self.steps.device), full_mask(states.shape[:2], mask) if masked else None
        )

    def whole(self, tokens: Array, encoded: Encoded, outputs: Sequence[str]) -> dict[str, Array]:
        """Run the decoder over whole rows, int64 (rows, length), without keeping a cache."""
        kept = encoded.cross if self.shared else {}
        session = self.steps if kept else self.first
        feeds: dict[str, Any] = {"encoder_hidden_states": encoded.states.numpy()}
        feeds |= self.feeds(tokens, encoded.mask, cached=bool(kept))
        caches = self.buffers({**self.own, **self.cross}, len(tokens), 0) | kept
        feeds |= {name: value.numpy() for name, value in caches.items() if name in session.inputs}
        return session.run(feeds, outputs)

    def buffers(self, names: Mapping[str, str], rows: int, length: int) -> dict[str, DeviceArray]:
        """Make caches with arbitrary content, float (rows, heads, length, head size), for the inputs in `names`."""
        buffers = {}
        for name in names:
            heads, size = self._shapes[name]
            spec, device = self.steps.inputs[name], self.steps.device
            buffers[name] = DeviceArray.of(np.empty((rows, heads, length, size), spec.dtype), device)
        return buffers

    def feeds(self, input_ids: Array, mask: Array | None, *, cached: bool) -> dict[str, Array]:
        """Make the feeds of a decoder run besides caches and encoded states; inputs it does not have are left out."""
        feeds = {"input_ids": input_ids, "encoder_attention_mask": mask, "use_cache_branch": np.array([cached])}
        known = (self.steps if cached else self.first).inputs
        return {name: value for name, value in feeds.items() if value is not None and name in known}


def encoder_states(outputs: Any) -> Array:
    """Take the states from an encoder's output: an array, a tuple that begins with it, or a mapping that names it."""
    first = outputs["last_hidden_state"] if isinstance(outputs, Mapping) else outputs
    return to_array(first[0] if isinstance(first, tuple | list) else first)


def _apart(session: Session) -> bool:
    """Whether the graph gives the decoder's batch axis another name than the encoder's."""
    own, encoded = (session.inputs[name].shape[0] for name in ("input_ids", "encoder_hidden_states"))
    return isinstance(own, str) and isinstance(encoded, str) and own != encoded
