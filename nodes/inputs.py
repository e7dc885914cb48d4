"""What arrives at an input, checked against the node's own schema.

The host checks the range of a number and, from 0.33 on, the options of a combo, where a value is typed in or comes
through its API.  It checks nothing where a value comes from another node, and older hosts take any text for a combo.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, TypeVar

from comfy_api.latest import io

from .sockets import wrong_socket

Node = TypeVar("Node", bound=type[io.ComfyNode])
_MOST = 20  # options that a message names


def with_checked_inputs(node: Node) -> Node:
    """The same node class; its ``execute`` refuses values that its widgets do not offer, by ValueError with advice.

    And so what cannot be of a socket's type, see `wrong_socket`.
    The options are those of a schema that is made when it is executed, so that lists of files are as their folders are
    then.  Combos that the node's ``validate_inputs`` takes are left to the node: it knows more names than the list has.
    """
    changed: Any = node  # the host's class has no room for another signature
    execute: Callable[..., io.NodeOutput] = changed.execute.__func__

    @functools.wraps(execute)
    def checked(cls: type[io.ComfyNode], *args: Any, **inputs: Any) -> io.NodeOutput:
        schema = cls.define_schema()
        own = inspect.signature(cls.validate_inputs).parameters
        problems = [
            problem
            for widget in schema.inputs or ()
            if widget.id in inputs and widget.id not in own
            for value in (inputs[widget.id] if schema.is_input_list else [inputs[widget.id]])
            if (problem := _problem(widget, value))
        ] or [
            problem
            for socket in schema.inputs or ()
            if socket.id in inputs and not (inputs[socket.id] is None and socket.optional)
            if (problem := wrong_socket(socket.io_type, socket.id, inputs[socket.id]))
        ][:1]
        if problems:
            raise ValueError(f"{schema.display_name}: {'; '.join(problems)}.")
        return execute(cls, *args, **inputs)

    changed.execute = classmethod(checked)
    return node


def _problem(widget: io.Input, value: Any) -> str | None:
    """What is wrong with the value, and what would be right; None for a good one, and for what is no widget."""
    if value is None and widget.optional:
        return None
    if isinstance(widget, io.Combo.Input):
        if isinstance(value, str) and value in widget.options:
            return None
        return f"{widget.id} is {_show(value)}, and must be one of {_list(widget.options)}"
    if isinstance(widget, io.Int.Input | io.Float.Input):
        kind, what = (Integral, "a whole number") if isinstance(widget, io.Int.Input) else (Real, "a number")
        if isinstance(value, kind) and not isinstance(value, bool) and _within(widget, value):
            return None
        return f"{widget.id} is {_show(value)}, and must be {what}{_range(widget)}"
    if isinstance(widget, io.Boolean.Input) and not isinstance(value, bool | int):
        return f"{widget.id} is {_show(value)}, and must be true or false"
    if isinstance(widget, io.String.Input):
        if not isinstance(value, str):
            return f"{widget.id} is {_show(value)}, and must be text"
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            return f"{widget.id} has halves of characters in it, which are no text; write it anew"
    return None


def _within(widget: io.Int.Input | io.Float.Input, value: Any) -> bool:
    low = -math.inf if widget.min is None else widget.min
    high = math.inf if widget.max is None else widget.max
    return low <= value <= high and math.isfinite(value)  # nan is neither above nor below anything


def _range(widget: io.Int.Input | io.Float.Input) -> str:
    sides = [f" {word} {side}" for word, side in (("from", widget.min), ("to", widget.max)) if side is not None]
    return "".join(sides)


def _list(options: Iterable[Any]) -> str:
    options = [str(option) for option in options]
    return ", ".join(options[:_MOST]) + (f" and {len(options) - _MOST} more" if len(options) > _MOST else "")


def _show(value: Any) -> str:
    if isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:80]}..."
    return "nothing" if value is None else f"a {type(value).__name__}"
