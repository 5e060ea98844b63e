"""From any asset back to landed objects, one step per set of partitions that was used together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrai.errors import IntegrityError, OrchestraiError
from orchestrai.ledger.heads import Head
from orchestrai.ledger.manifest import PartitionEntry, dataset_version
from orchestrai.ledger.receipt import InputRef, Material, Receipt
from orchestrai.provenance.verified_records import Records

# stages that hold their source byte for byte, partition by partition
VERBATIM = frozenset({"snapshot", "restored", "feature_backup"})
Problem = Callable[[str, OrchestraiError], None]


@dataclass(frozen=True)
class Use:
    """Partitions of one asset, each at a root and under a receipt, as something downstream used them."""

    asset: str
    entries: Mapping[str, PartitionEntry]

    @property
    def version(self) -> str:
        """The version of just these partitions: the dataset's own where all of it was used."""
        return dataset_version({key: entry.root for key, entry in self.entries.items()})

    @property
    def stage(self) -> str:
        """The last part of the asset's key."""
        return self.asset.rsplit("/", 1)[-1]

    @property
    def identity(self) -> tuple[str, frozenset[tuple[str, str, str]]]:
        """Equal for equal uses."""
        return self.asset, frozenset((entry.partition, entry.root, entry.receipt) for entry in self.entries.values())


@dataclass(frozen=True)
class Step:
    """A use, the receipts that admit it (by digest), what they read and what was landed for it."""

    use: Use
    receipts: Mapping[str, Receipt]
    upstream: tuple[Use, ...]
    materials: tuple[Material, ...]


def use_of(records: Records, asset: str, version: str | None = None) -> Use:
    """Every partition of an asset at a version (default: the newest); raises NotReceipted, IntegrityError."""
    return Use(asset, records.entries(records.at(asset, version)))


def is_comparison(stage: str, asset: str) -> bool:
    """True for an input that was looked at and not learned from: the champion a candidate was compared with."""
    return stage in ("evaluation", "champion") and asset.endswith("/champion")


def learned_from(receipt: Receipt) -> Iterator[InputRef]:
    """The inputs whose data went into the output."""
    return (ref for ref in receipt.inputs if not is_comparison(receipt.stage, ref.asset))


def narrowed(records: Records, use: Use, entry: PartitionEntry, receipt: Receipt, ref: InputRef) -> Mapping[str, str]:
    """The partition roots of one input that went into one output partition.

    Backups and restores go partition by partition; a feature partition names its inputs in its manifest; else the whole input
    of the receipt counts.
    """
    if receipt.stage in VERBATIM:
        if entry.partition not in ref.partitions:
            raise IntegrityError(
                f"expected {use.asset}@{entry.partition} to name its source in {ref.asset}, found none in its receipt"
            )
        return {entry.partition: ref.partitions[entry.partition]}
    if receipt.stage == "features":
        named = records.files(use.asset, entry).stats.get("inputs")
        roots = named.get(ref.asset, {}) if isinstance(named, dict) else None
        if isinstance(roots, dict) and roots.items() <= ref.partitions.items():
            return roots
    return ref.partitions


def walk(records: Records, start: Use, problem: Problem | None = None) -> list[Step]:
    """All steps behind a use, itself first, each once; `problem` hears of broken links, else the first one is raised."""
    steps: list[Step] = []
    seen = {start.identity}
    waiting = [start]
    for use in waiting:
        step = take_step(records, use, problem)
        steps.append(step)
        for above in step.upstream:
            if above.identity not in seen:
                seen.add(above.identity)
                waiting.append(above)
    return steps


def take_step(records: Records, use: Use, problem: Problem | None = None) -> Step:
    """One step back from a use."""
    receipts: dict[str, Receipt] = {}
    wanted: dict[tuple[str, str, str], dict[str, str]] = {}
    materials: dict[Material, None] = {}
    records.plan_uses(use.entries.values(), files=use.stage == "features")
    for key, entry in use.entries.items():
        try:
            receipt = receipts[entry.receipt] = records.admitted(use.asset, entry)
            for material in receipt.materials:
                if material.partition in ("", key):
                    materials[material] = None
            for ref in learned_from(receipt):
                roots = narrowed(records, use, entry, receipt, ref)
                if roots or not ref.partitions:
                    wanted.setdefault((ref.asset, ref.version, receipt.finished), {}).update(roots)
        except OrchestraiError as error:
            _tell(problem, f"{use.asset}@{key}", error)
    partitions: dict[str, list[PartitionEntry]] = {}
    # from old to new: a version is then read as what it adds to the one before
    ordered = sorted(wanted.items(), key=lambda item: (item[0][0], item[0][2], item[0][1]))
    records.plan_versions(_heads(records, [place for place, _ in ordered]))
    for (asset, version, moment), roots in ordered:
        try:
            partitions.setdefault(asset, []).extend(_named(records, asset, version, moment, roots))
        except OrchestraiError as error:
            _tell(problem, f"{asset} at {version[:19]}", error)
    upstream = tuple(use for asset, entries in partitions.items() for use in _together(asset, entries))
    return Step(use, receipts, upstream, tuple(materials))


def _heads(records: Records, places: Sequence[tuple[str, str, str]]) -> list[Head]:
    """The entries of some versions, as far as there are any; who reads them is told of the others."""
    heads = []
    for place in places:
        with suppress(IntegrityError):
            heads.append(records.before(*place))
    return heads


def _named(records: Records, asset: str, version: str, moment: str, roots: Mapping[str, str]) -> list[PartitionEntry]:
    entries = records.entries(records.before(asset, version, moment), roots or None)
    for key, root in roots.items():
        if entries[key].root != root:
            raise IntegrityError(
                f"expected {asset}@{key} at {root[:19]} in version {version[:19]}, found {entries[key].root[:19]}: "
                "the receipt names an input that was never published"
            )
    return list(entries.values())


def _together(asset: str, entries: Sequence[PartitionEntry]) -> list[Use]:
    """Group entries so that each group has a partition once; more than one group only where a partition has two versions."""
    groups: list[dict[str, PartitionEntry]] = []
    distinct = {(entry.partition, entry.root, entry.receipt): entry for entry in entries}
    for _, entry in sorted(distinct.items()):
        group = next((group for group in groups if entry.partition not in group), None)
        if group is None:
            groups.append(group := {})
        group[entry.partition] = entry
    return [Use(asset, group) for group in groups]


def _tell(problem: Problem | None, where: str, error: OrchestraiError) -> None:
    if problem is None or not isinstance(error, IntegrityError):
        raise error
    problem(where, error)
