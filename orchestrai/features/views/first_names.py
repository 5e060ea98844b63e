"""A view's definition by the names that its inputs were given first: what a rename of a dataset leaves as it was.

Names are put back in the text, in the order of its tokens. Where no token of it has the first name, and no column has the present
one, this renames one identifier to a fresh one: another text, with the same meaning.
"""

import io
import tokenize
from collections.abc import Collection, Mapping
from typing import Any

import sqlglot

from orchestrai.features.views.lint.subset import DIALECT

_Place = tuple[int, int, str]


def put_back(text: str, renamed: Mapping[str, str], columns: Collection[str], *, python: bool) -> tuple[str, dict[str, str]]:
    """The text with first names for present ones (`renamed`: present -> first), and those for which that was possible."""
    if not renamed:
        return text, {}
    tokens = _python(text) if python else _sql(text)
    spelled = {word.casefold() for _, _, word in tokens} | {name.casefold() for name in columns}
    known = {name.casefold() for name in columns}
    sure = {now: first for now, first in renamed.items() if first.casefold() not in spelled and now.casefold() not in known}
    for start, end, word in reversed(tokens):
        if word in sure:
            text = text[:start] + text[start:end].replace(word, sure[word]) + text[end:]
    return text, sure


def references_put_back(spec: dict[str, Any], sure: Mapping[str, str]) -> dict[str, Any]:
    """A declaration, as it is dumped, whose references to inputs are by first names."""
    body = dict(spec)
    for field in ("from", "spine_from"):
        given = body.get(field)
        if isinstance(given, list):
            body[field] = [_reference(name, sure) for name in given]
        elif isinstance(given, str):
            body[field] = _reference(given, sure)
    return body | {"tables": {sure.get(name, name): clocks for name, clocks in body["tables"].items()}}


def _reference(name: str, sure: Mapping[str, str]) -> str:
    """`sales` or `churn/sales`."""
    folder, slash, table = name.rpartition("/")
    return f"{folder}{slash}{sure.get(table, table)}"


def _sql(text: str) -> list[_Place]:
    tokens = sqlglot.tokenize(text, read=DIALECT)
    return [(token.start, token.end + 1, token.text) for token in tokens if token.token_type != sqlglot.TokenType.STRING]


def _python(text: str) -> list[_Place]:
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return [
        (starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1], token.string)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME
    ]
