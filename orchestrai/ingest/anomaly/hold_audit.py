"""Judges whether the partitions of one run are ordinary ones, and lets those be published that were held for as long as declared."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from orchestrai.contracts.anomaly.evidence import judged
from orchestrai.contracts.anomaly.ordinary import INFO, unjudged
from orchestrai.contracts.anomaly.past import WINDOW, Past
from orchestrai.contracts.anomaly.profile import Profile, profile_in
from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import WHOLE, Grain, name_of, ordinal, partition_of, time_grain, window
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.time.partition_key import alike_before, value_part, with_value
from orchestrai.core.tree.ordered_keys import Overlay
from orchestrai.core.verdict import Audit, CheckInfo, Verdict
from orchestrai.errors import IntegrityError, NotReceipted, ObjectNotFound
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.manifest import decode_partition
from orchestrai.ledger.quarantine import held_since
from orchestrai.ledger.session import Session

RULE = "the rule hold.release_after"
WEEK = 7


def hold_check(contract: Contract, grain: Grain) -> tuple[CheckInfo, ...]:
    """The check of a contract, where partitions of it are judged."""
    return (INFO,) if contract.hold.ordinary_days and grain != WHOLE else ()


@dataclass
class HoldAudit:
    """Judges the partitions of one run one after the other, each by those before it that are published or were judged open.

    Looked back at are the last WINDOW partitions, of hours the same one of the last WINDOW days. What these were like is read from
    their manifests, each once a run; one that was published before profiles were noted counts by its rows alone.
    """

    contract: Contract
    grain: Grain
    now: datetime
    dataset: Dataset | None = None
    _there: Overlay[None] = field(init=False)
    _profiles: dict[str, Profile | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._there = Overlay(self.dataset.partitions if self.dataset else None, lambda entry: None)

    def judge(self, partition: str, root: str, profile: Profile) -> tuple[Verdict, ...]:
        """The verdict on a partition whose staged files have this root; none where its contract asks for none.

        Content that is published already was judged, or let through, and is not judged again.
        """
        if not hold_check(self.contract, self.grain):
            return ()
        if self.now < window(partition, self.grain)[1]:
            return (unjudged(f"not judged: {partition} is not over", over=False),)
        known = self._standing(partition, root)
        if known is not None:
            return (known,)
        judgement = judged(self._past(partition), profile)
        if judgement is None:
            return (unjudged("not judged: too few partitions before it"),)
        return (judgement.verdict(self.contract.hold),)

    def accept(self, partition: str, profile: Profile) -> None:
        """Count a partition of this run, whose gate is open, among those that the next ones are held against."""
        self._there.put(partition, None)
        self._profiles[partition] = profile

    def _standing(self, partition: str, root: str) -> Verdict | None:
        """What was said of the very content that is published; None where there is none, or its partition was not over then."""
        if (
            self.dataset is None
            or partition not in self.dataset.partitions
            or self.dataset.partitions[partition].root != root
        ):
            return None
        try:
            verdicts = self.dataset.receipt(partition).verdicts.get(partition, ())
        except NotReceipted:
            return None  # recalled
        before = next((verdict for verdict in verdicts if verdict.check == INFO.name), None)
        if before is None:
            return unjudged("not judged: published before partitions were held")
        return None if before.details.get("over") is False else before

    def _past(self, partition: str) -> Past:
        keys, profiles = [], []
        for key in self._before(partition):
            profile = self._profile(key)
            if profile is not None and profile.rows:
                keys.append(key)
                profiles.append(profile)
        hours = name_of(self.grain) == "hour"
        places = [ordinal(key, self.grain) for key in (*keys, partition)]
        if hours:
            places = [place // 24 for place in places]
        declared = self.contract.volume.period
        weekly = WEEK if hours or name_of(self.grain) == "day" else 0
        return Past(profiles, places[:-1], places[-1], weekly if hours or declared is None else declared)

    def _before(self, partition: str) -> list[str]:
        """The partitions to compare with, of its value where there is a dimension, the oldest first."""
        if name_of(self.grain) != "hour":
            return list(islice(alike_before(self._there, partition), WINDOW))[::-1]
        value = value_part(partition)
        start = window(partition, self.grain)[0]
        times = (partition_of(start - timedelta(days=days), time_grain(self.grain)) for days in range(WINDOW, 0, -1))
        return [key for key in (with_value(time, value) for time in times) if key in self._there]

    def _profile(self, key: str) -> Profile | None:
        if key not in self._profiles:
            self._profiles[key] = self._noted(key)
        return self._profiles[key]

    def _noted(self, key: str) -> Profile | None:
        dataset = self.dataset
        if dataset is None or key not in dataset.partitions:
            return None
        entry = dataset.partitions[key]
        if dataset.recalls.find(dataset.asset, key, entry.root, entry.receipt) is not None:
            return None  # no example to go by
        try:
            manifest = decode_partition(dataset.ledger.blob("manifests", entry.manifest))
        except (IntegrityError, ObjectNotFound):
            return None  # damaged, which its own readers are told; what is judged here is another partition
        return profile_in(manifest.stats) or Profile(entry.rows)


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
