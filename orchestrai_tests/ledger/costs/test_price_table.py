"""Prices have a date and a source, count only where a site applies them, and a mistake is told by file and field."""

from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.ledger.costs.price_table import Charge, newly_charged, read_prices
from orchestrai.ledger.costs.usage import JobUsage, Usage
from orchestrai.storage.traffic import Traffic

HOUR = Usage(3600.0, 1800.0, 900.0, stores={"s3": Traffic(2000, 500, 500), "file": Traffic(9, 9, 9)})


def site(tmp_path: Path, text: str) -> Path:
    (tmp_path / "prices.yaml").write_text(text)
    return tmp_path / "prices.yaml"


def test_what_ships_has_sources_and_dates_is_marked_as_list_prices_and_applies_nowhere() -> None:
    table = read_prices()
    assert table.prices == () and table.charges(HOUR) == () and table.digest == ""
    assert len(table.known) >= 7
    for price in table.known.values():
        assert price.kind == "list" and price.source and price.date and price.region, price.name
        assert "list price" in price.told and price.date in price.told


def test_applied_prices_are_multiplied_with_what_was_used(tmp_path: Path) -> None:
    table = read_prices(
        site(
            tmp_path,
            "apply: [aws-fargate-vcpu, aws-fargate-memory, aws-s3-writes, aws-s3-reads]\nmachine: {vcpus: 2, memory_gb: 4}\n"
            "prices:\n  - {name: desk, of: run, unit: cpu_hour, usd: 0.02, date: 2026-11-01, source: us}\n",
        )
    )
    charges = {charge.price: charge for charge in table.charges(HOUR)}
    assert charges["aws-fargate-vcpu"].usd == pytest.approx(2 * 0.04048)
    assert charges["aws-fargate-memory"].usd == pytest.approx(4 * 0.004445)
    assert charges["aws-s3-writes"].usd == pytest.approx(0.005), "a listing is billed as a write"
    assert charges["aws-s3-reads"].usd == pytest.approx(0.0008)
    assert charges["desk"].quantity == pytest.approx(0.75), "programs that a run started are CPU of it"


def test_a_job_with_a_price_of_its_own_is_not_charged_again(tmp_path: Path) -> None:
    table = read_prices(
        site(
            tmp_path,
            "prices:\n  - {name: m5, of: job/sagemaker/ml.m5.xlarge, unit: hour, usd: 0.2, date: 2026-11-01, source: us}\n",
        )
    )
    own = JobUsage("a", "sagemaker", 3600, "ml.m5.xlarge", usd=1.5)
    bare = JobUsage("b", "sagemaker", 1800, "ml.m5.xlarge", instances=2)
    other = JobUsage("c", "sagemaker", 1800, "ml.m5.2xlarge")
    charges = {charge.job: charge.usd for charge in table.charges(Usage(jobs=(own, bare, other)))}
    assert charges == {"b": pytest.approx(0.2), "a": 1.5}


def test_a_job_that_a_later_try_takes_up_is_paid_for_once() -> None:
    paid: dict[tuple[str, str], float] = {}
    tries = [
        Charge("p", "hour", 1, 1.0, "job-1"),
        Charge("p", "hour", 3, 3.0, "job-1"),
        Charge("p", "hour", 2, 2.0, "job-2"),
    ]
    assert newly_charged(tries, paid) == 5.0 and newly_charged(tries, paid) == 0.0
    assert (
        newly_charged([Charge("desk", "cpu_hour", 1, 1.0)], paid)
        == newly_charged([Charge("desk", "cpu_hour", 1, 1.0)], paid)
        == 1.0
    )


def test_another_price_gives_another_digest(tmp_path: Path) -> None:
    line = "prices:\n  - {name: desk, of: run, unit: cpu_hour, usd: %s, date: 2026-11-01, source: us}\n"
    first, again, dearer = (read_prices(site(tmp_path, line % usd)).digest for usd in ("0.02", "0.02", "0.03"))
    assert first == again != dearer


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("apply: [gold]\n", "apply: expected one of"),
        ("apply: gold\n", "apply: expected a list"),
        ("aply: []\n", "found aply"),
        ("format: 2\n", "format: expected 1"),
        ("[1, 2]\n", "expected a mapping"),
        ("prices: [{name: x}]\n", "prices[0]: expected of, unit, usd, date, source"),
        ("prices: [{name: x, of: run, unit: cpu_hour, usd: .nan, date: 2026-01-01, source: us}]\n", "prices[0].usd"),
        ("prices: [{name: x, of: run, unit: cpu_hour, usd: -1, date: 2026-01-01, source: us}]\n", "prices[0].usd"),
        ("prices: [{name: x, of: run, unit: cpu_hour, usd: 1, date: soon, source: us}]\n", "prices[0].date"),
        ("prices: [{name: x, of: run, unit: dcu_hour, usd: 1, date: 2026-01-01, source: us}]\n", "prices[0].unit"),
        ("prices: [{name: x, of: moon, unit: hour, usd: 1, date: 2026-01-01, source: us}]\n", "prices[0].of"),
        ("prices: [{name: x, of: store, unit: gb_read, usd: 1, date: 2026-01-01, source: us}]\n", "prices[0].of"),
        ("apply: [aws-fargate-vcpu]\n", "machine: expected what a run is given"),
        ("machine: [2]\n", "machine: expected vcpus"),
        ("a: [\n", "expected a YAML file of prices"),
        ("prices: [{name: x, of: run, unit: cpu_hour, usd: 1, date: 2026-02-30, source: us}]\n", "found ValueError"),
        (
            f"prices: [{{name: x, of: run, unit: cpu_hour, usd: 1{400 * '0'}, date: 2026-01-01, source: us}}]\n",
            "prices[0].usd",
        ),
        ("[" * 5000, "found RecursionError"),
    ],
)
def test_a_mistake_is_told_by_file_and_field(tmp_path: Path, text: str, told: str) -> None:
    file = site(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_prices(file)
    assert told in caught.value.message and str(file) in caught.value.message
