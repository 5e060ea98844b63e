"""Dead letters written in clear before a dataset's contract began to tokenise: an erasure takes out what they quote."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from orchestrai.core.code_identity import Producer
from orchestrai.errors import DigestMismatch, IntegrityError, MissingObject, NotReceipted
from orchestrai.ingest.dead_letters import DeadLetter, asset_of, publish_letters, read_letters
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.signed_record import open_body, sign_body
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.provenance.erasure.plaintext_copies import ClearCopy, holders, locked_copy

if TYPE_CHECKING:
    from orchestrai.vault.vault import Vault

REDACTION_TYPE = "application/vnd.orchestrai.redaction+json"
FOUND = ", found "


@dataclass(frozen=True)
class ClearLetters:
    """The letters of a partition version that quote rows, and the keys of their bytes in the lake."""

    asset: str
    partition: str
    root: str
    letters: int
    lake_keys: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.__dict__, "lake_keys": list(self.lake_keys)}


def clear_letters(ledger: Ledger, raw_events: str, unchecked: list[str]) -> Iterator[ClearLetters]:
    """Every version of a dataset's dead letters that quotes rows, whoever they are of: a row that could not be read does not tell.

    What cannot be read, and was not redacted, is added to `unchecked`.
    """
    asset = asset_of(raw_events)
    seen = set()
    for head in ledger.history(asset):
        dataset = ledger.dataset(head)
        for partition, entry in sorted(dataset.partitions.items()):
            if (partition, entry.root) in seen:
                continue
            seen.add((partition, entry.root))
            try:
                quotes = list(_quoting(ledger, dataset, partition))
            except IntegrityError:
                unchecked.append(f"{asset}@{partition}")
                continue
            if quotes:
                yield ClearLetters(asset, partition, entry.root, sum(n for _, n in quotes), tuple(key for key, _ in quotes))


def kept_letters(vault: "Vault | None", raw_events: str, person: str) -> Iterator[tuple[ClearCopy, bool]]:
    """Every version of a dataset's dead letters in snapshots that quotes rows, and whether it names the person; each is read once."""
    asset = asset_of(raw_events)
    if vault is None:
        return
    commits = {commit.snapshot_id: commit for commit in vault.snapshots(asset)}
    for (partition, root), snapshots in sorted(holders(vault, asset).items()):
        files = vault.files(commits[snapshots[0]], partition)
        lines = [line for file in files for line in b"".join(vault.stream(file)).decode().splitlines()]
        letters = [DeadLetter(**json.loads(line)) for line in lines]
        if any(letter != _redacted(letter) for letter in letters):
            named = any(person in letter.text or person in letter.reason for letter in letters)
            yield ClearCopy(asset, partition, root, snapshots, (), locked_copy(vault, snapshots, partition)), named


def redact_letters(ledger: Ledger, letters: Sequence[ClearLetters], *, by: str = "") -> None:
    """Publish current letters without what they quote, then put a signed note in place of the bytes of every version that does.

    Logs, manifests and receipts stay as they are, so that the history can be checked; only those bytes are gone. Idempotent. Raises
    ConcurrentCommit when an ingest published letters meanwhile: erase again then.
    """
    for asset in sorted({item.asset for item in letters}):
        current = ledger.find(asset)
        mine = {(item.partition, item.root) for item in letters if item.asset == asset}
        quoted = [key for key, entry in (current.partitions if current else {}).items() if (key, entry.root) in mine]
        if current is not None and quoted:
            plain = {key: [_redacted(letter) for letter in read_letters(current, key)] for key in quoted}
            publish_letters(ledger, asset, plain, Producer("dead_letters", __name__))
        for item in (item for item in letters if item.asset == asset):
            for file in _entries(ledger, item):
                _put_note(ledger, file, by)


def _quoting(ledger: Ledger, dataset: Dataset, partition: str) -> Iterator[tuple[str, int]]:
    """The keys of a partition's files that quote rows, and how many letters of each do."""
    try:
        with dataset.fetched([partition]) as files:
            for file in files[partition]:
                with file.path.open(encoding="utf-8") as stream:
                    letters = [DeadLetter(**json.loads(line)) for line in stream]
                quoted = sum(letter != _redacted(letter) for letter in letters)
                if quoted:
                    yield file.entry.key, quoted
    except MissingObject:
        return
    except DigestMismatch:
        if not all(_is_note(ledger, entry) for entry in dataset.files(partition).files):
            raise


def _redacted(letter: DeadLetter) -> DeadLetter:
    """As letters of a contract that tokenises are written: place and reason, neither text nor what was found."""
    return replace(letter, text="", reason=letter.reason.partition(FOUND)[0])


def _entries(ledger: Ledger, item: ClearLetters) -> Iterator[FileEntry]:
    for head in ledger.history(item.asset):
        dataset = ledger.dataset(head)
        entry = dataset.partitions.get(item.partition)
        if entry is not None and entry.root == item.root:
            try:
                yield from (file for file in dataset.files(item.partition).files if file.key in item.lake_keys)
            except NotReceipted:
                continue
            return


def _put_note(ledger: Ledger, file: FileEntry, by: str) -> None:
    body = {
        "key": file.key,
        "sha256": file.sha256,
        "time": ledger.clock().astimezone(UTC).isoformat(),
        "by": by,
        "reason": "dead letters in clear of a dataset that tokenises, erased",
    }
    ledger.lake.write(file.key, sign_body(ledger.signer, REDACTION_TYPE, body))


def _is_note(ledger: Ledger, file: FileEntry) -> bool:
    try:
        body = open_body(ledger.keyring, REDACTION_TYPE, ledger.lake.read(file.key), "redaction")
    except IntegrityError:
        return False
    return (body["key"], body["sha256"]) == (file.key, file.sha256)
