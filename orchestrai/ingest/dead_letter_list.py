"""Dead letters for people: list them, show one with its original bytes, replay them after the contract or the data is mended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrai.contracts.contract import Contract
from orchestrai.core.calendar import Grain
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError
from orchestrai.ingest.dead_letters import DeadLetter, asset_of, read_letters
from orchestrai.ingest.replay import replay_records
from orchestrai.ingest.run import ingest
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.privacy.tokens import TokenKeys
from orchestrai.storage.base import Store


@dataclass(frozen=True)
class LetterCount:
    """How many dead letters of one reason a partition has."""

    partition: str
    kind: str
    column: str
    reason: str
    count: int


def list_letters(ledger: Ledger, raw_events: str, *, partitions: Sequence[str] | None = None) -> list[DeadLetter]:
    """The dead letters of a dataset, by partition and place; every byte is verified as it is read."""
    dataset = ledger.find(asset_of(raw_events))
    if dataset is None:
        return []
    wanted = [key for key in sorted(dataset.partitions) if partitions is None or key in partitions]
    return [letter for key in wanted for letter in read_letters(dataset, key)]


def count_letters(letters: Sequence[DeadLetter]) -> list[LetterCount]:
    """Letters grouped by partition and reason (what was found in the row left out), the most frequent first."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for letter in letters:
        reason = letter.reason.partition(", found ")[0] if letter.kind == "row" else letter.reason
        key = (letter.partition, letter.kind, letter.column, reason)
        counts[key] = counts.get(key, 0) + 1
    return [LetterCount(*key, count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def show_letter(ledger: Ledger, raw_events: str, letter_id: str) -> DeadLetter:
    """One dead letter by its id or the start of it; raises ConfigError when none or several have it."""
    found = [letter for letter in list_letters(ledger, raw_events) if letter.id.startswith(letter_id)]
    if len(found) != 1:
        raise ConfigError(
            f"expected one dead letter of {raw_events.rpartition('/')[0]} with an id that starts {letter_id!r}, "
            f"found {len(found)}: list them first"
        )
    return found[0]


def replay(
    ledger: Ledger,
    *,
    asset: str,
    landing: Store | None,
    source: SourceSpec,
    contract: Contract,
    grain: Grain,
    now: datetime,
    partitions: Sequence[str] | None = None,
    progress: Progress | None = None,
    code_version: str = "",
    persons: TokenKeys | None = None,
) -> StageReport | None:
    """Make raw events of the dead letters of every partition that has any (or of those named); None when there is none.

    Exactly once. Of landed objects a partition is rebuilt whole from its originals, so a row that was dead and now fits is added
    and no other twice; originals that left the landing are taken from what the ledger kept of them, refused partitions included.
    Of a stream or a table the records kept are typed again, see replay.py.
    """
    dead = ledger.find(asset_of(asset))
    have = sorted(dead.partitions) if dead else []
    wanted = have if partitions is None else [key for key in have if key in partitions]
    if not wanted:
        return None
    if source.positioned:
        return replay_records(
            ledger,
            asset=asset,
            contract=contract,
            grain=grain,
            now=now,
            partitions=wanted,
            code_version=code_version,
        )
    if landing is None:
        raise ConfigError(f"expected the landing of {asset}, found none: name it")
    return ingest(
        ledger,
        asset=asset,
        landing=landing,
        source=source,
        contract=contract,
        grain=grain,
        partitions=wanted,
        now=now,
        progress=progress,
        code_version=code_version,
        recover=True,
        persons=persons,
    )
