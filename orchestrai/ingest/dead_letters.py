"""Dead letters: refused rows and objects, kept with reason and place as an asset of its own beside the raw events."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Literal

from orchestrai.contracts.contract import Contract
from orchestrai.core.code_identity import Producer
from orchestrai.errors import ConcurrentCommit
from orchestrai.ingest.readers.object_reader import ObjectOutcome
from orchestrai.ingest.readers.rejects import Mark
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.report import StageReport
from orchestrai.privacy.ingest_guard import discreet

FILE = "letters.jsonl"
# the partition of letters of objects that no partition can take, and the note of whole objects in a manifest
UNPLACED, OBJECTS = "unplaced", "objects"
MAX_TRIES = 5
_QUOTE = '"'


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused row or object; `record` and `line` count from 1, `offset` is in bytes, all 0 for a whole object.

    `etag` is that of a whole object as it was listed, or its version; `sha256` is empty for one that was never read. `belongs` is
    the partition of a row that came with another; letters of earlier releases name none.
    """

    id: str
    kind: Literal["row", "object"]
    partition: str
    uri: str
    sha256: str
    record: int
    line: int
    offset: int
    column: str
    reason: str
    text: str
    contract: str
    contract_version: str
    etag: str = ""
    belongs: str = ""

    def as_json(self) -> dict[str, str | int]:
        """The form in which they are kept and shown."""
        optional = ("etag", "belongs")
        return {name: value for name, value in asdict(self).items() if name not in optional or value}


def asset_of(raw_events: str) -> str:
    """`churn/orders/raw_events` -> `churn/orders/dead_letters`."""
    return f"{raw_events.rpartition('/')[0]}/dead_letters"


def letters_of(contract: Contract, material: Material, outcome: ObjectOutcome) -> list[DeadLetter]:
    """The letters of one object, in the order of its records.

    Where the contract tokenises columns they hold no text and not what was found: a row that cannot be read cannot be
    tokenised, and a digest of it could be tested against a guess. Object and place tell the producer where to look.
    """

    def letter(kind: Literal["row", "object"], mark: Mark, column: str, reason: str, belongs: str = "") -> DeadLetter:
        identity = sha256(f"{material.uri}\n{material.sha256}\n{kind}\n{mark.record}".encode()).hexdigest()[:16]
        return DeadLetter(
            identity,
            kind,
            material.partition,
            material.uri,
            material.sha256,
            mark.record,
            mark.line,
            mark.offset,
            column,
            discreet(contract, reason),
            "" if contract.person else mark.text,
            contract.name,
            contract.version,
            material.etag if kind == "object" else "",
            belongs,
        )

    letters = [letter("object", Mark(0, 0, 0, ""), "", outcome.unreadable)] if outcome.unreadable else []
    return letters + [letter("row", x.mark, x.column, x.reason, x.belongs) for x in outcome.refused]


def read_letters(dataset: Dataset | None, partition: str) -> Iterator[DeadLetter]:
    """The letters of a partition, in order; every byte is verified as it is read."""
    if dataset is None or partition not in dataset.partitions:
        return
    with dataset.fetched([partition]) as files:
        for file in files[partition]:
            with file.path.open(encoding="utf-8") as stream:
                for line in stream:
                    yield DeadLetter(**json.loads(line))


def publish_letters(
    ledger: Ledger, asset: str, letters: Mapping[str, Sequence[DeadLetter]], producer: Producer
) -> StageReport | None:
    """Replace the dead letters of some partitions; those without any are taken out. Nothing to change is no commit."""
    current = ledger.find(asset)
    have = current.partitions if current else {}
    gone = [key for key, group in letters.items() if not group and key in have]
    fresh = {key: group for key, group in letters.items() if group}
    if not gone and not fresh:
        return None
    session = ledger.session(asset, producer)
    for key, group in sorted(fresh.items()):
        lines = [json.dumps(letter.as_json(), sort_keys=True, ensure_ascii=False) for letter in group]
        data = ("\n".join(lines) + "\n").encode("utf-8", "replace")
        session.add_bytes(key, FILE, data, rows=len(group))
        objects = sorted({(letter.uri, letter.etag) for letter in group if letter.kind == "object" and letter.etag})
        if objects:
            session.add_stats(key, **{OBJECTS: [list(place) for place in objects]})
    return session.commit({key: () for key in fresh}, drop=gone)


@dataclass(frozen=True)
class Unplaced:
    """A landed object that cannot be taken, and why; nothing of it was read. Most belong to no partition."""

    uri: str
    etag: str
    reason: str

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from every other; a queue gives etags without the quotes that a listing has."""
        return self.uri, self.etag.strip('"')

    def letter(self, contract: Contract, partition: str = UNPLACED) -> DeadLetter:
        """Its dead letter."""
        uri, etag = self.identity
        identity = sha256(f"{uri}\n{etag}\nobject\n0".encode()).hexdigest()[:16]
        place = (partition, uri, "", 0, 0, 0, "")
        return DeadLetter(identity, "object", *place, self.reason, "", contract.name, contract.version, etag)


def publish_unplaced(
    ledger: Ledger, raw_events: str, contract: Contract, objects: Iterable[Unplaced], producer: Producer
) -> int:
    """Keep a dead letter for each object that has none yet, and return how many were new.

    Runs and ticks may do so side by side: each adds a file of its own, and whoever comes second adds to what the first has left.
    Raises ConcurrentCommit when others were first time after time.
    """
    asset, wanted = asset_of(raw_events), {item.identity: item for item in objects}
    for attempt in range(MAX_TRIES if wanted else 0):
        session = ledger.session(asset, producer)
        current = ledger.dataset(session.fence) if session.fence else None
        before = current.files(UNPLACED) if current is not None and UNPLACED in current.partitions else None
        known = {(uri, etag) for uri, etag in before.stats[OBJECTS]} if before else set()
        fresh = [wanted[place] for place in sorted(set(wanted) - known)]
        if not fresh:
            return 0
        for entry in before.files if before else ():
            session.add_entry(UNPLACED, entry)
        lines = [json.dumps(item.letter(contract).as_json(), sort_keys=True, ensure_ascii=False) for item in fresh]
        data = ("\n".join(lines) + "\n").encode("utf-8", "replace")
        session.add_bytes(UNPLACED, f"letters-{sha256(data).hexdigest()[:16]}.jsonl", data, rows=len(fresh))
        objects_now = sorted({*known, *(item.identity for item in fresh)})
        session.add_stats(UNPLACED, **{OBJECTS: [list(place) for place in objects_now]})
        try:
            session.commit({UNPLACED: ()})
        except ConcurrentCommit:
            if attempt == MAX_TRIES - 1:
                raise
            ledger.forget()
            continue
        return len(fresh)
    return 0


def retract_unplaced(ledger: Ledger, raw_events: str, placed: Iterable[Material], producer: Producer) -> None:
    """Take out the letters of objects that a partition has taken since, as after a mended declaration."""
    dead = ledger.find(asset_of(raw_events))
    if dead is None or UNPLACED not in dead.partitions:
        return
    taken = {(material.uri, material.etag.strip(_QUOTE)) for material in placed}
    if taken.isdisjoint((uri, etag) for uri, etag in dead.files(UNPLACED).stats.get(OBJECTS, ())):
        return
    left = [letter for letter in read_letters(dead, UNPLACED) if (letter.uri, letter.etag) not in taken]
    publish_letters(ledger, asset_of(raw_events), {UNPLACED: left}, producer)
