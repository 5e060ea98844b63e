"""The asset that heals: what it publishes with nothing wrong, with damage in either copy, and with what no copy has."""

from pathlib import Path

import pytest

from orchestrai.errors import DeclarationError
from orchestrai.pipeline.runtime import Runtime
from orchestrai.storage.local import LocalStore
from orchestrai_tests.backup import kept_shop
from orchestrai_tests.backup.kept_shop import materialize

HEAL = "orchestrai/vault/heal"
EVERY = 'backup: {every: "0 2 * * *"'


def declared(shop: Runtime, tmp_path: Path, more: str = "") -> tuple[Runtime, LocalStore, LocalStore]:
    """The shop with a replica, its vault copied there."""
    changes = {EVERY: f"{EVERY}, replica: {tmp_path}/replica{more}"}
    runtime = kept_shop.fresh(shop.settings.home, tmp_path / "declared", changes=changes)
    from orchestrai.vault.protection import copy_to

    copy_to(runtime.vault, f"{tmp_path}/replica")
    return runtime, LocalStore(Path(str(runtime.vault.store.url).removeprefix("file://"))), LocalStore(tmp_path / "replica")


def first_object(store: LocalStore) -> str:
    return next(info.key for prefix in ("vault/objects/", "vault/packs/") for info in store.list(prefix))


def verdicts(report: object) -> dict[str, bool]:
    return {verdict.check: verdict.passed for outcome in report.outcomes for verdict in outcome.verdicts}  # type: ignore[attr-defined]


def test_both_copies_are_mended_and_the_record_says_so(shop: Runtime, tmp_path: Path) -> None:
    runtime, primary, replica = declared(shop, tmp_path)
    sound = materialize(runtime, HEAL)
    assert verdicts(sound) == {"copies": True, "lost": True, "apart": True}
    key = first_object(primary)
    right = primary.read(key)
    for store in (primary, replica):
        store.write(key, b"\0" * len(right))
        report = materialize(runtime, HEAL)
        assert verdicts(report) == {"copies": True, "lost": True, "apart": True}
        assert (report.facts["wrong"], report.facts["mended"], report.facts["wrong_keys"]) == (1, 1, [key])
        wrong_in = report.facts["wrong_in"]
        assert isinstance(wrong_in, dict) and sorted(wrong_in.values()) == [0, 1]
        assert primary.read(key) == right == replica.read(key)
    versions = len(list(runtime.ledger.history(HEAL)))
    materialize(runtime, HEAL)
    materialize(runtime, HEAL)
    # once it says that nothing is wrong, nothing new is published
    assert len(list(runtime.ledger.history(HEAL))) == versions + 1


def test_where_a_plan_alone_is_declared_nothing_is_mended_and_what_no_copy_has_is_named(
    shop: Runtime, tmp_path: Path
) -> None:
    runtime, primary, replica = declared(shop, tmp_path, ", heal: plan")
    key = first_object(primary)
    wrong = b"\0" * len(primary.read(key))
    replica.write(key, wrong)
    assert verdicts(materialize(runtime, HEAL)) == {"copies": False, "lost": True, "apart": True}
    assert replica.read(key) == wrong
    primary.write(key, wrong)
    report = materialize(runtime, HEAL)
    assert not verdicts(report)["lost"] and report.facts["lost"] == [key]


def test_a_mistaken_heal_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        kept_shop.project(tmp_path / "declared", changes={EVERY: f"{EVERY}, heal: perhaps"})
    assert "heal" in caught.value.message and "\n" not in caught.value.message
