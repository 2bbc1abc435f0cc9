"""Lazy answers and the small datasets that pipelines accept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    AnswerT = TypeVar("AnswerT", default=Any)
else:  # a default is known to Python from 3.13 on
    from typing import TypeVar

    AnswerT = TypeVar("AnswerT")


class KeyDataset:
    """One column of a dataset: `KeyDataset(data, "text")[i] == data[i]["text"]`."""

    def __init__(self, dataset: Any, key: str) -> None:
        self.dataset = dataset
        self.key = key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Any:
        return self.dataset[i][self.key]


class KeyPairDataset:
    """Two columns of a dataset as text pairs: `{"text": ..., "text_pair": ...}`."""

    def __init__(self, dataset: Any, key1: str, key2: str) -> None:
        self.dataset = dataset
        self.key1 = key1
        self.key2 = key2

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = self.dataset[i]
        return {"text": row[self.key1], "text_pair": row[self.key2]}


class PipelineIterator(Generic[AnswerT]):
    """Iterate over answers, which are computed as they are requested.

    `len()` is known for datasets alone, and then counts batches, as in transformers.
    """

    def __init__(self, start: Callable[[], Iterator[AnswerT]], batches: int | None = None) -> None:
        self._start = start
        self._batches = batches
        self._running: Iterator[AnswerT] | None = None

    def __iter__(self) -> PipelineIterator[AnswerT]:
        # A dataset begins again; a generator continues, since what was read ahead of it cannot be read again.
        if self._running is None or self._batches is not None:
            self._running = self._start()
        return self

    def __next__(self) -> AnswerT:
        if self._running is None:
            self._running = self._start()
        return next(self._running)

    def __len__(self) -> int:
        if self._batches is None:
            raise TypeError("a generator has no len()")
        return self._batches


def is_dataset(inputs: Any) -> bool:
    """Whether `inputs` is a dataset: indexable and of known length, but not a type that is one example."""
    if isinstance(inputs, (str, bytes, bytearray, list, tuple, dict)) or hasattr(inputs, "__array__"):
        return False
    return hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__") and not hasattr(inputs, "keys")


def rows_of(dataset: Sequence[Any]) -> Iterator[Any]:
    """Iterate over the rows of a dataset by index (some datasets do not iterate)."""
    return (dataset[i] for i in range(len(dataset)))
