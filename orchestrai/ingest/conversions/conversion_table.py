"""Which landed kind of value may become which declared type, and under which condition: the one table for all formats.

What is not in it is refused row by row. docs/gates.md shows it; a test compares the two.
"""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal[
    "text",
    "integer",
    "float",
    "decimal",
    "boolean",
    "moment",
    "moment with a zone",
    "date",
    "time of day",
    "bytes",
    "nested",
]
Family = Literal["STRING", "BIGINT", "DOUBLE", "DECIMAL", "BOOLEAN", "TIMESTAMP", "DATE"]

FAMILIES: tuple[Family, ...] = ("STRING", "BIGINT", "DOUBLE", "DECIMAL", "BOOLEAN", "TIMESTAMP", "DATE")

_DIGITS = "its digits"
_WHOLE = "without a fraction"
_EXACT = "with no more digits than declared"
_UNIT = "by the column's `unit`"

CONVERSIONS: dict[tuple[Kind, Family], str] = {
    ("text", "STRING"): "as it is",
    ("text", "BIGINT"): "decimal digits, a sign, and `.0` at most; no exponent",
    ("text", "DOUBLE"): "a decimal number, the nearest DOUBLE; an integer only where that is the integer itself",
    ("text", "DECIMAL"): f"a decimal number {_EXACT}",
    ("text", "BOOLEAN"): "`true`, `false`, `1` or `0`",
    ("text", "TIMESTAMP"): "ISO 8601 or a declared format; digits by `unit`",
    ("text", "DATE"): "the same, at midnight and without a zone",
    ("integer", "STRING"): _DIGITS,
    ("integer", "BIGINT"): "where it fits",
    ("integer", "DOUBLE"): "where the DOUBLE is that integer",
    ("integer", "DECIMAL"): _EXACT,
    ("integer", "BOOLEAN"): "1 or 0",
    ("integer", "TIMESTAMP"): f"{_UNIT}, or its digits by a declared format",
    ("integer", "DATE"): "the same, at midnight",
    ("float", "STRING"): "its shortest decimal, such as `17850.0`",
    ("float", "BIGINT"): f"{_WHOLE}, below 10^16",
    ("float", "DOUBLE"): "finite",
    ("float", "DECIMAL"): f"its shortest decimal, {_EXACT}",
    ("float", "TIMESTAMP"): f"{_UNIT}, {_WHOLE}",
    ("float", "DATE"): f"{_UNIT}, {_WHOLE}, at midnight",
    ("decimal", "STRING"): _DIGITS,
    ("decimal", "BIGINT"): _WHOLE,
    ("decimal", "DOUBLE"): "the nearest DOUBLE; an integer only where that is the integer itself",
    ("decimal", "DECIMAL"): _EXACT,
    ("decimal", "BOOLEAN"): "1 or 0",
    ("decimal", "TIMESTAMP"): f"{_UNIT}, {_WHOLE}",
    ("decimal", "DATE"): f"{_UNIT}, {_WHOLE}, at midnight",
    ("boolean", "STRING"): "`true` or `false`",
    ("boolean", "BOOLEAN"): "as it is",
    ("moment", "STRING"): "`2026-11-22 10:00:00`, with the fraction its unit has",
    ("moment", "TIMESTAMP"): "taken as UTC, in whole microseconds",
    ("moment", "DATE"): "at midnight",
    ("moment with a zone", "STRING"): "the same in UTC, with a `Z`",
    ("moment with a zone", "TIMESTAMP"): "in whole microseconds",
    ("date", "STRING"): "`2026-11-22`",
    ("date", "TIMESTAMP"): "midnight in UTC",
    ("date", "DATE"): "as it is",
    ("time of day", "STRING"): "`10:00:00`, with the fraction its unit has",
    ("bytes", "STRING"): "UTF-8",
    ("nested", "STRING"): "its JSON, keys sorted",
}


def family_of(physical: str) -> Family:
    """The column of the table for a declared type."""
    if physical == "INT":
        return "BIGINT"
    return next(family for family in FAMILIES if physical.startswith(family))


def kind_of(landed: "pa.DataType") -> Kind | None:
    """The row of the table for an Arrow type; None for one that no table of ours knows."""
    import pyarrow.types as kinds

    if kinds.is_timestamp(landed):
        return "moment" if landed.tz is None else "moment with a zone"
    tests = (
        ("text", kinds.is_string),
        ("integer", kinds.is_integer),
        ("float", kinds.is_floating),
        ("decimal", kinds.is_decimal),
        ("boolean", kinds.is_boolean),
        ("date", kinds.is_date),
        ("time of day", kinds.is_time),
        ("bytes", lambda kind: kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind)),
        ("nested", lambda kind: kinds.is_nested(kind) and not kinds.is_map(kind)),
    )
    for name, test in tests:
        if test(landed):
            return name  # type: ignore[return-value]
    return None


def as_markdown() -> str:
    """The table as the page shows it: a row for each landed kind, what it may become and when."""
    lines = ["| landed | declared | taken when |", "|---|---|---|"]
    before = ""
    for (kind, family), condition in CONVERSIONS.items():
        lines.append(f"| {kind if kind != before else ''} | {family} | {condition} |")
        before = kind
    return "\n".join(lines)
