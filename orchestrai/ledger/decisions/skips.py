"""Skips: a person's signed decision to go on without a partition whose gate is closed.

Nothing is published by one: the partition stays out of everything after the gate, and runs that meet it are no longer failed.
`skips/<id>.json` in lake and vault; of those for one partition the newest counts, and a `lift` ends them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from orchestrai.core.verdict import JsonValue, Verdict
from orchestrai.errors import ConfigError, IntegrityError, UnknownFormatVersion
from orchestrai.ledger.blobs import put_absent
from orchestrai.ledger.manifest import FORMAT, canonical_json
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store

SKIP_TYPE = "application/vnd.orchestrai.skip+json"
PREFIX = "skips/"


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
        if not (self.reason.strip() and self.by.strip()):
            raise ConfigError("expected a reason and a name for a skip, found none: say why and who")

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
        found = self.standing.get((asset, partition))
        return found if found is not None and root in (None, found.root) else None

    def of(self, prefix: str) -> list[Skip]:
        """The skips of assets whose key begins so, sorted."""
        return [skip for place, skip in sorted(self.standing.items()) if place[0].startswith(prefix)]


def read_skip(store: Store, keyring: Keyring, key: str) -> Skip:
    """Read and verify one; raises SignatureInvalid, IntegrityError."""
    body = json.loads(keyring.open(SKIP_TYPE, store.read(key)))
    if body.pop("format", None) != FORMAT:
        raise UnknownFormatVersion(f"expected skip format {FORMAT}, found another: use a newer release")
    found = Skip(**{**body, "checks": tuple(body["checks"])})
    if skip_key(found.id) != key:
        raise IntegrityError(f"expected {key} to hold the skip of that name, found {found.id}: it was moved")
    return found


def skip_key(name: str) -> str:
    """Where a skip lies."""
    return f"{PREFIX}{name}.json"


def skips_in(store: Store, keyring: Keyring) -> Skips:
    """What is in force, each record verified."""
    newest: dict[tuple[str, str], Skip] = {}
    for skip in sorted((read_skip(store, keyring, info.key) for info in store.list(PREFIX)), key=lambda s: (s.time, s.id)):
        newest[skip.asset, skip.partition] = skip
    return Skips({place: skip for place, skip in newest.items() if skip.action == "skip"})


def put_skip(stores: Iterable[Store], signer: Signer, skip: Skip) -> None:
    """Store a skip, put-if-absent."""
    envelope = signer.sign(SKIP_TYPE, canonical_json({**skip.as_json(), "format": FORMAT}))
    for store in stores:
        put_absent(store, skip_key(skip.id), envelope)
