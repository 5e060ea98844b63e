"""The log of a Delta table in one of the product's own stores: read from its newest checkpoint on, gone on by put-if-absent.

A commit is the object `_delta_log/<number>.json`, which only one writer can create: that is the protocol's own rule, and each store here
keeps it. So the log needs no credentials but those of the connection that the lake is reached by.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConcurrentCommit, ConfigError, IntegrityError, ObjectExists, ObjectNotFound
from orchestrai.storage.base import Store

# what is written here and read here; a table that needs more was changed by somebody else
READER, WRITER = 1, 2
EVERY = 10
_LAST = "_last_checkpoint"

Action = Mapping[str, JsonValue]


@dataclass
class DeltaState:
    """What a table is at one of its versions: its metadata, its files by path, and what each application committed last."""

    number: int = -1
    metadata: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    applications: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, number: int, actions: Iterable[Mapping[str, Any]]) -> None:
        """Go on by one commit, or begin with a checkpoint."""
        self.number = number
        for action in actions:
            for kind, body in action.items():
                if kind == "add":
                    self.files[body["path"]] = dict(body)
                elif kind == "remove":
                    self.files.pop(body["path"], None)
                elif kind == "metaData":
                    self.metadata = dict(body)
                elif kind == "protocol":
                    self.protocol = dict(body)
                elif kind == "txn":
                    self.applications[body["appId"]] = dict(body)


class DeltaLog:
    """The log under `folder` (ends with a slash) of a store."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, f"{folder}_delta_log/"

    def commit(self, number: int, actions: Sequence[Action]) -> None:
        """Create a commit; raises ConcurrentCommit where the number is taken."""
        lines = "".join(json.dumps(action, sort_keys=True, separators=(",", ":")) + "\n" for action in actions)
        try:
            self.store.write(self._commit(number), lines.encode(), create=True)
        except ObjectExists as exc:
            raise ConcurrentCommit(
                f"expected to write version {number} of the table in {self.folder}, found it written by another: run it again"
            ) from exc

    def state(self) -> DeltaState | None:
        """The newest version; None where there is no table. Raises ConfigError for one that only newer readers understand."""
        begin = self._checkpointed()
        commits, checkpoints = self._numbers(begin)
        if not commits and not checkpoints:
            return None
        state = self._from(max(checkpoints, default=-1), commits)
        needs = (state.protocol.get("minReaderVersion", 0), state.protocol.get("minWriterVersion", 0))
        if needs[0] > READER or needs[1] > WRITER:
            raise ConfigError(
                f"expected the table in {self.folder} as it was made, found it changed to versions {needs} of the protocol: delete its "
                "_delta_log and run it again"
            )
        return state

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """The number of the newest version and what it says of itself; None where there is no table."""
        commits, checkpoints = self._numbers(self._checkpointed())
        if not commits:
            return (checkpoints[-1], {}) if checkpoints else None
        return commits[-1], self._info(commits[-1])

    def infos(self) -> list[tuple[int, dict[str, Any]]]:
        """What each commit that is there says of itself, oldest first."""
        return [(number, self._info(number)) for number in self._numbers(-1)[0]]

    def trim(self, first: int) -> int:
        """Make a version the oldest that can be read; how many commits went. What dies half way is done again by the next call."""
        commits, checkpoints = self._numbers(-1)
        older = [number for number in commits if number < first]
        if not older:
            return 0
        if first not in checkpoints:
            state = self._from(max((n for n in checkpoints if n <= first), default=-1), [n for n in commits if n <= first])
            self.checkpoint(state, newest=not any(number > first for number in checkpoints))
        # the oldest first: what is left by a death is then still what made them go
        for number in older:
            self.store.delete(self._commit(number))
        for number in checkpoints:
            if number < first:
                self.store.delete(self._checkpoint(number))
        return len(older)

    def checkpoint(self, state: DeltaState, *, newest: bool = True) -> None:
        """Write a version as a whole, so that no reader needs the commits before it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = [{"protocol": state.protocol}, {"metaData": _lists(state.metadata)}]
        rows += [{"txn": body} for _, body in sorted(state.applications.items())]
        rows += [{"add": {**_lists(body), "dataChange": False}} for _, body in sorted(state.files.items())]
        with io.BytesIO() as stream:
            pq.write_table(pa.Table.from_pylist(rows, _checkpoint_schema()), stream)
            self.store.write(self._checkpoint(state.number), stream.getvalue())
        if newest:
            last = {"version": state.number, "size": len(rows)}
            self.store.write(f"{self.folder}{_LAST}", json.dumps(last).encode())

    def _from(self, checkpoint: int, commits: Sequence[int]) -> DeltaState:
        state = DeltaState()
        if checkpoint >= 0:
            state.take(checkpoint, self._checkpointed_actions(checkpoint))
        for number in (number for number in commits if number > checkpoint):
            if number > state.number + 1:
                raise IntegrityError(
                    f"expected version {state.number + 1} in {self.folder}, found none before {number}: delete the log and run it again"
                )
            state.take(number, self._actions(number))
        return state

    def _checkpointed(self) -> int:
        try:
            return int(json.loads(self.store.read(f"{self.folder}{_LAST}"))["version"])
        except ObjectNotFound:
            return -1

    def _numbers(self, begin: int) -> tuple[list[int], list[int]]:
        """The commits and checkpoints from a number on, ascending."""
        after = f"{self.folder}{begin - 1:020d}.zzz" if begin > 0 else None
        commits, checkpoints = [], []
        for info in self.store.list(self.folder, start_after=after):
            name = info.key[len(self.folder) :]
            number, _, kind = name.partition(".")
            if number.isdigit() and len(number) == 20:
                if kind == "json":
                    commits.append(int(number))
                elif kind == "checkpoint.parquet":
                    checkpoints.append(int(number))
        return commits, checkpoints

    def _info(self, number: int) -> dict[str, Any]:
        """What a commit says of itself, which is the first that is written here; nothing of one that others wrote in another order."""
        first = self.store.read(self._commit(number)).partition(b"\n")[0]
        info: dict[str, Any] = json.loads(first).get("commitInfo", {}) if first.strip() else {}
        return info

    def _actions(self, number: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.store.read(self._commit(number)).splitlines() if line.strip()]

    def _checkpointed_actions(self, number: int) -> list[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(pa.BufferReader(self.store.read(self._checkpoint(number))))
        found = []
        for row in table.to_pylist(maps_as_pydicts="strict"):
            action = {kind: body for kind, body in row.items() if body is not None and kind != "remove"}
            found += [action] if action else []
        return found

    def _commit(self, number: int) -> str:
        return f"{self.folder}{number:020d}.json"

    def _checkpoint(self, number: int) -> str:
        return f"{self.folder}{number:020d}.checkpoint.parquet"


def _lists(body: Mapping[str, Any]) -> dict[str, Any]:
    """An action as a row: a mapping is a list of pairs there."""
    row = dict(body)
    for name in ("partitionValues", "configuration"):
        if name in row:
            row[name] = list(row[name].items())
    if "format" in row:
        row["format"] = {**row["format"], "options": list(row["format"].get("options", {}).items())}
    return row


def _checkpoint_schema() -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    mapping = pa.map_(text, text)
    add = [
        ("path", text),
        ("partitionValues", mapping),
        ("size", number),
        ("modificationTime", number),
        ("dataChange", pa.bool_()),
    ]
    kind = pa.struct([("provider", text), ("options", mapping)])
    metadata = [
        ("id", text), ("format", kind), ("schemaString", text), ("partitionColumns", pa.list_(text)), ("configuration", mapping),
        ("createdTime", number),
    ]  # fmt: skip
    remove = [("path", text), ("deletionTimestamp", number), ("dataChange", pa.bool_())]
    return pa.schema(
        {
            "txn": pa.struct([("appId", text), ("version", number), ("lastUpdated", number)]),
            "add": pa.struct([*add, ("stats", text)]),
            "remove": pa.struct(remove),
            "metaData": pa.struct(metadata),
            "protocol": pa.struct([("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32())]),
        }
    )
