"""A primary that is rolled back, forked, damaged, emptied, or that forgets is told of, and the pulled copy stays as it is."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError
from orchestrai.ledger.trust.key_rules import LoggedRules, governed
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import commit_key, tombstone_key
from orchestrai.vault.format.records import ChainNote
from orchestrai.vault.keys.ceremony import Ceremony
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai_tests.storage.faults import Died, FaultStore
from orchestrai_tests.vault.contents import files
from orchestrai_tests.vault.pull.two_accounts import ROOT, WRITER, TwoAccounts, clone, contents, filled, flipped, key

ALL = ["d@1", "d@2", "d@3", "e/f@1"]
LAST = commit_key("d", 3)


@pytest.fixture
def accounts() -> TwoAccounts:
    two = TwoAccounts()
    filled(two)
    return two


def unchanged(accounts: TwoAccounts, act: Callable[[], object]) -> list[str]:
    """Pull after something was done to the primary; what was in the copy must be there as it was. What the run says."""
    before = contents(accounts.target)
    act()
    kinds = accounts.kinds()
    after = contents(accounts.target)
    assert {name: after.get(name) for name in before} == before
    assert accounts.kinds() == kinds, "it is told again until it is right"
    return kinds


def everything(accounts: TwoAccounts) -> None:
    for name in contents(accounts.primary):
        accounts.primary.delete(name)


def one_day(accounts: TwoAccounts, text: bytes = b"new") -> None:
    accounts.vault.commit("d", {"q": files(x=text * 30)})


def prune(accounts: TwoAccounts) -> None:
    """Delete what nothing needs, as the primary's schedule does."""
    for _ in range(2):
        vault = accounts.vault
        apply_prune(vault, plan_prune(vault))
        accounts.clock.pass_by(hours=31)


def fork(accounts: TwoAccounts, text: bytes) -> None:
    accounts.primary.delete(LAST)
    accounts.vault.commit("d", {"q": files(x=text * 40)})


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda two: two.primary.delete(LAST), ["rolled back"]),
        (lambda two: [two.primary.delete(commit_key("d", seq)) for seq in range(4)], ["lost", "rolled back"]),
        (lambda two: fork(two, b"other"), ["forked"]),
        (lambda two: two.primary.delete(commit_key("d", 2)), ["lost"]),
        (lambda two: flipped(two.primary, LAST), ["damaged"]),
        (lambda two: two.primary.write(commit_key("d", 1), b"shorter"), ["damaged"]),
        (lambda two: two.primary.write(commit_key("d", 4), b"junk"), ["damaged"]),
        (lambda two: two.primary.write(commit_key("d", 5), two.primary.read(LAST)), ["damaged"]),
        (everything, ["lost"]),
        (lambda two: two.vault.forget(two.vault.catalog.visible("d")[0].snapshot_id, reason="x"), ["forgotten"]),
    ],
)
def test_a_primary_that_is_no_longer_what_was_pulled_is_told_of_and_changes_nothing(
    accounts: TwoAccounts, act: Callable[[TwoAccounts], object], said: list[str]
) -> None:
    accounts.pull()
    assert unchanged(accounts, lambda: act(accounts)) == said
    assert accounts.shown() == ALL


def test_a_signed_record_that_does_not_follow_is_not_taken(accounts: TwoAccounts) -> None:
    other = clone(accounts.primary, accounts.clock)
    one_day(accounts)
    accounts.pull()
    for text in (b"one", b"two"):
        accounts.opened(other).commit("d", {"q": files(x=text * 30)})
    for name in contents(other).keys() - contents(accounts.primary).keys():
        accounts.primary.write(name, other.read(name))
    assert unchanged(accounts, lambda: None) == ["damaged"]
    assert accounts.shown() == [*ALL[:3], "d@4", "e/f@1"]


def test_a_tombstone_that_nobody_signed_gives_nothing_up(accounts: TwoAccounts) -> None:
    other = clone(accounts.primary, accounts.clock)
    one_day(accounts)
    accounts.pull()
    for text in (b"one", b"two"):
        accounts.opened(other).commit("d", {"q": files(x=text * 30)})
    accounts.primary.write(commit_key("d", 5), other.read(commit_key("d", 5)))
    accounts.primary.write(tombstone_key("d", 4), b"junk")
    assert unchanged(accounts, lambda: None) == ["damaged", "damaged"]
    assert accounts.shown() == [*ALL[:3], "d@4", "e/f@1"]


def test_a_chain_that_is_forked_does_not_hold_up_the_others(accounts: TwoAccounts) -> None:
    accounts.pull()
    fork(accounts, b"other")
    accounts.vault.commit("e/f", {"p": files(m=b"more")})
    report = accounts.pull()
    assert [one.kind for one in report.findings] == ["forked"] and report.snapshots == 1
    assert accounts.shown() == [*ALL, "e/f@2"]


def test_bytes_that_are_wrong_in_the_primary_are_not_shown_and_come_once_they_are_right(accounts: TwoAccounts) -> None:
    accounts.pull()
    one_day(accounts)
    one_day(accounts, b"newer")
    new = accounts.vault.catalog.visible("d")[-2]
    name = next(info.key for info in accounts.primary.list() if info.key.startswith(f"vault/objects/{new.session}/"))
    flipped(accounts.primary, name)
    report = accounts.pull()
    assert [(one.kind, one.key) for one in report.findings] == [("damaged", name)]
    assert accounts.shown() == ALL
    flipped(accounts.primary, name)
    report = accounts.pull()
    assert report.ok and report.snapshots == 2
    assert accounts.shown() == ["d@1", "d@2", "d@3", "d@4", "d@5", "e/f@1"]


@pytest.mark.parametrize("folder", ["listings", "trees"])
def test_lists_that_are_wrong_in_the_primary_are_not_shown(accounts: TwoAccounts, folder: str) -> None:
    accounts.pull()
    one_day(accounts)
    session = accounts.vault.catalog.visible("d")[-1].session
    name = next(info.key for info in accounts.primary.list(f"vault/{folder}/{session}/"))
    flipped(accounts.primary, name)
    assert accounts.kinds() == ["damaged"] and accounts.shown() == ALL
    flipped(accounts.primary, name)
    assert accounts.pull().ok and "d@4" in accounts.shown()


def test_every_object_of_the_primary_altered_before_a_first_pull_is_shown_nowhere(accounts: TwoAccounts) -> None:
    right = clone(accounts.primary, accounts.clock)
    for name in contents(right):
        accounts.primary, accounts.target = clone(right, accounts.clock), MemoryStore(accounts.clock, name="copy")
        flipped(accounts.primary, name)
        try:
            report = accounts.pull()
        except IntegrityError:
            assert contents(accounts.target) == {}
            continue
        assert not report.ok, name
        assert set(accounts.shown()) < set(ALL), "each that is shown is restored"
        flipped(accounts.primary, name)
        assert accounts.pull().ok and accounts.shown() == ALL, name


def test_whoever_has_the_writers_key_cannot_make_the_copy_forget(accounts: TwoAccounts) -> None:
    accounts.pull()

    def attack() -> None:
        for commit in accounts.vault.catalog.visible():
            accounts.vault.forget(commit.snapshot_id, reason="ransom")
        accounts.clock.pass_by(hours=31)
        prune(accounts)
        prune(accounts)
        assert list(accounts.primary.list("vault/objects/")) == []

    assert set(unchanged(accounts, attack)) == {"forgotten"}
    assert accounts.shown() == ALL


def test_a_fence_whose_tombstones_were_removed_is_held_back_too(accounts: TwoAccounts) -> None:
    accounts.pull()
    accounts.vault.forget(accounts.vault.catalog.visible("d")[0].snapshot_id, reason="ransom")
    accounts.clock.pass_by(hours=31)
    prune(accounts)
    accounts.primary.delete(tombstone_key("d", 1))
    fences = [one for one in accounts.vault.catalog.records("d") if isinstance(one, ChainNote) and one.kind == "fence"]
    assert fences and unchanged(accounts, lambda: one_day(accounts)) == ["forgotten"]
    assert accounts.shown() == ALL


def test_what_is_older_than_declared_is_forgotten_here_too_and_its_bytes_stay(accounts: TwoAccounts) -> None:
    accounts.pull()
    accounts.vault.forget(accounts.vault.catalog.visible("d")[0].snapshot_id, reason="retention")
    prune(accounts)
    one_day(accounts)
    assert "forgotten" in accounts.kinds()
    accounts.clock.pass_by(days=30)
    before = contents(accounts.target)
    report = accounts.pull()
    assert report.ok and accounts.shown() == ["d@2", "d@3", "d@5", "e/f@1"], "number 4 is a fence"
    assert before.items() <= contents(accounts.target).items()
    assert tombstone_key("d", 1) in contents(accounts.target)


def test_tombstones_are_taken_at_once_where_that_is_asked_for(accounts: TwoAccounts) -> None:
    accounts.pull()
    accounts.vault.forget(accounts.vault.catalog.visible("d")[0].snapshot_id, reason="meant")
    assert accounts.pull(days=0).ok and accounts.shown() == ALL[1:]


def test_what_was_forgotten_and_pruned_before_it_was_pulled_is_never_shown(accounts: TwoAccounts) -> None:
    accounts.vault.forget(accounts.vault.catalog.visible("d")[0].snapshot_id, reason="retention")
    accounts.clock.pass_by(hours=31)
    prune(accounts)
    report = accounts.pull()
    assert report.ok and accounts.shown() == ALL[1:]


def test_what_a_fence_alone_calls_forgotten_is_not_shown_where_a_run_dies_before_it(accounts: TwoAccounts) -> None:
    accounts.vault.forget(accounts.vault.catalog.visible("d")[0].snapshot_id, reason="retention")
    accounts.clock.pass_by(hours=31)
    prune(accounts)
    one_day(accounts)
    accounts.primary.delete(tombstone_key("d", 1))
    empty, whole = accounts.target, FaultStore(clone(accounts.target, accounts.clock))
    assert accounts.pull(target=whole).ok
    for n in [n for n, line in enumerate(whole.log, 1) if line.startswith("write vault/snapshots/d/")]:
        accounts.target = clone(empty, accounts.clock)
        with pytest.raises(Died):
            accounts.pull(target=FaultStore(accounts.target, n, "before"))
        assert "d@1" not in accounts.shown()
        assert accounts.pull().ok and accounts.shown() == ["d@2", "d@3", "d@5", "e/f@1"]


def test_a_damaged_record_that_was_given_up_by_its_number_is_passed_over(accounts: TwoAccounts) -> None:
    accounts.pull()
    one_day(accounts)
    flipped(accounts.primary, commit_key("d", 4))
    assert accounts.kinds() == ["damaged"]
    accounts.vault.forget_record("d", 4, reason="lost for good")
    one_day(accounts, b"newer")
    assert accounts.pull().ok and accounts.shown() == [*ALL[:3], "d@5", "e/f@1"]


# -- keys -------------------------------------------------------------------------------------------------------


def ceremony(accounts: TwoAccounts) -> Ceremony:
    rules = governed(accounts.primary, WRITER.keyring()).rules
    assert isinstance(rules, LoggedRules)
    return Ceremony(accounts.primary, rules, ROOT, MemoryStore(accounts.clock), "ada", accounts.clock)


def test_a_key_that_the_root_never_named_signs_nothing_that_is_pulled(accounts: TwoAccounts) -> None:
    accounts.pull()
    thief = key(66)
    last = accounts.vault.catalog.visible("d")[-1]
    forged = replace(last, seq=4, previous=sha256_hex(accounts.primary.read(LAST)), session="s9999")
    accounts.primary.write(commit_key("d", 4), forged.sign(thief))
    assert accounts.kinds() == ["damaged"] and accounts.shown() == ALL


def test_keys_are_rotated_and_the_copy_follows(accounts: TwoAccounts) -> None:
    accounts.pull()
    second = key(8)
    ceremony(accounts).end(WRITER.key_id, "yearly", successor=second.private_key.public_key())
    accounts.opened(signer=second).commit("d", {"q": files(x=b"new" * 40)})
    assert accounts.pull().ok
    assert accounts.shown() == ["d@1", "d@2", "d@3", "d@4", "e/f@1"]


def test_what_an_ended_key_signs_takes_its_number_in_the_copy_and_is_not_shown(accounts: TwoAccounts) -> None:
    second, stolen = key(8), clone(accounts.primary, accounts.clock)
    stale = accounts.opened(stolen)
    ceremony(accounts).end(WRITER.key_id, "stolen", successor=second.private_key.public_key())
    late = stale.commit("d", {"q": files(x=b"late" * 40)})
    for name in contents(stolen).keys() - contents(accounts.primary).keys():
        accounts.primary.write(name, stolen.read(name))
    assert late.seq == 4
    accounts.opened(signer=second).commit("d", {"q": files(x=b"right" * 40)})
    assert accounts.pull().ok
    assert accounts.shown() == ["d@1", "d@2", "d@3", "d@5", "e/f@1"]


@pytest.mark.parametrize("seq", [1, 2])
def test_a_key_log_that_was_cut_or_forked_refuses_everything(accounts: TwoAccounts, seq: int) -> None:
    before = clone(accounts.primary, accounts.clock)
    ceremony(accounts).add(key(8).private_key.public_key(), ("write",), "colleague")
    accounts.pull()
    accounts.primary = before
    if seq == 2:
        ceremony(accounts).add(key(66).private_key.public_key(), ("write",), "another")
    copy = contents(accounts.target)
    with pytest.raises(IntegrityError, match="rolled back or forked"):
        accounts.pull()
    assert contents(accounts.target) == copy and accounts.shown() == ALL


def test_a_key_log_that_withdraws_what_was_pulled_is_held_back(accounts: TwoAccounts) -> None:
    accounts.clock.pass_by(days=1)
    one_day(accounts)
    accounts.pull()
    accounts.clock.pass_by(days=1)
    since, second = accounts.vault.catalog.visible("d")[-1], key(8)

    def end() -> None:
        ceremony(accounts).end(WRITER.key_id, "stolen", successor=second.private_key.public_key(), since=since)

    assert unchanged(accounts, end) == ["forgotten"]
    assert accounts.shown() == [*ALL[:3], "d@4", "e/f@1"]
    assert accounts.pull(days=0).ok and accounts.shown() == ALL


# -- what the ledger keeps there ----------------------------------------------------------------------------------


def test_records_of_the_ledger_are_pulled_where_they_prove_right_and_kept_when_they_go(accounts: TwoAccounts) -> None:
    data = b'{"receipt": 1}'
    name = f"receipts/{sha256_hex(data)}.json"
    accounts.primary.write(name, data)
    accounts.primary.write(f"receipts/{'0' * 64}.json", b"another")
    assert accounts.kinds() == ["damaged"] and accounts.target.read(name) == data
    accounts.primary.delete(f"receipts/{'0' * 64}.json")
    accounts.primary.delete(name)
    assert accounts.kinds() == ["lost"] and accounts.target.read(name) == data
    assert not list(itertools.chain(accounts.target.list("work/quarantine/")))
