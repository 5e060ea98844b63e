"""`model cost`, `cost report` and `cost prices`: what was spent is summed, drawn and held against the budget by a command."""

import json
from pathlib import Path

import pytest

from orchestrai_tests.accessibility import faults
from orchestrai_tests.cli.conftest import DATASET, RAW, MakeRuntime, command, run


def test_costs_of_an_asset_of_days_and_prices_are_told(
    make: MakeRuntime, days: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make()
    home = runtime.settings.home
    home.mkdir(parents=True, exist_ok=True)
    (home / "prices.yaml").write_text(
        "prices:\n  - {name: desk, of: run, unit: cpu_hour, usd: 3.6, date: 2026-11-01, source: what the desk costs}\n"
    )
    run(runtime, days[:2])
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    code, told = command("model", "cost", f"{DATASET}/restored", "--json")
    body = json.loads(told)
    assert code == 0 and [line["key"] for line in body["by_dataset"]] == [DATASET]
    assert {line["key"]: line["runs"] for line in body["by_stage"]} == {"raw_events": 1, "snapshot": 1, "restored": 1}
    cpu = sum(line["cpu_seconds"] + line["child_cpu_seconds"] for line in body["by_stage"])
    assert body["total"]["usd"] == pytest.approx(cpu / 1000, rel=0.05) and body["total"]["priced"] == 3
    code, told = command("model", "cost", RAW)
    assert code == 0 and "counts whole and once" in told
    code, told = command("cost", "report", "churn", "--json")
    (day,) = json.loads(told)["pipelines"]["churn"]
    assert (
        code == 0
        and day["total"]["runs"] == 3
        and set(day["by_asset"]) == {f"{DATASET}/{s}" for s in ("raw_events", "snapshot", "restored")}
    )
    page = tmp_path / "costs.html"
    assert command("cost", "report", "churn", "--html", str(page))[0] == 0 and "<svg" in page.read_text()
    assert faults(page.read_text()) == []
    code, told = command("cost", "prices", "--json")
    applied = [price["name"] for price in json.loads(told)["prices"] if price["applies"]]
    assert code == 0 and applied == ["desk"]
