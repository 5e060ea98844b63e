"""`orchestrai gate ...`: a refused day, published because a person signs for it, and seen wherever the data goes."""

import json
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, SignatureInvalid
from orchestrai.ledger.report import shown_verdicts
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import KEPT, RAW, RESTORED, command, run

WHY = ("--reason", "booked [late]", "--by", "ann")


@pytest.fixture
def mixed(shop: Runtime, days: list[str], landing: Path) -> str:
    """The fourth day with more rows of the first than may be set aside, refused."""
    path = landing / f"{days[3]}.csv"
    lines = path.read_text().splitlines()
    some = len(lines) - len(lines) // 10
    path.write_text("\n".join([*lines[:some], *(line.replace(days[3], days[0]) for line in lines[some:])]) + "\n")
    report = run(shop, days[3:4], "raw_events")["raw_events"]
    assert {v.check for v in report.refused[0].verdicts if v.closes_gate} == {"partition"}
    return days[3]


def test_a_refused_day_is_shown_and_published_under_an_override(mixed: str, shop: Runtime) -> None:
    shown = json.loads(command("gate", "show", RAW, mixed, "--json")[1])
    assert [v["check"] for v in shown["verdicts"] if not v["passed"]] == ["partition"]
    assert "closed" in command("gate", "show", RAW, mixed)[1]
    code, text = command("gate", "override", RAW, mixed, "--check", "row_volume", *WHY)
    assert (code, "refused: partition" in text) == (1, True)
    code, text = command("gate", "override", RAW, mixed, "--check", "partition", *WHY, "--json")
    found = json.loads(text)
    assert (code, found["published"], found["root"], found["closed"]) == (0, True, shown["root"], [])
    head = shop.ledger.head(RAW)
    assert head is not None and (head.action, head.reason) == ("override", "booked [late] (ann)")


def test_closed_gates_are_listed_until_a_person_answers(mixed: str, shop: Runtime) -> None:
    (found,) = json.loads(command("gate", "list", "--json")[1])
    assert (found["asset"], found["partition"], found["checks"], found["stands"]) == (RAW, mixed, ["partition"], "nothing")
    assert mixed in command("gate", "list")[1]
    command("gate", "show", RAW.removesuffix("/raw_events"), mixed)
    command("gate", "skip", RAW, mixed, *WHY)
    assert json.loads(command("gate", "list", "--json")[1]) == []


def test_restored_data_has_its_own_gate_and_report_and_trace_name_both(mixed: str, shop: Runtime) -> None:
    command("gate", "override", RAW, mixed, "--check", "partition", *WHY)
    run(shop, [mixed], "snapshot")
    assert run(shop, [mixed], "restored")["restored"].refused
    code, text = command("gate", "override", RESTORED, mixed, "--check", "partition", *WHY)
    assert (code, "published, waived by ann (booked [late])" in text) == (0, True)
    assert shop.ledger.open(RESTORED).version == shop.ledger.open(KEPT).version == shop.ledger.open(RAW).version
    assert not run(shop, [mixed], "raw_events", "restored")["restored"].refused
    told = f"@{mixed} partition waived by ann (booked [late])"
    report = command("report")[1]
    assert f"waived: {RAW}{told}" in report and f"waived: {RESTORED}{told}" in report
    trace = command("model", "trace", RESTORED)[1]
    assert trace.count(f"{mixed} partition waived by ann") == 2


def test_an_override_is_not_for_what_arrived_since(mixed: str, landing: Path) -> None:
    path = landing / f"{mixed}.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-2], lines[-1]]) + "\n")
    code, text = command("gate", "override", RAW, mixed, "--check", "partition", *WHY)
    assert (code, "no longer what was refused" in text) == (1, True)


def test_an_override_of_a_day_that_left_the_landing_takes_what_was_refused(mixed: str, landing: Path) -> None:
    (landing / f"{mixed}.csv").unlink()
    assert command("gate", "override", RAW, mixed, "--check", "partition", *WHY)[0] == 0


def test_what_can_not_be_overridden_is_a_usage_error(mixed: str, days: list[str]) -> None:
    with pytest.raises(ConfigError, match="never waived"):
        command("gate", "override", RAW, mixed, "--check", "version", *WHY)
    with pytest.raises(ConfigError, match="not closed"):
        command("gate", "override", RAW, days[0], "--check", "partition", *WHY)
    with pytest.raises(ConfigError, match="found 'churn/nothing'"):
        command("gate", "show", "churn/nothing", mixed)


def test_no_other_stage_takes_an_override(shop: Runtime, mixed: str) -> None:
    from orchestrai.ledger.decisions.overrides import Override

    given = Override(KEPT, mixed, "sha256:00", ("partition",), "why", "ann")
    with pytest.raises(ConfigError, match="raw_events or restored"):
        shop.run(shop.project.nodes[KEPT], [mixed], overrides=[given])


SAYS = ("--reason", "the export was lost", "--by", "ann")


def test_a_day_left_out_is_done_with_nothing_published_of_it_and_named_everywhere(
    mixed: str, shop: Runtime, days: list[str]
) -> None:
    code, text = command("gate", "skip", RAW, mixed, *SAYS)
    assert (code, "left out by ann (the export was lost)" in text) == (0, True)
    reports = run(shop, days[2:4])
    for asset, stage in zip((RAW, KEPT, RESTORED), reports, strict=True):
        assert not reports[stage].refused, stage
        assert mixed not in shop.ledger.open(asset).partitions
        (outcome,) = (found for found in reports[stage].outcomes if found.partition == mixed)
        assert (outcome.root, outcome.rows) == (None, 0)
        assert any(not v.passed and v.severity == "warn" and "left out by ann" in v.message for v in shown_verdicts(outcome))
    assert f"{RAW}@{mixed} left out by ann" in command("report")[1]
    assert f"{mixed} left out by ann" in command("model", "trace", RESTORED)[1]
    assert shop.ledger.vault is not None
    assert {info.key for info in shop.ledger.lake.list("skips/")} == {info.key for info in shop.ledger.vault.list("skips/")}


def test_other_content_of_a_day_left_out_is_judged_anew(mixed: str, shop: Runtime, landing: Path, days: list[str]) -> None:
    command("gate", "skip", RAW, mixed, *SAYS)
    path = landing / f"{mixed}.csv"
    whole = path.read_text().splitlines()
    path.write_text("\n".join([*whole[:-2], whole[-1]]) + "\n")
    assert run(shop, [mixed], "raw_events")["raw_events"].refused
    path.write_text("\n".join(whole).replace(days[0], mixed) + "\n")
    reports = run(shop, [mixed])
    assert not any(report.refused for report in reports.values())
    assert mixed in shop.ledger.open(RESTORED).partitions


def test_a_skip_that_was_lifted_no_longer_counts(mixed: str, shop: Runtime) -> None:
    with pytest.raises(ConfigError, match="no such decision"):
        command("gate", "lift", RAW, mixed, *SAYS)
    command("gate", "skip", RAW, mixed, *SAYS)
    assert not run(shop, [mixed], "raw_events")["raw_events"].refused
    assert command("gate", "lift", RAW, mixed, *SAYS)[0] == 0
    reports = run(shop, [mixed])
    assert all(report.refused for report in reports.values())


def test_a_skip_needs_a_reason_a_refusal_and_a_gate(mixed: str, shop: Runtime, days: list[str]) -> None:
    with pytest.raises(ConfigError, match="a reason and a name"):
        command("gate", "skip", RAW, mixed, "--reason", " ", "--by", "ann")
    with pytest.raises(ConfigError, match="not closed"):
        command("gate", "skip", RAW, days[0], *SAYS)


def test_a_forged_skip_opens_nothing(mixed: str, shop: Runtime, tmp_path: Path) -> None:
    command("gate", "skip", RAW, mixed, *SAYS)
    (info,) = shop.ledger.lake.list("skips/")
    data = json.loads(shop.ledger.lake.read(info.key))
    data["payload"] = data["payload"].replace(data["payload"][8:12], data["payload"][12:16], 1)
    shop.ledger.lake.write(info.key, json.dumps(data).encode())
    with pytest.raises(SignatureInvalid):
        run(shop, [mixed], "raw_events")
