"""The state of everything and a page per model version: what they say, that the page and the JSON say the same, and that damage is told."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.provenance.state.state import State, state_of
from orchestrai.provenance.state.state_page import state_html
from orchestrai_tests.accessibility import faults
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.provenance.small import CHAMPION, DAYS, EVALUATION, MODEL, PREDICTIONS, RAW, Small

BAD_DAY = DAYS[8]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A champion, a candidate that was refused, predictions, and a day that its gate refused."""
    made = Small.at(tmp_path_factory.mktemp("small"))
    made.land(*DAYS[:7])
    made.publish(*DAYS[:7])
    made.train(PREDICTIONS)
    made.land(*DAYS[6:8], poisoned=True)
    made.publish(*DAYS[6:8])
    for asset in MODEL:
        made.runtime.run(made.runtime.project.nodes[asset], ["all"])
    (made.home / "landing" / "readings" / f"{BAD_DAY}.csv").write_text(
        "device_id,ts,level,failed\n<b>d1</b>,when,what,true\n"
    )
    made.runtime.run(made.runtime.project.nodes[RAW], [BAD_DAY])
    return made


@pytest.fixture
def here(small: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(small.home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(small.home.parent / "declared"))
    yield small


def test_the_report_says_what_waits_and_what_mends_it_on_the_page_and_as_json(here: Small, tmp_path: Path) -> None:
    to = tmp_path / "state.html"
    code, text = command("report", "--out", str(to), "--json")
    told, page = json.loads(text), to.read_text(encoding="utf-8")
    assert (code, told["ok"], told["files"]) == (0, False, [str(to)])
    # what `report --json` was before
    (summary,) = told["pipelines"]
    assert summary["name"] == "small" and summary["datasets"][0]["refused"] == [BAD_DAY]
    (gate,) = told["gates"]
    assert (gate["asset"], gate["partition"], gate["state"], gate["stands"]) == (RAW, BAD_DAY, "refused", "nothing")
    assert [line.split()[2] for line in gate["remedies"]] == ["show", "override", "skip"]
    days = {day["partition"]: day["state"] for day in told["datasets"]["small/readings"]}
    assert days == {**dict.fromkeys(DAYS[:8], "published"), BAD_DAY: "refused"}
    assert [one["dataset"] for one in told["vault"]["datasets"]] == ["small/readings/raw_events"]
    (model,) = told["models"]
    states = {one["version"]: (one["state"], one["reason"]) for one in model["versions"]}
    assert {state for state, _ in states.values()} == {"serves", "refused"}
    (why,) = [reason for state, reason in states.values() if state == "refused"]
    assert "auc" in why and len(model["drift"]) == 1
    assert told["unreadable"] == {} and set(told["costs"]) == {"small"}
    titles = {one["title"] for one in told["alerts"]}
    assert f"a gate is closed: {RAW}" in titles
    # all of it is on the page, with the commands, and nothing of the data is markup there
    assert faults(page) == []
    for said in (BAD_DAY, why, *titles, *gate["remedies"], *(version[7:19] for version in states)):
        assert said.replace("<", "&lt;").replace('"', '"') in page, said
    assert page.count("<svg") >= 4 and page.count("data:image/png") == 2 and "<b>d1" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_page_per_version_is_linked_from_the_report_and_leads_to_the_landed_objects(here: Small, tmp_path: Path) -> None:
    to = tmp_path / "state.html"
    code, text = command("report", "--out", str(to), "--models")
    assert code == 0 and "2 pages of models" in text
    links = {path.name: f'href="state-models/{path.name}"' for path in (tmp_path / "state-models").iterdir()}
    assert len(links) == 2 and all(link in to.read_text() for link in links.values())
    version = here.runtime.ledger.open(CHAMPION).version[7:19]
    page = (tmp_path / "state-models" / f"small-alarm-{version}.html").read_text()
    assert faults(page) == [] and 'href="../state.html"' in page
    objects = {
        one.uri for day in DAYS[:7] for one in here.runtime.ledger.open(RAW).receipt(day).materials if one.partition == day
    }
    assert len(objects) == 7 and all(uri in page for uri in objects)
    for section in (
        "Where it comes from",
        "Proof",
        "Evaluation",
        "Drift since",
        "What a rebuild would take",
        "What it cost",
    ):
        assert f">{section}</h2>" in page
    assert "Every record behind it verifies" in page and page.count("data:image/png") == 4
    assert f"orchestrai model reproduce small/alarm@{version}" in page
    refused = next(path for path in (tmp_path / "state-models").iterdir() if version not in path.name)
    # a candidate that serves nobody is shown with the evaluation that refused it
    assert faults(refused.read_text()) == [] and refused.read_text().count("data:image/png") == 5
    told = json.loads(command("model", "page", "alarm", "--out", str(tmp_path / "alarm.html"), "--json")[1])
    assert told["version"][7:19] == version and told["proof"]["ok"] and told["rebuild"]["partitions"] == 7
    assert {row["how"].split(",")[0] for row in told["rebuild"]["rows"]} == {"restored", "computed anew"}


def test_only_a_model_has_such_a_page_and_pages_of_models_want_a_report(here: Small, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a version of a model"):
        command("model", "page", RAW, "--out", str(tmp_path / "x.html"))
    with pytest.raises(ConfigError, match="expected --out"):
        command("report", "--models")
    with pytest.raises(ConfigError, match="expected --to FILE with --compliance"):
        command("report", "--compliance", "--out", str(tmp_path / "x.html"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_told_and_hides_nothing_else(small: Small) -> None:
    whole = state_of(small.runtime)
    head = small.runtime.ledger.head(EVALUATION)
    assert head is not None and whole.unreadable == {} and len(whole.models) == 1
    assert sum(day.total.runs for day in whole.costs["small"]) > 8
    (path,) = (small.home / "lake" / "receipts").rglob(f"*{head.receipt}*")
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"a", b"b", 40))
    try:
        torn: State = state_of(Small.at(small.home.parent).runtime)
    finally:
        path.write_bytes(kept)
    assert set(torn.unreadable) == {"model small/alarm", "pipeline small"} and torn.models == () and not torn.ok
    assert len(torn.gates) == 1 and torn.days == whole.days
    page = state_html(torn)
    assert faults(page) == [] and "model small/alarm could not be read" in page


def test_a_home_where_nothing_ran_has_a_report_too(tmp_path: Path) -> None:
    told = state_of(Small.at(tmp_path / "new").runtime)
    page = state_html(told)
    assert faults(page) == [] and "Nothing was backed up yet" in page and told.vault is None
    assert not (tmp_path / "new" / "home" / "vault").exists()
