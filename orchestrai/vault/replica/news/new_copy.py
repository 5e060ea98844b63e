"""What a replica lacks since its progress, in the order in which it is copied."""

from collections.abc import Iterator

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ObjectNotFound
from orchestrai.ledger.heads import has_head
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import FORGOTTEN, VERIFIED, commit_key, numbered
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.news.chain_news import ChainNews
from orchestrai.vault.replica.news.copy_plan import CopyPlan, Lacking, sizes_there
from orchestrai.vault.replica.news.log_news import LogNews
from orchestrai.vault.replica.news.loose_news import loose_records, loose_sizes
from orchestrai.vault.replica.own_fences import give_way, numbers_behind
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Proven


def progress_of(vault: Vault, target: Store) -> Proven | None:
    """How far an earlier run copied, where the target bears it out: the last record of each chain and log must be there.

    None costs a comparison of both stores.
    """
    try:
        proven = Proven.opened(vault.keyring, target.read(VERIFIED))
    except ObjectNotFound:
        return None
    proven = proven.of(vault.identity(), target.url) if proven else None
    if proven is None or proven.logs is None:
        return None
    for name, reached in proven.chains.items():
        try:
            if sha256_hex(target.read(commit_key(name, reached.seq))) != reached.digest:
                return None
        except ObjectNotFound:
            return None
    return proven if all(has_head(target, asset, seq) for asset, seq in proven.logs.items()) else None


def new_copy(vault: Vault, copy: Copy, replica: Vault, proven: Proven) -> CopyPlan:
    """What came behind the progress, and the few loose records; raises IntegrityError for a new record that is damaged."""
    store, target = vault.store, copy.store
    # the ends of logs and chains first: what they name was there before them
    logs = LogNews(store, proven.logs or {})
    chains = ChainNews(vault, proven.chains)
    stones = list(chains.stones())
    own = numbers_behind(copy, {name: reached.seq for name, reached in proven.chains.items()})
    findings = [*give_way(chains.records, vault.keyring, copy, own), *chains.rolled_back(), *logs.findings]
    commits = chains.commits()
    needed = chains.needs(commits, replica, own)
    findings += chains.findings
    loose = list(loose_records(store))

    def in_order() -> Iterator[Lacking]:
        yield from loose
        yield from (Lacking(key, version) for key, version in needed.items())
        yield from (Lacking(key, compared=True) for key in (*logs.blobs, *logs.entries, *chains.keys()))
        yield from stones

    todo = list({one.key: one for one in reversed(list(in_order()))}.values())[::-1]
    beside = {one.key for one in loose}
    there = loose_sizes(target) | sizes_there(target, (one.key for one in todo if one.key not in beside))
    gone = {name: reached.gone_numbers for name, reached in proven.chains.items()}
    for stone in stones:
        place = numbered(FORGOTTEN, stone.key)
        assert place is not None
        gone.setdefault(place[0], set()).add(place[1])
    return CopyPlan(todo, there, frozenset(commit.session for commit in commits), findings, gone, logs.last)
