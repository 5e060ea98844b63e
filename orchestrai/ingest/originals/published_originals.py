"""What a published partition was made from: the objects that its receipt names, and their originals or parts in the lake."""

from orchestrai.core.time.calendar import Grain, dimension_of, grain_stats, zone_of
from orchestrai.core.time.partition_key import values_of
from orchestrai.errors import ConfigError
from orchestrai.ingest.originals.originals import Arrival
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import PartitionManifest
from orchestrai.ledger.receipt import Material
from orchestrai.privacy.ingest_guard import STATS


def arrivals(dataset: Dataset | None, partition: str) -> list[Material]:
    """The landed objects that a published partition was made from."""
    if dataset is None or partition not in dataset.partitions:
        return []
    return [m for m in dataset.receipt(partition).materials if m.partition == partition]


def require_same_cut(dataset: Dataset | None, grain: Grain) -> None:
    """Raises ConfigError where a dataset is published in partitions of another zone, grain or dimension, of which a key would mean two
    things, and where partitions of a value that is declared no more are published.
    """
    if dataset is None or not dataset.partitions:
        return
    known = dataset.cut()
    if grain_stats(grain) != grain_stats(known or "all"):
        cut = f"{known}s of {zone_of(known)}{_beside(known)}" if known else "hours, days or months of UTC"
        raise ConfigError(
            f"expected {dataset.asset} cut as it is published, by {cut}, found it declared by the {grain} of {zone_of(grain)}"
            f"{_beside(grain)}: declare it under another name, and ingest it anew"
        )
    dimension = dimension_of(grain)
    if dimension is None:
        return
    gone = [value for value in values_of(dataset.partitions) if value not in dimension.values]
    if gone:
        raise ConfigError(
            f"expected {dimension.expected} and {', '.join(gone)}, of which partitions of {dataset.asset} are published, found it declared "
            "no more: values may be added, none taken away"
        )


def _beside(grain: Grain) -> str:
    dimension = dimension_of(grain)
    return f" and by {dimension.name}" if dimension is not None else ""


class PublishedOriginals:
    """The arrivals of a dataset as it is published; without `keep` their originals are not carried on."""

    def __init__(self, dataset: Dataset | None, *, keep: bool) -> None:
        self.dataset, self.keep = dataset, keep

    def repeats(self, partition: str) -> dict[str, Material]:
        """The objects that repeated others when the partition was published, by URI."""
        return {m.uri: m for m in arrivals(self.dataset, partition) if m.same_as}

    def materials(self, partition: str) -> dict[str, Material]:
        """What a published partition was made from, by the path of the original: a landing that moved names the same objects."""
        materials: dict[str, list[Material]] = {}
        for material in sorted(arrivals(self.dataset, partition), key=lambda m: m.uri, reverse=True):
            if material.same_as:
                continue
            materials.setdefault(material.sha256, []).append(material)
        if not materials or self.dataset is None:
            return {}
        manifest = self.dataset.files(partition)
        named = {material.uri: material for group in materials.values() for material in group}
        parts = {origin["name"]: named[origin["uri"]] for origin in _origins(manifest).values() if origin["uri"] in named}
        originals = [entry for entry in manifest.files if entry.role == "landed"]
        return parts | {entry.path: materials[entry.sha256].pop() for entry in originals if materials.get(entry.sha256)}

    def fetch(self, partition: str, wanted: dict[str, Material]) -> dict[str, Arrival]:
        """Earlier arrivals."""
        if not wanted or self.dataset is None:
            return {}
        originals = {}
        digests = {material.sha256 for material in wanted.values()}
        for entry in self.dataset.files(partition).files:
            if entry.role == "landed" and entry.sha256 in digests and entry.path in wanted:
                originals[entry.path] = Arrival(wanted[entry.path], entry.path, entry, original=entry if self.keep else None)
        return self._parts(partition, wanted) | originals

    def _parts(self, partition: str, wanted: dict[str, Material]) -> dict[str, Arrival]:
        """Parts of earlier arrivals whose originals were not kept."""
        manifest = self.dataset.files(partition) if self.dataset else None
        origins = {part: origin["name"] for part, origin in _origins(manifest).items() if origin["name"] in wanted}
        if not origins or self.dataset is None or manifest is None:
            return {}
        columns = tuple(manifest.stats[STATS]["columns"])
        return {
            origins[entry.path]: Arrival(
                wanted[origins[entry.path]], origins[entry.path], entry, part=entry, columns=columns
            )
            for entry in manifest.files
            if entry.role == "data" and entry.path in origins
        }


def _origins(manifest: PartitionManifest | None) -> dict[str, dict[str, str]]:
    """By part, the landed object that it was made from and that was not kept."""
    stated = manifest.stats.get(STATS) if manifest else None
    return dict(stated["objects"]) if isinstance(stated, dict) and "objects" in stated else {}
