"""Datasets whose contract tokenises columns: no value of a person reaches the lake in clear."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.tokens import TokenKeys, tokenise
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

STATS = "tokenised"


@dataclass(frozen=True)
class Sealing:
    """Puts tokens in place of personal values, batch by batch."""

    person: str
    columns: tuple[str, ...]
    keys: TokenKeys

    def seal(self, batch: "pa.RecordBatch") -> tuple["pa.RecordBatch", int]:
        """The rows with tokens, and how many rows of erased persons were left out."""
        import pyarrow as pa

        done = tokenise(pa.Table.from_batches([batch]), self.columns, self.person, self.keys)
        rows = done.table.combine_chunks().to_batches()
        return (rows[0] if rows else batch.slice(0, 0)), done.erased_rows

    def stats(self, objects: dict[str, dict[str, str]]) -> dict[str, Any]:
        """What a partition's manifest says: `objects` names the landed object of each part, since no original tells it."""
        return {STATS: {"person": self.person, "columns": list(self.columns), "objects": objects}}


def sealing_of(contract: Contract, keys: TokenKeys | None) -> Sealing | None:
    """None for a contract that tokenises nothing; raises ConfigError for one that does when there are no keys."""
    if contract.person is None:
        return None
    if keys is None:
        raise ConfigError(f"expected the keys of persons to tokenise {contract.name}, found none: give ingest a key store")
    return Sealing(contract.person, contract.tokenised_columns, keys)


def refuse_tokenised(contract: Contract, kind: str) -> None:
    """Raise ConfigError for a contract that tokenises: `kind` of arrival keeps its records as they came."""
    if contract.person is not None:
        raise ConfigError(
            f"expected a contract without tokenised columns for {kind}, found {contract.name} with "
            f"{', '.join(contract.tokenised_columns)}: land its data as objects"
        )


def discreet(contract: Contract, reason: str) -> str:
    """A reason without what was found, where that may be a person's value."""
    return reason if contract.person is None else reason.partition(", found ")[0]
