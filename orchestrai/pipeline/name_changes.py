"""What declarations and the ledger say of former names: recorded once by the first run, refused where they contradict each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import pairwise

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConfigError
from orchestrai.ledger.decisions.renames import RENAMES, Rename, Renames
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.stage.declared_subject import DeclaredSubject


@dataclass(frozen=True)
class RenamePlan:
    """A rename that the next run records, or, with a `problem`, what keeps it and every run of the pipeline from going on."""

    rename: Rename
    pipeline: str
    problem: str = ""

    @property
    def message(self) -> str:
        """One line for people."""
        if self.problem:
            return self.problem
        kind, old, new = self.rename.kind, self.rename.old, self.rename.new
        return f"{old} is called {new} from the next run on: the {kind} goes on with all that was kept of it"

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        return {"kind": self.rename.kind, "from": self.rename.old, "to": self.rename.new, "problem": self.problem}


def rename_plans(ledger: Ledger, pipelines: Sequence[Pipeline]) -> list[RenamePlan]:
    """What is declared and not recorded yet, and what contradicts the records; reads the ledger alone."""
    recorded = ledger.renames()
    subjects = [subject for pipeline in pipelines for subject in pipeline.subjects]
    plans = []
    for subject in subjects:
        problem = _contradicts(subject, recorded)
        if problem:
            plans.append(RenamePlan(Rename(subject.prefix, subject.shown, subject.kind), subject.pipeline, problem))
            continue
        for rename in _declared(subject):
            if recorded.of(rename.old) is None:
                plans.append(RenamePlan(rename, subject.pipeline, _has_data_of_its_own(ledger, rename)))
    return plans


def record_renames(ledger: Ledger, pipelines: Sequence[Pipeline]) -> dict[str, str]:
    """Sign what is declared and not recorded yet, in lake and vault; returns what is wrong, by pipeline. Idempotent."""
    problems: dict[str, str] = {}
    stores = [ledger.lake] if ledger.vault is None else [ledger.vault, ledger.lake]
    now = ledger.clock().astimezone(UTC).isoformat()
    for plan in rename_plans(ledger, pipelines):
        if plan.problem:
            problems.setdefault(plan.pipeline, plan.problem)
            continue
        rename = Rename(plan.rename.old, plan.rename.new, plan.rename.kind, now)
        RENAMES.put(stores, ledger.signer, rename)
        standing = RENAMES.find(stores[0], ledger.keyring, RENAMES.name(rename))
        if standing is not None and standing.new != rename.new:
            problems.setdefault(plan.pipeline, _two_successors(standing, rename.new))
    return problems


def require_settled(problems: dict[str, str], pipeline: Pipeline) -> None:
    """Raises ConfigError where a pipeline, or one that it borrows a dataset of, is declared otherwise than it is recorded."""
    for name in (pipeline.name, *sorted({dataset.pipeline for dataset in pipeline.datasets})):
        if name in problems:
            raise ConfigError(problems[name])


def _declared(subject: object) -> Iterator[Rename]:
    if isinstance(subject, DeclaredSubject):
        yield from (Rename(old, new, subject.kind) for old, new in pairwise((*subject.former_refs, subject.shown)))


def _contradicts(subject: object, recorded: Renames) -> str:
    """What the declaration says otherwise than the records, with the remedy; empty where nothing."""
    if not isinstance(subject, DeclaredSubject):
        return ""
    declared = (*subject.former_refs, subject.shown)
    names = recorded.names(subject.shown)
    if len(names) == 1 and subject.former_refs:
        # not recorded under this name: it follows on from the one before
        names = (*recorded.names(subject.former_refs[-1]), subject.shown)
    if subject.shown in names[:-1]:
        return (
            f"expected a new name of {names[-2]}, found {subject.shown}, which it had before: take renamed_from out of it, and it "
            "goes on under that name"
        )
    if declared[-len(names) :] != names:
        former = ", ".join(name.split("/")[1] for name in names[:-1])
        given = ", ".join(subject.former_names) or "none"
        return (
            f"expected renamed_from: [{former}] of {subject.kind} {subject.shown}, as the ledger has it recorded, found {given}: "
            "declare it, or it begins anew without what was kept of it"
        )
    for rename in _declared(subject):
        standing = recorded.of(rename.old)
        if standing is not None and standing.new != rename.new:
            return _two_successors(standing, rename.new)
    return ""


def _two_successors(standing: Rename, new: str) -> str:
    return (
        f"expected one successor of {standing.old}, found {new} declared and {standing.new} recorded on {standing.time[:10]}: name "
        f"{standing.new.split('/')[1]} in renamed_from too, after {standing.old.split('/')[1]}"
    )


def _has_data_of_its_own(ledger: Ledger, rename: Rename) -> str:
    assets = ledger.assets(f"{rename.new}/")
    if not assets:
        return ""
    return (
        f"expected nothing kept of {rename.new} yet, as it is declared to be renamed from {rename.old}, found {assets[0]} and "
        f"{len(assets) - 1} more assets: choose a name that was never used"
    )
