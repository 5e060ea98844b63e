"""Acknowledgements: a person's signed word that an unusual snapshot is well, so that older ones may be forgotten again.

`acknowledgements/<snapshot id>.json` in lake and vault. It stands for just that commit, by its digest.
"""

from dataclasses import dataclass
from typing import Any

from orchestrai.ledger.decisions.signed_record import RecordKind, require_reason


@dataclass(frozen=True)
class Acknowledgement:
    """Says that snapshot `seq` of `dataset`, the commit of this digest, is well. Raises ConfigError without a reason or a name."""

    snapshot_id: str
    vault: str
    dataset: str
    seq: int
    commit: str
    reason: str
    by: str
    time: str
    findings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_reason("an acknowledgement", self.reason, self.by)

    def as_json(self) -> dict[str, object]:
        """For `--json`, and the form that is signed."""
        return {**self.__dict__, "findings": list(self.findings)}


def _decode(body: dict[str, Any]) -> Acknowledgement:
    return Acknowledgement(**{**body, "findings": tuple(body["findings"])})


ACKNOWLEDGEMENTS = RecordKind[Acknowledgement](
    what="acknowledgement",
    payload_type="application/vnd.orchestrai.acknowledgement+json",
    folder="acknowledgements/",
    name=lambda record: record.snapshot_id,
    body=Acknowledgement.as_json,
    decode=_decode,
)
