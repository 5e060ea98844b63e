"""Landing sensors behind an event queue: no tick lists the landing, but for the reconciling one.

A message is deleted only when the ledger has its object, published or in quarantine, or keeps the message itself as refused. So
what a tick asked for comes again until its run is done, and is not asked for twice meanwhile.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from orchestrai.defs.launch.jobs import job_name, offered, opens_soon
from orchestrai.defs.sensors.run_spans import contiguous, run_request
from orchestrai.errors import ConfigError
from orchestrai.ingest.discovery.listing import discover, identity
from orchestrai.ingest.discovery.notifications import ObjectEvent, Refusal
from orchestrai.ingest.discovery.partitioning import uri_of
from orchestrai.ingest.discovery.queue import ArrivalQueue, Drained, Zone, drain, published, quarantined, store_refused
from orchestrai.ingest.discovery.queue_services import open_queue
from orchestrai.ingest.spec import NotificationOptions
from orchestrai.pipeline.nodes import DatasetNode
from orchestrai.pipeline.runtime import Runtime
from orchestrai.secrets.url_credentials import shown_url
from orchestrai.storage.base import ObjectInfo, Store

MAX_OBJECTS_PER_TICK = 5_000
BUDGET = timedelta(seconds=30)
# what was asked for and is not in the ledger after this long is asked for again
AGAIN = timedelta(minutes=15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Cursor:
    """What the next tick gets: the listing's cursor and its time, what was asked for when, and what waits for its partition."""

    listing: str | None = None
    listed: datetime = EPOCH
    asked: dict[str, datetime] = field(default_factory=dict)
    early: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def decode(cls, text: str | None) -> "Cursor":
        """Raises ConfigError for text of another kind."""
        if not text:
            return cls()
        try:
            document = json.loads(text)
            asked = {name: datetime.fromisoformat(at) for name, at in document["asked"].items()}
            return cls(document["listing"], datetime.fromisoformat(document["listed"]), asked, document["early"])
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigError(f"expected a queue cursor, found {text[:40]!r} ({exc}): reset the sensor's cursor") from exc

    def encode(self) -> str:
        """The same cursor gives the same text."""
        body = {
            "listing": self.listing,
            "listed": self.listed.isoformat(),
            "asked": {name: at.isoformat() for name, at in sorted(self.asked.items())},
            "early": self.early,
        }
        return json.dumps(body, separators=(",", ":"))


def queue_sensor(dataset: DatasetNode, options: NotificationOptions) -> dg.SensorDefinition:
    """Takes events from a queue, and lists the landing every `reconcile_every`; an outage of either fails the tick."""

    @dg.sensor(
        name=job_name(dataset.prefix, "landing_sensor"),
        job_name=job_name(dataset.prefix, "ingest"),
        minimum_interval_seconds=30,
        description=f"Requests runs for objects that {shown_url(options.queue)} tells of, and for what it lost.",
    )
    def watch(context: dg.SensorEvaluationContext, runtime: dg.ResourceParam[Runtime]) -> dg.SensorResult:
        tick = _Tick(dataset, options, runtime, runtime.landing(dataset), Cursor.decode(context.cursor))
        requests = tick.requests(open_queue(options.queue))
        if tick.refused:
            context.log.warning(f"{len(tick.refused)} message(s) refused, for example: {tick.refused[0].reason}")
        return dg.SensorResult(run_requests=requests, cursor=tick.cursor.encode())

    return watch


class _Tick:
    def __init__(
        self, dataset: DatasetNode, options: NotificationOptions, runtime: Runtime, landing: Store, cursor: Cursor
    ) -> None:
        self.dataset, self.options, self.runtime, self.landing, self.cursor = dataset, options, runtime, landing, cursor
        self.now, self.grain = runtime.clock(), dataset.spec.partitions.grain
        self.refused: list[Refusal] = []
        raw = dataset.asset("raw_events")
        self._ways = published(runtime.ledger, raw), quarantined(runtime.ledger, raw, landing)

    def requests(self, queue: ArrivalQueue) -> list[dg.RunRequest]:
        """The runs to ask for; messages that are settled are gone from the queue after it."""
        drained = drain(
            queue,
            Zone(self.landing, self.dataset.spec.source, self.grain),
            known=self._settled,
            now=self.runtime.clock,
            limit=MAX_OBJECTS_PER_TICK,
            budget=BUDGET,
        )
        arrived = self._arrived(drained)
        for key, names in self._listed().items():
            arrived.setdefault(key, {}).update(names)
        ready = {key: names for key, names in arrived.items() if offered(self.dataset, key, self.now)}
        requests = self._fresh(ready)
        self._keep_refused(drained)
        queue.acknowledge(drained.settled)
        return requests

    def _settled(self, partition: str, event: ObjectEvent) -> bool:
        if not self._wanted(partition):
            reason = f"expected a partition within the declared span, found {partition}"
            self.refused.append(
                Refusal(reason, json.dumps({"uri": event.uri, "etag": event.etag, "version": event.version}))
            )
            return True
        return any(known(partition, event) for known in self._ways)

    def _wanted(self, partition: str) -> bool:
        return offered(self.dataset, partition, self.now) or opens_soon(self.dataset, partition, self.now)

    def _arrived(self, drained: Drained) -> dict[str, dict[str, str]]:
        return {key: {_name(info): identity(info) for info in infos} for key, infos in drained.partitions.items()}

    def _listed(self) -> Mapping[str, dict[str, str]]:
        """What a listing finds and the ledger lacks, when one is due; what it found earlier for a partition that opens now."""
        objects: dict[str, dict[str, str]] = {
            key: {name: name for name in names} for key, names in self.cursor.early.items()
        }
        if self.now - self.cursor.listed >= self.options.reconcile_every:
            discovery = discover(
                self.landing,
                self.dataset.spec.source,
                self.grain,
                self.cursor.listing,
                now=self.now,
                limit=MAX_OBJECTS_PER_TICK,
            )
            for key, infos in discovery.partitions.items():
                lacking = [info for info in infos if self._wanted(key) and not self._holds(key, info)]
                objects.setdefault(key, {}).update({_name(info): identity(info) for info in lacking})
            self.cursor.listing = discovery.cursor
            self.cursor.listed = self.cursor.listed if discovery.more else self.now
        waiting = {
            key: sorted(names) for key, names in objects.items() if names and not offered(self.dataset, key, self.now)
        }
        self.cursor.early = waiting
        return {key: names for key, names in objects.items() if names and key not in waiting}

    def _holds(self, partition: str, info: ObjectInfo) -> bool:
        etag = info.etag.strip('"')
        event = ObjectEvent(uri_of(self.landing, info), etag, info.version or "", info.size, info.modified)
        return any(known(partition, event) for known in self._ways)

    def _fresh(self, arrived: Mapping[str, Mapping[str, str]]) -> list[dg.RunRequest]:
        """A run for what was not asked for yet, or so long ago that its run must have failed."""
        asked = {name: at for name, at in self.cursor.asked.items() if self.now - at < AGAIN}
        late = set(self.cursor.asked) - set(asked)
        fresh = {key: sorted(n for n, mark in names.items() if mark not in asked) for key, names in arrived.items()}
        fresh = {key: names for key, names in fresh.items() if names}
        marks = {mark for names in arrived.values() for mark in names.values()}
        again = [f"try {self.now.timestamp() // AGAIN.total_seconds():.0f}"] if late & marks else []
        # what came no more is done
        self.cursor.asked = {name: asked.get(name, self.now) for name in marks} | asked
        return [
            run_request(group, sorted(name for key in group for name in fresh[key]) + again)
            for group in contiguous(sorted(fresh), self.grain)
        ]

    def _keep_refused(self, drained: Drained) -> None:
        nameless = "expected an object whose name tells its partition, found one that does not"
        unplaced = [Refusal(nameless, json.dumps({"uri": uri_of(self.landing, info)})) for info in drained.unplaced]
        self.refused += [*drained.refused, *unplaced]
        store_refused(self.runtime.ledger, self.dataset.asset("raw_events"), self.refused, self.now)


def _name(info: ObjectInfo) -> str:
    return f"{info.key}@{info.version or info.etag}"
