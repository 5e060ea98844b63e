"""Skips: a person's signed decision to go on without a partition whose gate is closed.

Nothing is published by one: the partition stays out of everything after the gate, and runs that meet it are no longer failed.
`skips/<id>.json` in lake and vault; of those for one partition the newest counts, and a `lift` ends them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.decisions.signed_record import RecordKind, require_reason
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store


@dataclass(frozen=True)
class Skip:
    """Leaves `partition` of a gate's `asset` out, as long as the content refused is that with this `root`.

    Raises ConfigError without a reason or a name.
    """

    id: str
    asset: str
    partition: str
    root: str
    reason: str
    by: str
    time: str
    checks: tuple[str, ...] = ()
    action: Literal["skip", "lift"] = "skip"

    def __post_init__(self) -> None:
        require_reason("a skip", self.reason, self.by)

    @property
    def note(self) -> str:
        """Who left it out and why."""
        return f"left out by {self.by} ({self.reason})"

    def verdict(self, check: str) -> Verdict:
        """The decision as the finding of a stage after the gate."""
        return Verdict(check, False, f"{self.partition} {self.note}: nothing of it is published", "warn", self.details)

    @property
    def details(self) -> dict[str, JsonValue]:
        """Who and why, for the details of a verdict."""
        return {"skipped_by": self.by, "skipped_because": self.reason}

    def as_json(self) -> dict[str, object]:
        """For `--json`, and the form that is signed."""
        return {**self.__dict__, "checks": list(self.checks)}


@dataclass(frozen=True)
class Skips:
    """The skips in force, by asset and partition."""

    standing: dict[tuple[str, str], Skip] = field(default_factory=dict)

    def find(self, asset: str, partition: str, root: str | None = None) -> Skip | None:
        """The skip of a partition, of just this content where a root is given."""
        skip = self.standing.get((asset, partition))
        return skip if skip is not None and root in (None, skip.root) else None

    def of(self, prefix: str) -> list[Skip]:
        """The skips of assets whose key begins so, sorted."""
        return [skip for place, skip in sorted(self.standing.items()) if place[0].startswith(prefix)]


def _decode(body: dict[str, Any]) -> Skip:
    return Skip(**{**body, "checks": tuple(body["checks"])})


SKIPS = RecordKind[Skip](
    what="skip",
    payload_type="application/vnd.orchestrai.skip+json",
    folder="skips/",
    name=lambda skip: skip.id,
    body=Skip.as_json,
    decode=_decode,
)


def skips_in(store: Store, keyring: Keyring) -> Skips:
    """What is in force, each record verified; raises SignatureInvalid, IntegrityError."""
    newest: dict[tuple[str, str], Skip] = {}
    for skip in sorted(SKIPS.all(store, keyring), key=lambda s: (s.time, s.id)):
        newest[skip.asset, skip.partition] = skip
    return Skips({place: skip for place, skip in newest.items() if skip.action == "skip"})
