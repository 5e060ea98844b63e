"""Columns that no source sends: what a contract says they are made from, out of a small closed set.

`time`  a moment or date from columns that hold its parts
`key`   text from several columns, which no two different rows share
`name`  a part of the landed object's name, by a regular expression with one group
`row`   the number of the row within its object, from 1
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from orchestrai.contracts.contract import Column

Function = Literal["time", "key", "name", "row"]
PARTS = ("date", "year", "month", "day", "hour", "minute", "second", "clock")
SEPARATOR = "|"
_KEYED = ("STRING", "BIGINT", "INT", "BOOLEAN", "DATE", "DECIMAL")


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a column is made: of `columns`, which have the roles `parts` in a time; by `pattern` from a name."""

    function: Function
    columns: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    separator: str = SEPARATOR
    pattern: str = ""

    @property
    def of_object(self) -> bool:
        """True for what only a landed object has: a name and numbered rows."""
        return self.function in ("name", "row")


def read_derivation(value: object) -> Derivation:
    """A derivation as declared; raises ValueError, "expected ..., found ..."."""
    functions = get_args(Function)
    names = [name for name in functions if name in value] if isinstance(value, Mapping) else []
    if not isinstance(value, Mapping) or len(names) != 1:
        raise ValueError(f"expected one of {', '.join(functions)} with what it is made from, found {value!r}")
    function: Function = names[0]
    stray = sorted(map(str, set(value) - {function, *(("separator",) if function == "key" else ())}))
    if stray:
        raise ValueError(
            f"expected {function}{' and separator' if function == 'key' else ''} only, found {', '.join(stray)}"
        )
    told = value[function]
    if function == "time":
        return _time(told)
    if function == "key":
        return _key(told, value.get("separator", SEPARATOR))
    if function == "row":
        if told != "number":
            raise ValueError(f"expected number, found {told!r}")
        return Derivation("row")
    return _name(told)


def _key(told: object, separator: object) -> Derivation:
    if not isinstance(separator, str) or len(separator) != 1:
        raise ValueError(f"expected a separator of one character, found {separator!r}")
    if not isinstance(told, Sequence) or not _are_names(told) or len(set(told)) < 2:
        raise ValueError(f"expected a list of at least two columns, found {told!r}")
    return Derivation("key", tuple(told), separator=separator)


def _name(told: object) -> Derivation:
    try:
        groups = re.compile(told).groups if isinstance(told, str) else 0
    except re.error as exc:
        raise ValueError(f"expected a regular expression, found {told!r} ({exc})") from exc
    if not isinstance(told, str) or groups != 1:
        raise ValueError(f"expected a regular expression with one group, such as 'store-(\\d+)', found {told!r}")
    return Derivation("name", pattern=told)


def _are_names(told: object) -> bool:
    return isinstance(told, Sequence) and not isinstance(told, str) and all(isinstance(name, str) for name in told)


def _time(told: object) -> Derivation:
    if not isinstance(told, Mapping) or not all(isinstance(name, str) for name in told.values()):
        raise ValueError(f"expected columns by the part of a time that they hold ({', '.join(PARTS)}), found {told!r}")
    stray = sorted(map(str, set(told) - set(PARTS)))
    if stray:
        raise ValueError(f"expected parts of {', '.join(PARTS)}, found {', '.join(stray)}")
    parts = tuple(part for part in PARTS if part in told)
    of_date = set(parts) & {"year", "month", "day"}
    if ("date" in parts and of_date) or ("date" not in parts and not {"year", "month"} <= of_date):
        raise ValueError(f"expected date, or year, month and perhaps day, found {', '.join(parts) or 'none'}")
    hands = [part for part in ("hour", "minute", "second") if part in parts]
    if "clock" in parts and (hands or not {"date", "day"} & set(parts)):
        found = f"clock beside {', '.join(hands)}" if hands else "clock without a day"
        raise ValueError(f"expected clock (a text such as 14:05:30) alone beside a date or a day, found {found}")
    if hands != ["hour", "minute", "second"][: len(hands)]:
        raise ValueError(f"expected hour before minute before second, found {', '.join(hands)}")
    return Derivation("time", tuple(told[part] for part in parts), parts)


def derivation_fault(column: "Column", columns: "Sequence[Column]", person: str | None = None) -> str:
    """What is wrong with a derived column beside the others, "expected ..., found ..."; nothing where all is sound."""
    made = column.derive
    assert made is not None
    wanted = {"time": ("TIMESTAMP", "DATE"), "key": ("STRING",), "row": ("BIGINT", "INT")}.get(made.function)
    if wanted and column.type not in wanted:
        return f"expected the type {' or '.join(wanted)} for {made.function}, found {column.type}"
    if column.type == "DATE" and {"hour", "clock"} & set(made.parts):
        return "expected the type TIMESTAMP for a time with hours, found DATE"
    known = {other.name: other for other in columns}
    before = {other.name for other in columns[: list(columns).index(column)]}
    for name, part in zip(made.columns, made.parts or ("",) * len(made.columns), strict=True):
        source = known.get(name)
        if source is None or source is column or (source.derive is not None and name not in before):
            return f"expected a landed column or one derived above, found {name!r}"
        types = {"": _KEYED, "date": ("DATE",), "clock": ("STRING",)}.get(part, ("BIGINT", "INT"))
        if not source.type.startswith(types):
            return f"expected {' or '.join(types)} for {part or 'a part of a key'}, found {name} of {source.type}"
        if source.personal and not column.personal:
            return f"expected the classification {source.classification}, as {name} has it, found {column.classification or 'none'}"
        if source.tokenise or source.name == person:
            return f"expected columns as they are sent, found {name}, which is tokenised"
    return ""
