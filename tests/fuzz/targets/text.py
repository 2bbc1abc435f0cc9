"""Grammars of a `response_format`, and chat templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from jinja2 import TemplateError

from fuzz.mutate import dump, mutate_json, mutate_text
from fuzz.target import MIB, Target
from fuzz.targets.folders import bpe_tokenizer
from onnxpipe.errors import OnnxPipeError
from onnxpipe.generation.grammar import grammar_processor
from onnxpipe.processing.text.chat.sandbox import literal_text, render, variables_of
from onnxpipe.processing.text.tokenizer import Tokenizer

_SCHEMA = {
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]{1,4}$", "minLength": 1}},
    "type": "object",
    "properties": {
        "name": {"$ref": "#/$defs/tag"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["a", "b", None, 3]},
        "sizes": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
        "either": {"anyOf": [{"type": "boolean"}, {"const": "x"}, {"type": "string", "format": "date"}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def _grammars() -> list[bytes]:
    return [
        dump(each)
        for each in (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA}},
            _SCHEMA,
            {"type": "json_object"},
            {"type": "text"},
            {"type": "regex", "regex": r"(yes|no)[ \w]{0,8}\d+"},
            {"type": "grammar", "grammar": 'start: greeting " " NAME\ngreeting: "hi" | "bye"\nNAME: /[a-z]+/\n'},
        )
    ]


def _mutate_grammar(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return dump(mutate_json(random, json.loads(data), [json.loads(other) for other in others]))


def _constrain(data: bytes, folder: Path) -> None:
    """Build the grammar of a format and take six steps with it."""
    tokenizer = _tokenizer()
    processor = grammar_processor(json.loads(data), tokenizer, 0, len(tokenizer))
    if processor is None:
        return
    ids = np.array([[1]], np.int64)
    scores = np.random.default_rng(0).standard_normal((1, len(tokenizer))).astype(np.float32)
    for _ in range(6):
        best = int(processor(ids, scores.copy()).argmax())
        ids = np.concatenate([ids, [[best]]], axis=1)


def _tokenizer() -> Any:
    if not _TOKENIZERS:
        _TOKENIZERS.append(Tokenizer(bpe_tokenizer()))
    return _TOKENIZERS[0]


_TOKENIZERS: list[Any] = []

_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' and loop.first %}[INST] "
    "{{ message['content'] | trim }} [/INST]{% else %}{% generation %}{{ message.content }}{{ eos_token }}"
    "{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
_TOOLS = (
    "{%- set ns = namespace(n=0) -%}{%- macro show(tool, deep=1) -%}{{ tool | tojson(indent=2) }}{%- endmacro -%}"
    "{%- for tool in tools or [] -%}{%- set ns.n = ns.n + 1 -%}{{ ns.n ~ ': ' ~ show(tool) }}\n{%- endfor -%}"
    "{{ messages | map(attribute='content') | join(', ') | upper }}{{ messages[-1].content.split(' ')[0] }}"
)
_PIECES = (
    "{% for i in range(99999) %}", "{% endfor %}", "{% if a %}", "{% endif %}", "{{ 'a' * 10**9 }}",
    "{{ messages|list }}",
    "{% set x = x ~ x %}", "{{ x.__class__ }}", "{% macro m() %}", "{% endmacro %}", "{{ m() }}",
    "{% include 'x' %}", "|join", "|replace",
    "|tojson(indent=10**9)", ".format(", "%", "**", "{{ 1/0 }}", "{{ raise_exception('no') }}", "{% break %}",
    "|indent(10**8)",
    "{{ 'a'.rjust(10**9) }}", "{{ self }}", "{{ loop }}", "{% raw %}", "{% block a %}", "{% call m() %}",
    "|map('upper')", "|sort",
    "{{ strftime_now('%Y') }}", "[::-1]", "|batch(3)", "|sum(start=[])", ".encode()", "{{ cycler }}",
    "{{ lipsum(10**6) }}", "1e999",
)  # fmt: skip


def _templates() -> list[bytes]:
    return [_CHAT.encode(), _TOOLS.encode()]


def _mutate_template(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return mutate_text(random, data.decode("utf-8", "replace"), _PIECES).encode("utf-8", "replace")


def _render(data: bytes, folder: Path) -> None:
    template = data.decode()
    messages = [{"role": "user", "content": " Hello there "}, {"role": "assistant", "content": "hi"}]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    variables = {
        "messages": messages,
        "tools": tools,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_generation_prompt": True,
    }
    render(template, variables, track=True)
    literal_text(template)
    variables_of(template)


GRAMMARS = Target("grammars", _grammars, _mutate_grammar, _constrain, (OnnxPipeError, ValueError, TypeError), count=600)
TEMPLATES = Target(
    "templates", _templates, _mutate_template, _render, (OnnxPipeError, TemplateError), count=600, memory=500 * MIB
)
