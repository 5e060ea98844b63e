"""Datasets whose contract tokenises columns: no value of a person reaches the lake in clear."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Contract
from orchestrai.errors import ConfigError
from orchestrai.privacy.tokens import TokenKeys, tokenise

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


def refuse_sealed_keys(contract: Contract, keys: Sequence[str], kind: str) -> None:
    """Raise ConfigError when rows of `kind` would be known by a tokenised column: they are compared with rows in clear."""
    columns = sorted({*keys} & {*contract.tokenised_columns})
    if columns:
        raise ConfigError(
            f"expected the rows of {kind} to be known by columns that are not tokenised, found {', '.join(columns)} of "
            f"{contract.name}: name another key, or land its data as objects"
        )


def sealed_stats(sealing: Sealing | None, earlier: Mapping[str, Any] | None, partition: str) -> dict[str, Any]:
    """What a manifest says of a partition fed batch by batch; `earlier` is what it said so far, None before the first batch.

    Raises ConfigError for a partition that would be half in clear.
    """
    stated = None if sealing is None else {"person": sealing.person, "columns": list(sealing.columns)}
    before = stated if earlier is None else earlier.get(STATS)
    if before != stated:
        named = [", ".join(stats["columns"]) if stats else "none" for stats in (before, stated)]
        raise ConfigError(
            f"expected tokens in the columns of {partition} as before ({named[0]}), found a contract that tokenises {named[1]}: "
            "a partition is not cut in two; give the dataset another name"
        )
    return {} if stated is None else {STATS: stated}


def discreet(contract: Contract, reason: str) -> str:
    """A reason without what was found, where that may be a person's value."""
    return reason if contract.person is None else reason.partition(", found ")[0]
