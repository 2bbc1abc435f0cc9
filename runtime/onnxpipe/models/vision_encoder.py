"""The vision encoder: opened when the first image comes, and run once for each image that it has not seen lately."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine import Session
from onnxpipe.models.base import Opener

Array = NDArray[Any]

#: What one run of the vision encoder is fed, with a leading axis of 1 where the encoder takes batches; also what it
#: gave for it: `image_features` (features, width), and what else the graph has.
Piece = Mapping[str, Array]

GRAPH = "vision_encoder"

#: Bytes of features that are kept: of SmolVLM 1,000 images of one tile, of LLaVA 27.
_KEPT = 256 << 20
#: Pieces of one run: more keep no more cores busy, and attention over them takes memory.
_AT_ONCE = 4


class VisionEncoder:
    """Encodes pieces of images; those of equal bytes once, however many rows, calls and turns of a chat have them.

    Args:
        opener: opens the bundle's graphs.
        batched: whether the graph takes several pieces in one run.
        kept: bytes of features that are kept for later calls.

    Attributes:
        runs: how many pieces the graph has been run on.
    """

    def __init__(self, opener: Opener, *, batched: bool, kept: int = _KEPT) -> None:
        self._opener, self._batched, self._kept = opener, batched, kept
        self._start()

    def _start(self) -> None:
        self._session: Session | None = None
        self._features: OrderedDict[bytes, Piece] = OrderedDict()
        self._size = 0
        self._lock = threading.RLock()
        self.runs = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made anew: the open graph and the features."""
        return {"_opener": self._opener, "_batched": self._batched, "_kept": self._kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    @property
    def session(self) -> Session:
        """The graph; it is opened here the first time."""
        with self._lock:
            if self._session is None:
                self._session = self._opener(GRAPH)[0]
            return self._session

    @property
    def is_open(self) -> bool:
        """Whether the graph has been needed so far."""
        return self._session is not None

    def encode(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Encode pieces: the graph's outputs for each, without the leading axis.

        Raises:
            ValueError: images of a size that the graph does not take.
        """
        with self._lock:
            keys = [_digest(piece) for piece in pieces]
            found = {key: self._features[key] for key in keys if key in self._features}
            missing = {key: piece for key, piece in zip(keys, pieces, strict=True) if key not in found}
            for group in _by_shape(missing) if self._batched else [[key] for key in missing]:
                found.update(zip(group, self._run([missing[key] for key in group]), strict=True))
            for key in dict.fromkeys(keys):
                self._keep(key, found[key])
            return [found[key] for key in keys]

    def _run(self, pieces: Sequence[Piece]) -> list[Piece]:
        session = self.session
        names = [name for name in pieces[0] if name in session.inputs]
        outputs = session.run({name: np.concatenate([piece[name] for piece in pieces]) for name in names})
        self.runs += len(pieces)
        if not self._batched:
            return [outputs]
        return [{name: _of_piece(value, place, len(pieces)) for name, value in outputs.items()}
                for place in range(len(pieces))]  # fmt: skip

    def _keep(self, key: bytes, features: Piece) -> None:
        """Keep features as the newest, and forget the oldest beyond the limit."""
        if key not in self._features:
            self._size += _size(features)
        self._features[key] = features
        self._features.move_to_end(key)
        while self._size > self._kept and self._features:
            _, oldest = self._features.popitem(last=False)
            self._size -= _size(oldest)


def _digest(piece: Piece) -> bytes:
    digest = hashlib.blake2b(digest_size=20)
    for name, value in sorted(piece.items()):
        digest.update(f"{name} {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.digest()


def _by_shape(pieces: dict[bytes, Piece]) -> list[list[bytes]]:
    """Group pieces that can share a run."""
    groups: dict[tuple[Any, ...], list[bytes]] = {}
    for key, piece in pieces.items():
        groups.setdefault(tuple(value.shape for value in piece.values()), []).append(key)
    return [keys[at : at + _AT_ONCE] for keys in groups.values() for at in range(0, len(keys), _AT_ONCE)]


def _of_piece(value: Array, place: int, count: int) -> Array:
    """Take a piece's part of an output; a vector is the model's own, and the same for all."""
    if value.ndim < 2:
        return value
    parts = value if value.ndim > 2 else value.reshape(count, -1, value.shape[-1])
    return np.array(parts[place])  # a copy, so that one that is kept does not hold the others


def _size(features: Piece) -> int:
    return sum(value.nbytes for value in features.values())
