"""What somebody may do to a proof and to the vault's copy beside it, by kind: each is found by a named check, or harmless for a reason."""

import base64
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.ledger.signing import Signer
from orchestrai.provenance.export.offline_verifier import L
from orchestrai_tests.provenance.builder import World

RECORDS, BYTES = (
    frozenset({"signatures", "hashes", "records", "receipts", "merkle", "lineage", "snapshots", "keys"}),
    frozenset({"bytes"}),
)


@dataclass
class Scene:
    """A copy of a proof and of its vault, to be altered; `chance` chooses where, `other` is a world of the same owner."""

    proof: Path
    vault: Path
    world: World
    other: World
    chance: random.Random

    def one(self, folder: Path, below: str) -> Path:
        """Some file below a folder."""
        return self.chance.choice(sorted(path for path in (folder / below).rglob("*") if path.is_file()))

    def spoil(self, path: Path, change: Callable[[bytes], bytes]) -> None:
        """Write a file anew."""
        path.write_bytes(change(path.read_bytes()))


@dataclass(frozen=True)
class Kind:
    """One kind of tampering; `found` are the checks that may find it, none where it is harmless, which `why` then tells."""

    name: str
    apply: Callable[[Scene], None]
    found: frozenset[str] = frozenset()
    why: str = ""


def flipped(scene: Scene) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = scene.chance.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << scene.chance.randrange(8)]) + data[place + 1 :]

    return change


def at(part: str, below: str, change: Callable[[Scene], Callable[[bytes], bytes]]) -> Callable[[Scene], None]:
    """A change of one file below a folder of the proof or of the vault's copy."""
    return lambda scene: scene.spoil(scene.one(getattr(scene, part), below), change(scene))


def removed(part: str, below: str) -> Callable[[Scene], None]:
    return lambda scene: scene.one(getattr(scene, part), below).unlink()


def swapped(part: str, below: str) -> Callable[[Scene], None]:
    def apply(scene: Scene) -> None:
        files = sorted(path for path in (getattr(scene, part) / below).rglob("*") if path.is_file())
        one = scene.chance.choice(files)
        others = [path for path in files if path.read_bytes() != one.read_bytes()]
        two = scene.chance.choice(others)
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)

    return apply


def pipe(part: str, below: str) -> Callable[[Scene], None]:
    def apply(scene: Scene) -> None:
        path = scene.one(getattr(scene, part), below)
        path.unlink()
        os.mkfifo(path)

    return apply


def folder_in_place(scene: Scene) -> None:
    path = scene.one(scene.proof, "receipts")
    path.unlink()
    path.mkdir()


def edited(
    scene: Scene, change: Callable[[bytes], bytes], signer: Signer | None = None, key: str = "", path: Path | None = None
) -> None:
    """A head's payload changed, with the old signature or another's."""
    path = path or scene.one(scene.proof, "heads")
    document = json.loads(path.read_bytes())
    payload = change(base64.b64decode(document["payload"]))
    if signer is not None:
        document = json.loads(signer.sign(document["payloadType"], payload))
        document["signatures"][0]["keyid"] = key or signer.key_id
    document["payload"] = base64.b64encode(payload).decode()
    path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def early_head_signed_anew(scene: Scene) -> None:
    edited(scene, later, scene.world.signer, path=log(scene)[0])


def newest_head_signed_anew(scene: Scene) -> None:
    edited(scene, later, scene.world.signer, path=next((scene.proof / "heads").rglob("champion/*.json")))


def later(payload: bytes) -> bytes:
    return payload.replace(b'"time":"2', b'"time":"3')


def unreduced(scene: Scene) -> None:
    """The same signature in another number."""
    path = scene.one(scene.proof, "heads")
    document = json.loads(path.read_bytes())
    raw = base64.b64decode(document["signatures"][0]["sig"])
    number = int.from_bytes(raw[32:], "little") + L
    document["signatures"][0]["sig"] = base64.b64encode(raw[:32] + number.to_bytes(32, "little")).decode()
    path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def respelled(scene: Scene) -> None:
    path = scene.one(scene.proof, scene.chance.choice(("heads", "vault/snapshots")))
    path.write_bytes(json.dumps(json.loads(path.read_bytes()), indent=1).encode())


def log(scene: Scene) -> list[Path]:
    """The heads of an asset with several."""
    folder = scene.chance.choice(sorted({path.parent for path in (scene.proof / "heads").rglob("*000002.json")}))
    return sorted(folder.iterdir())


def old_head_again(scene: Scene) -> None:
    heads = log(scene)
    heads[-1].with_name(f"{len(heads) + 1:012d}.json").write_bytes(scene.chance.choice(heads).read_bytes())


def head_taken_from_the_middle(scene: Scene) -> None:
    log(scene)[0].unlink()


def end_of_a_log_cut(scene: Scene) -> None:
    log(scene)[-1].unlink()


def record_of_another_world(scene: Scene) -> None:
    key = scene.chance.choice([info.key for info in scene.other.store.list("heads/")])
    (scene.proof / key).write_bytes(scene.other.store.read(key))


def commit_of_another_vault(scene: Scene) -> None:
    path = scene.one(scene.proof, "vault/snapshots")
    key = path.relative_to(scene.proof).as_posix()
    path.write_bytes(scene.other.store.read(key))


def commit_moved(scene: Scene) -> None:
    commits = sorted((scene.proof / "vault/snapshots").rglob("*.json"))
    one, two = scene.chance.sample(commits, 2)
    two.write_bytes(one.read_bytes())


def identity_of_another_vault(scene: Scene) -> None:
    (scene.proof / "vault/identity.json").write_bytes(scene.other.store.read("vault/identity.json"))


def forgotten_by(scene: Scene, signer: Signer, seq: int) -> None:
    """A commit taken away, and a tombstone in its place: by a key, for a number."""
    path = scene.one(scene.proof, "vault/snapshots")
    if path.name == "000000000000.json":
        path = path.with_name("000000000001.json")
    dataset = path.parent.relative_to(scene.proof / "vault/snapshots").as_posix()
    stone = {"format": 1, "vault": scene.world.vault.identity(), "dataset": dataset, "seq": seq, "commit": "", "reason": ""}
    to = scene.proof / "vault/forgotten" / dataset / path.name
    to.parent.mkdir(parents=True, exist_ok=True)
    body = json.dumps(stone, sort_keys=True, separators=(",", ":")).encode()
    to.write_bytes(signer.sign("application/vnd.orchestrai.tombstone+json", body))
    path.unlink()


def another_asset(scene: Scene) -> None:
    about = json.loads((scene.proof / "proof.json").read_bytes())
    (scene.proof / "proof.json").write_text(json.dumps(about | {"asset": about["asset"].replace("champion", "candidat")}))


def other_version_told(scene: Scene) -> None:
    about = json.loads((scene.proof / "proof.json").read_bytes())
    (scene.proof / "proof.json").write_text(json.dumps(about | {"version": f"sha256:{scene.chance.randbytes(32).hex()}"}))


def key_added(scene: Scene) -> None:
    stranger = Signer(Ed25519PrivateKey.generate())
    (scene.proof / "keys" / f"{stranger.key_id}.pem").write_bytes(stranger.public_pem)


def times_changed(scene: Scene) -> None:
    for path in [*scene.proof.rglob("*"), *scene.vault.rglob("*")]:
        moment = scene.chance.randrange(2**32)
        os.utime(path, (moment, moment))


def more_files(scene: Scene) -> None:
    (scene.vault / "vault/objects/another").mkdir(parents=True)
    (scene.vault / "vault/objects/another/file").write_bytes(b"more")
    (scene.proof / "receipts/zz").mkdir()
    (scene.proof / "receipts/zz/zz.json").write_bytes(b"{}")


def copied(scene: Scene) -> None:
    """The vault by a tool that keeps neither times nor modes."""
    away = scene.vault.with_name("away")
    shutil.copytree(scene.vault, away, copy_function=shutil.copyfile)
    shutil.rmtree(scene.vault)
    away.rename(scene.vault)


def link_to_the_same(scene: Scene) -> None:
    path = scene.one(scene.vault, "vault/objects")
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


STRANGER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
FILE = frozenset({"file"})
KINDS = [
    *(
        Kind(f"a bit of {what} flipped", at("proof", below, flipped), RECORDS)
        for what, below in (
            ("a receipt", "receipts"), ("a head", "heads"), ("a list of files", "manifests"), ("a commit", "vault/snapshots"),
        )
    ),
    Kind("a bit of the shared lists flipped", lambda s: s.spoil(s.proof / "shared_lists.json", flipped(s)), RECORDS),
    Kind("a bit of the vault's identity flipped", lambda s: s.spoil(s.proof / "vault/identity.json", flipped(s)), RECORDS),
    Kind("a record cut", at("proof", "receipts", lambda s: lambda data: data[: s.chance.randrange(len(data))]), RECORDS),
    Kind("a byte after a record", at("proof", "heads", lambda s: lambda data: data + b" "), RECORDS),
    Kind("a receipt removed", removed("proof", "receipts"), RECORDS),
    Kind("a list of files removed", removed("proof", "manifests"), RECORDS),
    Kind("a commit removed", removed("proof", "vault/snapshots"), RECORDS),
    Kind("the shared lists removed", lambda s: (s.proof / "shared_lists.json").unlink(), RECORDS),
    Kind("two receipts swapped", swapped("proof", "receipts"), RECORDS),
    Kind("two heads swapped", swapped("proof", "heads"), RECORDS),
    Kind("two commits swapped", swapped("proof", "vault/snapshots"), RECORDS),
    Kind("a head removed from the middle of its log", head_taken_from_the_middle, RECORDS),
    Kind("the end of a log cut off", end_of_a_log_cut, RECORDS),
    Kind("an old head put again as the newest", old_head_again, RECORDS),
    Kind("a head's time changed, its signature kept", lambda s: edited(s, later), RECORDS),
    Kind("a head signed by a stranger", lambda s: edited(s, later, STRANGER), RECORDS),
    Kind("a head signed by a stranger in the owner's name", lambda s: edited(s, later, STRANGER, s.world.signer.key_id), RECORDS),
    Kind("a head under later ones changed and signed by the owner's stolen key", early_head_signed_anew, RECORDS),
    Kind("a signature as another number", unreduced, RECORDS),
    Kind("an envelope spelled otherwise", respelled, RECORDS),
    Kind("a head of another world of the same owner", record_of_another_world, RECORDS),
    Kind("a commit of another vault of the same owner", commit_of_another_vault, RECORDS),
    Kind("a commit under another number", commit_moved, RECORDS),
    Kind("the identity of another vault of the same owner", identity_of_another_vault, RECORDS),
    Kind("a commit gone, with a stranger's tombstone", lambda s: forgotten_by(s, STRANGER, 1), RECORDS),
    Kind("a commit gone, with the tombstone of another number", lambda s: forgotten_by(s, s.world.signer, 99), RECORDS),
    Kind("a pipe in place of a record", pipe("proof", "receipts"), RECORDS),
    Kind("a folder in place of a record", folder_in_place, RECORDS),
    Kind("a bit of the model flipped", at("proof", "model", flipped), FILE),
    Kind("the model cut", at("proof", "model", lambda s: lambda data: data[:-1]), FILE),
    Kind("another model", at("proof", "model", lambda s: lambda data: s.chance.randbytes(len(data))), FILE),
    Kind("the proof said to be of another asset", another_asset, FILE),
    *(
        Kind(name, change, BYTES)
        for what, below in (("stored file", "vault/objects"), ("pack", "vault/packs"))
        for name, change in (
            (f"a bit of a {what} flipped", at("vault", below, flipped)),
            (f"a {what} cut", at("vault", below, lambda s: lambda data: data[:-1])),
            (f"a {what} removed", removed("vault", below)),
            (f"two {what}s swapped", swapped("vault", below)),
            (f"a pipe in place of a {what}", pipe("vault", below)),
        )
    ),
    Kind("a bit of a list in the vault flipped", at("vault", "vault/trees", flipped), BYTES),
    Kind("a list in the vault removed", removed("vault", "vault/trees"), frozenset({"records"})),
    Kind("a byte after a stored file", at("vault", "vault/objects", lambda s: lambda data: data + b"!"), BYTES),
    Kind("a byte after a pack", at("vault", "vault/packs", lambda s: lambda data: data + b"!"),
         why="a pack may hold more than lists name, and no promise covers that"),
    Kind("the newest head's time changed and signed by the owner's stolen key", newest_head_signed_anew,
         why="whoever has the key is the owner to a reader: not found, revoke the key; no data, root or verdict was changed by it"),
    Kind("another version told in proof.json", other_version_told, why="it is read off the records, proof.json is not believed"),
    Kind("a stranger's key among the keys", key_added, why="the reader names the key, and no record is by this one"),
    Kind("README.txt changed", lambda s: s.spoil(s.proof / "README.txt", flipped(s)),
         why="it is for people, and nothing is concluded from it"),
    Kind("verify.py changed", lambda s: s.spoil(s.proof / "verify.py", flipped(s)),
         why="a reader runs a copy of their own, or reads it first"),
    Kind("all times of files changed", times_changed, why="no time of a file is read"),
    Kind("files added that no record names", more_files, why="what no record names is never read"),
    Kind("the vault copied without times and modes", copied, why="any copy is the same vault"),
    Kind("a link to a stored file's own bytes", link_to_the_same, why="the bytes are those that were hashed"),
]  # fmt: skip
# how often the full count tries each, so that there are three hundred
TIMES = -(-300 // len(KINDS))
