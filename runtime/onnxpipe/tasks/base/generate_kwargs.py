"""Options of tasks whose parameters of `generate()` come in `generate_kwargs`, and in no other way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, TypeVar

from onnxpipe.errors import UnknownArgumentError, UnsupportedError

_OptionsT = TypeVar("_OptionsT", bound=Any)


def check_names(where: str, options: Any, names: Iterable[str]) -> None:
    """Raise UnknownArgumentError for a keyword that is not a field of the dataclass `options`.

    Args:
        where: the class that got the keywords, for the message.
        options: a dataclass with a field `generate`, which is no keyword.
        names: the keywords.
    """
    known = {each.name for each in fields(options)} - {"generate"}
    for name in names:
        if name not in known:
            raise UnknownArgumentError.among(where, name, known)


def generate_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `generate()` among those of a call: `generate_kwargs` and `max_new_tokens`.

    Raises:
        ValueError: `max_new_tokens` twice.
    """
    passed = dict(kwargs.get("generate_kwargs") or {})
    if kwargs.get("max_new_tokens") is None:
        return passed
    if "max_new_tokens" in passed:
        raise ValueError(
            "`max_new_tokens` is defined both as an argument and inside `generate_kwargs` argument, please use"
            " only 1 version"
        )
    return {**passed, "max_new_tokens": kwargs["max_new_tokens"]}


def with_generate(options: _OptionsT, passed: Mapping[str, Any]) -> _OptionsT:
    """Put keywords of `generate()` over those that options hold; a `generation_config` replaces them."""
    before = {} if passed.get("generation_config") is not None else options.generate
    changed: _OptionsT = replace(options, generate={**before, **passed})
    return changed


@contextmanager
def explained_length(model: Any, new_tokens: int) -> Iterator[None]:
    """Say what is wrong where a decoder fails inside because it was to write more tokens than it has positions for."""
    try:
        yield
    except (RuntimeError, IndexError, ValueError) as error:
        inner = model.config.get("decoder") or model.config.get("text_config") or {}
        limit = inner.get("max_position_embeddings") or inner.get("n_positions")
        if isinstance(limit, int) and new_tokens >= limit:
            raise UnsupportedError(
                f"{model.name_or_path} writes at most {limit} tokens, and did not end before: pass a smaller "
                f"max_new_tokens than {new_tokens}"
            ) from error
        raise
