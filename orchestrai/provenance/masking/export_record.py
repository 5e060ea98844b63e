"""The signed record of a masked copy: who made it of what, how each column was masked, and what was proven of the files.

`exports/<digest>.json` in lake and vault. The name is the digest of what it says.
"""

from dataclasses import dataclass
from typing import Any

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.ledger.decisions.signed_record import RecordKind, require_reason


@dataclass(frozen=True)
class ExportRecord:
    """`versions` are those that were read, by asset; `columns` the method of each, by dataset; `files` the digest over the written files,
    `proof` what was looked at for originals, of which none was found; `key` the id of the masking key. Raises ConfigError without a
    reason or a name.
    """

    pipelines: tuple[str, ...]
    versions: dict[str, str]
    columns: dict[str, dict[str, str]]
    rows: int
    files: str
    key: str
    proof: dict[str, int]
    reason: str
    by: str
    time: str

    def __post_init__(self) -> None:
        require_reason("a masked copy", self.reason, self.by)

    @property
    def digest(self) -> str:
        """What it is called by."""
        return sha256_hex(canonical_json(self.as_json()))

    def as_json(self) -> dict[str, Any]:
        """For `--json`, and the form that is signed."""
        return {**self.__dict__, "pipelines": list(self.pipelines)}

    @property
    def told(self) -> str:
        """One line for a trail."""
        masked = sum(method != "copy" for columns in self.columns.values() for method in columns.values())
        return (
            f"{self.rows:,} rows of {len(self.columns)} datasets, {masked} columns masked under key {self.key}, "
            f"{self.proof['cells']:,} cells proven; files {self.files[:12]}"
        )


def _decode(body: dict[str, Any]) -> ExportRecord:
    return ExportRecord(**{**body, "pipelines": tuple(body["pipelines"])})


EXPORTS = RecordKind[ExportRecord](
    what="masked export",
    payload_type="application/vnd.orchestrai.masked-export+json",
    folder="exports/",
    name=lambda record: record.digest,
    body=ExportRecord.as_json,
    decode=_decode,
)
