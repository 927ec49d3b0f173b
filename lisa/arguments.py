"""Settings on the command line: one flag for each option, with its help, unit, range and default."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from lisa.errors import LisaError
from lisa.options import Option, check, check_value, options, parse_text

S = TypeVar("S")


def add_arguments(parser: argparse.ArgumentParser, cls: type, skip: Collection[str] = ()) -> None:
    """Give a command one flag for each option; a flag that is not used leaves no trace in the namespace.

    Args:
        parser: The command's parser.
        cls: The settings class.
        skip: Names of fields that get no flag.
    """
    for name, declared, hint, default in options(cls):
        if name in skip:
            continue
        keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help_text(declared, default)}
        if hint is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        else:
            keywords["type"] = _argument_type(name, hint, declared)
            keywords["metavar"] = name.rsplit("_", 1)[-1].upper()
        parser.add_argument("--" + name.replace("_", "-"), dest=name, **keywords)


def from_arguments(cls: type[S], namespace: argparse.Namespace, base: S | None = None) -> S:
    """Build checked settings from parsed flags.

    Args:
        cls: The settings class.
        namespace: What the parser of add_arguments returned.
        base: Settings that unused flags keep; the defaults when None.

    Returns:
        The settings, checked.
    """
    given = {name: getattr(namespace, name) for name, *_ in options(cls) if hasattr(namespace, name)}
    return check(dataclasses.replace(base if base is not None else cls(), **given))


def _help_text(declared: Option, default: Any) -> str:
    shown = "+".join(map(str, default)) if isinstance(default, tuple) else str(default)
    unit = f" {declared.unit}" if declared.unit else ""
    limits = declared.range_text()
    kind = "one of" if declared.choices else "range"
    notes = f"default: {shown or 'none'}{unit}" + (f", {kind} {limits}" if limits else "")
    return f"{declared.help} ({notes})".replace("%", "%%")  # argparse formats the help text


def _argument_type(name: str, hint: Any, declared: Option) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = parse_text(name, text, hint, declared)
            check_value(name, value, hint, declared)
        except LisaError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return parse
