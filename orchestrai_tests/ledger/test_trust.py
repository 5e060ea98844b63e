"""Whose signatures count: a signed list, and not what lies in a folder."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, IntegrityError, SignatureInvalid
from orchestrai.ledger.ledger import open_ledger
from orchestrai.ledger.signing import HEAD_TYPE, Signer, load_or_create_signer
from orchestrai.ledger.trust.trust_list import begin_trust, distrust_key, read_trust, trust_key, trusted_keyring
from orchestrai.settings import load_settings

NOW = datetime(2026, 11, 30, tzinfo=UTC)
WHO = {"by": "ada", "reason": "the nightly runner"}


def home(folder: Path) -> tuple[Path, Signer]:
    signer = load_or_create_signer(folder / "keys")
    begin_trust(folder / "keys", signer, NOW)
    return folder / "keys", signer


def dropped(keys: Path, folder: Path) -> Signer:
    """A key of somebody else's, put where trusted keys lie."""
    stranger = load_or_create_signer(folder / "stranger")
    (keys / "trusted" / f"{stranger.key_id}.pem").write_bytes(stranger.public_pem)
    return stranger


def test_a_key_that_merely_lies_in_the_folder_is_refused_and_told_and_stops_nobody(tmp_path: Path) -> None:
    keys, own = home(tmp_path)
    stranger = dropped(keys, tmp_path)
    keyring = trusted_keyring(keys)
    assert set(keyring.keys) == {own.key_id} and keyring.refused == {stranger.key_id}
    assert keyring.open(HEAD_TYPE, own.sign(HEAD_TYPE, b"{}")) == b"{}"
    with pytest.raises(SignatureInvalid, match="not on their signed list: `orchestrai keys trust` it"):
        keyring.open(HEAD_TYPE, stranger.sign(HEAD_TYPE, b"{}"))


def test_a_trusted_key_signs_another_onto_the_list_and_off_again(tmp_path: Path) -> None:
    keys, own = home(tmp_path)
    other = load_or_create_signer(tmp_path / "other")
    trust_key(keys, own, other.private_key.public_key(), NOW, **WHO)
    assert set(trusted_keyring(keys).keys) == {own.key_id, other.key_id}
    with pytest.raises(ConfigError, match="not trusted yet"):
        trust_key(keys, own, other.private_key.public_key(), NOW, **WHO)
    distrust_key(keys, own, other.key_id, NOW, **WHO)
    assert set(trusted_keyring(keys).keys) == {own.key_id}
    assert [(record.seq, record.change, record.by) for record in read_trust(keys).records] == [
        (1, "begin", ""),
        (2, "trust", "ada"),
        (3, "distrust", "ada"),
    ]
    with pytest.raises(ConfigError, match="another key than this home's own"):
        distrust_key(keys, own, own.key_id, NOW, **WHO)


def test_a_change_that_no_trusted_key_signed_and_a_chain_with_a_gap_are_refused(tmp_path: Path) -> None:
    keys, own = home(tmp_path)
    stranger = dropped(keys, tmp_path)
    forged = tmp_path / "forged"
    begin_trust(forged, stranger, NOW)
    trust_key(forged, stranger, own.private_key.public_key(), NOW, **WHO)
    second = keys / "trust" / "000000000002.json"
    second.write_bytes((forged / "trust" / "000000000002.json").read_bytes())
    with pytest.raises(SignatureInvalid):
        trusted_keyring(keys)
    second.unlink()
    trust_key(keys, own, stranger.private_key.public_key(), NOW, **WHO)
    distrust_key(keys, own, stranger.key_id, NOW, **WHO)
    (keys / "trust" / "000000000003.json").rename(second)
    with pytest.raises(IntegrityError, match="expected trust record 2"):
        trusted_keyring(keys)


def test_a_list_that_another_key_began_is_not_this_homes(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    keys, _ = home(tmp_path / "home")
    stranger = load_or_create_signer(tmp_path / "stranger")
    (keys / "trust" / "000000000001.json").unlink()
    begin_trust(keys, stranger, NOW)
    with pytest.raises(ConfigError, match="on its list of trusted keys"):
        open_ledger(settings)


def test_a_home_of_an_earlier_release_trusts_its_own_key_until_a_person_says_more(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    keys = settings.key_folder
    own = load_or_create_signer(keys)
    former = dropped(keys, tmp_path)
    assert set(trusted_keyring(keys).keys) == {own.key_id}
    keyring = open_ledger(settings).keyring
    assert set(keyring.keys) == {own.key_id} and keyring.refused == {former.key_id}
    assert read_trust(keys).records[0].keys.keys() == {own.key_id}


def test_a_folder_without_a_signing_key_is_a_readers_own(tmp_path: Path) -> None:
    signer = load_or_create_signer(tmp_path / "a")
    (tmp_path / "reader" / "trusted").mkdir(parents=True)
    (tmp_path / "reader" / "trusted" / "any.pem").write_bytes(signer.public_pem)
    assert set(trusted_keyring(tmp_path / "reader").keys) == {signer.key_id}


def test_where_the_folder_cannot_be_written_the_own_key_counts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    own = load_or_create_signer(keys)

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("orchestrai.ledger.trust.trust_list.os.link", refused)
    begin_trust(keys, own, NOW)
    assert set(trusted_keyring(keys).keys) == {own.key_id} and not read_trust(keys).records
