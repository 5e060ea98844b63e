"""Packages whose public names are imported when they are first used, so that a command pays only for what it does."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType


class _LazyPackage(ModuleType):
    """A package that finds each public name in the submodule it is declared in.

    A module's own `__getattr__` (PEP 562) is not enough: when a submodule named as its function ("verify") is imported, Python sets
    the package's attribute to the submodule, and the function would no longer be found.
    """

    def __getattr__(self, name: str) -> object:
        home = self.__dict__["_homes"].get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{home}"), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and self.__dict__["_homes"].get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__["_homes"]})


def lazily(package: str, names: Mapping[str, Sequence[str]]) -> None:
    """Make a package's names resolve on first use; `names` says which each submodule declares."""
    module = sys.modules[package]
    module.__dict__["_homes"] = {name: home for home, exported in names.items() for name in exported}
    module.__class__ = _LazyPackage
