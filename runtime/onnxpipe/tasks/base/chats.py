"""Recognise chats among inputs."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from onnxpipe.tasks.base.datasets import KeyDataset, is_dataset

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Chat:
    """One conversation.

    Attributes:
        messages: dicts with a `role` and a `content`, and other keys that the chat template reads.
    """

    messages: Sequence[Message]

    def check(self) -> None:
        """Raise ValueError if a message lacks one of the two keys."""
        if not all(is_message(message) for message in self.messages):
            raise ValueError("When passing chat dicts as input, each dict must have a 'role' and 'content' key.")

    @property
    def unanswered(self) -> bool:
        """Whether the last message is somebody else's than the assistant's, so that an answer is due."""
        return bool(self.messages[-1]["role"] != "assistant")


def is_message(value: Any) -> bool:
    """Whether `value` is a message: a dict with a `role` and a `content`."""
    return isinstance(value, Mapping) and "role" in value and "content" in value


def is_chat(value: Any) -> bool:
    """Whether `value` is a list or tuple that begins with a message."""
    return isinstance(value, (list, tuple)) and bool(value) and is_message(value[0])


def with_chats(inputs: Any) -> Any:
    """Mark the conversations among the inputs of a call as `Chat`.

    A list or tuple of messages, and a generator or dataset of messages, is one conversation. Of a generator of
    conversations only the first is read here, the rest as they are requested. As in transformers 5.23.
    """
    if isinstance(inputs, types.GeneratorType):
        return _generated(inputs)
    if not isinstance(inputs, (list, tuple, KeyDataset)) or not len(inputs):
        return inputs
    if is_message(inputs[0]):
        return Chat([inputs[i] for i in range(len(inputs))])
    if is_chat(inputs[0]):
        values = [inputs[i] for i in range(len(inputs))]
        return [Chat(value) for value in values] if all(map(is_chat, values)) else inputs
    return inputs


def _generated(inputs: Iterator[Any]) -> Any:
    beginning = list(islice(inputs, 1))
    if beginning and is_message(beginning[0]):
        return Chat([*beginning, *inputs])
    return _marked(chain(beginning, inputs))


def _marked(values: Iterator[Any]) -> Iterator[Any]:
    """Mark the conversations of a generator; it stays a generator."""
    return (Chat(value) if is_chat(value) else value for value in values)


def is_chats(value: Any) -> bool:
    """Whether a value is a chat or a list of chats, as transformers takes it: any list of dicts or of lists of them."""
    if not isinstance(value, (list, tuple)) and not is_dataset(value):
        return False
    if not len(value):
        return False
    first = value[0]
    if isinstance(first, Mapping):
        return isinstance(value, (list, tuple)) or "role" in first
    return is_chat(first)
