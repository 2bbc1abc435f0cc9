"""What the config of a TAPAS says of tables and aggregations, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpipe.bundle import Config
from onnxpipe.errors import BundleError
from onnxpipe.processing.text.tapas.tokenizer import TOKEN_TYPES, TableLimits, TapasTokenizer

_COUNTS = ("max_num_rows", "max_num_columns", "max_position_embeddings")


@dataclass(frozen=True)
class TapasSettings:
    """The settings of a model.

    Attributes:
        aggregations: the names of its aggregations, by number; empty for a model that has none.
        none: the number of the one that means no aggregation; None if there is none.
        sizes: for each token type how many values it has; None if the config does not tell.
        counts: the most rows, columns and positions, as far as the config tells.
        resets_positions: whether positions begin anew in every cell, so that any length is possible.
    """

    aggregations: tuple[str, ...]
    none: int | None
    sizes: tuple[int, ...] | None
    counts: Mapping[str, int]
    resets_positions: bool

    @classmethod
    def of(cls, config: Config | Mapping[str, Any], name: str) -> TapasSettings:
        """Read them from a config.

        Args:
            config: its values.
            name: names the model in errors.

        Raises:
            BundleError: a value of another type, or fewer names than aggregations.
        """
        sizes = config.get("type_vocab_sizes")
        if sizes is not None and not (isinstance(sizes, (list, tuple)) and len(sizes) == len(TOKEN_TYPES)):
            raise BundleError(f"{name}: type_vocab_sizes must be {len(TOKEN_TYPES)} numbers, not {sizes!r:.80}")
        for each in sizes or ():
            _count("type_vocab_sizes", each, name)
        counts = {key: _count(key, config.get(key), name) for key in _COUNTS if config.get(key) is not None}
        labels, count = config.get("aggregation_labels"), config.get("num_aggregation_labels") or 0
        if labels is not None and not isinstance(labels, Mapping):
            raise BundleError(f"{name}: aggregation_labels must be an object, not {labels!r:.80}")
        names = {str(number): str(label) for number, label in (labels or {}).items()}
        wanted = _count("num_aggregation_labels", count, name) if count and names else 0
        missing = [number for number in range(min(wanted, len(names) + 1)) if str(number) not in names]
        if missing:
            raise BundleError(f"{name}: the model has {wanted} aggregations, and aggregation_labels no {missing[0]}")
        return cls(
            aggregations=tuple(names[str(number)] for number in range(wanted)),
            none=config.get("no_aggregation_label_index"),
            sizes=None if sizes is None else tuple(sizes),
            counts=counts,
            resets_positions=bool(config.get("reset_position_index_per_cell", True)),
        )

    def limits(self, tokenizer: TapasTokenizer) -> TableLimits:
        """Return what the model takes: what the tokenizer says, or what the embeddings have room for if that is less.

        Args:
            tokenizer: the model's.
        """
        length, rows, columns = tokenizer.model_max_length, [tokenizer.max_row_id], [tokenizer.max_column_id]
        if not self.resets_positions:
            length = min(length, self.counts.get("max_position_embeddings", length))
        if self.sizes is not None:
            rows.append(self.sizes[2])
            columns.append(self.sizes[1])
        rows += [self.counts[key] for key in ("max_num_rows",) if key in self.counts]
        columns += [self.counts[key] for key in ("max_num_columns",) if key in self.counts]
        ranks = None if self.sizes is None else (self.sizes[4] - 1, self.sizes[5] - 1)
        return TableLimits(length, min(rows), min(columns), ranks)


def _count(key: str, value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BundleError(f"{name}: {key} must be a whole number of at least 1, not {value!r:.80}")
    return value
