"""Dead letters go into the vault with the dataset they were refused from: nobody else has them, and no run makes them again."""

from typing import Literal

from orchestrai.core.progress import Progress
from orchestrai.ledger.ledger import Ledger
from orchestrai.vault.commit.published_files import sources_of
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

DEAD_LETTERS: Literal["dead_letters"] = "dead_letters"


def keep_dead_letters(ledger: Ledger, vault: Vault, asset: str, progress: Progress | None = None) -> SnapshotCommit | None:
    """Commit the dead letters of a dataset as they are now, under the name of their asset; None where the vault has them so already.

    Costs what changed. Raises as `Vault.commit`.
    """
    letters = ledger.find(asset)
    newest = vault.catalog.recent(asset, 1)
    before = {key: entry.root for key, entry in vault.partitions(newest[-1]).items()} if newest else {}
    roots = letters.roots() if letters is not None else {}
    changed = [key for key, root in sorted(roots.items()) if before.get(key) != root]
    gone = sorted({*before} - {*roots})
    if letters is None or not (changed or gone):
        return None
    contents: dict[str, list[SourceFile]] = {key: sources_of(ledger, letters.files(key)) for key in changed}
    source = {"asset": asset, "version": letters.version}
    return vault.commit(asset, contents, drop=gone, source=source, progress=progress)
