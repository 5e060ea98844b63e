"""What a comparison of the copies of a vault says: what can be mended and from where, and what cannot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.storage.base import Store
from orchestrai.vault.replica.copies import Copy

# records are few and small, and put-if-absent decides between us and whoever else writes them
Action = Literal["create", "write", "set aside"]


@dataclass(frozen=True)
class Mend:
    """One object of a copy that is missing or wrong, and where the right one is.

    `version` is that of the source, where the copy itself keeps it under what lies over it; `digest` is of a record, for which the hash
    is known beforehand. To set aside is to give way: a fence that a prune of a replica wrote, where the primary has another record.
    `behind` is what a replica was not given yet, which is no fault.
    """

    copy: Copy
    key: str
    problem: str
    source: Store
    action: Action = "write"
    version: str = ""
    digest: str = ""
    behind: bool = False

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        source = "its own earlier version" if self.version else self.source.url
        return {
            "copy": self.copy.name,
            "key": self.key,
            "problem": self.problem,
            "from": source,
            "action": self.action,
            "behind": self.behind,
        }


@dataclass(frozen=True)
class Newer:
    """Records that a replica has behind the end of what the primary has: the primary was rolled back, or somebody wrote to the replica.

    `anchored` says that the anchor remembers them of the primary. `mends` bring them to it, with the bytes that they need.
    """

    log: str
    copy: Copy
    first: int
    last: int
    anchored: bool
    mends: tuple[Mend, ...]

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {
            "log": self.log, "copy": self.copy.name, "first": self.first, "last": self.last, "anchored": self.anchored,
        }  # fmt: skip


@dataclass(frozen=True)
class Unmended:
    """Something that is wrong and that no copy can mend: two signed records that differ, or an object that could not be read."""

    copy: str
    key: str
    problem: str

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {"copy": self.copy, "key": self.key, "problem": self.problem}


@dataclass(frozen=True)
class Lost:
    """An object that no copy has as it was written, and what loses by it: partitions by snapshot (none: the whole snapshot)."""

    key: str
    problem: str
    loses: Mapping[tuple[str, int, str], tuple[str, ...]]

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        rows: list[JsonValue] = [
            {"dataset": dataset, "seq": seq, "snapshot_id": snapshot_id, "partitions": list(partitions)}
            for (dataset, seq, snapshot_id), partitions in sorted(self.loses.items())
        ]
        return {"key": self.key, "problem": self.problem, "loses": rows}
