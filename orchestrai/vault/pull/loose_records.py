"""Which records beside the chains a pulled copy takes: key log, censuses, data keys, holds, and what the ledger keeps there."""

from collections.abc import Iterable, Mapping

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted, ObjectExists, ObjectNotFound
from orchestrai.ledger.log_replica import RECORDS
from orchestrai.ledger.trust.key_log import CENSUS, census_of, log_envelopes, read_census, record_key
from orchestrai.ledger.trust.key_rules import LoggedRules
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import DATA_KEYS, HOLDS
from orchestrai.vault.pull.chain_pull import PullFinding
from orchestrai.vault.replica.record_proof import HEADS, require_record
from orchestrai.vault.vault import Vault

# entries of logs go behind what they name
_LOOSE = (DATA_KEYS, HOLDS, *(prefix for prefix in RECORDS if prefix != HEADS), HEADS)
# of each folder so many are named one by one
_NAMED = 20


def new_key_log(vault: Vault, copy: Store) -> dict[str, bytes]:
    """The records of the key log that the copy lacks, each census before the record that names it.

    Raises IntegrityError where the primary's log does not go on from the one that was pulled.
    """
    primary, rules = vault.store, vault.keyring.rules
    log = rules.log() if isinstance(rules, LoggedRules) else None
    known = log.digests if log is not None else ()
    # what was appended meanwhile comes with the next run; what was judged must be what is copied
    theirs, ours = log_envelopes(primary)[: len(known)], log_envelopes(copy)
    if tuple(map(sha256_hex, theirs)) != tuple(known):
        raise IntegrityError(f"expected the key log of {primary.url} as it was read before, found another: run it again")
    if theirs[: len(ours)] != ours:
        raise IntegrityError(
            f"expected the key log of {len(ours)} records that was pulled, found one of {len(theirs)} in {primary.url} that does not go on "
            "from it: the primary was rolled back or forked; nothing was pulled"
        )
    records: dict[str, bytes] = {}
    there = {info.key for info in copy.list(CENSUS)}
    for info in primary.list(CENSUS):
        digest = info.key.removeprefix(CENSUS)
        if info.key not in there:
            data = read_census(primary, digest)
            # under a name of its own by its content: whoever puts another there puts nothing that is read
            if sha256_hex(data) == digest:
                census_of(data, digest)
                records[info.key] = data
    return records | {record_key(seq): theirs[seq - 1] for seq in range(len(ours) + 1, len(theirs) + 1)}


def new_loose(primary: Vault, copy: Store, *, full: bool) -> tuple[dict[str, bytes], list[PullFinding]]:
    """The records beside the chains that the copy lacks, in the order in which they are put, and what is wrong with others."""
    records: dict[str, bytes] = {}
    findings: list[PullFinding] = []
    for prefix in _LOOSE:
        theirs, ours = ({one.key: one.size for one in store.list(prefix) if not one.odd} for store in (primary.store, copy))
        findings += _gone(prefix, ours.keys() - theirs.keys())
        # the newest entry of a log names all before it
        ends = _ends(theirs.keys() & ours.keys()) if prefix == HEADS else set()
        for key in sorted(theirs.keys() & ours.keys()):
            if (full or key in ends or theirs[key] != ours[key]) and _read(primary.store, key) != _read(copy, key):
                problem = "expected it as it was pulled, found other bytes: the primary was altered or forked; the copy keeps its own"
                findings.append(PullFinding("forked", key, problem))
        for key in sorted(theirs.keys() - ours.keys()):
            data = _read(primary.store, key)
            problem = _problem(key, data, primary)
            if problem:
                findings.append(PullFinding("damaged", key, problem))
            else:
                records[key] = data
    return records, findings


def _problem(key: str, data: bytes, primary: Vault) -> str:
    """Why a record is not taken; one that is rightly signed and does not count is, as it takes its number in its log."""
    try:
        require_record(key, data, primary.identity(), primary.keyring)
    except NotCounted:
        return ""
    except IntegrityError as exc:
        return exc.message
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        return f"expected a record, found something else ({exc})"
    return ""


def _gone(prefix: str, keys: Iterable[str]) -> list[PullFinding]:
    names = sorted(keys)
    problem = "expected it, as it was pulled, found it gone from the primary: the copy keeps it"
    told = [PullFinding("lost", key, problem) for key in names[:_NAMED]]
    if len(names) > _NAMED:
        told.append(
            PullFinding("lost", prefix, f"and {len(names) - _NAMED:,} more that were pulled and are gone from the primary")
        )
    return told


def _ends(keys: Iterable[str]) -> set[str]:
    newest: dict[str, str] = {}
    for key in sorted(keys):
        newest[key.rpartition("/")[0]] = key
    return set(newest.values())


def _read(store: Store, key: str) -> bytes:
    try:
        return store.read(key)
    except ObjectNotFound:
        return b""


def put_records(copy: Store, records: Mapping[str, bytes]) -> int:
    """Create what is not there, in order; returns how many. Raises IntegrityError where another lies there meanwhile."""
    for key, data in records.items():
        try:
            copy.write(key, data, create=True)
        except ObjectExists:
            if _read(copy, key) != data:
                raise IntegrityError(
                    f"expected {key} of {copy.url} to be free, found another record: somebody writes to the copy", key=key
                ) from None
    return len(records)
