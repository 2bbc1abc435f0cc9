"""Convert conversations to text: prepare messages for a chat template, and find where generation continues.

Source: the behaviour of transformers 5.23's `apply_chat_template`, including the wording of its errors.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.errors import MissingDependencyError, UnknownArgumentError
from onnxpipe.processing.text.chat.tool_schemas import schema_of

logger = logging.getLogger("onnxpipe")

Span = tuple[int, int]

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""The names that a message's reasoning may have; templates read the first."""

_TAG = "CONTINUE_FINAL_MESSAGE_TAG "
"""Marks the end of the last message. Its trailing blank shows whether the template keeps blanks there."""

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def choose_template(own: str | Mapping[str, str] | None, chosen: str | None, *, tools: bool) -> str:
    """Choose the template: a text, or one of several by its name.

    Args:
        own: the tokenizer's template, or templates by name.
        chosen: a name, or the text of a template; None for "tool_use" where there are tools, else "default".
        tools: whether there are tools.

    Raises:
        ValueError: no template, or several without a "default".
    """
    if isinstance(own, Mapping):
        if chosen is not None:
            return own.get(chosen, chosen)
        for name in ("tool_use", "default") if tools else ("default",):
            if name in own:
                return own[name]
        raise ValueError(
            "This model has multiple chat templates with no default specified! Please either pass a chat template or "
            "the name of the template you wish to use to the `chat_template` argument. Available template names are "
            f"{sorted(own)}."
        )
    if chosen is None and own is None:
        raise ValueError(
            "Cannot use chat template functions because tokenizer.chat_template is not set and no template argument "
            "was passed! For information about writing templates and setting the tokenizer.chat_template attribute, "
            "please see the documentation at https://huggingface.co/docs/transformers/main/en/chat_templating"
        )
    return str(own) if chosen is None else chosen


def conversations_of(conversation: Any) -> tuple[list[list[Any]], bool]:
    """Convert one or several conversations to lists of messages; also return whether there were several.

    A conversation is a list of messages, or has one as `.messages`. Values that are None are left out of messages:
    other interfaces write `content=None`, and templates print it.

    Raises:
        ValueError: the conversation is empty.
    """
    if isinstance(conversation, (list, tuple)) and not conversation:
        raise ValueError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    several = isinstance(conversation, (list, tuple)) and (
        isinstance(conversation[0], (list, tuple)) or hasattr(conversation[0], "messages")
    )
    chats = conversation if several else [conversation]
    return [[_without_none(message) for message in getattr(chat, "messages", chat)] for chat in chats], several


def render_chat(
    template: str,
    messages: Sequence[Any],
    variables: Mapping[str, Any],
    *,
    continue_final_message: bool | str = False,
    track: bool = False,
) -> tuple[str, list[Span]]:
    """Render a conversation as text; also return the spans of characters of the assistant's messages.

    Args:
        template: the Jinja source.
        messages: the conversation.
        variables: the template's other variables: tools, documents, special tokens, ... (plain data, see `plain`).
        continue_final_message: cut the text off where the last message ends, so that a model continues it; a str is
            the field of the message to continue instead of "content".
        track: whether to find the assistant's text, by the template's `{% generation %}` blocks.

    Raises:
        TypeError: a message that is not a dict.
        ValueError: no text to continue, or a template that changes it.
        jinja2.TemplateError, BundleError: see `sandbox.render`.
        MissingDependencyError: jinja2 is not installed.
    """
    chat: list[Any] = plain(list(messages))
    for message in chat:
        if not isinstance(message, dict):
            raise TypeError(f"Chat messages should be dicts, dataclasses or pydantic models, but got {message!r}.")
    chat = [_with_reasoning(message) for message in chat]
    final = _mark_end(chat, continue_final_message, template) if continue_final_message else ""
    text, spans = _render(template, {**variables, "messages": chat}, track)
    return (_cut_at_mark(text, final) if continue_final_message else text), spans


def plain_tools(tools: Sequence[Any] | None) -> list[Any] | None:
    """Convert tools to JSON schemas: dicts as they are, functions and methods by their signature and docstring.

    Raises:
        ValueError: something else.
    """
    if tools is None:
        return None
    schemas: list[Any] = plain([tool if isinstance(tool, dict) else schema_of(tool) for tool in tools])
    return schemas


def plain_documents(documents: Sequence[Any] | None) -> list[Any] | None:
    """Convert documents to plain dicts.

    Raises:
        TypeError: a document that is not a dict.
    """
    if documents is None:
        return None
    if any(not isinstance(document, dict) for document in documents):
        raise TypeError("Documents should be a list of dicts with 'title' and 'text' keys!")
    found: list[Any] = plain(list(documents))
    return found


def plain(value: Any) -> Any:
    """Rebuild a value from plain Python types: templates are untrusted and get no object with methods of its own.

    Subclasses of str, int and float become those types; dataclasses and pydantic models become dicts; NumPy scalars
    become numbers; everything else becomes a text that names its type.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.generic):
        return plain(value.item())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return plain(dump()) if callable(dump) else f"<{type(value).__name__}>"


def assistant_mask(encoding: Any, row: int, length: int, spans: Sequence[Span]) -> list[int]:
    """Build a mask of a row: 1 for the tokens of the assistant's messages, else 0.

    Args:
        encoding: the `BatchEncoding`.
        row: the index of the row.
        length: tokens of the row.
        spans: the spans of characters of the assistant's messages.
    """
    mask = [0] * length
    for start, end in spans:
        first, last = encoding.char_to_token(row, start), encoding.char_to_token(row, end - 1)
        if first is None:  # beyond what truncation left
            break
        stop = last + 1 if last else length
        mask[first:stop] = [1] * (stop - first)
    return mask


def check_variables(template: str, names: Collection[str], parameters: Collection[str]) -> None:
    """Find misspelt parameters among the variables of a template, which may have any name.

    Args:
        template: the Jinja source.
        names: the names of the variables.
        parameters: the names that they may be misspellings of.

    Raises:
        UnknownArgumentError: a variable that the template does not use, with a name like a parameter's.
    """
    used = _sandbox().variables_of(template) if names else set()
    for name in names:
        if name in used:
            continue
        if difflib.get_close_matches(name, parameters, 1, 0.8):
            raise UnknownArgumentError.among("apply_chat_template", name, parameters)
        logger.warning("apply_chat_template: this chat template does not use %s=", name)


def variables_of(template: str) -> frozenset[str]:
    """Return the names of the variables that a template reads; see `sandbox.variables_of`."""
    return _sandbox().variables_of(template)  # type: ignore[no-any-return]


def literal_text(template: str) -> str:
    """Return the literal text of a template; see `sandbox.literal_text`."""
    return _sandbox().literal_text(template)  # type: ignore[no-any-return]


def _render(template: str, variables: Mapping[str, Any], track: bool) -> tuple[str, list[Span]]:
    if track and not _GENERATION.search(template):
        logger.warning("return_assistant_tokens_mask is set, but the chat template has no {% generation %} block")
    text, spans = _sandbox().render(template, variables, track=track)
    return text, spans


def _sandbox() -> Any:
    try:
        from onnxpipe.processing.text.chat import sandbox
    except ImportError as error:
        raise MissingDependencyError(
            'chat templates need jinja2; install it with: pip install "jinja2>=3.1.6"'
        ) from error
    return sandbox


def _without_none(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    return {name: value for name, value in message.items() if value is not None}


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Add a message's reasoning under the names that templates read."""
    reasoning = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _mark_end(chat: list[dict[str, Any]], continued: bool | str, template: str) -> str:
    """Put the mark after the text that is to be continued; return that text."""
    field = continued if isinstance(continued, str) else "content"
    if not chat:
        raise ValueError("continue_final_message is set but the conversation is empty!")
    message = chat[-1]
    text = message.get(field)
    if text is None:
        raise ValueError(f'continue_final_message is set but the final message has no "{field}" to continue!')
    # reasoning has several names: put the mark into all of them, as the template may read any
    fields = [name for name in _REASONING if message.get(name) == text] if field in _REASONING else [field]
    if not any(name in template for name in fields):
        raise ValueError(
            f'continue_final_message is set to "{field}" but this is not an accepted field in the chat_template'
        )
    if not isinstance(text, (list, tuple)):
        for name in fields:
            message[name] += _TAG
        return str(text)
    for block in reversed(text):
        if "text" in block:
            final = str(block["text"])
            block["text"] = final + _TAG
            return final
    raise ValueError("continue_final_message is set but we could not find any text to continue in the final message!")


def _cut_at_mark(text: str, final: str) -> str:
    if final.strip() not in text or _TAG.strip() not in text:
        raise ValueError(
            "continue_final_message is set but the final message does not appear in the chat after applying the chat "
            "template! This can happen if the chat template deletes portions of the final message. Please verify the "
            "chat template and final message in your chat to ensure they are compatible."
            f"Final message to continue: {final.strip()}\nRendered chat:\n{text}"
        )
    place = text.rindex(_TAG.strip())
    kept = text[:place]
    # if the mark's own blank is gone, the template strips blanks: strip those before the mark too
    return kept if text.startswith(_TAG, place) else kept.rstrip()
