"""A dataset, a view, a label and a model under new names: all that was kept of them goes on, nothing is made again."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.cli.lookup import name_in
from orchestrai.defs.assets import build_assets
from orchestrai.errors import ConfigError
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord
from orchestrai.ledger.decisions.renames import RENAMES, Rename, Renames, renames_in
from orchestrai.ledger.log_replica import RECORDS
from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.name_changes import rename_plans
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.audit_trail import trail
from orchestrai.provenance.decision_log import KINDS
from orchestrai.provenance.naming import find_asset
from orchestrai.provenance.recall.rebuild import BLOBS, rebuild
from orchestrai.provenance.trace import trace_records
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.audit import audit
from orchestrai.settings import Settings
from orchestrai.stage.names import VERBATIM
from orchestrai.storage.url import open_store
from orchestrai.vault.lifecycle.legal_hold import place_hold, release_hold
from orchestrai.vault.replica.replicate import replicate
from orchestrai_tests.backup.kept_shop import PUBLISHED, copied, declared, materialize, publish
from orchestrai_tests.dagster_names import ledger_name
from orchestrai_tests.defs.shop import DAYS, NOW, csv_of

LABEL = "SELECT device_id, ts, CASE WHEN failed THEN 1 ELSE 0 END AS label FROM readings"
IN_FILES = {f'sql: "{LABEL}"': "sql: failed_soon.sql"}
READINGS, LEVELS, ALARM = "- name: readings\n", "{name: levels, from: [readings]", "- name: alarm\n    features: [levels]"
VIEW_TEXT = "level + 1 AS more FROM readings"
NAMES = {
    READINGS: "- name: metrics\n    renamed_from: readings\n",
    LEVELS: "{name: heights, renamed_from: levels, from: [metrics]",
    ALARM: "- name: siren\n    renamed_from: [alarm]\n    features: [heights]",
    VIEW_TEXT: VIEW_TEXT.replace("readings", "metrics"),
    "sql: failed_soon.sql": "sql: breaks_soon.sql, renamed_from: failed_soon",
}
STEPS = [f"shop/readings/{stage}" for stage in VERBATIM] + ["shop/levels/features"]
WHOLE = [f"shop/alarm/{stage}" for stage in ("training_set", "candidate", "evaluation", "champion")]


def shop(home: Path, folder: Path, changes: Mapping[str, str] | None = None) -> Runtime:
    """The small shop with its label in a file, and with some of its texts changed after that."""
    declared(folder, "", IN_FILES)
    path = folder / "pipeline.yaml"
    text = path.read_text()
    for old, new in (changes or {}).items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)
    for table in ("readings", "metrics"):
        (folder / f"{'failed' if table == 'readings' else 'breaks'}_soon.sql").write_text(LABEL.replace("readings", table))
    return Runtime(Settings(home=home), load_project([folder], {}), clock=lambda: NOW)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    publish(shop(folder / "home", folder / "shop"), PUBLISHED)
    return folder / "home"


@pytest.fixture
def home(base: Path, tmp_path: Path) -> Path:
    return copied(base, tmp_path / "home")


def heads(runtime: Runtime) -> dict[str, int]:
    """How many entries the log of each asset has."""
    return {asset: sum(1 for _ in runtime.ledger.history(asset)) for asset in runtime.ledger.assets()}


def run_all(runtime: Runtime, days: list[str]) -> None:
    for asset in STEPS:
        assert not materialize(runtime, asset, days).refused, asset
    for asset in WHOLE:
        assert not materialize(runtime, asset).refused, asset


def test_all_that_was_kept_goes_on_and_nothing_is_made_again(home: Path, tmp_path: Path) -> None:
    # the objects are copies, and a candidate that is champion is judged against itself: that is said by a run under the old names
    for again in ("first", "second"):
        run_all(shop(home, tmp_path / again), PUBLISHED)
    old = shop(home, tmp_path / "before")
    before, snapshots = heads(old), old.vault.snapshots()
    named = shop(home, tmp_path / "shop", NAMES)
    assert [node.shown for node in named.project.pipelines[0].datasets] == ["shop/metrics"]
    run_all(named, PUBLISHED)
    assert heads(named) == before and named.vault.snapshots() == snapshots
    # and it goes on in the same logs, from the same landing
    (home / "landing" / "readings" / f"{DAYS[4]}.csv").write_text(csv_of(DAYS[4]))
    later = shop(home, tmp_path / "later", NAMES)
    run_all(later, list(DAYS[:5]))
    after = heads(later)
    assert set(after) == set(before) and all(after[asset] == before[asset] + 1 for asset in STEPS)
    assert [commit.seq for commit in later.vault.snapshots("shop/readings/raw_events")] == [1, 2]
    assert audit(later.ledger.lake, later.ledger.keyring, witness=later.ledger.vault).ok


def test_the_first_run_signs_the_renames_once_and_the_vault_has_them(home: Path, tmp_path: Path) -> None:
    named = shop(home, tmp_path / "shop", NAMES)
    plans = rename_plans(named.ledger, named.project.pipelines)
    assert [plan.message for plan in plans] == [
        "shop/readings is called shop/metrics from the next run on: the dataset goes on with all that was kept of it",
        "shop/levels is called shop/heights from the next run on: the view goes on with all that was kept of it",
        "shop/alarm is called shop/siren from the next run on: the model goes on with all that was kept of it",
    ]
    assert named.ledger.renames().records == ()
    materialize(named, STEPS[0], PUBLISHED)
    assert {(one.old, one.new) for one in named.ledger.renames().records} == {
        ("shop/readings", "shop/metrics"),
        ("shop/levels", "shop/heights"),
        ("shop/alarm", "shop/siren"),
    }
    kept = {key: named.ledger.lake.read(key) for key in RENAMES.keys(named.ledger.lake)}
    again = shop(home, tmp_path / "again", NAMES)
    materialize(again, STEPS[0], PUBLISHED)
    assert rename_plans(again.ledger, again.project.pipelines) == []
    assert {key: again.ledger.lake.read(key) for key in RENAMES.keys(again.ledger.lake)} == kept
    assert again.ledger.vault is not None and RENAMES.keys(again.ledger.vault) == sorted(kept)
    told = [event for event in trail(Records(again.ledger.vault, again.ledger.keyring)) if event.action == "rename"]
    assert ("shop/readings", "the dataset is called shop/metrics from then on") in {(e.subject, e.what) for e in told}


def test_the_vault_alone_comes_to_the_same_under_every_name(home: Path, tmp_path: Path) -> None:
    named = shop(home, tmp_path / "shop", NAMES)
    run_all(named, PUBLISHED)
    before = heads(named)
    shutil.rmtree(home / "lake")
    bare = shop(home, tmp_path / "bare", NAMES)
    rebuild(bare.ledger)
    assert heads(bare) == before
    assert bare.ledger.renames().key("shop/siren/champion") == "shop/alarm/champion"
    records = Records(bare.ledger.lake, bare.ledger.keyring)
    for name in ("siren", "alarm", "shop/siren@champion", "shop/alarm/champion", "shop/siren/champion"):
        asset, version = find_asset(records, name)
        assert asset == "shop/alarm/champion"
        assert any(node.asset == STEPS[0] for node in trace_records(records, asset, version).nodes)


def test_a_copy_of_the_vault_knows_what_was_decided_too(home: Path, tmp_path: Path) -> None:
    named = shop(home, tmp_path / "shop", NAMES)
    materialize(named, STEPS[0], PUBLISHED)
    recall = RecallRecord("x", "bad", "2026-11-01", {"0" * 64: ("2026-10-01",)})
    RECALLS.put([named.vault.store], named.ledger.signer, recall)
    replica = open_store(str(tmp_path / "replica"))
    assert replicate(named.vault, replica).verified.ok
    assert renames_in(replica, named.ledger.keyring).key("shop/metrics") == "shop/readings"
    assert [record.target for record in RECALLS.all(replica, named.ledger.keyring)] == ["x"]
    assert {*KINDS, *(f"{kind}/" for kind in BLOBS), "heads/", "alerts/"} == set(RECORDS)


def test_a_person_may_say_any_of_the_names(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = shop(home, tmp_path / "shop", NAMES)
    materialize(named, STEPS[0], PUBLISHED)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(tmp_path / "shop"))

    def said(*words: str) -> object:
        result = CliRunner().invoke(app, [*words, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    for name in ("metrics", "readings"):
        assert len(said("vault", "list", f"shop/{name}")) == 1  # type: ignore[arg-type]
        status = said("landing", "status", f"shop/{name}")
        assert (
            isinstance(status, list) and status[0]["dataset"] == "shop/metrics" and status[0]["raw_events"] == len(PUBLISHED)
        )
    assert list(said("model", "list", "siren")) == list(said("model", "list", "shop/alarm")) == ["shop/siren"]  # type: ignore[call-overload]
    assert said("check")["renames"] == []  # type: ignore[index]


def test_snapshots_of_the_first_name_are_kept_by_the_rules_of_the_new_one(home: Path, tmp_path: Path) -> None:
    named = shop(
        home, tmp_path / "shop", {**NAMES, 'backup: {every: "0 2 * * *"}': 'backup: {every: "0 2 * * *", keep: {last: 1}}'}
    )
    (home / "landing" / "readings" / f"{DAYS[4]}.csv").write_text(csv_of(DAYS[4]))
    for stage in VERBATIM[:2]:
        materialize(named, f"shop/readings/{stage}", list(DAYS[:5]))
    name = "shop/readings/raw_events"
    assert len(named.vault.snapshots(name)) == 2
    place_hold(named.vault, name_in(named.vault, "shop/metrics"), None, None, reason="case 7")
    materialize(named, "shop/readings/retention")
    assert [commit.seq for commit in named.vault.snapshots(name)] == [1, 2]
    release_hold(named.vault, name_in(named.vault, "shop/readings"), None, None, reason="case 7 is closed")
    materialize(named, "shop/readings/retention")
    assert [commit.seq for commit in named.vault.snapshots(name)] == [2]


def test_dagster_keeps_the_keys_and_says_the_name(home: Path, tmp_path: Path) -> None:
    named = shop(home, tmp_path / "shop", NAMES).project
    assert set(named.nodes) == set(shop(home, tmp_path / "before").project.nodes)
    specs = {ledger_name(key): spec for a in build_assets([*named.nodes.values()]) for key, spec in _specs(a).items()}
    assert specs[STEPS[0]].tags["orchestrai/name"] == "metrics"
    assert "Called `shop/metrics` now" in (specs[STEPS[0]].description or "")


def _specs(asset: object) -> dict[object, object]:
    import dagster as dg

    return {asset.key: asset} if isinstance(asset, dg.AssetSpec) else dict(asset.specs_by_key)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {READINGS: "- name: metrics\n"},
            "expected renamed_from: [readings] of dataset shop/metrics, as the ledger has it recorded",
        ),
        (
            {READINGS: "- name: gauges\n    renamed_from: metrics\n"},
            "expected renamed_from: [readings, metrics] of dataset shop/gauges",
        ),
        (
            {READINGS: "- name: gauges\n    renamed_from: readings\n"},
            "expected one successor of shop/readings, found shop/gauges",
        ),
        ({READINGS: "- name: readings\n    renamed_from: metrics\n"}, "which it had before: take renamed_from out of it"),
    ],
)
def test_what_the_ledger_has_recorded_must_stay_declared(
    home: Path, tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    materialize(shop(home, tmp_path / "first", NAMES), STEPS[0], PUBLISHED)
    name = next(iter(changes.values())).split()[2]
    table = {VIEW_TEXT: VIEW_TEXT.replace("readings", name), LEVELS: LEVELS.replace("readings]", f"{name}]")}
    label = {"sql: failed_soon.sql": f'sql: "{LABEL.replace("readings", name)}"'}
    views = {ALARM: NAMES[ALARM].replace("heights", "heights"), LEVELS: NAMES[LEVELS].replace("metrics", name)}
    wrong = shop(home, tmp_path / "second", {**table, **label, **views, **changes})
    (plan,) = [plan for plan in rename_plans(wrong.ledger, wrong.project.pipelines) if plan.problem]
    assert problem in plan.message
    before = heads(wrong)
    with pytest.raises(ConfigError, match="expected"):
        wrong.run(next(iter(wrong.project.nodes.values())), PUBLISHED)
    assert heads(wrong) == before


def test_going_back_to_the_first_name_needs_no_word(home: Path, tmp_path: Path) -> None:
    materialize(shop(home, tmp_path / "first", NAMES), STEPS[0], PUBLISHED)
    back = shop(home, tmp_path / "back")
    before = heads(back)
    run_all(back, PUBLISHED)
    settled = [*STEPS[1:], *WHOLE[:2]]
    assert [heads(back)[asset] for asset in settled] == [before[asset] for asset in settled]


def test_a_name_under_which_something_was_kept_is_no_new_name(home: Path, tmp_path: Path) -> None:
    forked = shop(
        home, tmp_path / "forked", {key: value.replace("    renamed_from: readings\n", "") for key, value in NAMES.items()}
    )
    materialize(forked, "shop/metrics/raw_events", PUBLISHED)
    named = shop(home, tmp_path / "shop", NAMES)
    with pytest.raises(ConfigError, match="expected nothing kept of shop/metrics yet"):
        materialize(named, STEPS[0], PUBLISHED)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({READINGS: "- name: readings\n    renamed_from: readings\n"}, "expected a name that readings had before, found its own"),
        ({READINGS: "- name: readings\n    renamed_from: levels\n"}, "expected a name that nothing has any more, found levels"),
        ({READINGS: "- name: readings\n    renamed_from: [a, a]\n"}, "expected one successor of a, named once, found it in the list twice"),
        (
            {READINGS: "- name: readings\n    renamed_from: a\n", LEVELS: "{name: levels, renamed_from: a, from: [readings]"},
            "expected one successor of a, named once, found it in readings too",
        ),
        ({READINGS: NAMES[READINGS]}, "one of the datasets metrics, found 'readings', which is called metrics now"),
        ({LEVELS: LEVELS.replace("levels", "heights, renamed_from: levels")}, "found 'levels', which is called heights now"),
        (
            {READINGS: NAMES[READINGS], LEVELS: LEVELS.replace("[readings]", "[metrics]")},
            "expected a table among metrics, found readings: it was renamed to metrics, write that",
        ),
        ({READINGS: "- name: metrics\n    renamed_from: a/b\n"}, "renamed_from"),
    ],
)  # fmt: skip
def test_check_says_what_cannot_be_renamed_and_what_refers_to_the_old_name(
    tmp_path: Path, changes: dict[str, str], line: str
) -> None:
    with pytest.raises(ConfigError):
        shop(tmp_path / "home", tmp_path / "shop", changes)
    (report,) = check_project([tmp_path / "shop"], {})
    assert any(line in mistake.message for mistake in report.mistakes), [m.message for m in report.mistakes]


def test_a_pipeline_that_borrows_a_renamed_dataset_is_told_its_name(tmp_path: Path) -> None:
    shop(tmp_path / "home", tmp_path / "shop", NAMES)
    other = tmp_path / "other"
    other.mkdir()
    (other / "pipeline.yaml").write_text("pipeline: other\ndatasets:\n  - ref: shop/readings\n")
    report = check_project([tmp_path / "shop", other], {})[1]
    assert "found 'shop/readings', which is called shop/metrics now" in report.mistakes[0].message


def test_names_that_went_through_several_hands_lead_to_the_first() -> None:
    renames = Renames([Rename("p/a", "p/b", "dataset"), Rename("p/b", "p/c", "dataset")])
    assert renames.names("p/c") == ("p/a", "p/b", "p/c")
    assert renames.key("p/c/raw_events@2026-01-01") == "p/a/raw_events@2026-01-01"
    assert renames.key("p/b@7") == "p/a@7" and renames.key("p/cc/x") == "p/cc/x"
    assert renames.key("s3://bucket/p/c") == "s3://bucket/p/c" and renames.key("c") == "c"
