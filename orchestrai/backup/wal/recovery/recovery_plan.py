"""The plan of a recovery: from which base, through which log, to which target; worked out before a byte is read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from orchestrai.backup.wal.log_archive import Base, LogState
from orchestrai.backup.wal.positions import Coverage, Piece, by_timeline, floor, lsn_text, segment_name
from orchestrai.core.canonical import JsonValue
from orchestrai.errors import IntegrityError, RestoreError
from orchestrai.vault.format.lists import StoredFile

# a commit that is stamped before a mark may be written a little behind it
SLACK = timedelta(minutes=2)


@dataclass(frozen=True)
class Target:
    """Where a recovery ends: at the end of the log, or the last commit by a time, with a transaction, at a position, at a named point.

    `before` stops short of the record at a position. `base` and `timeline` overrule what is chosen by itself.
    """

    kind: Literal["latest", "time", "xid", "lsn", "name"] = "latest"
    value: str = ""
    time: datetime | None = None
    number: int = 0
    before: bool = False
    base: str = ""
    timeline: int | None = None

    def settings(self) -> dict[str, str]:
        """As the server's settings."""
        if self.kind == "latest":
            return {}
        value = str(self.number % (1 << 32)) if self.kind == "xid" else self.value
        inclusive = {} if self.kind == "name" else {"recovery_target_inclusive": "off" if self.before else "on"}
        return {f"recovery_target_{self.kind}": value, **inclusive}

    def __str__(self) -> str:
        return {"latest": "the end of the log", "time": self.value, "xid": f"transaction {self.number}"}.get(
            self.kind, f"{self.kind} {self.value}"
        )


@dataclass(frozen=True)
class RecoveryPlan:
    """What a recovery reads: a base, the pieces of each segment in order, and histories by name."""

    base: Base
    target: Target
    timeline: int
    coverage: Coverage
    known_until: datetime | None
    segments: dict[str, list[StoredFile]] = field(default_factory=dict)
    histories: dict[str, StoredFile] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What is written."""
        return self.base.commit.size + len(self.segments) * self.base.server.segment_bytes

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {
            "base": self.base.commit.snapshot_id,
            "base_stopped": self.base.stopped.isoformat(),
            "target": str(self.target),
            "timeline": self.timeline,
            "log_until": lsn_text(self.coverage.end),
            "known_until": self.known_until.isoformat() if self.known_until else None,
            "hole": str(self.coverage.hole) if self.coverage.hole else None,
            "segments": len(self.segments),
            "bytes": self.bytes,
        }


@dataclass(frozen=True)
class Reach:
    """How far one base gets: from its own end to the end of what is continuous."""

    base: Base
    coverage: Coverage
    known_until: datetime | None

    def __str__(self) -> str:
        until = f"{self.known_until:%Y-%m-%d %H:%M:%S} UTC" if self.known_until else "its own end"
        return f"{self.base.stopped:%Y-%m-%d %H:%M:%S} to {until} from base {self.base.commit.snapshot_id[:12]}"


def reaches(bases: Sequence[Base], state: LogState, timeline: int | None = None) -> list[Reach]:
    """How far each base gets, newest base first; bases that are not on the timeline's line are left out.

    Where no timeline is asked for, a base that the newest one does not come from goes as far as its own.
    """
    found = []
    for base in reversed(bases):
        coverage = state.covered(base, timeline)
        if coverage is None and timeline is None:
            coverage = state.covered(base, base.timeline)
        if coverage is not None:
            found.append(Reach(base, coverage, state.known_until(coverage) if coverage.end > base.end else None))
    return found


def plan_recovery(bases: Sequence[Base], state: LogState, target: Target) -> RecoveryPlan:
    """Choose a base and what it needs; raises RestoreError that says what can be reached, and names a hole that is in the way."""
    wanted = [base for base in bases if base.commit.snapshot_id.startswith(target.base)]
    if not wanted:
        named = f" named {target.base!r}" if target.base else ""
        raise RestoreError(f"expected a base backup{named}, found none: take one, or see `orchestrai backup status`")
    reached = reaches(wanted, state, target.timeline)
    fitting = [reach for reach in reached if _fits(reach, target)]
    if not fitting:
        there = "; ".join(map(str, reached)) or f"no base on timeline {target.timeline}"
        holes = "".join(f"; log is missing from {reach.coverage.hole}" for reach in reached[:1] if reach.coverage.hole)
        raise RestoreError(f"expected to reach {target}, found {there}{holes}: choose a target within that")
    # the end of the log is what gets farthest; all else starts from the nearest base
    chosen = max(fitting, key=lambda r: (r.coverage.timeline, r.coverage.end)) if target.kind == "latest" else fitting[0]
    timeline = chosen.coverage.timeline
    plan = RecoveryPlan(chosen.base, target, timeline, chosen.coverage, chosen.known_until)
    limit = _limit(state, chosen, target)
    legs = state.way_from(chosen.base, timeline) or []
    pieces = by_timeline(state.files)
    size = chosen.base.server.segment_bytes
    for leg in legs:
        # the segment of a switch is read from the timeline that follows
        end = min(limit, chosen.coverage.end) if leg.end is None else floor(leg.end, size)
        for piece in pieces.get(leg.timeline, ()):
            if piece.end > leg.start and piece.start < end:
                plan.segments.setdefault(segment_name(piece.timeline, piece.start, size), []).append(state.files[piece])
    wanted_lines = {leg.timeline for leg in legs if leg.timeline > 1}
    for number in sorted(wanted_lines):
        plan.histories[f"{number:08X}.history"] = state.histories[number][1]
    return plan


def _fits(reach: Reach, target: Target) -> bool:
    base = reach.base
    if target.kind == "time":
        assert target.time is not None
        return base.stopped <= target.time and reach.known_until is not None and target.time <= reach.known_until
    if target.kind == "lsn":
        return base.end <= target.number <= reach.coverage.end
    if target.kind == "xid":
        return base.next_xid <= target.number
    return True


def _limit(state: LogState, reach: Reach, target: Target) -> int:
    """Behind which position no log is needed."""
    end = reach.coverage.end
    if target.kind == "time" and target.time is not None:
        mark = state.mark_after(target.time + SLACK)
        if mark is not None and mark.timeline == reach.coverage.timeline:
            return min(end, mark.lsn)
    if target.kind == "lsn":
        size = reach.base.server.segment_bytes
        behind = [mark.lsn for mark in state.marks if mark.lsn >= target.number + size]
        return min([end, *behind])
    return end


def joined(pieces: Iterable[Piece], segment_bytes: int) -> list[tuple[Piece, int]]:
    """Pieces of one segment in order, each with how many of its first bytes are there already; raises IntegrityError at a hole."""
    parts: list[tuple[Piece, int]] = []
    reached: int | None = None
    for piece in sorted(pieces, key=lambda piece: (piece.start, -piece.end)):
        reached = floor(piece.start, segment_bytes) if reached is None else reached
        if piece.start > reached:
            raise IntegrityError(
                f"expected the log from {lsn_text(reached)} of timeline {piece.timeline} on, found it from {lsn_text(piece.start)} on: "
                "take a new base backup"
            )
        if piece.end > reached:
            parts.append((piece, reached - piece.start))
            reached = piece.end
    return parts
