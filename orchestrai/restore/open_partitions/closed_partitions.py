"""Partitions that a stream or a table fed batch by batch: judged when they are over, since nobody can judge what still grows.

A batch is published with its position, so it cannot wait for a person without holding up all that comes behind it. What waits is the
partition, at the door that features and models read: it stays in the vault, and the restored dataset goes without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from orchestrai.contracts.anomaly.ordinary import INFO, unjudged
from orchestrai.contracts.anomaly.profile import PROFILE
from orchestrai.core.time.calendar import window
from orchestrai.core.verdict import Audit, CheckInfo, Verdict
from orchestrai.errors import NotReceipted
from orchestrai.ingest.anomaly.hold_audit import HoldAudit, hold_check, released
from orchestrai.ingest.anomaly.sketch import lens_of, merged, sketch_of
from orchestrai.ingest.ports import LandedDataset
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.session import Session


def closing_check(dataset: LandedDataset) -> tuple[CheckInfo, ...]:
    """The check `ordinary` of restored data, where batches feed it; what came as objects was judged before it was published."""
    return hold_check(dataset.contract, dataset.grain) if dataset.positioned else ()


@dataclass
class ClosedPartitions:
    """Judges the partitions of one restore that are over, and lets those be published that were held for as long as declared."""

    subject: LandedDataset
    now: datetime
    audit: HoldAudit

    @classmethod
    def of(cls, subject: LandedDataset, restored: Dataset | None, now: datetime) -> "ClosedPartitions | None":
        """Those of a dataset; None where it is not judged here."""
        if not closing_check(subject):
            return None
        return cls(subject, now, HoldAudit(subject.contract, subject.grain, now, restored))

    def judge(self, session: Session, partition: str, files: Sequence[Path]) -> tuple[Verdict, ...]:
        """The verdict on a partition with these staged files, whose profile is noted; one that still grows is read by nobody."""
        if not is_over(self.subject, partition, self.now):
            return (unjudged(f"not judged: {partition} is not over", over=False),)
        lens = lens_of(self.subject.contract, partition, self.subject.grain)
        profile = merged(lens, (sketch_of(lens, path, self.subject.contract.arrow_schema()) for path in files)).profile()
        if not profile.rows:
            return (unjudged("not judged: no rows"),)
        session.add_stats(partition, **{PROFILE: profile.as_json()})
        verdicts = self.audit.judge(partition, session.staged(partition).root, profile)
        if all(verdict.passed for verdict in verdicts):
            self.audit.accept(partition, profile)
        return verdicts

    def released(self, session: Session, verdicts: Audit) -> list[Override]:
        """What `hold.release_after` lets through."""
        return released(self.subject.contract, session, verdicts, self.now)

    def without_held(self, ledger: Ledger, report: StageReport, session: Session) -> StageReport:
        """Take out of the restored dataset what was published of a held partition while it grew; a judged content stands."""
        restored = ledger.find(report.asset)
        held = [outcome.partition for outcome in report.refused if _is_held(outcome.verdicts)]
        grown = [key for key in held if restored is not None and grew(restored, key)]
        if not grown:
            return report
        taking = ledger.session(report.asset, session.producer)
        taken = taking.commit(drop=grown, reason=f"held when over: {', '.join(grown)}")
        return replace(report, version=taken.version)


def is_over(dataset: LandedDataset, partition: str, now: datetime) -> bool:
    """Whether the partition's time has passed, and what was on its way at its end has had the time to come."""
    return now >= window(partition, dataset.grain)[1] + dataset.source.settles


def grew(restored: Dataset, partition: str) -> bool:
    """Whether what is published of a partition was published before it was over."""
    if partition not in restored.partitions:
        return False
    try:
        verdicts = restored.receipt(partition).verdicts.get(partition, ())
    except NotReceipted:
        return False  # recalled
    return any(verdict.check == INFO.name and verdict.details.get("over") is False for verdict in verdicts)


def _is_held(verdicts: Sequence[Verdict]) -> bool:
    return {verdict.check for verdict in verdicts if verdict.closes_gate} == {INFO.name}
