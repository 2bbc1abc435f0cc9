"""Turn texts into rows: one example, one encoding, or several texts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.tokenizer import Tokenizer


def text_rows(tokenizer: Tokenizer, value: Any, kwargs: Mapping[str, Any]) -> list[Row]:
    """Tokenize one example. A str has one row; anything else (a tuple of texts) is one call to the tokenizer, as in
    transformers, and its texts must have equal lengths in tokens.

    Args:
        tokenizer: the model's.
        value: the example.
        kwargs: keywords of the tokenizer's call.
    """
    if isinstance(value, str):
        return [text_row(tokenizer, tokenizer(value, **kwargs))]
    encoding = tokenizer(value, **{**kwargs, "return_tensors": "np"})
    count = len(encoding["input_ids"])
    return [text_row(tokenizer, {name: rows[i] for name, rows in encoding.items()}) for i in range(count)]


#: Keywords of a tokenizer's call with which a text has the same row alone and among others.
_ROW_BY_ROW = frozenset({"add_special_tokens", "max_length", "truncation"})


def rows_of_texts(
    tokenizer: Tokenizer, values: Sequence[Any], kwargs: Mapping[str, Any], extra: Any = None
) -> list[Row] | None:
    """Tokenize texts in one call, each to a row as `text_row` builds it.

    Args:
        tokenizer: the model's.
        values: the inputs.
        kwargs: keywords of the tokenizer's call.
        extra: that of each row.

    Returns:
        The rows; None if an input is not a text, or its row would depend on the others'.
    """
    if kwargs.keys() - _ROW_BY_ROW or not all(isinstance(value, str) for value in values):
        return None
    encoding = tokenizer(list(values), **kwargs)
    columns = [(name, encoding[name]) for name in tokenizer.model_input_names if name in encoding]
    return [
        Row({name: np.array(column[i], np.int64) for name, column in columns}, len(ids), extra)
        for i, ids in enumerate(encoding["input_ids"])
    ]


def text_row(tokenizer: Tokenizer, encoding: Mapping[str, Any], extra: Any = None) -> Row:
    """Build the row of one encoded text: the tokenizer's outputs that models read, as int64 of shape (tokens,)."""
    values = encoding.data if isinstance(encoding, BatchEncoding) else encoding
    feeds = {k: np.asarray(values[k], np.int64) for k in tokenizer.model_input_names if k in values}
    return Row(feeds, len(feeds["input_ids"]), extra)
