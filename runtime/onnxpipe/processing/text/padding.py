"""Pad rows that were encoded separately: `tokenizer.pad`, which data collators call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.strategies import Limits, PaddingStrategy, resolve
from onnxpipe.processing.text.vocabulary import Vocabulary

Rows = dict[str, list[Any]]


class PaddingMixin(Vocabulary):
    """Adds padding to a tokenizer: `pad`.

    Attributes:
        model_input_names: the rows that a call returns by default; lengths are those of the first.
        model_max_length: the most tokens that the model accepts.
        padding_side, truncation_side: "right" or "left".
        pad_token_type_id: the token type of padding.
    """

    model_input_names: list[str]
    model_max_length: int
    padding_side: str
    truncation_side: str
    pad_token_type_id: int

    def pad(
        self,
        encoded_inputs: Any,
        padding: Any = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: Any = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad encodings that were made separately to a common length.

        Args:
            encoded_inputs: a list of encodings, or one dict of rows (or of one row); lists or arrays.
            padding, max_length, pad_to_multiple_of, padding_side: as in the call.
            return_attention_mask: None to follow `model_input_names`.
            return_tensors: "np" for arrays; None returns arrays if the input has arrays.
            verbose: warn where `max_length` has no effect.

        Raises:
            ValueError: no `input_ids`, no padding token, or rows of different lengths with `return_tensors`.
        """
        check_tensor_type(return_tensors)
        main = self.model_input_names[0]
        rows, batched, arrays = collect(encoded_inputs, main)
        limits = Limits(self.model_max_length, self.truncation_side, self.padding_side)
        strategy, _, _ = resolve(
            limits, padding, None, max_length, 0, pad_to_multiple_of, padding_side, verbose=verbose
        )
        if strategy is not None:
            self._need_pad_token()
        mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        fills = {
            main: self.pad_token_id or 0,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
        }
        padded = pad_rows(rows, main, strategy, fills, mask) if rows[main] else rows
        data: dict[str, Any] = dict(padded) if batched else {name: value[0] for name, value in padded.items()}
        return BatchEncoding(data, None, "np" if return_tensors is None and arrays else return_tensors)

    def _pad(self, encodings: Sequence[Any], padding: PaddingStrategy) -> None:
        target = padding.target(max(map(len, encodings)))
        kwargs = {"direction": padding.side, "pad_id": self.pad_token_id, "pad_token": self.pad_token}
        for encoding in encodings:
            encoding.pad(target, pad_type_id=self.pad_token_type_id, **kwargs)

    def _need_pad_token(self) -> None:
        if self.pad_token_id is None:
            raise ValueError(
                "Asking to pad but the tokenizer does not have a padding token. "
                "Please select a token to use as `pad_token` `(tokenizer.pad_token = tokenizer.eos_token e.g.)` "
                "or add a new pad token via `tokenizer.add_special_tokens({'pad_token': '[PAD]'})`."
            )


def collect(encoded: Any, main: str) -> tuple[Rows, bool, bool]:
    """Convert encodings to lists of rows by name.

    Args:
        encoded: a dict of rows, a dict of one row, or a list of dicts of one row; lists or arrays.
        main: the name of the required row (`input_ids`).

    Returns:
        The rows by name, whether the input is a batch, and whether it has arrays.

    Raises:
        ValueError: no `main`, rows of an unknown type, or names with different numbers of rows.
    """
    if isinstance(encoded, (list, tuple)) and encoded and isinstance(encoded[0], Mapping):
        encoded = {name: [one[name] for one in encoded] for name in encoded[0]}
    if not isinstance(encoded, Mapping) or main not in encoded:
        names = list(encoded) if isinstance(encoded, Mapping) else type(encoded).__name__
        raise ValueError(
            "You should supply an encoding or a list of encodings to this method "
            f"that includes {main}, but you provided {names}"
        )
    arrays = _has_arrays(encoded[main])
    rows = {name: _plain(value) for name, value in encoded.items()}
    first = rows[main][0] if rows[main] else None
    if first is not None and not isinstance(first, (int, list)):
        raise ValueError(
            f"type of {first} unknown: {type(first)}. Should be one of a python, numpy, or pytorch object."
        )
    batched = isinstance(first, list)
    if not batched:
        return {name: [value] for name, value in rows.items()}, False, arrays
    if any(len(value) != len(rows[main]) for value in rows.values()):
        raise ValueError("Some items in the output dictionary have a different batch size than others.")
    return rows, True, arrays


def pad_rows(rows: Rows, main: str, padding: PaddingStrategy | None, fills: Mapping[str, int], mask: bool) -> Rows:
    """Pad every row of `rows` to the same length; names without a fill value stay as they are.

    Args:
        rows: lists of rows by name.
        main: the name whose rows determine the lengths.
        padding: how far to pad; None for no padding.
        fills: the padding value by name.
        mask: whether to add an `attention_mask` where there is none.

    Raises:
        ValueError: a side that is neither "left" nor "right".
    """
    lengths = [len(row) for row in rows[main]]
    padded = dict(rows)
    if mask and "attention_mask" not in rows:
        padded["attention_mask"] = [[1] * length for length in lengths]
    if padding is None:
        return padded
    if padding.side not in ("left", "right"):
        raise ValueError(f"Invalid padding strategy:{padding.side}")
    target = padding.target(max(lengths))
    for name in padded.keys() & fills.keys():
        padded[name] = [_pad(row, [fills[name]] * (target - n), padding.side) for row, n in zip(padded[name], lengths)]
    return padded


def _pad(row: Sequence[Any], extra: list[int], side: str) -> list[Any]:
    return [*row, *extra] if side == "right" else [*extra, *row]


def _has_arrays(value: Any) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "tolist")


def _plain(value: Any) -> Any:
    """Convert arrays and tensors to lists, whatever they are nested in."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
