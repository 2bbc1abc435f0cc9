"""Render chat templates safely: in Jinja's immutable sandbox, on plain data, with limits on time and memory.

Templates come with models, so they are untrusted code. Jinja's sandbox keeps them from Python; it does not limit time
and memory, so this module does (see `budget`), and bounds the size of the template itself. Import this
module only where a template is rendered: it imports jinja2.

Sources: Jinja 3.1's manual (sandbox, extensions); the functions and filters for templates are transformers 5.23's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import DictLoader, Environment, Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from onnxpipe.errors import BundleError, ChatTemplateError, OnnxPipeError
from onnxpipe.processing.text.chat.budget import (
    MAX_TEXT,
    RUN,
    Run,
    Span,
    charge,
    check_binary,
    check_method,
    listed,
    long_of,
    made,
    size_of,
    too_large,
)

MAX_SOURCE = 100_000
"""The most characters of a template: three times the longest of real models."""

MAX_DEPTH = 100
"""How deeply a template's parts may be nested in each other."""

_REMOVED = ("filesizeformat", "pprint", "urlize", "wordwrap", "xmlattr")
"""Filters for web pages, which no chat needs and whose cost has no simple bound."""


def render(template: str, variables: Mapping[str, Any], *, track: bool = False) -> tuple[str, list[Span]]:
    """Render a template; also return where in the text its `{% generation %}` blocks are.

    Args:
        template: the Jinja source.
        variables: plain data only (see `messages.plain`): no objects that have methods of their own.
        track: whether to record the blocks.

    Raises:
        jinja2.TemplateError: the template is invalid, refuses the conversation, or does something that is forbidden.
        BundleError: it takes too much work or memory, or fails in another way.
        ChatTemplateError: the conversation has another form than the template expects.
    """
    run = Run(track=track)
    token = RUN.set(run)
    parts: list[str] = []
    try:
        for part in _compiled(template).generate(variables):
            parts.append(part)
            run.length += len(part)
            if run.length > MAX_TEXT:
                raise too_large("the rendered text")
    except (TemplateError, OnnxPipeError):
        raise
    except Exception as error:
        raise _failed(error) from error
    finally:
        RUN.reset(token)
    return "".join(parts), run.spans


def _failed(error: Exception) -> BundleError:
    """Build the error of a template that does what Python cannot do: divide by zero, call itself without end, ..."""
    if isinstance(error, RecursionError):
        return BundleError("the chat template calls itself without end, or is nested too deeply")
    if isinstance(error, MemoryError):
        return BundleError("the chat template was stopped: it takes too much memory")
    if isinstance(error, TypeError):
        return ChatTemplateError(
            f"the chat template does not go with this conversation, or is damaged: {str(error)[:500]}"
        )
    return BundleError(f"the chat template failed with {type(error).__name__}: {str(error)[:500]}")


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
    """Parse a template.

    Raises:
        jinja2.TemplateError: it is not one.
        BundleError: it is too long or nested too deeply.
    """
    if len(template) > MAX_SOURCE:
        raise BundleError(f"the chat template has {len(template)} characters: more than {MAX_SOURCE} are refused")
    try:
        tree = Environment(extensions=[_Generation, loopcontrols]).parse(template)
    except TemplateError:
        raise
    except Exception as error:
        raise _failed(error) from error
    level, depth = [tree], 0  # level by level: walking down each branch would itself be nested
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BundleError(f"the chat template is nested more than {MAX_DEPTH} deep")
        level = [child for node in level for child in node.iter_child_nodes()]  # type: ignore[misc]
    return tree


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    _tree(template)  # checks it
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, _Limits, loopcontrols], finalize=_printed,
        loader=DictLoader({}),
    )  # fmt: skip
    environment.filters.update(tojson=_tojson, format=_format)
    for name in _REMOVED:
        del environment.filters[name]
    other = {"format": "format filter", "string": "string test"}  # methods and tests have these names too
    kinds: tuple[tuple[dict[str, Any], str], ...] = ((environment.filters, "format"), (environment.tests, "string"))
    for known, ambiguous in kinds:
        for name, function in known.items():
            known[name] = _charged(other[name] if name == ambiguous else name, function)
    del environment.globals["lipsum"]  # generates text of any length, which no chat needs
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, dict=_Dict(), namespace=_Namespace
    )
    try:
        return environment.from_string(template)
    except TemplateError:
        raise
    except Exception as error:  # of Python's own compiler: blocks nested too deeply, ...
        raise _failed(error) from error


def _charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter or test: its cost is estimated and charged before it runs."""
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0  # the context or environment, which Jinja puts first

    @functools.wraps(function)
    def charged(*args: Any, **kwargs: Any) -> Any:
        charge(3)
        if len(args) > passed:
            owner = listed(args[passed])
            rest = check_method(owner, name, args[passed + 1 :], kwargs)
            args = (*args[:passed], owner, *rest)
        return made(function(*args, **kwargs))

    return charged


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with all work and every text and list counted."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Run an arithmetic operation, unless its result would be huge."""
        check_binary(operator, left, right)
        return made(super().call_binop(context, operator, left, right))

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a call, and count it."""
        charge(6 + len(args) // 2 + len(kwargs))
        method = getattr(called, "__wrapped__", called)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, (str, bytes, int, float, list, tuple, dict, set)) and not isinstance(owner, bool):
            args = check_method(owner, getattr(method, "__name__", ""), args, kwargs)
        else:
            args = tuple(listed(value) for value in args)
            charge(sum(long_of(value) for value in args) // 8)
        return made(super().call(context, called, *args, **kwargs))

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        limits = self.extensions[_Limits.identifier]
        assert isinstance(limits, _Limits)
        return super()._generate(limits.rewritten(source), *args, **kwargs)


def _printed(value: Any) -> Any:
    """Count the characters that `{{ … }}` prints anywhere, so that texts that grow in a loop are stopped in time."""
    run = RUN.get()
    charge(0)
    run.printed += len(value) if isinstance(value, str) else 2 * size_of(value)
    if run.printed > MAX_TEXT:
        raise too_large("the printed text")
    return value


class _Limits(Extension):
    """Counts passes of loops, and the cost of comparisons, by calls that it inserts into the parsed template."""

    def rewritten(self, tree: nodes.Template) -> nodes.Template:
        """Insert the calls into the tree."""
        rewritten: nodes.Template = _InsertChecks(self).visit(tree)
        kinds: Any = (nodes.For, nodes.Macro, nodes.CallBlock)
        for loop in tree.find_all(kinds):
            # a pass costs as much as it may copy and compute
            texts = sum(len(text.data) for text in loop.find_all(nodes.TemplateData))
            weight = texts // 64 + sum(1 for _ in loop.find_all(nodes.Expr)) // 16
            step = self.call_method("step", [nodes.Const(weight)], lineno=loop.lineno)
            loop.body.insert(0, nodes.ExprStmt(step).set_lineno(loop.lineno))
        return rewritten

    def step(self, weight: int) -> None:
        """Count one pass of a loop."""
        charge(weight)

    def passed(self, value: Any) -> Any:
        """Count one test of a loop's `if`."""
        charge(1)
        return value

    def join(self, texts: list[Any]) -> str:
        """Join texts (`~`)."""
        if (
            2 * size_of(*(text for text in texts if not isinstance(text, str)))
            + sum(len(text) for text in texts if isinstance(text, str))
            > MAX_TEXT
        ):
            raise too_large("a text of its own")
        joined: str = made("".join(map(str, texts)))
        return joined

    def compared(self, value: Any) -> Any:
        """Charge for a value that is compared with another."""
        if isinstance(value, str):
            charge(len(value) // 512)
        elif not isinstance(value, dict):
            size_of(value)
        else:
            charge(1)
        return value

    def equated(self, value: Any) -> Any:
        """Charge for a value that is compared with another, item by item."""
        if isinstance(value, (str, int, float)):
            return self.compared(value)
        size_of(value)
        return value

    def sliced(self, value: Any) -> Any:
        """Charge for a value that is copied in part (`[a:b]`)."""
        value = listed(value)
        if isinstance(value, (str, bytes)):
            charge(len(value) // 512)
        return made(value)


class _InsertChecks(NodeTransformer):
    """Replaces `a ~ b` by a call that checks the length, and charges for comparisons, slices and tests of loops."""

    def __init__(self, limits: _Limits) -> None:
        self._limits = limits

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Rewrite a concatenation of texts."""
        self.generic_visit(node)
        return self._limits.call_method("join", [nodes.List(list(node.nodes))], lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        """Rewrite a comparison."""
        self.generic_visit(node)
        within = {"in", "notin"} >= {operand.op for operand in node.ops}
        if not isinstance(node.expr, nodes.Const):
            node.expr = self._limits.call_method("equated", [node.expr], lineno=node.lineno)
        for operand in node.ops:
            if not isinstance(operand.expr, nodes.Const):
                name = "compared" if within else "equated"
                operand.expr = self._limits.call_method(name, [operand.expr], lineno=node.lineno)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        """Rewrite a slice."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = self._limits.call_method("sliced", [node.node], lineno=node.lineno)
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        """Rewrite the `if` of a loop."""
        self.generic_visit(node)
        test: Any = node.test
        if test is not None:
            node.test = self._limits.call_method("passed", [test], lineno=node.lineno)
        return node


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
        run, text = RUN.get(), caller()
        if run.track:
            run.spans.append((run.length, run.length + len(text)))
        return text


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # Jinja's own filter is for HTML: it escapes < and &
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _format(text: Any, *args: Any, **kwargs: Any) -> str:
    return str(text) % (kwargs or args)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:  # templates pass it by this name
    if len(format) > 200:  # Python makes room for 256 characters of each
        raise too_large("a date")
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
