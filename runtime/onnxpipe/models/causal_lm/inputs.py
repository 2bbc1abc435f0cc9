"""The tokens that a causal decoder's graph is fed: their ids, or the embeddings that another graph finds for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine import Session
from onnxpipe.errors import BundleError

Array = NDArray[Any]


class DecoderInputs(Protocol):
    """Makes what a decoder's graph is fed for the tokens of a decoding, besides mask and caches."""

    def prompt(self, inside: Array, places: Array) -> dict[str, Array]:
        """Make the feeds of the prompts.

        Args:
            inside: bool (prompts, width): where a prompt's tokens are; the rest is padding.
            places: int64 (prompts, width): each token's place in its row, 0 for padding.
        """

    def step(self, tokens: Array, places: Array, origin: Array) -> dict[str, Array]:
        """Make the feeds of new tokens.

        Args:
            tokens: int64 (rows, n).
            places: int64 (rows, n): each token's place in its row.
            origin: int64 (rows,): the number of each row's prompt.
        """


@dataclass(frozen=True)
class TokenIds:
    """Feeds ids: `input_ids` and `position_ids`.

    Attributes:
        prompts: int64 (length,) each, without padding.
    """

    prompts: Sequence[Array]

    def prompt(self, inside: Array, places: Array) -> dict[str, Array]:
        """See `DecoderInputs.prompt`."""
        return {"input_ids": spread(self.prompts, inside), "position_ids": places}

    def step(self, tokens: Array, places: Array, origin: Array) -> dict[str, Array]:
        """See `DecoderInputs.step`."""
        return {"input_ids": np.ascontiguousarray(tokens), "position_ids": places}


class TokenEmbeddings:
    """The graph `embed_tokens`: from ids to `inputs_embeds`, and to what else a decoder takes for each token.

    Args:
        session: the graph.
    """

    def __init__(self, session: Session) -> None:
        if "input_ids" not in session.inputs or "inputs_embeds" not in session.outputs:
            raise BundleError(
                f"{session.path} does not turn input_ids into inputs_embeds: it has the inputs "
                f"{', '.join(session.inputs)} and the outputs {', '.join(session.outputs)}"
            )
        self.session = session

    def __call__(self, ids: Array) -> dict[str, Array]:
        """Embed int64 (rows, n): `inputs_embeds` float32 (rows, n, width), and the graph's further outputs."""
        return self.session.run({"input_ids": np.ascontiguousarray(ids)})


@dataclass(frozen=True)
class TokenFeature:
    """A further input of the decoder with a value for each token.

    Attributes:
        prompts: the values of each prompt's tokens, (length, ...).
        generated: the value of every generated token; also of padding.
    """

    prompts: Sequence[Array]
    generated: float = 0


@dataclass(frozen=True)
class Positions:
    """The positions of tokens, where they are not their places in the row.

    Attributes:
        prompts: for each prompt int64 (axes, length); one axis gives `position_ids` (rows, n), several (axes, rows, n).
        shift: int64 (prompts,): what a generated token's position is beyond its place in the row.
    """

    prompts: Sequence[Array]
    shift: Array


@dataclass(frozen=True)
class EmbeddedTokens:
    """Feeds embeddings, some of which come from elsewhere than the vocabulary: from images and videos.

    Attributes:
        embeddings: embeds ids.
        prompts: int64 (length,) each, without padding.
        token_ids: the placeholders whose embeddings are replaced.
        features: float32 (placeholders of all prompts, width): what replaces them, in the prompts' order.
        positions: the positions, where they are not places.
        extra: further inputs of the decoder, by name.
    """

    embeddings: TokenEmbeddings
    prompts: Sequence[Array]
    token_ids: Sequence[int] = ()
    features: Array | None = None
    positions: Positions | None = None
    extra: Mapping[str, TokenFeature] = field(default_factory=dict)

    def prompt(self, inside: Array, places: Array) -> dict[str, Array]:
        """See `DecoderInputs.prompt`."""
        ids = spread(self.prompts, inside)
        marks = np.isin(ids, self.token_ids) & inside
        feeds = self.embeddings(np.where(marks, 0, ids))  # a placeholder's id may be beyond the vocabulary
        if self.features is not None and marks.any():
            embeds = np.array(feeds["inputs_embeds"])
            embeds[marks] = self.features
            feeds["inputs_embeds"] = embeds
        feeds["position_ids"] = places
        if self.positions is not None:
            spread_axes = [spread(axis, inside) for axis in zip(*self.positions.prompts, strict=True)]
            feeds["position_ids"] = spread_axes[0] if len(spread_axes) == 1 else np.stack(spread_axes)
        for name, feature in self.extra.items():
            feeds[name] = spread(feature.prompts, inside, feature.generated)
        return feeds

    def step(self, tokens: Array, places: Array, origin: Array) -> dict[str, Array]:
        """See `DecoderInputs.step`."""
        feeds = self.embeddings(tokens)
        feeds["position_ids"] = places
        if self.positions is not None:
            moved = places + self.positions.shift[origin][:, None]
            axes = len(self.positions.prompts[0])
            feeds["position_ids"] = moved if axes == 1 else np.repeat(moved[None], axes, axis=0)
        for name, feature in self.extra.items():
            known = feature.prompts[0]
            feeds[name] = np.full((*tokens.shape, *known.shape[1:]), feature.generated, known.dtype)
        return feeds


def spread(rows: Sequence[Array], inside: Array, fill: float = 0) -> Array:
    """Lay rows of values (length, ...) out where `inside`, bool (rows, width), is true: (rows, width, ...)."""
    values = np.concatenate(rows)
    laid = np.full((*inside.shape, *values.shape[1:]), fill, values.dtype)
    laid[inside] = values
    return laid


def one_row(feeds: Mapping[str, Array], row: int, columns: Array) -> dict[str, Array]:
    """Take what is fed for some tokens of one row, of what `DecoderInputs.prompt` gave for all rows.

    Args:
        feeds: arrays (rows, width, ...); only positions may have axes before these.
        row: its number.
        columns: int64 (n,): where its tokens are.
    """
    taken = {}
    for name, value in feeds.items():
        axis = value.ndim - 2 if name == "position_ids" else 0
        taken[name] = np.ascontiguousarray(value.take([row], axis).take(columns, axis + 1))
    return taken
