"""A model's registry as files: a partition for each version, with its receipts, and one that says which of them serves."""

from orchestrai.core.time.calendar import WHOLE
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.models.registry.versions import versions
from orchestrai.vault.commit.published_files import sources_of
from orchestrai.vault.commit.source import SourceFile, held

REGISTRY = "registry"


def registry_contents(
    ledger: Ledger, *, candidate: str, champion: str
) -> tuple[dict[str, list[SourceFile]], list[InputRef]]:
    """Every version that is not recalled, by the first 16 digits of its version, and the registry itself; and what was read."""
    opened: dict[str, list[tuple[str, Dataset]]] = {}
    for alias, asset in (("candidate", candidate), ("champion", champion)):
        for head in reversed(list(ledger.history(asset))):
            known = opened.setdefault(head.version, [])
            if alias not in {name for name, _ in known}:
                known.append((alias, ledger.dataset(head)))
    contents: dict[str, list[SourceFile]] = {}
    for version, datasets in opened.items():
        files = _version_files(ledger, datasets)
        if files:
            contents[version[7:23]] = files
    listed = [
        {**version.as_json(), "folder": version.version[7:23]}
        for version in versions(ledger, candidate=candidate, champion=champion)
        if version.version[7:23] in contents
    ]
    current = [ledger.find(asset) for asset in (candidate, champion)]
    inputs = [InputRef(dataset.asset, dataset.version) for dataset in current if dataset is not None]
    if not contents:
        return {}, []
    body = canonical_json({"candidate": candidate, "champion": champion, "versions": listed})
    contents[REGISTRY] = [held("registry.json", body)]
    return contents, inputs


def _version_files(ledger: Ledger, datasets: list[tuple[str, Dataset]]) -> list[SourceFile]:
    files: list[SourceFile] = []
    for alias, dataset in datasets:
        if WHOLE not in dataset.partitions:
            continue
        try:
            manifest = dataset.files(WHOLE)
        except NotReceipted:
            continue  # recalled: what must not serve again is not kept to come back
        if not files:
            files = sources_of(ledger, manifest)
        envelope = ledger.blob("receipts", dataset.partitions[WHOLE].receipt)
        files.append(held(f"{alias}.receipt.json", envelope))
    return files
