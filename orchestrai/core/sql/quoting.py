"""The one place where a name or a value becomes part of SQL text; nothing else writes a quote around either."""

import unicodedata
from collections.abc import Iterable

from orchestrai.errors import ConfigError

LONGEST_NAME = 255
QUOTES = '"`'
# Spark puts variables of its machine in place of ${env:NAME}, wherever in the text it stands
VARIABLE = "${"
# control characters, halves of surrogate pairs, line and paragraph separators
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


def quoted(name: str, quote: str = '"') -> str:
    """A name as an identifier: in double quotes, or in the backticks of Spark. Raises ConfigError for one that no engine takes."""
    if not name or "\0" in name:
        raise ConfigError(f"expected the name of a column or table, found {name!r}: rename it")
    return quote + name.replace(quote, quote + quote) + quote


def all_quoted(names: Iterable[str], quote: str = '"', table: str = "") -> str:
    """Names as a list of identifiers, of one table where it is given."""
    before = f"{table}." if table else ""
    return ", ".join(before + quoted(name, quote) for name in names)


def literal(text: str) -> str:
    """A text as a value of standard SQL."""
    if "\0" in text:
        raise ConfigError(f"expected a text without NUL, found {text!r}: leave it out")
    return "'" + text.replace("'", "''") + "'"


def spark_literal(text: str) -> str:
    """A text as a value of Spark SQL, where a doubled quote parts two texts and a backslash begins an escape."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def name_fault(name: str) -> str | None:
    """What keeps a text from being the name of a column; None for a legal one."""
    if not name or name != name.strip():
        return "a name without spaces around it"
    if len(name) > LONGEST_NAME:
        return f"a name of at most {LONGEST_NAME} characters"
    if any(character in QUOTES for character in name):
        return "a name without double quotes and backticks"
    if VARIABLE in name:
        return f"a name without {VARIABLE}"
    if any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        return "a name without control characters and line breaks"
    return None
