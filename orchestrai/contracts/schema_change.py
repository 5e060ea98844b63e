"""Schema changes: what a reader of the old schema survives (compatible), and what it does not (breaking)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrai.contracts.contract import Column, Contract

Kind = Literal["equal", "compatible", "breaking"]
WIDER = {("INT", "BIGINT"), ("INT", "DOUBLE"), ("DATE", "TIMESTAMP")}


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """The difference between two schemas, a line per column: `+ added`, `- gone`, `~ changed`.

    `broken` are the lines that a reader of the old one does not survive, `unreadable` those of them for which data of the old one cannot
    be read as the new one says.
    """

    kind: Kind
    lines: tuple[str, ...]
    broken: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """One line for people."""
        if self.kind == "equal":
            return "no change"
        shown = "; ".join(self.lines[:6]) + ("; ..." if len(self.lines) > 6 else "")
        remedy = "declare the column or ignore it" if self.kind == "compatible" else "publish a new contract version"
        return f"expected the declared schema, found a {self.kind} change ({shown}): {remedy}"


def compare_contract(contract: "Contract", actual: "pa.Schema") -> SchemaChange:
    """Compare a contract with the schema found: older data may lack an optional column, and hold a narrower type."""
    from orchestrai.contracts.contract import physical_type

    optional = {column.name for column in contract.columns if not column.required}
    change = compare_schemas(contract.arrow_schema(), actual)
    if change.kind != "breaking":
        return change
    for column in contract.columns:
        index = actual.get_field_index(column.name)
        if index < 0:
            if column.name not in optional:
                return change
            continue
        kind = physical_type(actual.field(index).type)
        if kind is None or (kind != column.type and not widens(kind, column.type)):
            return change
    return change if len(set(actual.names)) != len(actual.names) else SchemaChange("compatible", change.lines)


def compare_schemas(declared: "pa.Schema", actual: "pa.Schema") -> SchemaChange:
    """Compare a declared Arrow schema with the one found; extra columns are compatible, all else is breaking."""
    lines: list[str] = []
    breaking = False
    for field in declared:
        index = actual.get_field_index(field.name)
        if index < 0:
            lines.append(f"- {field.name} {field.type}")
            breaking = True
        elif not _same(field.type, actual.field(index).type):
            lines.append(f"~ {field.name} {field.type} -> {actual.field(index).type}")
            breaking = True
    known = set(declared.names)
    lines += [f"+ {field.name} {field.type}" for field in actual if field.name not in known]
    if len(set(actual.names)) != len(actual.names):
        lines.append("~ a column name appears twice")
        breaking = True
    return SchemaChange("breaking" if breaking else "compatible" if lines else "equal", tuple(lines))


def _same(declared: "pa.DataType", actual: "pa.DataType") -> bool:
    import pyarrow.types as kinds

    if declared == actual:
        return True
    if kinds.is_dictionary(actual):
        actual = actual.value_type
    return bool(kinds.is_string(declared) and (kinds.is_large_string(actual) or kinds.is_string(actual)))


def compare_contracts(old: "Contract", new: "Contract") -> SchemaChange:
    """Tell what a new contract version changes for readers of the old one.

    Compatible: an added optional column, a wider type, a rule loosened or tightened. Breaking: a column gone, a narrower
    or other type, an added column that is required, another primary key or event time, tokens in place of values, a
    column derived otherwise.
    """
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    lines: list[str] = []
    broken: list[str] = []
    unreadable: list[str] = []
    for name, column in before.items():
        gone = (f"- {name} {column.type}", True, False)
        line, breaks, unread = _column_change(column, after[name]) if name in after else gone
        lines += [line] if line else []
        broken += [line] if breaks else []
        unreadable += [line] if unread else []
    for name, column in after.items():
        if name not in before:
            lines.append(f"+ {name} {column.type}{' required' if column.required else ''}")
            broken += [lines[-1]] if column.required else []
            unreadable += [lines[-1]] if column.required else []
    for label, was, now in (
        ("primary key", old.primary_key, new.primary_key),
        ("event time", old.event_time, new.event_time),
        ("person", old.person, new.person),
    ):
        if was != now:
            lines.append(f"~ {label} {was} -> {now}")
            broken.append(lines[-1])
    kind: Kind = "breaking" if broken else "compatible" if lines else "equal"
    return SchemaChange(kind, tuple(lines), tuple(broken), tuple(unreadable))


def _column_change(was: "Column", now: "Column") -> tuple[str, bool, bool]:
    """A line, or none; whether it breaks readers; whether data from before it cannot be read."""
    if was.type != now.type:
        narrower = not widens(was.type, now.type)
        return f"~ {was.name} {was.type} -> {now.type}", narrower, narrower
    if was.required and not now.required:
        return f"~ {was.name} may now be null", True, False
    if was.tokenise != now.tokenise:
        return f"~ {was.name}: {'values' if was.tokenise else 'tokens'} from now on", True, True
    if was.derive != now.derive:
        return f"~ {was.name}: made otherwise from now on", True, False
    rules = (
        "required",
        "unique",
        "allowed",
        "minimum",
        "maximum",
        "pattern",
        "max_length",
        "classification",
        "source",
        "unit",
    )
    changed = [rule for rule in rules if getattr(was, rule) != getattr(now, rule)]
    return (f"~ {was.name}: {', '.join(changed)}" if changed else ""), False, False


def widens(was: str, now: str) -> bool:
    """True where every value of one type is one of the other, and the same value on every engine."""
    if (was, now) in WIDER:
        return True
    if was.startswith("DECIMAL(") and now.startswith("DECIMAL("):
        (p1, s1), (p2, s2) = (tuple(int(n) for n in text[8:-1].split(",")) for text in (was, now))
        return s2 >= s1 and p2 - s2 >= p1 - s1
    return False
