"""When a partition can be asked for: within the declared span, and over where it is a day or a month."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from orchestrai.core.time.calendar import Grain, name_of, window
from orchestrai.errors import ConfigError

Opening = Literal["open", "early", "outside"]


@dataclass(frozen=True)
class Span:
    """The declared partitions of a dataset whose objects land; what Dagster offers of them at a moment is what is open."""

    grain: Grain
    start: datetime | None = None
    end: datetime | None = None

    def opening(self, partition: str, now: datetime) -> Opening:
        """Open to be asked for, early while its time is not over, outside what is declared (as is a key of another grain)."""
        if self.grain == "all":
            return "open"
        try:
            begins, ends = window(partition, self.grain)
        except ConfigError:
            return "outside"
        if (self.start is not None and begins < self.start) or (self.end is not None and ends > self.end):
            return "outside"
        # the running hour is a partition too
        return "open" if (begins if name_of(self.grain) == "hour" else ends) <= now else "early"
