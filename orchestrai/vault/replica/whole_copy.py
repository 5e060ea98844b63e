"""Both stores compared by listings: what a first copy lacks, and a whole one."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import FORGOTTEN, ROOT, SNAPSHOTS, numbered
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.news.chain_news import ChainNews
from orchestrai.vault.replica.news.copy_plan import CopyPlan, Lacking
from orchestrai.vault.replica.own_fences import give_way, numbers_behind
from orchestrai.vault.replica.record_proof import HEADS, PROVEN
from orchestrai.vault.vault import Vault


def whole_copy(vault: Vault, replica: Copy) -> CopyPlan:
    """Everything but work in progress, and what of it is in the replica."""
    news = ChainNews(vault, {})
    commits = news.commits()
    findings = give_way(news.records, vault.keyring, replica, numbers_behind(replica, {}))
    there = {info.key: info.size for info in replica.store.list()}
    versions = versions_of(vault, commits, ())
    todo = list(_in_order(vault.store, set(news.keys()), versions))
    gone: dict[str, set[int]] = {}
    logs: dict[str, int] = {}
    for one in todo:
        place = numbered(FORGOTTEN, one.key) if one.key.startswith(FORGOTTEN) else None
        entry = numbered(HEADS, one.key) if one.key.startswith(HEADS) else None
        if place is not None:
            gone.setdefault(place[0], set()).add(place[1])
        if entry is not None:
            logs[entry[0]] = max(entry[1], logs.get(entry[0], 0))
    return CopyPlan(todo, there, frozenset(commit.session for commit in commits), findings, gone, logs)


def versions_of(vault: Vault, commits: Sequence[SnapshotCommit], since: Collection[str]) -> dict[str, str]:
    """The versions that new snapshots refer to, so that nothing put over them later is copied."""
    versions: dict[str, str] = {}
    before: dict[str, SnapshotCommit] = {}
    for commit in commits:
        if commit.digest not in since and commit.tree_version:
            versions |= {
                key: version for key, version in reach(vault, commit, before.get(commit.dataset)).items() if version
            }
        before[commit.dataset] = commit
    return versions


def _in_order(store: Store, chains: set[str], versions: Mapping[str, str]) -> Iterator[Lacking]:
    """Bytes and blobs first, then the entries of logs, then what the chains held before this began, tombstones last."""
    last: list[Lacking] = []
    hidden = dict(versions)
    for info in store.list():
        one = Lacking(info.key, hidden.pop(info.key, ""), info.size)
        if info.key.startswith(SNAPSHOTS):
            last += [one] if info.key in chains else []
        elif info.key.startswith(FORGOTTEN):
            last += [one] if numbered(FORGOTTEN, info.key) is not None else []
        elif info.key.startswith(HEADS):
            last.append(one)
        elif info.key.startswith((ROOT, *PROVEN)):
            yield one
    for key, version in hidden.items():
        # deleted in the vault, but its version is kept
        yield Lacking(key, version, store.head(key, version=version).size)
    yield from sorted(last, key=lambda one: (_rank(one.key), one.key))


def _rank(key: str) -> int:
    return next((rank for rank, prefix in enumerate((HEADS, SNAPSHOTS)) if key.startswith(prefix)), 2)
