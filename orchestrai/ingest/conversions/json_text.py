"""JSON text to values of which nothing is lost: numbers as they are written, a key named twice and lone surrogates refused."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrai.ingest.conversions.spelling import JsonNumber, nested_text

# what the parser raises on hostile text, deep nesting included
JSON_ERRORS = (ValueError, RecursionError)


class Twice(dict[str, Any]):
    """An object that names keys more than once."""

    names: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    twice, seen = Twice(members), set()
    twice.names = frozenset(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return twice


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"the constant {name}")


class Constant:
    """NaN or Infinity, which are no JSON: whoever reads the field refuses the record."""

    def __init__(self, name: str) -> None:
        self.name = name


_KINDS: dict[str, Any] = {"object_pairs_hook": _object, "parse_float": JsonNumber, "parse_int": JsonNumber}
_DOCUMENT = json.JSONDecoder(parse_constant=_refuse_constant, **_KINDS)
_LINE = json.JSONDecoder(parse_constant=Constant, **_KINDS)


def decode_document(text: str) -> Any:
    """The value of a JSON text; raises one of JSON_ERRORS."""
    return _DOCUMENT.decode(text.removeprefix("\ufeff"))


def decode_line(text: str) -> Any:
    """The value of a line; a Constant in a field that nobody reads costs no record. Raises one of JSON_ERRORS."""
    return _LINE.decode(text.removeprefix("\ufeff"))


def field_text(record: Mapping[str, Any], name: str) -> str | None:
    """One field as text, None for null or none; raises ValueError with what was expected and found."""
    value = record.get(name)
    if isinstance(record, Twice) and name in record.names:
        raise ValueError(f"expected each key once, found {name!r} twice")
    if value is None:
        return None
    if isinstance(value, str):
        if not value.isascii():
            _check_unicode(value)
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    constant = next((item.name for item in _inside(value) if isinstance(item, Constant)), "")
    if constant:
        raise ValueError(f"expected JSON, found the constant {constant} in {name}")
    twice = next((key for item in _inside(value) if isinstance(item, Twice) for key in sorted(item.names)), "")
    if twice:
        raise ValueError(f"expected each key once, found {twice!r} twice in {name}")
    text = nested_text(value)
    if text is None:
        raise ValueError(
            f"expected a value that can be written as JSON in {name}, found one with lone surrogates or nested too deep"
        )
    return text


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"expected Unicode text, found the lone surrogate \\u{ord(text[exc.start]):x}") from None


def _inside(value: Any) -> Iterator[Any]:
    """A value and every value inside it."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += current.values() if isinstance(current, dict) else current if isinstance(current, list) else ()


def json_kind(value: Any) -> str:
    """What a value is called to people."""
    if isinstance(value, JsonNumber):
        return "float" if set(value) & set(".eE") else "int"
    return "dict" if isinstance(value, dict) else type(value).__name__


def shown_value(value: Any) -> str:
    """A value for a dead letter."""
    text = nested_text(value, sort_keys=False)
    return text if text is not None else f"a {json_kind(value)} that has no JSON text"
