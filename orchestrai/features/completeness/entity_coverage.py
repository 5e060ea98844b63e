"""How many entities of a partition that grows have features, counted from its new files and from those before them that name them all.

Most entities come again and again, so few of the files of a partition name every entity in it. Which ones do is noted in its manifest:
a count reads them and what is new. Of the input they are noted by SHA-256, of the features by name, the first in the order of names of
those that have an entity, so that they also do of the files that stay when the end of the partition is written anew.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.quoting import all_quoted, literal
from orchestrai.core.verdict import Verdict
from orchestrai.features.checks import coverage_verdict, known_entity
from orchestrai.features.engines.closed_database import Workspace
from orchestrai.features.engines.duckdb_engine import DuckDbEngine, source_sql
from orchestrai.features.engines.engine import Source
from orchestrai.features.plan import Task
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs, within

NAMED_BY = "entities_named_by"
# beside the columns of an input or a view
_PATH, _FILE, _PLACE, _FIRST = "orchestrai_path", "orchestrai_file", "orchestrai_place", "orchestrai_first"


@dataclass
class GrownCoverage:
    """The check `coverage` of one partition whose own input only gained files, which its `stats` as published tell of.

    The verdict is the one over all files. After `verdict`, `noted` is what to write into the manifest.
    """

    engine: DuckDbEngine
    view: FeatureView
    opened: Inputs
    task: Task
    stats: Mapping[str, JsonValue]
    noted: dict[str, JsonValue] = field(default_factory=dict)

    def stays(self, name: str) -> bool:
        """Whether a file of features that stays has to be read."""
        known = self._known("features")
        return known is None or name in known

    def verdict(self, files: Mapping[str, Path], least: float) -> Verdict:
        """`coverage`, from the feature files that are new and those that stay and have to be read, by name.

        Raises NotReceipted, MissingObject, DigestMismatch.
        """
        entity, table = self.view.entity, self.view.tables[self._table]
        if (test := known_entity(table, entity, self.task.keep)) is None:
            return coverage_verdict(table.name, None, 0, least)
        with ExitStack() as stack:
            named = self._input(stack)
            paths = within(named.values(), table.event_time, self.task.since[self._table], self.task.until)
            source = Source(table, paths, since=self.task.since[self._table], until=self.task.until)
            with self.engine.connect() as workspace:
                rows = f"SELECT * FROM ({source_sql(source, workspace.paths, _PATH if paths else '')}) WHERE {test}"
                inputs = _first_files(workspace, rows, entity, named) if paths else {}
                rows = f"SELECT * FROM read_parquet({workspace.paths(files.values())}, filename = {literal(_PATH)})"
                features = _first_files(workspace, rows, entity, dict(sorted(files.items()))) if files else {}
        self.noted = {NAMED_BY: {"inputs": [*sorted(inputs)], "features": [*sorted(features)]}}
        return coverage_verdict(table.name, sum(inputs.values()), sum(features.values()), least)

    @property
    def _table(self) -> str:
        return next(iter(self.view.tables))

    def _known(self, of: str) -> frozenset[str] | None:
        """The files that name all entities, as published; None where that is not noted."""
        noted = self.stats.get(NAMED_BY)
        known = noted.get(of) if isinstance(noted, dict) else None
        return frozenset(str(name) for name in known) if isinstance(known, list) else None

    def _input(self, stack: ExitStack) -> Mapping[str, Path]:
        """The verified input files to read, by SHA-256: those known to name all entities first."""
        keys = self.task.partitions[self._table]
        listed = {key: self._digests(key) for key in keys}
        known, before = self._known("inputs"), self.stats.get("files")
        only: Collection[str] | None = None
        if known is not None and isinstance(before, list):
            added = set(listed.get(self.task.key, ())) - {str(digest) for digest in before}
            if known <= {digest for digests in listed.values() for digest in digests}:
                only = known | added
        got = stack.enter_context(self.opened.fetched({self._table: keys}, only))[self._table]
        named = {
            digest: path
            for key in keys
            for digest, path in zip(
                [digest for digest in listed[key] if only is None or digest in only], got[key], strict=True
            )
        }
        first = known or frozenset()
        return dict(sorted(named.items(), key=lambda item: (item[0] not in first, item[0])))

    def _digests(self, key: str) -> Sequence[str]:
        entries = self.opened.datasets[self._table].files(key).files
        return [entry.sha256 for entry in entries if entry.role == "data"]


def _first_files(workspace: Workspace, rows: str, entity: Sequence[str], files: Mapping[str, Path]) -> dict[str, int]:
    """How many entities each file has that none before it has, by name; those that have none are left out."""
    names, places = list(files), [str(workspace.place(path)) for path in files.values()]
    table = ", ".join(f"({literal(place)}, {number})" for number, place in enumerate(places))
    first = (
        f"SELECT min({_PLACE}) AS {_FIRST} FROM ({rows}) JOIN (VALUES {table}) AS files({_FILE}, {_PLACE}) "
        f"ON {_PATH} = {_FILE} GROUP BY {all_quoted(entity)}"
    )
    counted = workspace.connection.execute(f"SELECT {_FIRST}, count(*) FROM ({first}) GROUP BY {_FIRST}").fetchall()
    return {names[number]: count for number, count in counted}
