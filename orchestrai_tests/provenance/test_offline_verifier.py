"""The verifier of plain Python: its signatures against RFC 8032 and a library, and its walk against every altered record."""

import base64
import json
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ConfigError, IntegrityError, RetentionLocked
from orchestrai.ledger.signing import HEAD_TYPE, Signer, new_signer, opened_envelope
from orchestrai.ledger.trust.key_log import KEY_LOG_TYPE, fingerprint, sign_record
from orchestrai.ledger.trust.key_rules import LoggedRules, governed
from orchestrai.provenance.export import offline_verifier
from orchestrai.provenance.export.proof_folder import SHARED_LISTS, ProofFolder, write_proof
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.storage.local import LocalStore
from orchestrai.vault.keys.ceremony import Ceremony
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai.vault.vault import Vault
from orchestrai_tests.provenance.builder import MODEL, World, written
from orchestrai_tests.provenance.small import CHAMPION, DAYS, Small
from orchestrai_tests.vault.contents import files

# RFC 8032, section 7.1: secret key, public key, message, signature of TEST 1, 2, 3
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


def is_right(key: bytes, message: bytes, signature: bytes) -> bool:
    """What the library says."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_the_vectors_of_rfc_8032_hold_and_none_of_their_bits_may_change(
    secret: str, public: str, message: str, signature: str
) -> None:
    key, text, signed = map(bytes.fromhex, (public, message, signature))
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).sign(text) == signed
    assert offline_verifier.holds(key, text, signed)
    assert offline_verifier.wrong([(key, text, signed)] * 3) == []
    for bit in range(0, 512, 7):
        spoilt = bytearray(signed)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert not offline_verifier.holds(key, text, bytes(spoilt))
        assert offline_verifier.wrong([(key, text, signed), (key, text, bytes(spoilt))]) == [1]
    assert not offline_verifier.holds(key, text + b"!", signed)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=80), st.integers(0, 20)), max_size=12), st.data())
def test_many_signatures_at_once_are_judged_as_the_library_judges_each(
    signings: list[tuple[int, bytes, int]], data: st.DataObject
) -> None:
    keys = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(4)]
    signatures = []
    for number, message, fault in signings:
        public, signature = keys[number].public_key().public_bytes_raw(), bytearray(keys[number].sign(message))
        if fault == 1:
            signature[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
        elif fault == 2:
            # the same number, not reduced: RFC 8032 refuses it
            signature[32:] = (int.from_bytes(signature[32:], "little") + offline_verifier.L).to_bytes(32, "little")
        elif fault == 3:
            public = keys[number - 1].public_key().public_bytes_raw()
        elif fault == 4:
            del signature[data.draw(st.integers(0, 63)) :]
        signatures.append((public, message, bytes(signature)))
    expected = [place for place, one in enumerate(signatures) if not is_right(*one)]
    assert offline_verifier.wrong(signatures) == expected


@pytest.mark.parametrize("y", [offline_verifier.P, offline_verifier.P + 1, 2**255 - 1, 2])
def test_points_in_another_spelling_or_off_the_curve_are_none(y: int) -> None:
    assert offline_verifier.point(y.to_bytes(32, "little")) is None


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path, ProofFolder]:
    """A world on disk, and the proof of its champion."""
    folder = tmp_path_factory.mktemp("proven")
    world = World(store=LocalStore(folder / "vault"))
    file = written(folder, world.whole())
    proof = write_proof(
        {"model.ubj": file}, vault=world.store, keyring=world.keyring, asset=f"{MODEL}/champion", to=folder / "proof"
    )
    return world, folder, proof


def check(proof: Path, *arguments: str, program: Path | None = None) -> tuple[int, dict[str, object], str]:
    """Run the verifier as a stranger does: no packages, no environment, another folder."""
    command = [sys.executable, "-I", "-S", str(program or proof / "verify.py"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={}, cwd="/", timeout=60)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_stranger_checks_a_proof_with_plain_python_and_gets_what_we_get(proven: tuple[World, Path, ProofFolder]) -> None:
    world, folder, proof = proven
    code, found, _ = check(proof.path, "--vault", str(folder / "vault"))
    assert (code, found["ok"], found["problems"]) == (0, True, [])
    theirs = {one["name"]: one["count"] for one in found["checks"]}  # type: ignore[attr-defined]
    ours = verify_model(folder / "model.ubj", vault=world.store, keyring=world.keyring, read_bytes=True)
    counts = {one.name: one.count for one in ours.checks}
    for name in ("receipts", "lineage", "equal", "snapshots", "bytes"):
        assert theirs[name] == counts[name], name


def test_a_proof_as_one_file_is_the_same_proof_and_twice_the_same_bytes(
    proven: tuple[World, Path, ProofFolder], tmp_path: Path
) -> None:
    world, folder, proof = proven
    for name in ("a.zip", "b.zip"):
        write_proof(
            {"model.ubj": folder / "model.ubj"},
            vault=world.store,
            keyring=world.keyring,
            asset=f"{MODEL}/champion",
            to=tmp_path / name,
        )
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    code, found, _ = check(tmp_path / "a.zip", str(tmp_path / "a.zip"), program=proof.path / "verify.py")
    assert code == 0
    assert found["checks"] == check(proof.path)[1]["checks"]


def test_the_key_is_the_readers_choice(proven: tuple[World, Path, ProofFolder], tmp_path: Path) -> None:
    world, _, proof = proven
    (tmp_path / "own.pem").write_bytes(world.signer.public_pem)
    (tmp_path / "other.pem").write_bytes(World().signer.public_pem)
    assert check(proof.path, "--key", str(tmp_path / "own.pem"))[0] == 0
    assert check(proof.path, "--key", world.signer.key_id)[0] == 0
    code, found, _ = check(proof.path, "--key", str(tmp_path / "other.pem"))
    assert (code, found["ok"]) == (1, False)
    assert check(proof.path, "--key", "0123456789abcdef")[0] == 2
    plain = subprocess.run(
        [sys.executable, "-I", "-S", str(proof.path / "verify.py")], capture_output=True, text=True, check=True
    )
    assert f"compare {world.signer.key_id}" in plain.stdout


def test_another_model_file_is_not_proven(proven: tuple[World, Path, ProofFolder], tmp_path: Path) -> None:
    _, folder, proof = proven
    assert check(proof.path, "--model", str(folder / "model.ubj"))[0] == 0
    code, found, _ = check(proof.path, "--model", str(written(tmp_path, b"another")))
    assert (code, [one["check"] for one in found["problems"]]) == (1, ["file"])  # type: ignore[attr-defined]


def outcome(proof: Path, world: World, vault: Path | None = None) -> list[str]:
    """The checks that fail, in this process."""
    place = offline_verifier.Place(str(proof))
    keys = {world.signer.key_id: world.signer.private_key.public_key().public_bytes_raw()}
    asset, model = offline_verifier.find_model(place, None)
    bytes_from = offline_verifier.Place(str(vault)) if vault else None
    found = offline_verifier.verified(offline_verifier.Records(place, keys), asset, model, bytes_from, lambda done, of: None)
    assert found["ok"] == (not found["problems"])
    return [problem["check"] for problem in found["problems"]]


def test_every_record_that_is_altered_or_missing_is_found(proven: tuple[World, Path, ProofFolder], tmp_path: Path) -> None:
    world, _, proof = proven
    copy = tmp_path / "proof"
    shutil.copytree(proof.path, copy)
    assert outcome(copy, world) == []
    records = [path for path in sorted(copy.rglob("*")) if path.is_file() and path.parent not in (copy, copy / "keys")]
    records.append(copy / SHARED_LISTS)
    assert len(records) > 30
    for path in records:
        data = path.read_bytes()
        for place in (0, len(data) // 3, len(data) - 2):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert outcome(copy, world), (path.relative_to(copy), place)
        path.unlink()
        if path.parent.name != "model":
            assert outcome(copy, world), path.relative_to(copy)
        path.write_bytes(data)
    assert outcome(copy, world) == []


def test_a_proof_that_holds_each_list_by_itself_is_still_read(
    proven: tuple[World, Path, ProofFolder], tmp_path: Path
) -> None:
    world, _, proof = proven
    copy = tmp_path / "proof"
    shutil.copytree(proof.path, copy)
    lists = json.loads((copy / SHARED_LISTS).read_bytes())["lists"]
    assert len(lists) > 10
    (copy / SHARED_LISTS).unlink()
    assert outcome(copy, world)
    for digest in lists:
        path = copy / f"manifests/{digest[:2]}/{digest}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(world.store.read(f"manifests/{digest[:2]}/{digest}.json"))
    about = json.loads((copy / "proof.json").read_bytes())
    (copy / "proof.json").write_text(json.dumps(about | {"format": 1}))
    assert outcome(copy, world) == []
    (copy / "proof.json").write_text(json.dumps(about | {"format": 3}))
    with pytest.raises(offline_verifier.Wrong, match="format 1 or 2"):
        offline_verifier.find_model(offline_verifier.Place(str(copy)), None)


def test_what_versions_of_a_dataset_share_is_in_a_proof_once(tmp_path: Path) -> None:
    sizes = []
    for number in (10, 20, 40):
        world = World()
        days = [f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(number)]
        file = written(tmp_path, world.whole(days))
        to = tmp_path / f"{number}"
        write_proof({"model.ubj": file}, vault=world.store, keyring=world.keyring, asset=f"{MODEL}/champion", to=to)
        sizes.append((to / SHARED_LISTS).stat().st_size)
    ten, twenty, forty = sizes
    assert forty - twenty < 2.2 * (twenty - ten), "a day more costs what the day before it cost"


def test_every_stored_byte_that_is_altered_is_found_in_a_copy_of_the_vault(
    proven: tuple[World, Path, ProofFolder], tmp_path: Path
) -> None:
    world, folder, proof = proven
    copy = tmp_path / "vault"
    shutil.copytree(folder / "vault", copy)
    assert outcome(proof.path, world, copy) == []
    stored = [path for path in copy.rglob("*") if path.is_file() and path.relative_to(copy).parts[1] in ("objects", "packs")]
    assert stored
    for path in stored:
        data = path.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 5)):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert set(outcome(proof.path, world, copy)) == {"bytes"}
        path.unlink()
        assert set(outcome(proof.path, world, copy)) == {"bytes"}
        path.write_bytes(data)


def test_a_snapshot_that_a_hold_kept_from_being_forgotten_is_checked_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(store=LocalStore(tmp_path / "vault"))
    file = written(tmp_path, world.whole())
    first, second, _ = world.vault.snapshots()
    looked = world.vault.holds

    def hold_after_the_look(*, strict: bool = True) -> object:
        held = looked(strict=strict)
        place_hold(world.vault, first.dataset, first, None, reason="case 17")
        return held

    world.vault.forget(second.snapshot_id, reason="retention")
    monkeypatch.setattr(world.vault, "holds", hold_after_the_look)
    with pytest.raises(RetentionLocked, match="meanwhile"):
        world.vault.forget(first.snapshot_id, reason="retention")
    monkeypatch.undo()
    assert len(list(world.store.list("vault/forgotten/"))) == 2
    proof = write_proof(
        {"model.ubj": file}, vault=world.store, keyring=world.keyring, asset=f"{MODEL}/champion", to=tmp_path / "proof"
    )
    assert {one.name: one.count for one in proof.verification.checks}["snapshots"] == 2, "the second alone is forgotten"
    code, result, _ = check(proof.path, "--vault", str(tmp_path / "vault"))
    assert code == 0
    assert {one["name"]: one["count"] for one in result["checks"]}["snapshots"] == 2  # type: ignore[attr-defined]
    assert "the bytes of 1 snapshots" in json.dumps(result["unprovable"])
    (tmp_path / "proof/vault/snapshots" / first.dataset / f"{first.seq:012d}.json").unlink()
    assert "snapshots" in outcome(proof.path, world)


def test_a_model_that_does_not_verify_is_not_written_as_a_proof(tmp_path: Path) -> None:
    world = World()
    file = written(tmp_path, world.whole())
    key = next(info.key for info in world.store.list("vault/snapshots/"))
    world.store.delete(key)
    with pytest.raises(IntegrityError, match="snapshots"):
        write_proof(
            {"model.ubj": file}, vault=world.store, keyring=world.keyring, asset=f"{MODEL}/champion", to=tmp_path / "p"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ubj"]


def test_a_proof_never_takes_the_place_of_something_else(tmp_path: Path) -> None:
    world = World()
    with pytest.raises(ConfigError, match="new place"):
        write_proof({}, vault=world.store, keyring=world.keyring, asset="a/b/champion", to=tmp_path)


def test_a_proof_of_a_sealed_vault_holds_and_says_whose_the_bytes_are(tmp_path: Path) -> None:
    small = Small.at(tmp_path / "small", sealed=True)
    small.land(*DAYS[:8])
    small.publish(*DAYS[:8])
    small.train()
    ledger = small.runtime.ledger
    with ledger.open(CHAMPION).fetched(["all"]) as files:
        model = {file.entry.path: file.path for file in files["all"]}
        proof = write_proof(model, vault=ledger.vault, keyring=ledger.keyring, asset=CHAMPION, to=tmp_path / "p.zip")  # type: ignore[arg-type]
    with zipfile.ZipFile(proof.path) as archive:
        archive.extract("verify.py", tmp_path)
    code, found, _ = check(proof.path, str(proof.path), program=tmp_path / "verify.py")
    assert (code, found["problems"]) == (0, [])
    assert len(found["files"]) == len(model)  # type: ignore[arg-type]
    code, found, _ = check(proof.path, str(proof.path), "--vault", str(small.home / "vault"), program=tmp_path / "verify.py")
    assert code == 1
    assert "its owner alone" in json.dumps(found["problems"])


def test_what_is_no_proof_is_told_in_one_line(tmp_path: Path, proven: tuple[World, Path, ProofFolder]) -> None:
    program = proven[2].path / "verify.py"
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no zip")
    for place in ("empty", "text", "absent"):
        code, found, error = check(tmp_path, str(tmp_path / place), program=program)
        assert (code, found["ok"]) == (2, False)
        assert error.startswith("cannot check: ")
        assert error.count("\n") == 1


@pytest.fixture
def in_pieces(tmp_path: Path) -> tuple[LocalStore, dict[str, object], dict[str, str]]:
    """A vault whose files are compressed, in chunks, or both; its commit and roots."""
    store = LocalStore(tmp_path / "vault")
    vault = Vault(store, Signer(Ed25519PrivateKey.generate()), workers=0)
    noise = random.Random(1).randbytes(17 << 20)
    vault.commit("d", {"p": files(large=noise)})
    later = files(
        large=noise[:9_000_000] + b"!" + noise[9_000_000:], csv=b"a,b,1\n" * 200_000, one=b"one\n" * 50, two=b"two\n" * 60
    )
    commit = vault.commit("d", {"p": later})
    body = {"encrypted": False, "tree": commit.tree, "tree_sha256": commit.tree_sha256}
    return store, body, {name: entry.root for name, entry in vault.partitions(commit).items()}


@pytest.mark.parametrize("can_open", [True, False])
def test_pieces_are_opened_where_something_can_and_else_their_objects_are_hashed(
    in_pieces: tuple[LocalStore, dict[str, object], dict[str, str]], can_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commit, roots = in_pieces
    if not can_open:
        monkeypatch.setattr(offline_verifier, "opener", lambda: None)

    def read() -> tuple[int, dict[str, int]]:
        unopened: dict[str, int] = {}
        place = offline_verifier.Place(str(store.local_path("vault")).removesuffix("/vault"))
        return sum(1 for _ in offline_verifier.stored_bytes(place, commit, roots, unopened)), unopened

    count, unopened = read()
    # what is not compressed needs nobody to open it
    assert count == 4 and len(unopened) == (0 if can_open else 3)
    for info in [*store.list("vault/objects/"), *store.list("vault/packs/")]:
        data = store.read(info.key)
        for place in {0, len(data) // 2, len(data) - 1}:
            store.write(info.key, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            # a chunk of the first version alone is in no row of the second
            if len(data) > 16 << 20 and 8_000_000 < place < 10_000_000:
                continue
            with pytest.raises(offline_verifier.Wrong):
                read()
        store.write(info.key, data)


# -- the key log -------------------------------------------------------------------------------------------------


def ended(world: World) -> tuple[Signer, LoggedRules]:
    """The world's signing key is ended, and another follows; returns that."""
    successor = new_signer()
    rules = governed(world.store, world.keyring).rules
    assert isinstance(rules, LoggedRules)
    ceremony = Ceremony(world.store, rules, world.signer, world.lake, "ada", lambda: world.start, successor)
    ceremony.end(world.signer.key_id, "yearly", successor=successor.private_key.public_key())
    return successor, rules


def test_a_stranger_who_has_the_roots_fingerprint_needs_no_key(proven: tuple[World, Path, ProofFolder]) -> None:
    world, _, proof = proven
    digits = fingerprint(world.signer.private_key.public_key())
    code, found, _ = check(proof.path, "--root", " ".join((digits[:20], digits[20:40])).upper())
    assert (code, found["root"]) == (0, digits)
    code, found, _ = check(proof.path, "--root", "0" * 64)
    assert (code, [one["check"] for one in found["problems"]]) == (1, ["keys"])  # type: ignore[attr-defined]
    assert check(proof.path, "--root", "0123")[0] == 2


def test_a_proof_after_a_rotation_holds_and_what_the_ended_key_signs_later_does_not(tmp_path: Path) -> None:
    world = World(store=LocalStore(tmp_path / "vault"))
    file = written(tmp_path, world.whole())
    successor, _ = ended(world)
    proof = write_proof(
        {"model.ubj": file}, vault=world.store, keyring=world.keyring, asset=f"{MODEL}/champion", to=tmp_path / "proof"
    ).path
    digits = fingerprint(world.signer.private_key.public_key())
    assert check(proof, "--root", digits)[0] == 0
    (tmp_path / "new.pem").write_bytes(successor.public_pem)
    # the new key signed its own admission, beside the root
    assert check(proof, "--key", str(tmp_path / "new.pem"))[0] == 0
    # the newest head of the champion's log, signed again by the key that was ended
    name = sorted((proof / "heads" / MODEL / "champion").glob("*.json"))[-1]
    before = name.read_bytes()
    body = json.loads(world.signer.keyring().open(HEAD_TYPE, before))
    name.write_bytes(world.signer.sign(HEAD_TYPE, canonical_json({**body, "reason": "evil"})))
    code, found, _ = check(proof, "--root", digits)
    assert code == 1 and "ended by record" in json.dumps(found)
    name.write_bytes(before)
    # the end of the key log cut off, which what came later names; and a census that is gone
    census = next((proof / "vault" / "census").iterdir())
    data = census.read_bytes()
    census.unlink()
    assert check(proof, "--root", digits)[0] == 1
    census.write_bytes(data)
    assert check(proof, "--root", digits)[0] == 0


def test_a_proof_follows_the_line_of_roots_from_any_of_them_and_takes_no_other(tmp_path: Path) -> None:
    world = World(store=LocalStore(tmp_path / "vault"))
    file = written(tmp_path, world.whole())
    _, rules = ended(world)
    new, stranger = new_signer(), new_signer()
    ceremony = Ceremony(world.store, rules, world.signer, world.store, "ann", lambda: world.start)
    ceremony.change_root(new, "a new stick")
    proof = write_proof(
        {"model.ubj": file}, vault=world.store, keyring=world.keyring, asset=f"{MODEL}/champion", to=tmp_path / "proof"
    ).path
    old, digits = (fingerprint(one.private_key.public_key()) for one in (world.signer, new))
    assert check(proof, "--root", old)[:1] == check(proof, "--root", digits)[:1] == (0,)
    assert check(proof, "--root", digits)[1]["root"] == digits
    assert check(proof, "--root", fingerprint(stranger.private_key.public_key()))[0] == 1
    record = sorted((proof / "vault" / "keylog").iterdir())[-1]
    data = record.read_bytes()
    payload = {name: value for name, value in json.loads(opened_envelope(data)[1]).items() if name != "format"}
    # somebody else's root; the successor without the old one's word; the old one without the successor's
    other = payload | {"root": base64.b64encode(stranger.private_key.public_key().public_bytes_raw()).decode()}
    for forged in (sign_record(other, stranger), sign_record(payload, new), sign_record(payload, world.signer)):
        record.write_bytes(forged)
        code, found, _ = check(proof, "--root", old)
        assert (code, [one["check"] for one in found["problems"]]) == (1, ["keys"])  # type: ignore[attr-defined]
    # a right place and a right pair of names, and a signature that is none
    envelope = json.loads(data)
    for signature in envelope["signatures"]:
        signature["sig"] = base64.b64encode(bytes(64)).decode() if signature["keyid"] == new.key_id else signature["sig"]
    record.write_bytes(canonical_json(envelope))
    assert check(proof, "--root", old)[0] == 1


def test_a_key_log_that_was_cut_off_or_forged_is_found(proven: tuple[World, Path, ProofFolder], tmp_path: Path) -> None:
    world, _, proof = proven
    copy = tmp_path / "proof"
    shutil.copytree(proof.path, copy)
    record = copy / "vault" / "keylog" / "000000000001.json"
    data = record.read_bytes()
    record.unlink()
    assert outcome(copy, world)
    record.write_bytes(data)
    payload = json.loads(world.signer.keyring().open(KEY_LOG_TYPE, data))
    record.write_bytes(sign_record({k: v for k, v in payload.items() if k != "format"} | {"reason": "x"}, new_signer()))
    assert outcome(copy, world)
