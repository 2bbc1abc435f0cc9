"""Find the calls of tools in what a model wrote: the forms of Hermes and Qwen, of Llama 3, and of Mistral."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What a call begins with, besides an object of JSON at the very beginning.
MARKS = ("<tool_call>", "[TOOL_CALLS]", "<|python_tag|>")
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool.

    Attributes:
        name: the tool's.
        arguments: JSON.
    """

    name: str
    arguments: str

    def entry(self) -> dict[str, Any]:
        """Return it as it stands in a message."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def parse_calls(text: str, names: Sequence[str]) -> tuple[str, list[ToolCall]]:
    """Part a text into what is said and the calls of tools.

    Args:
        text: what the model wrote.
        names: the tools that it was given; an object that names none of them is text.
    """
    said, calls = _TAGGED.sub("", text), [call for found in _TAGGED.findall(text) for call in _calls(found, names)]
    if calls:
        return said.strip(), calls
    body = text.strip()
    for mark in ("[TOOL_CALLS]", "<|python_tag|>"):
        before, found, after = body.partition(mark)
        if found:
            calls = list(_calls(after.strip(), names))
            return (before.strip(), calls) if calls else (text, [])
    calls = list(_calls(body, names)) if body[:1] in ("{", "[") else []
    return ("", calls) if calls else (text, [])


def _calls(text: str, names: Sequence[str]) -> Iterator[ToolCall]:
    """Read calls from JSON: one object, a list of them, or several one after the other."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return
        for each in value if isinstance(value, list) else [value]:
            call = _call(each, names)
            if call is not None:
                yield call
        while place < len(text) and text[place] in " \n\t\r;,":
            place += 1


def _call(value: Any, names: Sequence[str]) -> ToolCall | None:
    if not isinstance(value, Mapping):
        return None
    function = value.get("function")
    inner = function if isinstance(function, Mapping) else value
    name = inner.get("name")
    if name not in names:
        return None
    arguments = inner.get("arguments", inner.get("parameters", {}))
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(str(name), written)


def may_be_call(text: str) -> bool:
    """Whether a text is, or could become, a call of a tool: then it is not shown until it is whole."""
    start = text.lstrip()
    if not start:
        return True
    if start[0] in "{[":
        return True
    return any(mark in text or any(text.endswith(mark[:n]) for n in range(1, len(mark))) for mark in MARKS)


def call_schema(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a call of one of these tools, for output that has to be one."""
    forms = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": tool["function"].get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}
