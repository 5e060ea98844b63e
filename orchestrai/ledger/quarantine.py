"""What gates refused: `quarantine/<asset>/<session>.json` names the staged bytes and the verdicts, and nobody reads them as data.

A record without verdicts says that a partition's published content was judged again and stands: earlier refusals are over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrai.contracts.anomaly.ordinary import ORDINARY
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.skips import Skips
from orchestrai.ledger.log import Log
from orchestrai.ledger.manifest import FileEntry, PartitionManifest, canonical_json, make_partition
from orchestrai.ledger.receipt import Material
from orchestrai.storage.base import Store

# how far the clocks of writers and stores may be apart
CLOCKS_APART = timedelta(days=1)


@dataclass(frozen=True)
class Refusal:
    """What a gate refused last: the root of the content and its verdicts.

    `instead_of` is the receipt that the partition was published under then, empty where it was not; None in records of before that was
    noted. `arrivals` are the URI and etag of each landed object that went in; none in records of before they were noted.
    """

    root: str
    time: str
    verdicts: tuple[Verdict, ...]
    instead_of: str | None = None
    arrivals: tuple[tuple[str, str], ...] = ()

    @property
    def closed(self) -> tuple[str, ...]:
        """The checks that closed the gate."""
        return tuple(sorted({verdict.check for verdict in self.verdicts if verdict.closes_gate}))

    @property
    def held(self) -> bool:
        """Whether nothing is wrong with it but that it is unlike the partitions before it: it waits for a yes, or for more data."""
        return self.closed == (ORDINARY,)

    @property
    def reasons(self) -> dict[str, str]:
        """What those checks said, by check."""
        return {verdict.check: verdict.message for verdict in self.verdicts if verdict.closes_gate}

    @property
    def reason(self) -> str:
        """What those checks said, in one line."""
        return "; ".join(f"{check}: {message}" for check, message in self.reasons.items())


def refusals(
    lake: Store, asset: str, partitions: Sequence[str] | None = None, since: datetime | None = None
) -> dict[str, Refusal]:
    """The newest refusal of each partition of an asset, of those named or of all; one listing, one read per refused run.

    Records that the store took before `since` are not read.
    """
    newest: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for info in lake.list(f"quarantine/{asset}/"):
        if since is not None and info.modified < since:
            continue
        record = json.loads(lake.read(info.key))
        for key, held in record["partitions"].items():
            if (partitions is None or key in partitions) and record["time"] > newest.get(key, ("",))[0]:
                newest[key] = (record["time"], held)
    return {key: _refusal(key, time, held) for key, (time, held) in sorted(newest.items()) if held["verdicts"]}


def held_since(lake: Store, asset: str, partition: str, root: str) -> datetime | None:
    """When a partition was held with this very content for the first time; None where it never was. One read per refused run."""
    times = [
        refusal.time
        for info in lake.list(f"quarantine/{asset}/")
        if (refusal := read_record(lake, info.key).get(partition)) is not None and refusal.held and refusal.root == root
    ]
    return datetime.fromisoformat(min(times)) if times else None


def quarantined(lake: Store, asset: str) -> Iterator[tuple[str, str, list[FileEntry]]]:
    """Everything an asset's gate refused and did not take back: the record's key, the partition, the files staged for it."""
    for info in lake.list(f"quarantine/{asset}/"):
        for key, held in sorted(json.loads(lake.read(info.key))["partitions"].items()):
            if held["files"]:
                yield info.key, key, [FileEntry(**entry) for entry in held["files"]]


def read_record(lake: Store, key: str) -> dict[str, Refusal]:
    """What one record of quarantine says, by partition; no verdicts where published content was judged again and stands."""
    record = json.loads(lake.read(key))
    return {partition: _refusal(partition, record["time"], held) for partition, held in record["partitions"].items()}


def _refusal(partition: str, time: str, held: Mapping[str, Any]) -> Refusal:
    root = make_partition(partition, (FileEntry(**entry) for entry in held["files"])).root
    verdicts = tuple(Verdict(**verdict) for verdict in held["verdicts"])
    arrivals = tuple((uri, etag) for uri, etag in held.get("arrivals", ()))
    return Refusal(root, time, verdicts, held.get("instead_of"), arrivals)


def last_refusal(lake: Store, asset: str, partition: str) -> Refusal:
    """The newest refusal of a partition, from quarantine; raises ConfigError when there is none."""
    refusal = refusals(lake, asset, [partition]).get(partition)
    if refusal is None:
        raise ConfigError(f"expected a refusal of {asset}@{partition}, found none: its gate is not closed, or was never")
    return refusal


def standing_refusals(lake: Store, asset: str, current: Dataset | None) -> dict[str, Refusal]:
    """Refusals that nothing has answered: the partition is not published, or as it was when something else was refused."""
    by_partition = refusals(lake, asset)
    published = current.partitions if current else {}
    over = {
        key
        for key, refusal in by_partition.items()
        if current is not None
        and key in published
        and (published[key].root == refusal.root or _answered(refusal, current, published[key].receipt))
    }
    return {key: refusal for key, refusal in by_partition.items() if key not in over}


def _answered(refusal: Refusal, current: Dataset, receipt: str) -> bool:
    """True when the partition was published anew since; clocks decide only where a record does not tell."""
    if refusal.instead_of is not None:
        return refusal.instead_of != receipt
    return refusal.time < current.ledger.receipt(receipt).finished


def closed_gates(log: Log, asset: str, current: Dataset | None) -> dict[str, Refusal]:
    """The partitions whose gate is closed, with the refusal that stands: nothing answered it and no skip covers its content."""
    standing = standing_refusals(log.lake, asset, current)
    skips = log.skips() if standing else Skips()
    return {key: refusal for key, refusal in standing.items() if skips.find(asset, key, refusal.root) is None}


def put_quarantine(
    log: Log,
    asset: str,
    session: str,
    refused: Mapping[str, tuple[PartitionManifest, Sequence[Verdict]]],
    receipts: Mapping[str, str],
    materials: Sequence[Material] = (),
) -> None:
    """Keep what a session had refused, by partition; `receipts` are those that partitions are published under meanwhile.

    `materials` are the landed objects that went in: while a partition holds just these, it would be refused again.
    """
    arrivals: dict[str, list[list[str]]] = {}
    for material in materials:
        arrivals.setdefault(material.partition, []).append([material.uri, material.etag])
    partitions = {
        key: {
            "files": [entry.as_json() for entry in manifest.files],
            "verdicts": [verdict.as_json() for verdict in verdicts],
            "instead_of": receipts.get(key, ""),
            **({"arrivals": sorted(arrivals[key])} if key in arrivals else {}),
        }
        for key, (manifest, verdicts) in refused.items()
    }
    _write(log, asset, session, partitions, log.clock())


def answer_refusals(log: Log, asset: str, session: str, published: Mapping[str, str]) -> None:
    """Note that published content was judged again and stands, where something newer had been refused; receipts by partition."""
    if not published:
        return
    oldest = min(datetime.fromisoformat(log.receipt(receipt).finished) for receipt in published.values())
    answered = sorted(refusals(log.lake, asset, list(published), oldest - CLOCKS_APART))
    if answered:
        # a file of its own: the same session may have been refused other partitions
        _write(log, asset, f"{session}-answered", {key: {"files": [], "verdicts": []} for key in answered}, log.clock())


def _write(log: Log, asset: str, name: str, partitions: Mapping[str, object], time: datetime) -> None:
    record = {"asset": asset, "session": name, "time": time.astimezone(UTC).isoformat(), "partitions": partitions}
    log.lake.write(f"quarantine/{asset}/{name}.json", canonical_json(record))
