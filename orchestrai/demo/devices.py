"""Device readings in micro-batches: devices drift before they fail, and some only look as if they did."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

BATCH_MINUTES = 5
DRIFT_MINUTES = 60
DOWN_MINUTES = 12
HOURS_BETWEEN_FAILURES = 14.0


@dataclass(frozen=True)
class MicroBatch:
    """One landing object: the readings that arrived in the five minutes from `start`."""

    start: datetime
    text: str


class Fleet:
    """Devices that report about once a minute. The same generator state gives the same batches."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self.rng, self.count = rng, count
        self.names = [f"press-{number:05d}" if count > 999 else f"press-{number:03d}" for number in range(1, count + 1)]
        self.temperature = rng.normal(61, 5, count)
        self.vibration = rng.uniform(1.6, 3.0, count)
        self.swing = rng.uniform(1.0, 3.5, count)
        self.phase = rng.uniform(0, 2 * np.pi, count)
        self.fails_at = 30 + rng.exponential(HOURS_BETWEEN_FAILURES * 60, count)
        self.severity = rng.uniform(0.35, 1.3, count)
        self.heat_from = rng.exponential(600, count)
        self.wander = np.zeros(count)
        self.seq = np.zeros(count, dtype=np.int64)

    def batches(self, start: datetime, hours: int) -> Iterator[MicroBatch]:
        """The micro-batches of `hours` hours from `start`, in order; memory holds one."""
        for first in range(0, hours * 60, BATCH_MINUTES):
            rows: list[str] = []
            for minute in range(first, first + BATCH_MINUTES):
                rows += self._minute(start, minute)
            # arrival is not quite in order of time, but never crosses into another batch
            order = np.argsort(np.arange(len(rows)) + self.rng.normal(0, self.count * 0.4, len(rows)), kind="stable")
            yield MicroBatch(start + timedelta(minutes=first), "".join(rows[place] for place in order.tolist()))

    def _minute(self, start: datetime, minute: int) -> list[str]:
        rng = self.rng
        to_failure = self.fails_at - minute
        down = (to_failure <= -3) & (to_failure > -3 - DOWN_MINUTES)
        failed = (to_failure <= 0) & (to_failure > -3)
        repaired = to_failure <= -3 - DOWN_MINUTES
        self.fails_at[repaired] = minute + 40 + rng.exponential(HOURS_BETWEEN_FAILURES * 60, int(repaired.sum()))
        self.severity[repaired] = rng.uniform(0.35, 1.3, int(repaired.sum()))
        drift = np.clip(1 - np.maximum(to_failure, 0) / DRIFT_MINUTES, 0, 1) ** 1.5 * ~(down | repaired)
        # a hot spell ends by itself: warmer without shaking, so heat alone does not tell
        since = minute - self.heat_from
        hot = np.where((since > 0) & (since < 50), np.sin(np.pi * np.clip(since, 0, 50) / 50), 0.0)
        over = since >= 50
        self.heat_from[over] = minute + rng.exponential(600, int(over.sum()))
        self.wander = 0.97 * self.wander + rng.normal(0, 0.25, self.count)
        load = self.swing * np.sin(2 * np.pi * minute / 1440 + self.phase)
        temperature = (
            self.temperature + load + self.wander + 7 * hot + 8 * drift * self.severity + rng.normal(0, 0.4, self.count)
        )
        bursts = rng.random(self.count) < 0.01 + 0.18 * drift
        shake = self.vibration * (1 + 0.5 * drift * self.severity) + rng.normal(0, 0.15, self.count)
        vibration = np.maximum(0.05, shake + bursts * rng.uniform(1.0, 3.0, self.count))
        offsets = rng.integers(0, 55_000, self.count)
        lost_heat, lost_shake, twice = (rng.random(self.count) < share for share in (0.02, 0.02, 0.01))
        self.seq += 1
        rows = []
        for device in np.flatnonzero(~down).tolist():
            moment = start + timedelta(minutes=minute, milliseconds=int(offsets[device]))
            stamp = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
            heat = "null" if lost_heat[device] else f"{temperature[device]:.3f}"
            shaking = "null" if lost_shake[device] else f"{vibration[device]:.4f}"
            rows.append(self._row(device, stamp, heat, shaking, failed[device]))
            if twice[device]:
                self.seq[device] += 1
                rows.append(self._row(device, stamp, heat, shaking, failed[device]))
        return rows

    def _row(self, device: int, stamp: str, temperature: str, vibration: str, failed: np.bool_) -> str:
        return (
            f'{{"device_id": "{self.names[device]}", "ts": "{stamp}", "seq": {self.seq[device]}, "temperature": {temperature}, '
            f'"vibration": {vibration}, "failed": {"true" if failed else "false"}}}\n'
        )


def garble(text: str) -> str:
    """A micro-batch as a failing gateway sends it: three readings with text for a number, the last one cut off."""
    rows = text.splitlines(keepends=True)
    for place in (3, 11, 17):
        head, _, tail = rows[place].partition('"temperature": ')
        rows[place] = f'{head}"temperature": "ERR", {tail.partition(", ")[2]}'
    return "".join(rows)[:-40]
