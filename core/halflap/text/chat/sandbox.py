# ruff: noqa: N802, N815 - visitors are named as jinja2 calls them
"""The environment of chat templates: jinja2's immutable sandbox, and bounds on time and memory.

jinja2 keeps code in. Time and memory are kept in here: every turn of a loop, call, operator, filter, literal and piece
of output is charged to the rendering's budget before or as it is made, so no single one can ask for much, nor many.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2 import nodes
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from halflap.errors import TemplateError

SECONDS: Final = 1.0
CHARACTERS: Final = 8 << 20
"""Of output."""
STRING: Final = 4 << 20
"""Characters of one string that a template makes."""
ITEMS: Final = 500_000
"""Of one list or mapping that a template makes, with all that is in it."""
BYTES: Final = 64 << 20
"""Of everything that a template makes, beyond what it was given."""
SOURCE: Final = 256 << 10
"""Characters of a template."""
BITS: Final = 100_000
"""Of an integer."""

_UNSAFE: Final = frozenset({"translate", "maketrans", "format_map", "encode"})
_UNWANTED_FILTERS: Final = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
"""Filters that no chat needs, and whose time grows faster than their input."""

_PRINTING: Final = frozenset(
    ("join", "string", "upper", "lower", "title", "capitalize", "escape", "e", "forceescape", "urlencode", "trim")
)


class Budget:
    """What a rendering may still use.

    Args:
        given: bytes of its messages and tools, of which templates make copies.

    Attributes:
        spent: something went past a bound.
    """

    def __init__(self, given: int = 0) -> None:
        self._deadline = time.monotonic() + SECONDS
        self._left = BYTES + 16 * given
        self.spent = False

    def charge(self, size: int = 0) -> None:
        """Raises TemplateError if so many bytes more, or the time until now, are too much."""
        self._left -= size
        if self._left < 0:
            self.spent = True
            raise TemplateError("chat template", got="over its memory", want="a template that makes less")
        if time.monotonic() > self._deadline:
            self.spent = True
            raise TemplateError("chat template", got=f"over {SECONDS:g} s of work", want="a template that ends")


_current = threading.local()


@contextmanager
def budget(given: int = 0) -> Iterator[Budget]:
    """The budget of what this thread renders or compiles."""
    before = getattr(_current, "budget", None)
    _current.budget = made = Budget(given)
    try:
        yield made
    finally:
        _current.budget = before


def _charge(size: int = 0) -> None:
    _current.budget.charge(size)


def _limited(size: int, most: int, what: str = "value") -> None:
    if size > most:
        _current.budget.spent = True
        raise TemplateError(f"chat template {what}", got=f"size {size:,}", want=f"at most {most:,}")


def weigh(value: Any, text: bool = False) -> int:
    """How many values are in a value, those that occur twice counted twice; with `text`, also bounds its characters.

    Raises:
        TemplateError: too many; so nothing is compared, copied or printed that would take for ever.
    """
    count = size = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        count += 1
        _limited(count, ITEMS)
        if isinstance(one, str):
            size += len(one)
            if text:
                _limited(size, CHARACTERS)
        elif isinstance(one, Mapping):
            _limited(count + 2 * len(one), ITEMS)
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            _limited(count + len(one) + len(waiting), ITEMS + len(waiting))
            waiting += one
        elif isinstance(one, Namespace):
            waiting.append(one._Namespace__attrs)
    return count


def made(value: Any) -> Any:
    """Charges a value that an operation made."""
    if isinstance(value, str):
        _limited(len(value), STRING)
        _charge(sys.getsizeof(value))
    elif isinstance(value, list | tuple | dict):
        _charge(64 * weigh(value))
    else:
        _charge()
    return value


class _Generation(jinja2.ext.Extension):
    """Hugging Face's `{% generation %}` marks what the model wrote, for training; here its body is just a body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own attribute

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Metering(NodeTransformer):
    """Puts a meter where compiled templates would go past the environment's hooks."""

    captured = 0

    def metered(self, node: Any, name: str) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = self.metered(node.iter, "_ticking")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self.metered(nodes.List(node.nodes, lineno=node.lineno), "_joined")

    def visit_List(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return self.metered(node, "_made") if getattr(node, "ctx", "load") == "load" else node

    visit_Tuple = visit_Dict = visit_List

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return self.metered(node, "_made") if isinstance(node.arg, nodes.Slice) else node

    def visit_Macro(self, node: Any) -> nodes.Node:
        self.captured += 1
        self.generic_visit(node)
        self.captured -= 1
        return node  # type: ignore[no-any-return]

    visit_CallBlock = visit_FilterBlock = visit_AssignBlock = visit_Block = visit_Macro

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        if not self.captured:
            return node
        return self.metered(nodes.Const(node.data, lineno=node.lineno), "_shown")


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The environment that Hugging Face templates are written for, within bounds."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[jinja2.ext.loopcontrols, _Generation],
            finalize=_shown,
            optimized=False,  # or constants would be made when the template is compiled
        )
        self.globals.pop("lipsum")
        for name in _UNWANTED_FILTERS:
            del self.filters[name]
        for name, plain in self.filters.items():
            self.filters[name] = _bounded(name, plain)
        self.filters |= {"tojson": _tojson, "_ticking": _ticking, "_joined": _joined, "_made": made, "_shown": _shown}

    def metered(self, source: str) -> tuple[nodes.Template, jinja2.Template]:
        """A template's tree, and what it compiles to."""
        _limited(len(source), SOURCE, "source")
        tree = self.parse(source)
        return self.parse(source), self.from_string(_Metering().visit(tree))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sized = [value for value in (left, right) if isinstance(value, str | Sequence)]
        numbers = [value for value in (left, right) if isinstance(value, int)]
        if operator == "+" and len(sized) == 2:
            _limited(len(sized[0]) + len(sized[1]), STRING if isinstance(left, str) else ITEMS)
        elif operator == "%" and isinstance(left, str):
            _check_widths(left)
            weigh(right, text=True)
            for value in right if isinstance(right, tuple) else (right,):
                _limited(abs(value) if isinstance(value, int) else 0, STRING)
        elif operator == "*" and sized and numbers:
            _limited(len(sized[0]) * numbers[0], STRING if isinstance(sized[0], str) else ITEMS)
        elif operator == "*" and len(numbers) == 2:
            _limited(left.bit_length() + right.bit_length(), BITS)
        elif operator == "**" and len(numbers) == 2:
            _limited(abs(left).bit_length() * right, BITS)
        return made(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Lists are copies of this rendering alone, so templates may use them as queues."""
        if isinstance(obj, list) and attr in ("append", "pop"):
            return True
        return attr not in _UNSAFE and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        _charge()
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format`
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            _check_method(owner, name, arguments)
            for value in (*arguments, *named.values()):
                _limited(abs(value) if isinstance(value, int) else 0, STRING)
        found = made(super().call(context, function, *arguments, **named))
        if isinstance(owner, list):  # append
            weigh(owner)
        return found


def _check_method(text: str, name: str, arguments: Sequence[Any]) -> None:
    """Raises TemplateError if a string's method would make something too large."""
    given = [value for value in arguments if isinstance(value, str)]
    if name == "replace" and len(given) == 2:
        count = text.count(given[0])
        _limited(len(text) + count * max(len(given[1]) - len(given[0]), 0), max(STRING, len(text)))
    elif name in ("split", "rsplit", "splitlines"):
        _limited(text.count(given[0]) if given and given[0] else len(re.findall(r"\s+", text[: 4 * ITEMS])), ITEMS)
    elif name == "join" and arguments and isinstance(arguments[0], list | tuple):
        _limited(weigh(arguments[0], text=True) * len(text), STRING)
    elif name == "expandtabs":
        _limited(text.count("\t") * max([8, *(v for v in arguments if isinstance(v, int))]), STRING)
    elif name == "format":
        _check_widths(text)
        weigh(list(arguments), text=True)


def _check_widths(form: str) -> None:
    for digits in re.findall(r"\d+", form):
        _limited(int(digits) if len(digits) < 10 else STRING + 1, STRING)


def _bounded(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments are checked, and whose result is charged."""
    skip = 1 if hasattr(plain, "jinja_pass_arg") else 0

    @functools.wraps(plain)  # keeps what jinja2 passes first
    def apply(*everything: Any, **named: Any) -> Any:
        value, arguments = everything[skip], everything[skip + 1 :]
        _charge()
        for argument in (*arguments, *named.values()):
            _limited(abs(argument) if isinstance(argument, int) else 0, STRING)
        if name in ("list", "batch", "slice", "sort", "unique", "reverse") and isinstance(value, str):
            _limited(len(value), ITEMS)
        if name in (
            "join",
            "string",
            "upper",
            "lower",
            "title",
            "capitalize",
            "escape",
            "e",
            "forceescape",
            "urlencode",
        ):
            value = list(value) if isinstance(value, Iterator) else value
            count = weigh(value, text=True)
            _limited(count * max([0, *(len(a) for a in arguments if isinstance(a, str))]), STRING)
        elif name == "replace":
            _check_method(str(value), "replace", arguments)
        elif name == "indent":
            text = str(value)
            width = arguments[0] if arguments else named.get("width", 4)
            _limited(len(text) + text.count("\n") * (width if isinstance(width, int) else len(str(width))), STRING)
        elif name == "format":
            _check_widths(str(value))
            weigh(list(arguments), text=True)
        return made(plain(*everything[:skip], value, *arguments, **named))

    return apply


def _ticking(iterable: Iterable[Any]) -> Iterable[Any]:
    """What a loop goes over; each turn is charged."""
    if isinstance(iterable, jinja2.Undefined) or not isinstance(iterable, Iterable):
        return iterable  # the loop itself knows what to say
    return _turns(iterable)


def _turns(iterable: Iterable[Any]) -> Iterator[Any]:
    for one in iterable:
        _charge()
        yield one


def _joined(parts: Sequence[Any]) -> str:
    """Jinja's `~`."""
    weigh(parts, text=True)
    texts = [str(part) for part in parts]
    _limited(sum(map(len, texts)), STRING)
    return str(made("".join(texts)))


@jinja2.pass_context  # which keeps it from being called when the template is compiled
def _shown(context: Any, value: Any) -> Any:
    """A piece of output."""
    if isinstance(value, str):
        _charge(len(value) + 64)
    elif isinstance(value, int) and value.bit_length() > 14_000:
        _limited(value.bit_length(), 14_000)
    else:
        _charge(weigh(value, text=True))
    return value


def _tojson(value: Any, indent: int | None = None, separators: Any = None, sort_keys: bool = False, **_: Any) -> str:
    """Plain JSON: jinja2's own filter would escape for HTML."""
    if isinstance(value, Iterator):  # of `map`, `select` and their like
        value = list(value)
    _limited(weigh(value, text=True) * (indent if isinstance(indent, int) else 1), CHARACTERS)
    found = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    _charge(sys.getsizeof(found))
    return found


def raise_exception(message: Any) -> None:
    """For templates: refuses the messages."""
    raise TemplateError("chat template", got=str(message)[:1000], want="messages it accepts")


def strftime_now(form: str) -> str:
    """For templates: the time."""
    _limited(len(form), 1000)
    return datetime.datetime.now().strftime(form)


def bounded_range(*arguments: int) -> range:
    """For templates: Python's `range`, of bounded length."""
    numbers = range(*arguments)
    _limited(len(numbers), jinja2.sandbox.MAX_RANGE, "range")
    return numbers


GLOBALS: Final = {"raise_exception": raise_exception, "strftime_now": strftime_now, "range": bounded_range}
"""What templates find beside their variables."""
