"""Cost records: what one run of a stage used and what that costs, signed, beside the receipts and never in them.

`costs/<day>/<asset>/<time>-<session>.json` in the lake. A receipt is signed before its run is over, and what a run measures differs each
time: so it stands apart, and no version, receipt or champion depends on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from orchestrai.ledger.costs.price_table import Charge
from orchestrai.ledger.costs.usage import Usage, read_usage
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store

# `quiet`: runs that found nothing to do, counted together with the next one that did
Outcome = Literal["published", "refused", "failed", "nothing"]


@dataclass(frozen=True)
class Quiet:
    """Runs of the same process since its last record that found nothing to do and left none of their own."""

    runs: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The form that is kept."""
        return {"runs": self.runs, "wall_seconds": round(self.wall_seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3)}


@dataclass(frozen=True)
class CostRecord:
    """One run of a stage: what it published (receipts), used and cost.

    `usd` is the sum of the charges; `prices` names the table that they are from by its digest. `charges` is empty where no price
    applies: then `usd` is 0 and says nothing. `choices` say what was chosen for the run, and why; `sized` are the bytes of input that they
    went by.
    """

    run: str
    asset: str
    stage: str
    started: str
    finished: str
    outcome: Outcome
    partitions: int
    rows: int
    usage: Usage
    receipts: tuple[str, ...] = ()
    charges: tuple[Charge, ...] = ()
    prices: str = ""
    engine: str = ""
    sized: int = 0
    choices: tuple[str, ...] = ()
    quiet: Quiet = field(default_factory=Quiet)

    @property
    def day(self) -> str:
        """The UTC day on which it ended."""
        return self.finished[:10]

    @property
    def usd(self) -> float:
        """US dollars."""
        return sum(charge.usd for charge in self.charges)

    @property
    def name(self) -> str:
        """Where it lies below `costs/`."""
        return f"{self.day}/{self.asset}/{self.finished[11:19].replace(':', '')}-{self.run}"

    def as_json(self) -> dict[str, Any]:
        """The form that is signed."""
        return {
            **self.__dict__,
            "usage": self.usage.as_json(),
            "receipts": list(self.receipts),
            "charges": [charge.as_json() for charge in self.charges],
            "choices": list(self.choices),
            "quiet": self.quiet.as_json(),
        }


def _decode(body: dict[str, Any]) -> CostRecord:
    return CostRecord(
        **{
            **body,
            "usage": read_usage(body["usage"]),
            "receipts": tuple(body["receipts"]),
            "charges": tuple(Charge(**charge) for charge in body["charges"]),
            "choices": tuple(body["choices"]),
            "quiet": Quiet(**body["quiet"]),
        }
    )


COSTS = RecordKind[CostRecord](
    what="record of a cost",
    payload_type="application/vnd.orchestrai.cost+json",
    folder="costs/",
    name=lambda record: record.name,
    body=CostRecord.as_json,
    decode=_decode,
)


def utc_text(moment: datetime) -> str:
    """A moment as records have it: UTC, whose first ten characters are the day."""
    return moment.astimezone(UTC).isoformat()


def costs_of_day(
    store: Store, keyring: Keyring, day: date | str, asset: str = "", *, newest_first: bool = False
) -> Iterator[CostRecord]:
    """The records of a day that count, of one asset or of all; each verified. Raises SignatureInvalid, IntegrityError.

    Of one asset they come in the order in which its runs ended, or with `newest_first` the other way round: each is read when it is asked
    for.
    """
    prefix = f"{COSTS.folder}{day}/" + (f"{asset}/" if asset else "")
    # another asset's key may go on where this one ends
    keys = (info.key for info in store.list(prefix) if not asset or "/" not in info.key[len(prefix) :])
    yield from COSTS.those(store, keyring, sorted(keys, reverse=True) if newest_first else keys)


def days_of(store: Store) -> list[str]:
    """The days that have records, ascending."""
    days: list[str] = []
    after: str | None = None
    while True:
        # a look a day: what a day holds is skipped
        info = next(iter(store.list(COSTS.folder, start_after=after)), None)
        if info is None:
            return days
        days.append(info.key[len(COSTS.folder) :].partition("/")[0])
        after = f"{COSTS.folder}{days[-1]}/\U0010ffff"
