"""A stage as one value: what it is, which assets it has, what it checks, and how it runs.

A stage's folder makes its own; pipeline/stage_registry.py lists them, and the graph, the runtime, Dagster, the command line and the catalog
read that list. What a stage works on, its subject, reaches it as a small protocol of its own `ports.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from orchestrai.core.code_identity import DIGITS, Producer
from orchestrai.core.time.calendar import Grain
from orchestrai.core.verdict import CheckInfo
from orchestrai.errors import ConfigError
from orchestrai.ledger.report import StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.declared_subject import DeclaredSubject
from orchestrai.stage.names import SubjectKind
from orchestrai.stage.staleness import Places, StalePartition

# data: on the way from landing to predictions; backup: kept beside events; copy: of a backup, elsewhere; trial: a backup tried out;
# release: what lets snapshots and bytes go; mend: what brings damaged ones back; log: what follows a backup, all the time; account: what
# all of it costs
Role = Literal["data", "backup", "copy", "trial", "release", "mend", "catalog", "log", "account"]


class Subject(Protocol):
    """What an asset is of: a declared dataset, view, model, database, or the pipeline itself."""

    @property
    def kind(self) -> SubjectKind:
        """Which of these it is."""
        ...

    @property
    def pipeline(self) -> str:
        """The pipeline that declares it, which is its group."""
        ...

    @property
    def prefix(self) -> str:
        """What its asset keys begin with."""
        ...

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        ...

    @property
    def source_files(self) -> tuple[Path, ...]:
        """The files that declare it."""
        ...


S = TypeVar("S")


@dataclass(frozen=True)
class AssetNode(Generic[S]):
    """One asset of the graph: what defs/ turns into a Dagster asset, and what the runtime runs."""

    asset: str
    stage: "Stage[S]"
    pipeline: str
    owner: str
    description: str
    subject: S
    deps: tuple[str, ...] = ()
    checks: tuple[CheckInfo, ...] = ()
    grain: Grain = "all"
    source_files: tuple[Path, ...] = ()

    @property
    def executable(self) -> bool:
        """False for what is only seen: landing and dead letters."""
        return self.stage.run is not None


def _none(subject: Any) -> tuple[Any, ...]:
    return ()


def _whole(subject: Any) -> Grain:
    return "all"


def _always(subject: Any) -> bool:
    return True


def _undefined(subject: Any) -> str:
    return ""


def _current(context: RunContext, node: Any, above: Places) -> tuple[StalePartition, ...]:
    return ()


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A stage of every subject of some kinds that it applies to; without `run` it is only seen.

    A `gate` holds back what fails its checks until a person overrides or skips it. `verbatim` data has the bytes of the stage before.
    `definition` is a digest of what its subject declares, where that decides with the code what comes out. `stale` tells which published
    partitions would come out of other inputs or code now, given the stale ones before it. `proven` data is read only under a receipt
    that shows its verdicts, code, inputs and roots in the vault. What is `red` fails a run by a warning too, though the record of it is
    published. `rowless` assets have no rows to count. Of a `tried` one a trial may ask whether it would publish anything: all that it does
    goes to stores, or is told to `RunContext.begin` before.
    """

    name: str
    of: tuple[SubjectKind, ...]
    description: str
    kinds: frozenset[str] | Callable[[S], frozenset[str]]
    producer: Producer | Callable[[S], Producer] | None = None
    run: Callable[[RunContext, AssetNode[S], Sequence[str]], StageReport] | None = None
    deps: Callable[[S], Sequence[str]] = _none
    checks: Callable[[S], Sequence[CheckInfo]] = _none
    grain: Callable[[S], Grain] = _whole
    applies: Callable[[S], bool] = _always
    about: Callable[[S], str] | None = None
    definition: Callable[[S], str] = _undefined
    stale: Callable[[RunContext, AssetNode[S], Places], Sequence[StalePartition]] = _current
    role: Role = "data"
    gate: bool = False
    verbatim: bool = False
    proven: bool = False
    red: bool = False
    rowless: bool = False
    tried: bool = False

    def asset(self, prefix: str) -> str:
        """The asset key of this stage of a subject."""
        return f"{prefix}/{self.name}"

    def node(self, subject: Any, owner: str) -> AssetNode[S]:
        """This stage of a subject, as an asset of the graph."""
        return AssetNode(
            self.asset(subject.prefix),
            self,
            subject.pipeline,
            owner,
            self.describe(subject),
            subject,
            tuple(self.deps(subject)),
            tuple(self.checks(subject)),
            self.grain(subject),
            subject.source_files,
        )

    def describe(self, subject: Any) -> str:
        """What a person reads of the asset."""
        about = subject.about if self.about is None else self.about(subject)
        renamed = subject.renamed if isinstance(subject, DeclaredSubject) else ""
        return "\n\n".join(part for part in (self.description, about, renamed) if part)

    def kinds_of(self, subject: S) -> frozenset[str]:
        """The kinds that Dagster shows on the asset."""
        return self.kinds if isinstance(self.kinds, frozenset) else self.kinds(subject)

    def code_of(self, subject: S) -> str | None:
        """The identity of the code that makes the asset, and of what is declared; None for what is only seen."""
        producer = self.producer if isinstance(self.producer, Producer | None) else self.producer(subject)
        if producer is None:
            return None
        definition = self.definition(subject)
        return f"{producer.code}+{definition[:DIGITS]}" if definition else producer.code

    def perform(self, context: RunContext, node: AssetNode[S], partitions: Sequence[str]) -> StageReport:
        """Materialize an asset; raises OrchestraiError."""
        if self.run is None:
            raise ConfigError(f"expected a stage that runs, found {node.asset}, which is only seen")
        return self.run(context, node, partitions)
