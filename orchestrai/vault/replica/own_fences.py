"""The fences that a prune of a replica appended to its chains, where the primary went on by itself.

They say which bytes that prune deleted there, and nothing of data, so they give way to the records of the primary. Their bytes are set
aside. Anything else by which a replica's chain differs is a fork: somebody wrote to the replica.
"""

from collections.abc import Collection, Iterable, Mapping

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.ledger.signing import Keyring
from orchestrai.vault.chain.numbered_logs import behind
from orchestrai.vault.format.layout import SNAPSHOTS, commit_key
from orchestrai.vault.format.records import ChainNote, ChainRecord, open_record
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.wrong_bytes import set_aside
from orchestrai.vault.verify.verification import Finding


def is_fence(record: ChainRecord) -> bool:
    """True for what a prune appends."""
    return isinstance(record, ChainNote) and record.kind == "fence"


def give_way(
    records: Iterable[ChainRecord], keyring: Keyring, replica: Copy, own: Mapping[str, Collection[int]]
) -> list[Finding]:
    """Set aside a replica's own fences where the primary has other records under their numbers; returns what forks.

    `records` are those of the primary, or of its chains' ends, `own` the numbers that the replica has there. Of each chain the end is
    looked at, as it names all before it. Idempotent.
    """
    chains: dict[str, dict[int, str]] = {}
    for record in records:
        chains.setdefault(record.dataset, {})[record.seq] = record.digest
    forks = []
    for dataset in sorted(chains.keys() & own.keys()):
        first = _differs_from(chains[dataset], own[dataset], replica, dataset)
        if first is None:
            continue
        tail = {commit_key(dataset, seq): _read(replica, commit_key(dataset, seq)) for seq in own[dataset] if seq >= first}
        # a record that was copied behind such a fence is the primary's, and stays
        theirs = {commit_key(dataset, seq): digest for seq, digest in chains[dataset].items()}
        tail = {key: data for key, data in tail.items() if theirs.get(key) != sha256_hex(data)}
        opened = [_opened(keyring, data) for data in tail.values()]
        if all(record is not None and is_fence(record) for record in opened):
            # the last first: a run that dies leaves a chain with an end, not with a hole
            for key in sorted(tail, reverse=True):
                set_aside(replica, key, sha256_hex(tail[key]), remove=True)
        elif all(record is not None for record in opened):
            problem = (
                f"expected record {first} of {dataset} as the primary has it, found another that is signed: the replica was written to by "
                "itself, or the primary was rolled back; see `orchestrai vault heal`"
            )
            forks.append(Finding(commit_key(dataset, first), problem))
    return forks


def numbers_behind(replica: Copy, known: Mapping[str, int]) -> dict[str, set[int]]:
    """The numbers that a replica has of each chain behind those that are known."""
    own: dict[str, set[int]] = {}
    for name, number, _ in behind(replica.store, SNAPSHOTS, known):
        own.setdefault(name, set()).add(number)
    return own


def _differs_from(chain: dict[int, str], own: Collection[int], replica: Copy, dataset: str) -> int | None:
    """The first number under which the replica has another record than the primary; None where it has none."""
    first = None
    for seq in sorted(chain.keys() & set(own), reverse=True):
        if sha256_hex(_read(replica, commit_key(dataset, seq))) == chain[seq]:
            break
        first = seq
    return first


def _read(replica: Copy, key: str) -> bytes:
    try:
        return replica.store.read(key)
    except ObjectNotFound:
        return b""


def _opened(keyring: Keyring, data: bytes) -> ChainRecord | None:
    try:
        return open_record(keyring, data)
    except (IntegrityError, ValueError, KeyError, TypeError):
        return None
