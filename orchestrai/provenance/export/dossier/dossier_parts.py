"""What a dossier is made of, and how its sections read a model's steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.lineage import Step

NOT_DECLARED, NOT_RECORDED = "not declared", "not recorded"
Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a caption; `columns` are their names."""

    caption: str
    columns: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """One heading: what it refers to, single facts, tables."""

    id: str
    title: str
    refers: str
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Dossier:
    """Everything of one version of a model; `pictures` are PNG files by name, as its evaluation published them."""

    asset: str
    version: str
    sections: tuple[Section, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same for programs; pictures by their names alone."""
        return {
            "asset": self.asset,
            "version": self.version,
            "claims": "none: where to look, not whether it suffices",
            "sections": [
                {
                    "id": section.id,
                    "title": section.title,
                    "refers": section.refers,
                    "facts": dict(section.facts),
                    "tables": [
                        {"caption": t.caption, "rows": [dict(zip(t.columns, row, strict=True)) for row in t.rows]}
                        for t in section.tables
                    ],
                }
                for section in self.sections
            ],
            "pictures": sorted(self.pictures),
        }


def evaluation_of(steps: Sequence[Step]) -> Step | None:
    """The step that judged the model."""
    return next((step for step in steps if step.use.stage == "evaluation"), None)


def newest_receipt(step: Step | None) -> Receipt | None:
    """The receipt that finished last; None without a step."""
    return max(step.receipts.values(), key=lambda receipt: receipt.finished, default=None) if step is not None else None


def fact_of(steps: Sequence[Step], name: str) -> Any:
    """The first step's newest receipt that has a fact; None where none has."""
    newest = (newest_receipt(step) for step in steps)
    return next((receipt.facts[name] for receipt in newest if receipt is not None and receipt.facts.get(name)), None)
