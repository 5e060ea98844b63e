"""Which partitions of a feature table are stale: the view as declared, its inputs as published, against what each partition was made of.

What the last judgement left in order is looked at only where inputs changed since. A window in time tells by itself which partitions
those are; frames of rows and inputs known by arrival are looked up in the partitions' own records, as is everything that was stale then.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.partition_key import of_value, value_part, values_of
from orchestrai.core.tree.ordered_keys import BEHIND, keys_before
from orchestrai.errors import NotReceipted
from orchestrai.features.incremental.partition_spans import spans
from orchestrai.features.plan import Planner, Window, reached, recorded
from orchestrai.features.ports import DeclaredView
from orchestrai.features.views.view_inputs import Span, open_inputs
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.stage.last_judgement import (
    InputState,
    Judgement,
    Since,
    changed_since,
    last_judgement,
    ranges,
)
from orchestrai.stage.staleness import Cause, Places, Roots, StalePartition, difference, upstream

BY_CODE = Cause("code")


@dataclass(frozen=True)
class _Change:
    """One table's input since the last judgement: roots then and now where they differ, with the spans of those partitions."""

    then: Mapping[str, str]
    now: Mapping[str, str]
    spans: Mapping[str, Span]

    def within(self, window: Window, table: str) -> list[str]:
        """The changed partitions that a window reaches: of its own value, and all of what has no dimension."""
        since, until = window.since[table], window.until
        first = 0 if since is None else bisect_right(self._ordered, since, key=lambda item: item[1][1])
        last = len(self._ordered) if until is None else bisect_left(self._ordered, until, key=lambda item: item[1][0])
        return of_value(value_part(window.key), (key for key, _ in self._ordered[first:last]))

    @cached_property
    def _ordered(self) -> list[tuple[str, Span]]:
        """By span: partitions of one input do not overlap, so that starts and ends ascend alike."""
        return sorted(self.spans.items(), key=lambda item: item[1])


@dataclass(frozen=True)
class FeatureStaleness:
    """A feature table as published and as it would be made now, by `code`; `above` are input partitions that are stale themselves.

    The planner is over all of the inputs: each partition is held against what its value may read.
    """

    planner: Planner
    current: Dataset
    code: str
    above: Places = field(default_factory=dict)
    _planners: dict[str, Planner] = field(default_factory=dict)

    def partitions(self) -> dict[str, StalePartition]:
        """The stale partitions, ascending."""
        last = last_judgement(self.current)
        changes = self._changes(last.judgement)
        stale: dict[str, StalePartition] = {}
        for key in sorted(self._to_look_at(last, changes)):
            causes = self._causes(key, last, changes)
            if causes:
                stale[key] = StalePartition(self.current.asset, key, causes)
        return stale

    def _to_look_at(self, last: Since, changes: Mapping[str, _Change] | None) -> Collection[str]:
        """The partitions that may be stale: all, unless the last judgement was by this code and its inputs can be compared.

        Then these are the ones that it left apart or did not see, and those whose window ends behind the first change.
        """
        there, judgement = self.current.partitions, last.judgement
        if judgement is None or judgement.code != self.code or changes is None or self.current.recalls.records:
            return there
        keys = {*judgement.apart(there), *(key for key in last.unread if key in there)}
        begins = min((start for change in changes.values() for start, _ in change.spans.values()), default=None)
        if begins is None:
            return keys
        for key in keys_before(there, BEHIND):
            window = self._planner(key).window(key)
            if window is not None and window.until is not None and window.until <= begins:
                # partitions are in the order of their time: the windows of all earlier ones end before this one
                break
            keys.add(key)
        return keys

    def own_record(self, key: str) -> tuple[Cause, ...]:
        """Why a partition is stale by its own record alone."""
        stats = recorded(self.current, key)
        if not stats:
            return (Cause("recalled"),)
        if stats.get("code") != self.code:
            return (BY_CODE,)
        planner = self._planner(key)
        window, first = planner.window(key), planner.opened.datasets[planner.view.first_table].asset
        if window is None:
            return (Cause("gone", first, (key,)),)
        reach = stats.get("tail_from")
        needed = reached(planner.task(window), planner.opened, reach)
        if needed is None:
            # where its search for earlier rows ended there is nothing any more
            return (Cause("gone", first, (str(reach),)),)
        now = planner.opened.roots(needed)
        return (*difference(_roots(stats.get("inputs")), now), *upstream(now, self.above))

    def _causes(self, key: str, last: Since, changes: Mapping[str, _Change] | None) -> tuple[Cause, ...]:
        entry = self.current.partitions[key]
        if self.current.recalls.find(self.current.asset, key, entry.root, entry.receipt) is not None:
            return (Cause("recalled"),)
        judgement = last.judgement
        if judgement is None or key in last.unread:
            return self.own_record(key)
        made_by = judgement.made_by(key)
        if made_by != self.code:
            return (BY_CODE,)
        if made_by != judgement.code or judgement.was_stale(key) or changes is None:
            return self.own_record(key)
        if not any(change.spans for change in changes.values()):
            return ()
        window = self._planner(key).window(key)
        if window is None or self._unseen(window, changes):
            return self.own_record(key)
        return tuple(self._seen(window, changes))

    def _unseen(self, window: Window, changes: Mapping[str, _Change]) -> bool:
        """Whether only the partition's own record tells if a change reached it."""
        view = self.planner.view
        if view.kind == "row" and view.lookback.rows:
            # a frame of rows may reach any earlier partition
            anywhere = replace(window, since={**window.since, view.first_table: None})
            if changes[view.first_table].within(anywhere, view.first_table):
                return True
        return any(table.by_arrival and changes[name].within(window, name) for name, table in view.tables.items())

    def _planner(self, key: str) -> Planner:
        """The plan over what a partition's value may read."""
        value = value_part(key)
        if not value:
            return self.planner
        if value not in self._planners:
            self._planners[value] = Planner(self.planner.view, self.planner.opened.of_value(value))
        return self._planners[value]

    def _seen(self, window: Window, changes: Mapping[str, _Change]) -> Iterator[Cause]:
        """What changed within the window."""
        for name, change in changes.items():
            asset, keys = self.planner.opened.datasets[name].asset, change.within(window, name)
            then, now = ({key: roots[key] for key in keys if key in roots} for roots in (change.then, change.now))
            yield from difference({asset: then}, {asset: now})
            yield from upstream({asset: keys}, self.above)

    def _changes(self, judgement: Judgement | None) -> dict[str, _Change] | None:
        """What became of each table's input since; None where that cannot be told."""
        changes: dict[str, _Change] = {}
        opened = self.planner.opened
        for name, dataset in opened.datasets.items():
            roots = changed_since(judgement.inputs.get(dataset.asset), dataset) if judgement is not None else None
            if roots is None:
                return None
            gone = [key for key in roots[0] if key not in opened.spans[name]]
            touched = {*roots[1], *(key for key in self.above.get(dataset.asset, ()) if key in opened.spans[name])}
            places = {key: opened.spans[name][key] for key in touched}
            changes[name] = _Change(*roots, {**places, **spans(gone, opened.grains.get(name))})
        return changes


def judged(
    planner: Planner, current: Dataset | None, stale: Mapping[str, StalePartition], code: str, published: Collection[str]
) -> dict[str, JsonValue]:
    """The fact with which a run leaves a table in which some partitions were stale and it published some."""
    before = current.partitions if current is not None else {}
    left = {key: one for key, one in stale.items() if key not in published}
    keys = {*before, *published} if left else ()
    others: dict[str, list[str]] = {}
    if any(not one.by_inputs for one in left.values()) and current is not None:
        last = last_judgement(current)
        for key in (key for key, one in left.items() if not one.by_inputs):
            known = last.judgement is not None and key not in last.unread
            made_by = last.judgement.made_by(key) if known and last.judgement else str(recorded(current, key).get("code"))
            others.setdefault(made_by, []).append(key)
    return Judgement(
        code,
        current.head.seq if current is not None else 0,
        {dataset.asset: InputState(dataset.head.seq, dataset.version) for dataset in planner.opened.datasets.values()},
        {made_by: ranges(some, keys) for made_by, some in others.items()},
        ranges((key for key, one in left.items() if one.by_inputs), keys),
    ).as_fact()


def stale_features(ledger: Ledger, subject: DeclaredView, code: str, above: Places) -> tuple[StalePartition, ...]:
    """The stale partitions of a declared view's table; `code` is what makes one now, `above` are inputs that are stale themselves."""
    current = ledger.find(subject.asset)
    if current is None:
        return ()
    assets = {table: dataset.asset("restored") for table, dataset in subject.inputs.items()}
    try:
        opened = open_inputs(ledger, subject.view, assets, subject.grain_of_first)
    except NotReceipted:
        return ()  # an input was never published, or not since its lake was lost
    return tuple(FeatureStaleness(Planner(subject.view, opened), current, code, above).partitions().values())


def missing_features(ledger: Ledger, subject: DeclaredView, now: datetime) -> list[str]:
    """The partitions of a declared view's table that are due by `now`, could be computed, and are not there."""
    current = ledger.find(subject.asset)
    assets = {table: dataset.asset("restored") for table, dataset in subject.inputs.items()}
    try:
        opened = open_inputs(ledger, subject.view, assets, subject.grain_of_first)
        values = values_of(opened.spans[subject.view.first_table]) or [""]
        due = [key for value in values for key in Planner(subject.view, opened.of_value(value)).due(None, now)]
    except NotReceipted:
        return []  # an input was never published, or does not count
    there = current.partitions if current is not None else {}
    return [key for key in due if key not in there]


def _roots(inputs: JsonValue) -> Roots:
    return inputs if isinstance(inputs, dict) else {}  # type: ignore[return-value]
