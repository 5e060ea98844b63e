"""Dead letters: refused rows and objects, kept with reason and place as an asset of its own beside the raw events."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Literal

from orchestrai.contracts.contract import Contract
from orchestrai.core.code_identity import Producer
from orchestrai.ingest.readers.object_reader import ObjectOutcome
from orchestrai.ingest.readers.rejects import Mark
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.report import StageReport
from orchestrai.privacy.ingest_guard import discreet

FILE = "letters.jsonl"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused row or object; `record` and `line` count from 1, `offset` is in bytes, all 0 for a whole object.

    `belongs` is the partition of a row that came with another; letters of earlier releases name none.
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
    belongs: str = ""

    def as_json(self) -> dict[str, str | int]:
        """The form in which they are kept and shown."""
        return {name: value for name, value in asdict(self).items() if name != "belongs" or value}


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
    return session.commit({key: () for key in fresh}, drop=gone)
