"""Turn the failures of the `tokenizers` library into errors: its panics are not even `Exception`s."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onnxpipe.errors import BundleError, TextTooLongError

_NO_SECOND = "Truncation error: Second sequence not provided"
_TOO_LONG = "Truncation error"
"""How the library's error begins where the other text of a pair leaves no room for the one that is cut."""


@contextmanager
def damage_reported(file: str) -> Iterator[None]:
    """Raise a `BundleError` that names `file` where the library panics, or fails with an error without a type.

    A panic is a `BaseException`: no handler of errors would catch it, and worker threads would end.

    Args:
        file: the file that the tokenizer was loaded from.

    Raises:
        BundleError: the library failed.
        TextTooLongError, ValueError: a text, or a pair of texts, cannot be cut as asked.
    """
    try:
        yield
    except BaseException as error:
        if (report := report_of(file, error)) is None:
            raise
        raise report from None  # whoever pickles or logs an error with the panic as its cause would meet it again


def report_of(file: str, error: BaseException) -> BundleError | ValueError | None:
    """Make the error that `damage_reported` raises instead of one; None where that stays as it is."""
    panic = type(error).__name__ == "PanicException"
    if not panic and type(error) is not Exception:
        return None
    if not panic and str(error).startswith(_NO_SECOND):
        return ValueError(
            "truncation='only_second' cuts the second text of a pair, and there is none: pass truncation=True"
        )
    if not panic and str(error).startswith(_TOO_LONG):
        return TextTooLongError(
            "the text of the pair that truncation may not cut is too long: it leaves no room for the other one; "
            "shorten it, or pass a larger max_length or another truncation"
        )
    return BundleError(f"{file} is damaged: the tokenizers library failed with: {error}")
