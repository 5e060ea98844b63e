"""A vault whose bytes go by executors holds what one process would have put there, and finds what one process would have found."""

import json
import random
from hashlib import sha256
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, DigestMismatch, MissingObject
from orchestrai.ledger.signing import Signer
from orchestrai.storage.base import Store
from orchestrai.storage.limits import Limits, limited
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.pieces.chunker import CHUNKED_FROM
from orchestrai.vault.spread import check_tasks, content_tasks, copy_tasks
from orchestrai.vault.spread.vault_address import VaultAddress, held_at
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.contents import files, read_all
from orchestrai_tests.vault.spread.in_place import InPlace, in_store, kept_bytes, on_disk, opened, spread

RANDOM = random.Random(7)
LARGE = RANDOM.randbytes(CHUNKED_FROM + 500_000)
TEXT = b"2026-11-30,shop,blue teapot,12,4.25\n" * 20_000
SMALL = {f"f{number:02d}": RANDOM.randbytes(200 + 3_000 * number) for number in range(30)}
CONTENTS: dict[str, dict[str, bytes]] = {
    "2026-11-28": {**SMALL, "large": LARGE, "text": TEXT, "empty": b""},
    "2026-11-29": {"alone": b"one small file", "whole": RANDOM.randbytes(400_000)},
    # what another partition of the same commit brings is stored once
    "2026-11-30": {"again": TEXT, "f03": SMALL["f03"], "new": RANDOM.randbytes(90_000)},
}
CHANGED = LARGE[:9_000_000] + b"!" + LARGE[9_000_001:]


@pytest.fixture(params=["plain", "sealed"])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> FileKey | None:
    return FileKey(tmp_path / "vault.key") if request.param == "sealed" else None


@pytest.fixture(autouse=True)
def several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (content_tasks, check_tasks, copy_tasks):
        monkeypatch.setattr(module, "TASK_BYTES", 1_000_000)


def lake_of(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "lake")


def sources(tmp_path: Path, contents: dict[str, dict[str, bytes]]) -> dict[str, list[SourceFile]]:
    lake = lake_of(tmp_path)
    return {
        partition: in_store(lake, partition, {name: sha256(data).hexdigest() for name, data in held.items()}, **held)
        for partition, held in contents.items()
    }


def commits(vault: Vault, tmp_path: Path) -> None:
    """A first snapshot, and one with a file that changed in the middle, one that moved and one that is gone."""
    vault.commit("d", sources(tmp_path, CONTENTS))
    changed = {**CONTENTS["2026-11-28"], "large": CHANGED, "moved": SMALL["f05"]}
    del changed["f05"]
    vault.commit("d", sources(tmp_path, {"2026-11-28": changed, "2026-12-01": {"other": LARGE[5:]}}))


def test_executors_store_the_same_objects_under_the_same_names_as_one_process(tmp_path: Path, signer: Signer) -> None:
    here, there = opened(tmp_path / "here", signer), spread(opened(tmp_path / "there", signer), done := InPlace(lost=2))
    for vault in (here, there):
        commits(vault, tmp_path)
    one, two = kept_bytes(here), kept_bytes(there)
    assert one.keys() == two.keys() and len(done.tasks) >= 3
    assert {name for name in one if one[name] != two[name]} <= {"vault/identity.json"}
    for a, b in zip(here.snapshots("d"), there.snapshots("d"), strict=True):
        assert (a.version, a.new_bytes, a.reused_bytes, a.files, a.rows) == (
            b.version,
            b.new_bytes,
            b.reused_bytes,
            b.files,
            b.rows,
        )


def test_a_sealed_vault_is_as_large_opens_to_the_same_and_has_the_same_versions(tmp_path: Path, signer: Signer) -> None:
    key = FileKey(tmp_path / "vault.key")
    here = opened(tmp_path / "here", signer, key)
    there = spread(opened(tmp_path / "there", signer, key), done := InPlace(lost=2))
    for vault in (here, there):
        commits(vault, tmp_path)
    for a, b in zip(here.snapshots("d"), there.snapshots("d"), strict=True):
        assert (a.version, a.files, a.rows) == (b.version, b.files, b.rows)
        assert read_all(here, a) == read_all(there, b)
    assert verify(there, level="read").ok and verify(opened(tmp_path / "there", signer, key), level="read").ok
    # what is sent says where the key lies, and holds neither it nor the data key
    secret = key.path.read_bytes()
    assert there.cipher is not None
    hidden = [secret, *there.cipher.keys.values()]
    assert not any(one.hex() in task or one.decode("latin-1") in task for one in hidden for task in done.tasks)


def test_a_lost_try_of_a_sealed_part_is_never_written_over(tmp_path: Path, signer: Signer) -> None:
    vault = spread(opened(tmp_path / "v", signer, FileKey(tmp_path / "vault.key")), InPlace(lost=1))
    commit = vault.commit("d", sources(tmp_path, CONTENTS))
    named = {place.key for name in vault.partitions(commit) for file in vault.files(commit, name) for place in file.places}
    there = {info.key for prefix in ("vault/objects/", "vault/packs/") for info in vault.store.list(prefix)}
    assert named < there and len(there) == 2 * len(named)


def test_a_chunk_that_two_new_files_share_is_stored_twice_and_read_all_the_same(tmp_path: Path, signer: Signer) -> None:
    contents = {"p": {"one": LARGE}, "q": {"two": CHANGED}}
    made = []
    for vault in (opened(tmp_path / "here", signer), spread(opened(tmp_path / "there", signer))):
        commit = vault.commit("d", sources(tmp_path, contents))
        assert read_all(vault, commit) == contents and verify(vault, level="read").ok
        made.append(commit)
    assert made[0].version == made[1].version
    assert made[0].new_bytes < made[1].new_bytes == len(LARGE) + len(CHANGED)


def test_files_by_token_are_stored_too_and_one_that_changed_since_stops_it(
    tmp_path: Path, signer: Signer, key: FileKey | None
) -> None:
    vault = spread(opened(tmp_path / "v", signer, key), done := InPlace(), lake=LocalStore(tmp_path))
    listed = on_disk(tmp_path / "source", a=TEXT, b=b"small", c=b"smaller")
    commit = vault.commit("d", {"all": listed})
    assert read_all(opened(tmp_path / "v", signer, key), commit) == {"all": {"a": TEXT, "b": b"small", "c": b"smaller"}}
    assert done.tasks
    (tmp_path / "source" / "b").write_bytes(b"other")
    with pytest.raises(Exception, match="b unchanged since it was listed, found it changed"):
        vault.commit("d", {"q": [one._replace(path=f"x{one.path}") for one in listed]})
    assert len(vault.snapshots()) == 1


@pytest.mark.parametrize("bad", ["altered", "gone"])
def test_a_source_that_is_not_what_its_manifest_says_is_refused_as_by_one_process(
    tmp_path: Path, signer: Signer, bad: str
) -> None:
    made = sources(tmp_path, CONTENTS)
    if bad == "altered":
        lake_of(tmp_path).write("2026-11-28/text", TEXT.replace(b"blue", b"dark"))
    else:
        lake_of(tmp_path).delete("2026-11-28/text")
    told = []
    for vault in (opened(tmp_path / "here", signer), spread(opened(tmp_path / "there", signer))):
        with pytest.raises((DigestMismatch, MissingObject)) as caught:
            vault.commit("d", made)
        told.append((type(caught.value), caught.value.message))
        assert vault.snapshots() == []
    assert told[0] == told[1]


def damage(rng: random.Random, vault: Vault, keys: list[str]) -> None:
    """Flip, cut, lengthen or delete one of the objects."""
    key = rng.choice(keys)
    data = vault.store.read(key)
    at = rng.randrange(max(1, len(data)))
    kind = rng.choice(["flip", "flip", "flip", "cut", "longer", "gone"])
    if kind == "gone":
        vault.store.delete(key)
    elif kind == "flip" and data:
        vault.store.write(key, data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
    else:
        vault.store.write(key, data[:at] if kind == "cut" else data + b"x")


def test_executors_name_whatever_is_damaged_as_one_process_names_it(
    tmp_path: Path, signer: Signer, key: FileKey | None
) -> None:
    vault = opened(tmp_path / "v", signer, key)
    contents = {**CONTENTS, "2026-11-28": {**SMALL, "text": TEXT, "large": LARGE}}
    vault.commit("d", sources(tmp_path, contents))
    vault.commit("d", sources(tmp_path, {"2026-11-28": {**SMALL, "large": CHANGED}}))
    keys = sorted(info.key for prefix in ("vault/objects/", "vault/packs/") for info in vault.store.list(prefix))
    sound = {name: vault.store.read(name) for name in keys}
    found = 0
    for seed in range(16):
        rng = random.Random(seed)
        for _ in range(rng.randint(1, 3)):
            damage(rng, vault, [name for name in keys if (vault.store.local_path(name) or Path()).exists()])
        plain = verify(opened(tmp_path / "v", signer, key), level="read")
        done = verify(spread(opened(tmp_path / "v", signer, key), InPlace()), level="read")
        assert (done.findings, done.files_read, done.bytes_read) == (plain.findings, plain.files_read, plain.bytes_read)
        found += len(plain.findings)
        for name, data in sound.items():
            vault.store.write(name, data)
    assert found >= 16


def test_a_sample_is_the_same_sample(tmp_path: Path, signer: Signer) -> None:
    vault = opened(tmp_path / "v", signer)
    commits(vault, tmp_path)
    for part in range(1, 4):
        plain = verify(opened(tmp_path / "v", signer), level="read", sample=(part, 3))
        done = verify(spread(opened(tmp_path / "v", signer)), level="read", sample=(part, 3))
        assert (done.files_read, done.bytes_read) == (plain.files_read, plain.bytes_read) and done.ok


@pytest.mark.parametrize("why", ["little", "memory", "bytes", "limits", "a file of this machine"])
def test_what_executors_cannot_reach_or_is_too_little_is_stored_here(tmp_path: Path, signer: Signer, why: str) -> None:
    executors = InPlace()
    store: Store = MemoryStore() if why == "memory" else LocalStore(tmp_path / "v")
    store = limited(store, Limits(rate=10**9) if why == "limits" else Limits())
    vault = spread(opened(store, signer), executors, threshold=len(TEXT) + 1 if why == "little" else 0)
    contents = {"p": files(a=TEXT)} if why == "bytes" else sources(tmp_path, {"p": {"a": TEXT}})
    if why == "a file of this machine":
        # a database's dump lies where it was made, which no executor sees
        contents = {"p": on_disk(tmp_path / "dump", a=TEXT)}
    commit = vault.commit("d", contents)
    assert executors.tasks == [] and read_all(vault, commit) == {"p": {"a": TEXT}}


def test_the_bytes_never_pass_through_the_driver(tmp_path: Path, signer: Signer) -> None:
    """What is sent and what comes back is a small part of what is stored, and none of it is content."""
    vault = spread(opened(tmp_path / "v", signer), executors := InPlace())
    vault.commit("d", sources(tmp_path, CONTENTS))
    assert verify(vault, level="read").ok
    sent = sum(map(len, executors.tasks))
    assert sent < 40_000 and not any("blue teapot" in task for task in executors.tasks)
    tasks = [json.loads(task) for task in executors.tasks]
    assert {key for task in tasks for key in task} == {"vault", "session", "pieces", "others", "groups"}


def test_an_executor_without_the_key_file_says_so_and_makes_none(tmp_path: Path, signer: Signer) -> None:
    path = tmp_path / "vault.key"
    vault = opened(tmp_path / "v", signer, FileKey(path))
    vault.commit("d", {"p": files(a=b"first")})
    address = VaultAddress.of(vault)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="key file of the sealed vault"):
        held_at(address.as_json())
    assert not path.exists()
