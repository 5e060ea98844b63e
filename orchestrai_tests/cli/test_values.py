"""Partitions of a time and a value on the command line: spans of all values or of one, in a backfill and in a restore."""

import json
from pathlib import Path

import pytest

from orchestrai.cli.lookup import span_of
from orchestrai.errors import ConfigError, RestoreError
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.regions import DAYS, REGIONS, Shops

KEYS = [f"{day}|{region}" for day in DAYS for region in REGIONS]


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shops:
    shops = Shops(tmp_path)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(shops.home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(tmp_path / "declared"))
    return shops


@pytest.mark.parametrize(
    ("wanted", "first", "last", "count"),
    [
        (f"{DAYS[1]}..{DAYS[2]}", f"{DAYS[1]}|eu", f"{DAYS[2]}|us", 4),
        (f"{DAYS[1]}|us..{DAYS[2]}|us", f"{DAYS[1]}|us", f"{DAYS[2]}|us", 2),
        (DAYS[1], f"{DAYS[1]}|eu", f"{DAYS[1]}|us", 2),
        (f"{DAYS[1]}|eu", f"{DAYS[1]}|eu", f"{DAYS[1]}|eu", 1),
    ],
)
def test_a_span_without_a_value_is_of_all_of_them(wanted: str, first: str, last: str, count: int) -> None:
    span = span_of(KEYS, wanted)
    assert (span[0], span[-1], len(span)) == (first, last, count)


def test_a_span_of_times_is_what_it_was() -> None:
    assert span_of(DAYS, f"{DAYS[1]}..{DAYS[2]}") == DAYS[1:3] and span_of(DAYS, DAYS[0]) == DAYS[:1]
    with pytest.raises(RestoreError):
        span_of(DAYS, f"{DAYS[0]}|eu")


def test_a_backfill_of_one_value_leaves_the_others(shops: Shops) -> None:
    for day in DAYS[:2]:
        for region in REGIONS:
            shops.land(day, region)
    code, text = command("backfill", "shops", "--from", DAYS[0], "--to", DAYS[1], "--only", "us", "--json")
    assert code == 0 and json.loads(text)["runs"][0]["refused"] == {}
    assert shops.published("restored") == [f"{DAYS[0]}|us", f"{DAYS[1]}|us"]
    with pytest.raises(ConfigError, match="expected region eu, us, found mars"):
        command("backfill", "shops", "--from", DAYS[0], "--to", DAYS[1], "--only", "mars")


def test_a_value_where_no_dataset_has_a_dimension_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrai_tests.defs.shop import declared

    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(declared(tmp_path / "shop")))
    with pytest.raises(ConfigError, match="no dataset has a dimension"):
        command("backfill", "shop", "--from", "2026-10-01", "--to", "2026-10-02", "--only", "eu")


def test_a_restore_of_a_span_writes_a_folder_for_each_time_and_value(shops: Shops, tmp_path: Path) -> None:
    for region in REGIONS:
        shops.land(DAYS[0], region)
    shops.restore(*KEYS[:2])
    code, _ = command("vault", "restore", "shops/sales", "--into", str(tmp_path / "all"), "--partitions", DAYS[0])
    assert code == 0 and sorted(path.name for path in (tmp_path / "all").iterdir()) == [f"{DAYS[0]}_eu", f"{DAYS[0]}_us"]
    code, _ = command("vault", "restore", "shops/sales", "--into", str(tmp_path / "one"), "--partitions", f"{DAYS[0]}|us")
    assert code == 0 and [path.name for path in (tmp_path / "one").iterdir()] == [f"{DAYS[0]}_us"]


def test_a_closed_gate_is_shown_and_left_out_by_its_whole_key(shops: Shops) -> None:
    shops.land(DAYS[0], "eu", "region,customer,ts\neu,c1,x\n")
    key, asset = f"{DAYS[0]}|eu", "shops/sales/raw_events"
    assert shops.run(asset, key) == {key: False}
    code, text = command("gate", "list", "--json")
    assert code == 0 and [(one["asset"], one["partition"]) for one in json.loads(text)] == [(asset, key)]
    assert command("gate", "skip", asset, key, "--reason", "closed shop", "--by", "ann")[0] == 0
    assert command("gate", "list", "--json") == (0, "[]\n")
