"""Receipts: signed statements of how a version came to be.

An in-toto Statement v1 whose subjects are the dataset version and the partition roots it commits, in a DSSE envelope. These are
Merkle roots and not hashes of a file's bytes, so that their digests are named `merkleSha256`; receipts of format 1 called them `sha256`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, NotReceipted, UnknownFormatVersion
from orchestrai.ledger.decisions.overrides import Override, read_override
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.report import Cost
from orchestrai.ledger.signing import STATEMENT_TYPE, Keyring, Signer

PREDICATE_TYPE = "urn:orchestrai:receipt:v2"
# what each format calls the digests of its subjects
SUBJECT_DIGESTS = {"urn:orchestrai:receipt:v1": "sha256", PREDICATE_TYPE: "merkleSha256"}
STATEMENT = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True)
class InputRef:
    """An input version a stage read: an asset at a version, with the roots of the partitions it used."""

    asset: str
    version: str
    partitions: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The form in which receipts carry it."""
        return {"asset": self.asset, "version": self.version, "partitions": dict(self.partitions)}


@dataclass(frozen=True)
class Material:
    """A landed object that went in: where it lay, which bytes it had, when the source says it was written, and when it was first
    seen here.

    `content` is the SHA-256 of what a compressed object unpacks to. `same_as` names the object whose content this one repeats: its
    rows are those, and were taken once.
    """

    uri: str
    sha256: str
    size: int
    etag: str = ""
    modified: str = ""
    partition: str = ""
    arrived: str = ""
    content: str = ""
    same_as: str = ""

    @property
    def identity(self) -> str:
        """What the object says, however it is packed."""
        return self.content or self.sha256

    def as_json(self) -> dict[str, Any]:
        """The form in which receipts carry it."""
        body = {name: getattr(self, name) for name in ("uri", "sha256", "size", "etag", "modified", "partition")}
        later = {name: getattr(self, name) for name in ("arrived", "content", "same_as")}
        return body | {name: value for name, value in later.items() if value}


@dataclass(frozen=True)
class Receipt:
    """What a stage signs: outputs, inputs, code, parameters, verdicts and cost."""

    asset: str
    stage: str
    version: str
    partitions: Mapping[str, str]
    session: str
    started: str
    finished: str
    inputs: tuple[InputRef, ...] = ()
    materials: tuple[Material, ...] = ()
    code_version: str = ""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    verdicts: Mapping[str, tuple[Verdict, ...]] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)

    def subjects(self, digest: str = SUBJECT_DIGESTS[PREDICATE_TYPE]) -> list[dict[str, Any]]:
        """What the Statement is about: the version and each partition it commits; `digest` is what a format calls their roots."""
        roots = {self.asset: self.version} | {f"{self.asset}@{key}": root for key, root in sorted(self.partitions.items())}
        return [{"name": name, "digest": {digest: root.removeprefix("sha256:")}} for name, root in roots.items()]

    def statement(self) -> dict[str, Any]:
        """The in-toto Statement."""
        waived = {key: found.as_json() for key, found in sorted(self.overrides.items())}
        return {
            "_type": STATEMENT,
            "subject": self.subjects(),
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "asset": self.asset,
                "stage": self.stage,
                "version": self.version,
                "partitions": dict(self.partitions),
                "session": self.session,
                "started": self.started,
                "finished": self.finished,
                "inputs": [ref.as_json() for ref in self.inputs],
                "materials": [material.as_json() for material in self.materials],
                "code_version": self.code_version,
                "parameters": dict(self.parameters),
                "verdicts": {key: [v.as_json() for v in found] for key, found in sorted(self.verdicts.items())},
                "cost": self.cost.as_json(),
                "facts": dict(self.facts),
                **({"overrides": waived} if waived else {}),
            },
        }

    def sign(self, signer: Signer) -> bytes:
        """The signed DSSE envelope; raises NotReceipted for a receipt that does not say which code made its version."""
        if not self.code_version:
            raise NotReceipted(f"expected the code that made {self.asset} in its receipt, found none: name its producer")
        return signer.sign(STATEMENT_TYPE, canonical_json(self.statement()))

    def closed_checks(self, partition: str) -> list[str]:
        """The names of checks that close the gate of a partition; those that an override of just this content waives do not."""
        closed = [verdict.check for verdict in self.verdicts.get(partition, ()) if verdict.closes_gate]
        override = self.override(partition)
        return [check for check in closed if override is None or check not in override.checks]

    def override(self, partition: str) -> Override | None:
        """The override under which a partition was published, or None."""
        override = self.overrides.get(partition)
        root = self.partitions.get(partition, "")
        return override if override is not None and override.covers(self.asset, partition, root, ()) else None


class ReadVerdicts(Mapping[str, tuple[Verdict, ...]]):
    """The verdicts of a receipt as they stand in it, each partition's read when it is asked for.

    The receipt of a backfill has some thousands of partitions, of which a step mostly asks for one. Raises NotReceipted for a
    verdict that is none, when it is asked for.
    """

    def __init__(self, bodies: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._bodies = bodies
        self._read: dict[str, tuple[Verdict, ...]] = {}

    def __getitem__(self, partition: str) -> tuple[Verdict, ...]:
        verdicts = self._read.get(partition)
        if verdicts is None:
            try:
                verdicts = tuple(Verdict(**body) for body in self._bodies[partition])
            except TypeError as exc:
                raise NotReceipted(
                    f"expected verdicts on {partition} in its receipt, found something else ({exc}): materialize it again",
                    partition=partition,
                ) from exc
            self._read[partition] = verdicts
        return verdicts

    def __contains__(self, partition: object) -> bool:
        return partition in self._bodies

    def __iter__(self) -> Iterator[str]:
        return iter(self._bodies)

    def __len__(self) -> int:
        return len(self._bodies)


def open_receipt(envelope: bytes, keyring: Keyring) -> Receipt:
    """Verify and read a receipt; raises SignatureInvalid, UnknownFormatVersion, NotReceipted."""
    statement = json.loads(keyring.open(STATEMENT_TYPE, envelope))
    digest = SUBJECT_DIGESTS.get(statement.get("predicateType"))
    if digest is None:
        known = " or ".join(SUBJECT_DIGESTS)
        raise UnknownFormatVersion(
            f"expected predicate {known}, found {statement.get('predicateType')!r}: use the release that wrote it, or a newer one"
        )
    body = statement["predicate"]
    receipt = Receipt(
        asset=body["asset"],
        stage=body["stage"],
        version=body["version"],
        partitions=body["partitions"],
        session=body["session"],
        started=body["started"],
        finished=body["finished"],
        inputs=tuple(InputRef(**ref) for ref in body["inputs"]),
        materials=tuple(Material(**material) for material in body["materials"]),
        code_version=body["code_version"],
        parameters=body["parameters"],
        verdicts=ReadVerdicts(body["verdicts"]),
        cost=Cost(**body["cost"]),
        facts=body["facts"],
        overrides=_overrides(body.get("overrides", {})),
    )
    if receipt.subjects(digest) != statement["subject"]:
        raise NotReceipted("expected a receipt whose subjects are its partitions, found others: treat it as forged")
    return receipt


def _overrides(bodies: Mapping[str, Any]) -> dict[str, Override]:
    try:
        return {key: read_override(body) for key, body in bodies.items()}
    except ConfigError as exc:
        raise NotReceipted(f"expected an override that may be given, found one that may not: {exc.message}") from exc
