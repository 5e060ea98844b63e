"""The names that something was declared by before, and what stays of them: the first is what it is known by for good."""

from collections.abc import Sequence


def first_name(name: str, former: Sequence[str]) -> str:
    """The name that it was given first."""
    return former[0] if former else name
