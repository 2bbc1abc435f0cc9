"""Hostile chat templates: they neither leave the sandbox nor take more work or memory than they may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from attacks.helpers import MIB, memory
from onnxpipe.errors import BundleError
from onnxpipe.processing.text.chat import budget, sandbox

CORPUS: dict[str, list[str]] = json.loads(Path(__file__).with_name("chat_templates.json").read_text("utf-8"))
MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]

INTERNALS = ("<class ", "<module ", "<code ", "builtins", "root:")
"""What a text would show that reaches Python's own objects."""

NESTED = {
    "parentheses": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "lists": "{{ " + "[" * 500 + "]" * 500 + " }}",
    "not": "{{ " + "not " * 20_000 + "1 }}",
    "sum": "{{ 1" + " + 1" * 20_000 + " }}",
    "attributes": "{{ a" + ".b" * 20_000 + " }}",
    "filters": "{{ a" + "|trim" * 5_000 + " }}",
    "items": "{{ a" + "[0]" * 20_000 + " }}",
    "calls": "{{ " + "x(" * 2_000 + ")" * 2_000 + " }}",
    "conditions": "{% if a %}" * 3_000 + "{% endif %}" * 3_000,
    "loops": "{% for a in b %}" * 25 + "{% endfor %}" * 25,  # more than Python takes: a SyntaxError of its own
    "many loops": "{% for a in b %}" * 2_000 + "{% endfor %}" * 2_000,
    "indentation": "{% if a %}" * 120 + "{% endif %}" * 120,
    "long": "{{ a }}" * 200_000,
}


def _render(template: str) -> str:
    return sandbox.render(template, {"messages": MESSAGES})[0]


@pytest.mark.parametrize("number", range(len(CORPUS["escapes"])))
def test_no_template_escapes(number: int) -> None:
    template = CORPUS["escapes"][number]
    try:
        text = _render(template)
    except (TemplateError, BundleError, TypeError):
        return
    assert not [shown for shown in INTERNALS if shown in text], text


@pytest.mark.parametrize("number", range(len(CORPUS["costs"])))
def test_work_is_charged_before_it_is_done(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the usual work, to be quick; the limits on memory are the usual ones."""
    monkeypatch.setattr(budget, "MAX_WORK", budget.MAX_WORK // 10)
    before = memory()
    with pytest.raises(BundleError, match="chat template"):
        _render(CORPUS["costs"][number])
    assert memory() - before < 400 * MIB


@pytest.mark.parametrize("template", [CORPUS["costs"][i] for i in range(0, len(CORPUS["costs"]), 12)])
def test_the_usual_limits(template: str) -> None:
    before = memory()
    with pytest.raises(BundleError, match="chat template"):
        _render(template)
    assert memory() - before < 500 * MIB


@pytest.mark.parametrize("name", NESTED)
def test_long_and_nested_sources(name: str) -> None:
    for read in (_render, sandbox.variables_of, sandbox.literal_text):
        if name == "loops" and read is not _render:
            continue  # it is right as Jinja reads it
        with pytest.raises((BundleError, TemplateError)):
            read(NESTED[name])


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 1 / 0 }}", "failed with ZeroDivisionError"),
        ("{{ 1 % 0 }}", "failed with ZeroDivisionError"),
        ("{{ 'a'.index('b') }}", "failed with ValueError"),
        ("{{ '{'.format(1) }}", "failed with ValueError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself without end"),
        (NESTED["loops"], "failed with SyntaxError"),
        (NESTED["parentheses"], "nested too deeply"),
        (NESTED["sum"], "nested"),
        (NESTED["long"], "has 1400000 characters"),
        ("{% set x = 'a' * 10**9 %}", "more than 8388608 characters"),
        ("{{ (10 ** 999) ** 999 }}", "integers larger than 4096 bits"),
        ("{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}", "units of work"),
    ],
)
def test_what_is_said(template: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        _render(template)


def test_what_templates_include() -> None:
    with pytest.raises(TemplateError):
        _render("{% include '/etc/passwd' %}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ messages | map(attribute='content') | join(', ') }}", "hello, hi"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ messages[1:] | map(attribute='role') | first }}", "assistant"),
        ("{{ messages[0].content.split('l') | join('-') }}|{{ 'a b'.split() | last }}", "he--o|b"),
        ("{{ '%s: %s' % (messages[0].role, 'x') }}{{ '{:>3}'.format('y') }}{{ '%s' | format('z') }}", "user: x  yz"),
        ("{{ {'b': [1, 'é']} | tojson(indent=2) }}", '{\n  "b": [\n    1,\n    "é"\n  ]\n}'),
        ("{{ 'a\nb' | indent(2) }}{{ 'x' | center(3) }}{{ 'ab'.replace('b', 'cd') }}", "a\n  b x acd"),
        ("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t ~ m.role %}{% endfor %}{{ ns.t }}",
         "userassistant"),
        ("{{ range(5) | sum }}{{ [3, 1] | sort }}{{ 'user' in messages[0].values() }}{{ 'x' not in 'abc' }}",
         "10[1, 3]TrueTrue"),
        ("{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content | trim | upper }}{% endfor %}",
         "1HELLO"),
        ("{{ 'a' ~ 1 ~ [2] }}{{ ['x'] * 2 }}{{ 7 // 2 }}{{ -7 % 3 }}{{ messages is sequence }}",
         "a1[2]['x', 'x']32True"),
    ],
)  # fmt: skip
def test_what_templates_do_all_day(template: str, text: str) -> None:
    assert _render(template) == text


def test_a_long_chat_is_far_from_the_limits() -> None:
    messages: list[Any] = [{"role": "user", "content": "a b c " * 330}] * 2_000
    template = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim + '\n' }}{% endfor %}"
    assert len(sandbox.render(template, {"messages": messages})[0]) > 3_900_000
