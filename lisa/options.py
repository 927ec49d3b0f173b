"""Settings as data: one field declares default, range, unit and help, and values are checked against it."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from lisa.errors import LisaError, unknown_name

S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known about one setting apart from its type and default.

    Attributes:
        help: One phrase for the form and the command line, without the range.
        unit: Unit of a number, such as "steps"; empty for pure numbers.
        low: Smallest accepted number, inclusive.
        high: Largest accepted number, inclusive.
        step: Step of a slider; numbers between steps are accepted too.
        choices: The accepted texts; empty for free text.
        expert: Whether a form may hide it behind "more settings".
        label: Short name for a form.
    """

    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    expert: bool = False
    label: str = ""

    def range_text(self) -> str:
        """Say in words what is accepted, such as "0..1", "at least 1", "a, b or c"; empty for no limit."""
        if self.choices:
            return ", ".join(self.choices[:-1]) + f" or {self.choices[-1]}"
        if self.low is not None and self.high is not None:
            return f"{_plain_number(self.low)}..{_plain_number(self.high)}"
        if self.low is not None:
            return f"at least {_plain_number(self.low)}"
        return f"at most {_plain_number(self.high)}" if self.high is not None else ""


def option(default: Any, help: str, *, choices: Collection[str] = (), **details: Any) -> Any:
    """Declare one field of a settings dataclass.

    Args:
        default: Its default value.
        help: One phrase that explains it.
        choices: The accepted texts, if they are few.
        **details: The other attributes of Option.

    Returns:
        A dataclass field with the option in its metadata.
    """
    return dataclasses.field(default=default, metadata={"option": Option(help, choices=tuple(choices), **details)})


def options(cls: type) -> list[tuple[str, Option, Any, Any]]:
    """List the options of a settings class in the order of their declaration.

    Args:
        cls: A dataclass whose fields were made by option().

    Returns:
        One (name, option, type, default) for each field.
    """
    hints = typing.get_type_hints(cls)
    return [(f.name, f.metadata["option"], hints[f.name], f.default) for f in dataclasses.fields(cls)]


def check(settings: S) -> S:
    """Check every field, then what the class itself says about fields together (its method crosscheck).

    Args:
        settings: A settings dataclass.

    Returns:
        The same object.

    Raises:
        LisaError: For the first wrong field: its name, the value seen, what is accepted.
    """
    for name, declared, hint, _ in options(type(settings)):
        check_value(name, getattr(settings, name), hint, declared)
    crosscheck = getattr(settings, "crosscheck", None)
    if crosscheck is not None:
        crosscheck()
    return settings


def check_value(name: str, value: Any, hint: Any, declared: Option) -> None:
    """Check one value against its type and option.

    Args:
        name: Name of the field, for the message.
        value: The value seen.
        hint: The field's type: bool, int, float, str, tuple[X, ...], X | None or a settings class.
        declared: The field's option.

    Raises:
        LisaError: If the value is of another type, not finite, out of range or not among the choices.
    """
    inner, optional = _strip_optional(hint)
    if value is None and optional:
        return
    if dataclasses.is_dataclass(inner):
        _require(isinstance(value, inner), name, value, f"a {inner.__name__}")
        check(value)
    elif typing.get_origin(inner) is tuple:
        _require(isinstance(value, tuple), name, value, "a list")
        for item in value:
            check_value(name, item, typing.get_args(inner)[0], declared)
    elif inner is bool:
        _require(isinstance(value, bool), name, value, "true or false")
    elif inner is str:
        _check_text(name, value, declared)
    else:
        _check_number(name, value, inner, declared)


def to_dict(settings: Any) -> dict[str, Any]:
    """Turn settings into plain JSON values: nested settings become dicts and tuples become lists.

    Args:
        settings: A settings dataclass.

    Returns:
        One entry for each field.
    """
    return {field.name: _to_plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def from_dict(cls: type[S], data: Mapping[str, Any]) -> S:
    """Build checked settings from plain JSON values; absent fields take their defaults.

    Args:
        cls: The settings class.
        data: Values by field name. A whole number may be written 3 or 3.0, as JSON writers do.

    Returns:
        The settings, checked.

    Raises:
        LisaError: If a key is unknown (the nearest name is suggested) or a value is wrong.
    """
    if not isinstance(data, Mapping):
        raise LisaError(f"{cls.__name__} must be a table of names and values, not {type(data).__name__}.")
    hints = {name: hint for name, _, hint, _ in options(cls)}
    for name in data:
        if name not in hints:
            raise unknown_name("setting", name, hints)
    return check(cls(**{name: _from_plain(hints[name], value) for name, value in data.items()}))


def parse_text(name: str, text: str, hint: Any, declared: Option) -> Any:
    """Read a value written as text, as on the command line.

    Args:
        name: Name of the field, for the message.
        text: What was written; the items of a tuple are joined by "+".
        hint: The field's type.
        declared: The field's option, for the message.

    Returns:
        The value, not yet checked against its option.

    Raises:
        LisaError: If the text does not read as this type.
    """
    inner, optional = _strip_optional(hint)
    if optional and text == "":
        return None
    if typing.get_origin(inner) is tuple:
        return tuple(parse_text(name, item, typing.get_args(inner)[0], declared) for item in text.split("+") if item)
    if inner is bool:
        _require(text in ("true", "false"), name, text, "true or false")
        return text == "true"
    try:
        return inner(text)
    except ValueError:
        raise _wrong(name, text, _wanted(inner, declared)) from None


def _plain_number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _strip_optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        return inner[0], True
    return hint, False


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise _wrong(name, value, wanted)


def _wrong(name: str, value: Any, wanted: str) -> LisaError:
    if value is None or value == "":
        return LisaError(f"{name} is empty: give {wanted}.")
    seen = repr(value)
    seen = seen if len(seen) <= 80 else seen[:77] + "..."
    return LisaError(f"{name} is {seen}, but must be {wanted}.")


def _wanted(inner: Any, declared: Option) -> str:
    """What kind of value is accepted, in which range and unit."""
    unit = f" {declared.unit}" if declared.unit else ""
    limits = declared.range_text()
    kind = {int: "a whole number", float: "a number", str: "text"}[inner]
    return kind + (f", {limits}{unit}" if limits else unit)


def _check_text(name: str, value: Any, declared: Option) -> None:
    _require(isinstance(value, str), name, value, "text")
    if declared.choices:
        _require(value in declared.choices, name, value, declared.range_text())
    # Tokenizers and file systems refuse both with an error of their own that says less.
    readable = "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    _require(readable, name, value, "text without NUL characters and broken Unicode")


def _check_number(name: str, value: Any, inner: Any, declared: Option) -> None:
    wanted = _wanted(inner, declared)
    accepted = (int,) if inner is int else (int, float)
    _require(isinstance(value, accepted) and not isinstance(value, bool), name, value, wanted)
    _require(isinstance(value, int) or math.isfinite(value), name, value, wanted)
    _require(declared.low is None or value >= declared.low, name, value, wanted)
    _require(declared.high is None or value <= declared.high, name, value, wanted)


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_to_plain(item) for item in value] if isinstance(value, tuple) else value


def _from_plain(hint: Any, value: Any) -> Any:
    inner, _ = _strip_optional(hint)
    if dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
        return from_dict(inner, value)
    if typing.get_origin(inner) is tuple and isinstance(value, (list, tuple)):
        return tuple(_from_plain(typing.get_args(inner)[0], item) for item in value)
    if inner is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
