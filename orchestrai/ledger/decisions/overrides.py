"""Overrides: a person's signed decision to publish one partition although checks that they name have failed."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrai.errors import ConfigError
from orchestrai.ledger.decisions.signed_record import require_reason

# what a contract says of data may be waived; whether bytes are what they claim to be may not
WAIVABLE = ("schema", "row_volume", "values", "partition", "freshness", "key_across_partitions", "ordinary")


@dataclass(frozen=True)
class Override:
    """Waives `checks` for one partition of an asset, and only for the content whose root was looked at.

    Raises ConfigError without a reason, a name or a check, and for checks that nobody may waive.
    """

    asset: str
    partition: str
    root: str
    checks: tuple[str, ...]
    reason: str
    by: str

    def __post_init__(self) -> None:
        never = sorted(set(self.checks) - set(WAIVABLE))
        if never or not self.checks:
            names = ", ".join(never) or "none"
            raise ConfigError(f"expected checks of {', '.join(WAIVABLE)} to waive, found {names}: integrity is never waived")
        require_reason("an override", self.reason, self.by)

    def covers(self, asset: str, partition: str, root: str, closed: Iterable[str]) -> bool:
        """True when it waives every one of the closed checks of exactly this content."""
        return (self.asset, self.partition, self.root) == (asset, partition, root) and set(closed) <= set(self.checks)

    @property
    def note(self) -> str:
        """Who waived it and why."""
        return f"waived by {self.by} ({self.reason})"

    def as_json(self) -> dict[str, Any]:
        """The form in which receipts carry it."""
        return {**asdict(self), "checks": list(self.checks)}


def read_override(body: Mapping[str, Any]) -> Override:
    """An override from its form in a receipt."""
    return Override(**{**body, "checks": tuple(body["checks"])})
