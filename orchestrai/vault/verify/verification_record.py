"""That a vault was verified, when, how deeply and with what result: a signed record in its `work/`, for reports."""

from dataclasses import dataclass
from datetime import UTC
from typing import Any

from orchestrai.errors import IntegrityError, StorageError
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import VerifyReport


@dataclass(frozen=True)
class VerificationRecord:
    """One verification; `sample` is (part, parts) where a part of the files was read, `dataset` is empty for the whole vault."""

    id: str
    vault: str
    time: str
    level: str
    snapshots: int
    files_read: int
    bytes_read: int
    findings: int
    sample: tuple[int, ...] = ()
    dataset: str = ""

    @property
    def proves(self) -> bool:
        """Whether every byte of the whole vault was read and nothing was found."""
        return self.level == "read" and not self.findings and not self.sample and not self.dataset

    def as_json(self) -> dict[str, Any]:
        """The form that is signed."""
        return {**self.__dict__, "sample": list(self.sample)}


VERIFICATIONS = RecordKind[VerificationRecord](
    what="verification",
    payload_type="application/vnd.orchestrai.verification+json",
    folder="work/verifications/",
    name=lambda record: f"{record.time[:19].replace(':', '')}-{record.id}",
    body=VerificationRecord.as_json,
    decode=lambda body: VerificationRecord(**{**body, "sample": tuple(body["sample"])}),
)


def record_verification(
    vault: Vault, report: VerifyReport, sample: tuple[int, int] | None = None, dataset: str | None = None
) -> str:
    """Leave a record of a verification; why not, where the store does not take it, as from somebody who may only read."""
    record = VerificationRecord(
        vault.new_id(),
        vault.identity(),
        vault.clock().astimezone(UTC).isoformat(),
        report.level,
        report.snapshots,
        report.files_read,
        report.bytes_read,
        len(report.findings),
        sample or (),
        dataset or "",
    )
    try:
        VERIFICATIONS.put([vault.store], vault.signer, record)
    except StorageError as exc:
        return exc.message
    return ""


def verifications(vault: Vault) -> list[VerificationRecord]:
    """The records of a vault by trusted keys, oldest first; what does not verify tells nothing."""
    records = []
    for key in VERIFICATIONS.keys(vault.store):
        try:
            record = VERIFICATIONS.read(vault.store, vault.keyring, key)
        except (IntegrityError, ValueError, KeyError, TypeError):
            continue
        if record.vault == vault.identity():
            records.append(record)
    return sorted(records, key=lambda record: record.time)
