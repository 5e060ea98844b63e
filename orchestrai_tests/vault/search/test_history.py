"""Searching the vault: what is found, since when, and at what cost."""

from datetime import timedelta

import pytest

from orchestrai.vault.format.lists import StoredFile, StoredPartition
from orchestrai.vault.search.history import Query, search
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock, clock, signer, vault
from orchestrai_tests.vault.contents import files

__all__ = ["clock", "signer", "vault"]
DATASET = "shop/orders/raw_events"


@pytest.fixture
def filled(vault: Vault, clock: Clock) -> Vault:
    """Four days of a dataset: a file is added, changed, removed with its partition, and comes back as it was."""
    vault.commit(DATASET, {"2011-03-01": files(a=b"first"), "2011-03-02": files(b=b"x" * 900)})
    clock.pass_by(days=1)
    vault.commit(DATASET, {"2011-03-01": files(a=b"second")})
    clock.pass_by(days=1)
    vault.commit(DATASET, {}, drop=["2011-03-01"])
    clock.pass_by(days=1)
    vault.commit(DATASET, {"2011-03-01": files(a=b"first")})
    vault.commit("shop/items/raw_events", {"all": files(a=b"other")})
    return vault


def test_a_file_is_told_with_every_content_it_had_newest_first(filled: Vault) -> None:
    (match,) = [one for one in search(filled, Query("a", "shop/orders/*")).matches if one.path]
    ids = [commit.snapshot_id for commit in filled.snapshots(DATASET)]
    assert [(v.change, v.first, v.last, v.snapshots) for v in match.versions] == [
        ("came back", ids[3], ids[3], 1),
        ("changed", ids[1], ids[1], 1),
        ("added", ids[0], ids[0], 1),
    ]
    assert match.versions[0].until is None and match.present
    assert match.versions[2].until == match.versions[1].since
    assert match.versions[0].sha256 == match.versions[2].sha256


def test_what_is_unchanged_is_one_version_over_all_snapshots(filled: Vault) -> None:
    (match,) = search(filled, Query("2011-03-02", "shop/orders", files=False)).matches
    assert (match.path, match.role, match.versions[0].snapshots, match.versions[0].change) == ("", "partition", 4, "added")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query("2011-03-0[12]", files=False), {(DATASET, "2011-03-01", ""), (DATASET, "2011-03-02", "")}),
        (Query("b"), {(DATASET, "2011-03-02", "b")}),
        (Query("2011-03-02/b"), {(DATASET, "2011-03-02", "b")}),
        (Query(f"{DATASET}/2011-03-02/b"), {(DATASET, "2011-03-02", "b")}),
        (Query("all", "shop/items"), {("shop/items/raw_events", "all", "")}),
        (Query("a", partition="all"), {("shop/items/raw_events", "all", "a")}),
        (Query("?", smallest=500), {(DATASET, "2011-03-02", "b")}),
        (Query("B"), set()),
        (Query("b", largest=100), set()),
    ],
)
def test_globs_and_sizes_choose(filled: Vault, query: Query, found: set[tuple[str, str, str]]) -> None:
    assert {(match.dataset, match.partition, match.path) for match in search(filled, query).matches} == found


def test_a_hash_or_its_beginning_finds_file_and_partition(filled: Vault) -> None:
    entry = filled.partitions(filled.snapshots(DATASET)[0])["2011-03-02"]
    (file,) = filled.catalog.files(entry)
    assert [match.path for match in search(filled, Query(sha256=file.sha256[:12])).matches] == ["b"]
    assert [match.path for match in search(filled, Query(sha256=entry.root)).matches] == [""]


def test_dates_bound_the_snapshots_that_have_it(filled: Vault, clock: Clock) -> None:
    first = filled.snapshots(DATASET)[0].committed
    early = search(filled, Query("a", "shop/orders/*", until=first)).matches[0]
    assert [version.change for version in early.versions] == ["added"]
    gone = Query("a", "shop/orders/*", since=first + timedelta(days=1, hours=12), until=first + timedelta(days=2, hours=12))
    assert not search(filled, gone).matches


def test_a_list_that_many_snapshots_share_is_read_once(vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [f"2011-03-{day:02d}" for day in range(1, 29)]
    for day in days:
        clock.pass_by(days=1)
        vault.commit(DATASET, {day: files(**{day.replace("-", ""): day.encode()})})
    read: list[str] = []
    whole = vault.catalog.files

    def counted(entry: StoredPartition) -> list[StoredFile]:
        read.append(entry.key)
        return whole(entry)

    monkeypatch.setattr(vault.catalog, "files", counted)
    findings = search(vault, Query("*", DATASET))
    assert len(read) == len(set(read)) == findings.lists == len(days)
    assert findings.snapshots == len(days)
    read.clear()
    assert search(vault, Query("2011-03-07", files=False)).matches and not read
