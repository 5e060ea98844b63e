"""Dead letters for people: list them, show one with its original bytes, replay them after the contract or the data is mended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchestrai.errors import ConfigError
from orchestrai.ingest.dead_letters import UNPLACED, DeadLetter, asset_of, read_letters
from orchestrai.ingest.discovery.partitioning import sight
from orchestrai.ingest.replay import replay_records
from orchestrai.ingest.run import ingest
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.stage.context import RunContext
from orchestrai.storage.base import ObjectInfo, Store


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
    letters = [letter for letter in list_letters(ledger, raw_events) if letter.id.startswith(letter_id)]
    if len(letters) != 1:
        raise ConfigError(
            f"expected one dead letter of {raw_events.rpartition('/')[0]} with an id that starts {letter_id!r}, "
            f"found {len(letters)}: list them first"
        )
    return letters[0]


def replay(
    context: RunContext, task: DatasetTask, landing: Store | None, partitions: Sequence[str] | None = None
) -> StageReport | None:
    """Make raw events of the dead letters of every partition that has any (or of those named); None when there is none.

    Exactly once. Of landed objects a partition is rebuilt whole from its originals, so a row that was dead and now fits is added
    and no other twice; originals that left the landing are taken from what the ledger kept of them, refused partitions included.
    Of a stream or a table the records kept are typed again, see replay.py. Objects whose name told no partition are taken where the
    declaration tells one now.
    """
    dead = context.ledger.find(asset_of(task.asset))
    have = sorted(dead.partitions) if dead else []
    chosen = {key for key in have if partitions is None or key in partitions}
    if UNPLACED in chosen and landing is not None:
        chosen |= _placed_now(task, landing, read_letters(dead, UNPLACED))
    wanted = tuple(sorted(chosen - {UNPLACED}))
    if not wanted:
        return None
    again = replace(task, partitions=wanted)
    if task.source.positioned:
        return replay_records(context, again)
    if landing is None:
        raise ConfigError(f"expected the landing of {task.asset}, found none: name it")
    return ingest(context, again, landing, recover=True)


def _placed_now(task: DatasetTask, landing: Store, letters: Iterable[DeadLetter]) -> set[str]:
    """The partitions that objects without one belong to by what is declared now."""
    keys = (letter.uri.removeprefix(f"{landing.url.rstrip('/')}/") for letter in letters)
    infos = (ObjectInfo(key, 0, "", datetime.now(UTC)) for key in keys)
    sighted = (sight(task.source, task.grain, info) for info in infos) if task.source.partition_from != "modified" else ()
    return {sighting.partition for sighting in sighted if sighting.partition is not None}
