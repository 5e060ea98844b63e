"""Which changes of a schema a reader of the old one survives."""

from dataclasses import replace

import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.contracts.schema_change import compare_contracts

OLD = Contract(
    "orders",
    "1",
    (
        Column("id", "INT", "id", required=True, key=1),
        Column("name", "STRING", "name"),
        Column("price", "DECIMAL(10,2)", "price"),
        Column("at", "TIMESTAMP", "at", required=True),
    ),
    event_time="at",
)


def changed(name: str, **changes: object) -> Contract:
    return replace(OLD, columns=tuple(replace(c, **changes) if c.name == name else c for c in OLD.columns))  # type: ignore[arg-type]


def added(column: Column) -> Contract:
    return replace(OLD, columns=(*OLD.columns, column))


@pytest.mark.parametrize(
    ("new", "kind", "line"),
    [
        (OLD, "equal", ""),
        (added(Column("note", "STRING", "note")), "compatible", "+ note STRING"),
        (added(Column("note", "STRING", "note", required=True)), "breaking", "+ note STRING required"),
        (changed("id", type="BIGINT"), "compatible", "~ id INT -> BIGINT"),
        (changed("price", type="DECIMAL(12,2)"), "compatible", "~ price DECIMAL(10,2) -> DECIMAL(12,2)"),
        (changed("price", type="DECIMAL(12,3)"), "compatible", "~ price DECIMAL(10,2) -> DECIMAL(12,3)"),
        (changed("price", type="DECIMAL(10,3)"), "breaking", "~ price DECIMAL(10,2) -> DECIMAL(10,3)"),
        (changed("name", type="BIGINT"), "breaking", "~ name STRING -> BIGINT"),
        (changed("at", required=False), "breaking", "~ at may now be null"),
        (changed("name", allowed=("a",)), "compatible", "~ name: allowed"),
        (changed("id", key=None), "breaking", "~ primary key ('id',) -> ()"),
        (replace(OLD, columns=OLD.columns[:1] + OLD.columns[2:]), "breaking", "- name STRING"),
        (replace(OLD, event_time=None), "breaking", "~ event time at -> None"),
        (changed("name", tokenise=True), "breaking", "~ name: tokens from now on"),
        (replace(OLD, person="name"), "breaking", "~ person None -> name"),
    ],
)
def test_a_change_is_told_apart_with_its_difference(new: Contract, kind: str, line: str) -> None:
    change = compare_contracts(OLD, new)
    assert change.kind == kind
    assert list(change.lines) == ([line] if line else [])
