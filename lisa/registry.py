"""Names to things: one file per entry, found by looking into a folder, duplicates refused."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Generic, TypeVar

from lisa.errors import LisaError, unknown_name

T = TypeVar("T")


def discover(package: str | ModuleType) -> None:
    """Import every module of a package whose name does not begin with an underscore.

    Args:
        package: The package or its dotted name; its entries register themselves when they are imported.
    """
    if isinstance(package, str):
        package = importlib.import_module(package)
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package.__name__}.{module.name}")


class Registry(Generic[T]):
    """Entries of one kind by name.

    Args:
        kind: What an entry is, for error messages: "family", "annotator".
        package: Dotted name of the package that holds the entries; it is discovered at the first look-up.
            Empty when entries are only added by hand.
    """

    def __init__(self, kind: str, package: str = "") -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}

    def add(self, name: str, value: T) -> None:
        """Add one entry.

        Args:
            name: Its name, unique in this registry.
            value: The entry.

        Raises:
            LisaError: If the name is taken.
        """
        if name in self._entries:
            raise LisaError(f"There are two entries for {self.kind} {name!r}: rename one of them.")
        self._entries[name] = value

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to add it.

        Args:
            name: Its name, unique in this registry.

        Returns:
            A decorator that returns its argument unchanged.
        """

        def decorate(value: T) -> T:
            self.add(name, value)
            return value

        return decorate

    def get(self, name: str) -> T:
        """Look one entry up.

        Args:
            name: The name it was added under.

        Returns:
            The entry.

        Raises:
            LisaError: If there is none; the sentence lists the nearest names and all names.
        """
        entries = self._found()
        if name not in entries:
            raise unknown_name(self.kind, name, entries)
        return entries[name]

    def names(self) -> tuple[str, ...]:
        """List all names in alphabetical order."""
        return tuple(sorted(self._found()))

    def values(self) -> tuple[T, ...]:
        """List all entries in the order of their names."""
        return tuple(self._entries[name] for name in self.names())

    def _found(self) -> dict[str, T]:
        if self._package:
            # Cleared only after success, so that a failing import shows at every look-up.
            discover(self._package)
            self._package = ""
        return self._entries

    def __contains__(self, name: object) -> bool:
        return name in self._found()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._found())
