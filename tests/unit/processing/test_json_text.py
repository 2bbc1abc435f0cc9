"""JSON that users write: what Python's parser would change without a word is refused."""

from __future__ import annotations

import pytest

from onnxpipe.processing.json_text import parse_json


def test_values() -> None:
    assert parse_json('{"a": [1, {"b": null}], "c": {"a": "\\u00e9"}}') == {"a": [1, {"b": None}], "c": {"a": "é"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' stands twice"),
        ('[{"x": {"b": 1, "b": 2}}]', "the key 'b' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)
