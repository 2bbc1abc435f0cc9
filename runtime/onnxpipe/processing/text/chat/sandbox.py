"""Render chat templates safely: in Jinja's immutable sandbox, on plain data, with limits on time and memory.

Templates come with models, so they are untrusted code. Jinja's sandbox keeps them from Python; it does not limit time
and memory, so this module does: loop steps, the length of any text, and the size of the rendered text. Import this
module only where a template is rendered: it imports jinja2.

Sources: Jinja 3.1's manual (sandbox, extensions); the functions and filters for templates are transformers 5.23's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from onnxpipe.errors import BundleError

MAX_STEPS = 1_000_000
"""The most loop steps and calls of one rendering: a second's work, a hundred times as many as a long chat needs."""

MAX_TEXT = 1 << 26
"""The most characters of any text that a template builds, the rendered text included."""

_MAX_ITEMS = 1 << 20
_MAX_BITS = 4096

Span = tuple[int, int]


@dataclass
class _Run:
    """The state of one rendering: the steps and characters used, and the spans found."""

    steps: int = 0
    length: int = 0
    printed: int = 0
    track: bool = False
    spans: list[Span] = field(default_factory=list)


_RUN: ContextVar[_Run] = ContextVar("onnxpipe_chat_run")


def render(template: str, variables: Mapping[str, Any], *, track: bool = False) -> tuple[str, list[Span]]:
    """Render a template; also return where in the text its `{% generation %}` blocks are.

    Args:
        template: the Jinja source.
        variables: plain data only (see `messages.plain`): no objects that have methods of their own.
        track: whether to record the blocks.

    Raises:
        jinja2.TemplateError: the template is invalid, refuses the conversation, or does something that is forbidden.
        BundleError: it takes too many steps or too much memory.
    """
    run = _Run(track=track)
    token = _RUN.set(run)
    parts: list[str] = []
    try:
        for part in _compiled(template).generate(variables):
            parts.append(part)
            run.length += len(part)
            if run.length > MAX_TEXT:
                raise _too_large("the rendered text")
    except (MemoryError, OverflowError) as error:
        raise BundleError(f"the chat template was stopped: {str(error) or 'it takes too much memory'}") from error
    except RecursionError as error:
        raise BundleError("the chat template calls itself without end") from error
    finally:
        _RUN.reset(token)
    return "".join(parts), run.spans


@lru_cache(maxsize=64)
def literal_text(template: str) -> str:
    """Return the literal text of a template: its own text and its string constants, separated by null characters."""
    tree = _tree(template)
    texts = {node.data for node in tree.find_all(nodes.TemplateData)}
    texts |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return "\0".join(sorted(texts))


@lru_cache(maxsize=64)
def variables_of(template: str) -> frozenset[str]:
    """Return the names of the variables that a template reads."""
    return frozenset(find_undeclared_variables(_tree(template)))


def _tree(template: str) -> nodes.Template:
    return Environment(extensions=[_Generation, loopcontrols]).parse(template)


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, _Limits, loopcontrols], finalize=_printed
    )
    environment.filters.update(tojson=_tojson, format=_format)
    del environment.globals["lipsum"]  # generates text of any length, which no chat needs
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, dict=_Dict(), namespace=_Namespace
    )
    return environment.from_string(template)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with every loop step and call counted and every text measured."""

    intercepted_binops = frozenset(["*", "**", "+", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Run an arithmetic operation, unless its result would be huge."""
        if operator == "*":
            _check_product(left, right)
            _check_product(right, left)
        elif operator == "%" and isinstance(left, str):
            _check_format(left, right if isinstance(right, tuple) else (right,), r"\*")
        if operator in ("*", "**") and _bits(left, operator, right) > _MAX_BITS:
            raise BundleError(f"the chat template was stopped: it computes integers larger than {_MAX_BITS} bits")
        return _bounded(super().call_binop(context, operator, left, right))

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a call, and count it."""
        _step(1)
        method = getattr(called, "__wrapped__", called)  # the sandbox wraps str.format
        name, owner = getattr(method, "__name__", ""), getattr(method, "__self__", None)
        if isinstance(owner, str):
            if name in ("format", "format_map"):
                _check_format(owner, (*args, *kwargs.values()), r"{[^{}]*{")
            elif name in ("ljust", "rjust", "center", "zfill", "expandtabs"):
                _check_sizes(args)
        return _bounded(super().call(context, called, *args, **kwargs))

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        limits = self.extensions[_Limits.identifier]
        assert isinstance(limits, _Limits)
        return super()._generate(limits.rewritten(source), *args, **kwargs)


def _step(weight: int) -> None:
    run = _RUN.get()
    run.steps += weight
    if run.steps > MAX_STEPS:
        raise BundleError(f"the chat template was stopped after {MAX_STEPS} loop steps and calls: it may never end")


def _printed(value: Any) -> Any:
    """Count the characters that `{{ … }}` prints anywhere, so that texts that grow in a loop are stopped in time."""
    if isinstance(value, str):
        run = _RUN.get()
        run.printed += len(value)
        if run.printed > MAX_TEXT:
            raise _too_large("the printed text")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise _too_large("a text of its own")
    if isinstance(value, (list, tuple, dict)) and len(value) > _MAX_ITEMS:
        raise BundleError(f"the chat template was stopped: it builds a list of more than {_MAX_ITEMS} items")
    return value


def _too_large(what: str) -> BundleError:
    return BundleError(f"the chat template was stopped: {what} would have more than {MAX_TEXT} characters")


def _check_product(texts: Any, times: Any) -> None:
    limit = MAX_TEXT if isinstance(texts, str) else _MAX_ITEMS
    if isinstance(texts, (str, list, tuple)) and isinstance(times, int) and len(texts) * times > limit:
        raise _too_large("a text of its own")


def _check_sizes(sizes: tuple[Any, ...]) -> None:
    if any(isinstance(size, int) and size > _MAX_ITEMS for size in sizes):
        raise _too_large("a text of its own")


def _check_format(text: str, values: tuple[Any, ...], from_values: str) -> None:
    """Raise for widths of more than six digits, in the text or (where `from_values` matches) among the values."""
    if re.search(r"\d{7}", text):
        raise _too_large("a formatted text")
    if re.search(from_values, text):
        _check_sizes(values)


def _bits(left: Any, operator: str, right: Any) -> int:
    if not (isinstance(left, int) and isinstance(right, int)):
        return 0
    return left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()


class _Limits(Extension):
    """Counts loop steps and checks the length of texts, by calls that it inserts into the parsed template."""

    def rewritten(self, tree: nodes.Template) -> nodes.Template:
        """Insert the calls into the tree."""
        kinds: Any = (nodes.For, nodes.Macro, nodes.CallBlock)
        for loop in tree.find_all(kinds):
            # a pass costs as much as it may copy: 64 characters count as a step
            weight = 1 + sum(len(text.data) for text in loop.find_all(nodes.TemplateData)) // 64
            step = self.call_method("step", [nodes.Const(weight)], lineno=loop.lineno)
            loop.body.insert(0, nodes.ExprStmt(step).set_lineno(loop.lineno))
        rewritten: nodes.Template = _InsertChecks(self).visit(tree)
        return rewritten

    def step(self, weight: int) -> None:
        """Count one pass of a loop."""
        _step(weight)

    def join(self, texts: list[Any]) -> str:
        """Join texts (`~`)."""
        joined: str = _bounded("".join(map(str, texts)))
        return joined

    def bounded(self, value: Any) -> Any:
        """Check the size of a filter's result."""
        return _bounded(value)

    def size(self, value: Any) -> Any:
        """Check that a filter's argument is not a huge number."""
        _check_sizes((value,))
        return value


class _InsertChecks(NodeTransformer):
    """Replaces `a ~ b` by a call that checks the length, and checks the arguments and results of filters."""

    def __init__(self, limits: _Limits) -> None:
        self._limits = limits

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Rewrite a concatenation of texts."""
        self.generic_visit(node)
        return self._limits.call_method("join", [nodes.List(list(node.nodes))], lineno=node.lineno)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        """Rewrite a filter."""
        self.generic_visit(node)
        if node.name in ("batch", "center", "indent", "slice", "wordwrap"):
            node.args = [self._limits.call_method("size", [argument]) for argument in node.args]
            for pair in node.kwargs:
                pair.value = self._limits.call_method("size", [pair.value])
        if node.node is None:  # the filter of a block, which takes the block's text instead of a value
            return node
        return self._limits.call_method("bounded", [node], lineno=node.lineno)


class _Generation(Extension):
    """Adds `{% generation %} … {% endgeneration %}` around the assistant's text, so that training masks can find it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the block to a call of `record` with its text."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("record"), [], [], body).set_lineno(line)

    def record(self, caller: Callable[[], str]) -> str:
        """Return the text of a block, and record its place in the rendered text."""
        run, text = _RUN.get(), caller()
        if run.track:
            run.spans.append((run.length, run.length + len(text)))
        return text


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # Jinja's own filter is for HTML: it escapes < and &
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _format(text: Any, *args: Any, **kwargs: Any) -> str:
    _check_format(str(text), (*args, *kwargs.values()), r"\*")
    return str(text) % (kwargs or args)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:  # templates pass it by this name
    return datetime.now().strftime(format)


class _Dict:
    """`dict` for templates: it only builds dicts, as the class itself would give access to other Python classes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Call `dict.fromkeys`."""
        return dict.fromkeys(*args, **kwargs)


class _Namespace(Namespace):
    """`namespace` for templates, without names that begin with an underscore (Python's internals)."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `self` is a name that a template may use
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(
            f"Chat templates cannot store underscore-prefixed attributes on a namespace, but got {name!r}. "
            "Please rename the attribute."
        )
