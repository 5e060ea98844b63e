"""Judges whether the partitions of one run are ordinary ones, and lets those be published that were held for as long as declared."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

from orchestrai.contracts.anomaly.ordinary import INFO, Evidence, judge, unjudged
from orchestrai.contracts.contract import Contract
from orchestrai.contracts.volume import judge_volume
from orchestrai.core.time.calendar import WHOLE, Grain, window
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.verdict import Audit, CheckInfo, Verdict
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.quarantine import held_since
from orchestrai.ledger.session import Session

RULE = "the rule hold.release_after"


def hold_check(contract: Contract, grain: Grain) -> tuple[CheckInfo, ...]:
    """The check of a contract, where partitions of it are judged."""
    return (INFO,) if contract.hold.ordinary_days and grain != WHOLE else ()


@dataclass
class HoldAudit:
    """Judges the partitions of one run one after the other, each by those before it that are published or were judged open."""

    contract: Contract
    grain: Grain
    now: datetime

    def judge(self, partition: str, rows: int, history: Mapping[str, int]) -> tuple[Verdict, ...]:
        """The verdict on a partition; none where its contract asks for none."""
        if not hold_check(self.contract, self.grain):
            return ()
        if self.now < window(partition, self.grain)[1]:
            return (unjudged(f"{partition} is not over"),)
        volume = judge_volume(self.contract.volume, rows, partition, self.grain, history)
        if volume.expected is None or volume.z is None:
            return (unjudged("too few partitions before it"),)
        # Student's t with two degrees of freedom
        probability = 1 - abs(volume.z) / sqrt(2 + volume.z**2) if abs(volume.z) < 1e6 else 0.0
        expected = f"about {volume.expected:.0f} rows"
        found = f"{rows} ({rows / volume.expected - 1:+.0%})" if volume.expected else str(rows)
        return (judge([Evidence("volume", probability, expected, found)], volume.history).verdict(self.contract.hold),)


def released(contract: Contract, session: Session, audit: Audit, now: datetime) -> list[Override]:
    """What the declared rule lets through: held content that nobody decided on for so long."""
    after = contract.hold.release_after
    overrides: list[Override] = []
    for partition in audit.closed if after is not None else ():
        closed = tuple(verdict.check for verdict in audit[partition] if verdict.closes_gate)
        root = session.staged(partition).root
        since = held_since(session.ledger.lake, session.asset, partition, root) if closed == (INFO.name,) else None
        if after is not None and since is not None and now - since >= after:
            reason = f"held since {since.isoformat(timespec='seconds')}, and nobody decided for {format_duration(after)}"
            overrides.append(Override(session.asset, partition, root, closed, reason, RULE))
    return overrides
