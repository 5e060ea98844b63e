"""Where the vault keeps things.

    vault/identity.json                          the vault's signed name, made once
    vault/keys/<n>.json                          wrapped data keys of a sealed vault
    vault/objects/<session>/<name>               one file each; <name> is its SHA-256 (a number where encrypted)
    vault/packs/<session>/<n>                    small files of one partition, end to end
    vault/listings/<session>/<n>                 the files of one partition (see rows.ColumnCodec)
    vault/trees/<session>/<n>                    the partitions of one snapshot
    vault/snapshots/<dataset>/<seq>.json         the dataset's chain: commits and notes, signed, created by put-if-absent
    vault/forgotten/<dataset>/<seq>.json         tombstones: signed, created by put-if-absent
    vault/holds/<dataset>/<seq>/<n>.json         legal holds placed and released, signed; seq 0 is the whole dataset
    work/locks/<dataset>/<seq>.json              until when all that a snapshot needs was read back as locked, signed
    work/verified.json                           in a replica: the snapshots found sound, signed
    work/pulled.json                             in a pulled copy: how far whoever pulls found it sound, signed by their key
    work/sessions/<session>.json                 a running write; its store time is the session's start
    work/marks/<session>.json                    what a prune wants to delete
    work/condemned/<session>.json                what a prune deletes; the fences in the chains name its hash
    work/clock/<session>.json                    written to learn the store's time
    work/quarantine/<sha256>/<key>               wrong bytes that heal put the right ones in the place of

Everything under vault/ is written once; only work/ is ever rewritten or removed by a writer. Every key of bytes carries the
session that wrote it, so no key is ever written twice.
"""

ROOT = "vault/"
IDENTITY = "vault/identity.json"
BYTES = ("vault/objects/", "vault/packs/", "vault/listings/", "vault/trees/")
SNAPSHOTS = "vault/snapshots/"
FORGOTTEN = "vault/forgotten/"
DATA_KEYS = "vault/keys/"
HOLDS = "vault/holds/"
LOCKS = "work/locks/"
VERIFIED = "work/verified.json"
PULLED = "work/pulled.json"
SESSIONS = "work/sessions/"
MARKS = "work/marks/"
CONDEMNED = "work/condemned/"
CLOCK = "work/clock/"
QUARANTINE = "work/quarantine/"


def object_key(session: str, name: str) -> str:
    """Where one file's bytes lie."""
    return f"vault/objects/{session}/{name}"


def pack_key(session: str, number: int) -> str:
    """Where a pack lies."""
    return f"vault/packs/{session}/{number:06d}"


def listing_key(session: str, number: int) -> str:
    """Where the list of a partition's files lies."""
    return f"vault/listings/{session}/{number:06d}"


def tree_key(session: str, number: int) -> str:
    """Where the list of a snapshot's partitions lies; a session that lost a race writes another."""
    return f"vault/trees/{session}/{number:03d}"


def commit_key(dataset: str, seq: int) -> str:
    """Where a record of a chain lies; the key holds the number alone, so that whoever appends to it races on it."""
    return f"{SNAPSHOTS}{dataset}/{seq:012d}.json"


def tombstone_key(dataset: str, seq: int) -> str:
    """Where the record lies that a snapshot was forgotten."""
    return f"{FORGOTTEN}{dataset}/{seq:012d}.json"


def numbered(prefix: str, key: str) -> tuple[str, int] | None:
    """(dataset, seq) of a commit or tombstone key, or None for any other key."""
    dataset, _, name = key[len(prefix) :].rpartition("/")
    if not dataset or len(name) != 17 or not name.endswith(".json") or not name[:12].isdigit():
        return None
    return dataset, int(name[:12])
