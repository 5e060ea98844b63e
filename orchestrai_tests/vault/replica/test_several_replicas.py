"""Several replicas of a vault: each is copied to and verified by itself, and one that fails holds up no other."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrai.errors import IntegrityError
from orchestrai.settings import Settings
from orchestrai.storage.local import LocalStore
from orchestrai.vault.format.layout import VERIFIED
from orchestrai.vault.protection import Protection, copy_to_each, protect, protection_of, replicas_of
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.simulation import sources


def kept(vault: Vault, name: str) -> dict[str, object]:
    commit = vault.commit("d", {name: sources(name)})
    return {"dataset": "d", "snapshot_id": commit.snapshot_id, "snapshot_seq": commit.seq}


def protected(vault: Vault, facts: dict[str, object], *urls: Path) -> dict[str, object]:
    return dict(protect(vault, facts, Protection(BackupSpec(), replicas=tuple(map(str, urls)))))  # type: ignore[arg-type]


def test_each_replica_has_the_vault_and_a_state_of_its_own(vault: Vault, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    facts = protected(vault, kept(vault, "a"), one)
    assert facts["replica"] == str(LocalStore(one).url) and "replicas" not in facts
    facts = protected(vault, kept(vault, "b"), one, two)
    told = facts["replicas"]
    assert isinstance(told, list)
    # the second is new and gets all, the first what is new
    assert [copy["replica"] for copy in told] == [LocalStore(one).url, LocalStore(two).url]
    assert told[0]["replica_copied"] < told[1]["replica_copied"]
    states = [LocalStore(place).read(VERIFIED) for place in (one, two)]
    assert states[0] != states[1]
    for place in (one, two):
        assert len(Vault(LocalStore(place), vault.signer, workers=0).snapshots("d")) == 2


def test_a_replica_that_fails_is_told_and_the_others_are_brought_up_to_date(vault: Vault, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    protected(vault, kept(vault, "a"), one, two)
    # somebody wrote to the first one by itself
    Vault(LocalStore(one), vault.signer, workers=0).commit("d", {"x": sources("x")})
    facts = kept(vault, "b")
    done, failed = copy_to_each(vault, [str(one), str(two)])
    assert failed is not None and done["replica"] == LocalStore(two).url
    with pytest.raises(type(failed)):
        protected(vault, facts, one, two)
    assert len(Vault(LocalStore(two), vault.signer, workers=0).snapshots("d")) == 2
    assert replicate(vault, LocalStore(two)).verified.ok


@pytest.mark.parametrize(
    ("declared", "urls"),
    [
        (None, ("s3://settings/vault",)),
        ("", ("s3://settings/vault",)),
        ("s3://one/v", ("s3://one/v",)),
        (["s3://one/v", "s3://two/v", "s3://one/v", ""], ("s3://one/v", "s3://two/v")),
    ],
)
def test_a_url_alone_or_a_list_of_them_is_declared(declared: object, urls: tuple[str, ...]) -> None:
    spec = BackupSpec.model_validate({"replica": declared})
    settings = Settings(replica_url="s3://settings/vault")
    assert protection_of(spec, settings).replicas == urls
    assert replicas_of([spec, BackupSpec(replica=("s3://zz/v",))], settings) == sorted({*urls, "s3://zz/v"})
    with pytest.raises(ValidationError, match="s3://"):
        BackupSpec.model_validate({"replica": ["s3://one/v", "ftp://two/v"]})


def test_the_vault_itself_is_no_replica_of_it(tmp_path: Path) -> None:
    from orchestrai.errors import ConfigError
    from orchestrai.ledger.signing import new_signer

    own = Vault(LocalStore(tmp_path / "v"), new_signer(), workers=0)
    own.commit("d", {"a": sources("a")})
    with pytest.raises((ConfigError, IntegrityError), match="another store"):
        copy_to_each(own, [str(tmp_path / "v")])
