"""Entry points of installed packages: found when a name is unknown, told with their package, refused where they claim too much."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrai.core import plugins
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.features.engines.added_engine import AddedEngine
from orchestrai.features.spec import check_engine
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.settings import Settings
from orchestrai.storage.databases.open_table import Place
from orchestrai.storage.url import open_store
from orchestrai_tests.plugins.installing import importable, install

PIPELINE = """pipeline: shop
datasets:
  - name: orders
    source: {{url: "acme-shelf://{home}/landing.sqlite", format: csv}}
    contract: orders.contract.yaml
    partitions: {{grain: day, start: 2026-01-02}}
    backup: {{every: "0 2 * * *", keep: {{last: 3}}}}
  - name: visits
    source: {{url: "acme-journal://{home}/journal.jsonl", format: sql, sql: {{table: visits}}}}
    contract: visits.contract.yaml
    partitions: {{grain: day, start: 2026-01-02}}
    backup: {{every: "0 2 * * *", keep: {{last: 3}}}}
features:
  - name: amounts
    from: [orders]
    entity: order_id
    event_time: at_
    lookback: {{rows: 0}}
    engine: acme-single
    sql: SELECT order_id, at_, amount * 2 AS twice FROM orders
"""
ORDERS = """kind: DataContract
apiVersion: v3.0.2
id: orders
name: orders
version: 1.0.0
status: draft
schema:
  - name: orders
    properties:
      - {name: order_id, logicalType: integer, required: true}
      - {name: at_, logicalType: timestamp, required: true}
      - {name: amount, logicalType: number}
customProperties:
  - {property: eventTime, value: at_}
"""
VISITS = """kind: DataContract
apiVersion: v3.0.2
id: visits
name: visits
version: 1.0.0
status: draft
schema:
  - name: visits
    properties:
      - {name: id, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: at, logicalType: timestamp, required: true}
customProperties:
  - {property: eventTime, value: at}
"""
ALERTS = "receivers: [{{name: acme, plugin: {{name: acme-pager, options: {{file: '{home}/told.jsonl'}}}}}}]\n"
DAY = "2026-01-02"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, in which packages are installed; what was found before is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    with importable(folder, monkeypatch, "acme") as path:
        yield path


def test_each_kind_is_found_by_its_name_and_says_whose_it_is(path: Path, tmp_path: Path) -> None:
    install(path)
    assert [(one.kind, one.name, one.origin) for one in plugins.installed() if one.name.startswith("acme")] == [
        ("engines", "acme-single", "acme-orchestrai 1.2"),
        ("estimators", "acme-linear", "acme-orchestrai 1.2"),
        ("notifiers", "acme-pager", "acme-orchestrai 1.2"),
        ("sources", "acme-journal", "acme-orchestrai 1.2"),
        ("stores", "acme-shelf", "acme-orchestrai 1.2"),
    ]
    store = open_store(f"acme-shelf://{tmp_path}/s.sqlite")
    store.write("a", b"1")
    assert open_store(f"acme-shelf://{tmp_path}/s.sqlite").read("a") == b"1"
    assert AddedEngine("acme-single").name.endswith("by acme-orchestrai 1.2")
    assert Place(f"acme-journal://{tmp_path}/j.jsonl").plugin is not None


def test_what_nobody_adds_is_refused_with_the_names_that_are_known(path: Path) -> None:
    with pytest.raises(ConfigError, match="found ftp: correct it, or install the package that adds it"):
        open_store("ftp://host/x")
    install(path)
    plugins.installed.cache_clear()
    with pytest.raises(ConfigError, match="az://, abfss:// or gs://, acme-shelf://, found ftp"):
        open_store("ftp://host/x")
    with pytest.raises(ConfigError, match=r"\(auto, duckdb, spark, acme-single\), found 'polars'"):
        check_engine("polars")


def test_a_name_of_ours_is_never_looked_for_elsewhere(path: Path, tmp_path: Path) -> None:
    points = "[orchestrai.stores]\nfile = nowhere:Store\ns3 = nowhere:Store\n[orchestrai.engines]\nduckdb = nowhere:Engine\n"
    install(path, "usurper", points=points)
    assert open_store(f"file://{tmp_path}").url.startswith("file:")
    assert check_engine("duckdb") == "duckdb"


def test_two_packages_that_claim_one_name_are_both_named(path: Path, tmp_path: Path) -> None:
    install(path)
    install(path, "other", "3", points="[orchestrai.stores]\nacme-shelf = elsewhere:Shelf\n")
    with pytest.raises(ConfigError, match=r"found acme-orchestrai 1\.2 and other 3: remove one of them"):
        open_store(f"acme-shelf://{tmp_path}/s.sqlite")


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("no_such_module:Store", "ModuleNotFoundError"),
        ("json:NoSuchStore", "AttributeError"),
        ("builtins:dict", "found ValueError"),
        ("builtins:str", "found str without delete, head, list"),
    ],
)
def test_a_package_that_is_broken_is_told_with_its_name_and_version(path: Path, target: str, found: str) -> None:
    install(path, "broken", "0.1", points=f"[orchestrai.stores]\nbroken = {target}\n")
    with pytest.raises(ConfigError, match=found) as told:
        open_store("broken://x")
    assert "broken 0.1" in told.value.message


def test_a_notifier_takes_its_own_options_and_no_secret_among_them(path: Path, tmp_path: Path) -> None:
    install(path)
    (tmp_path / "alerts.yaml").write_text(ALERTS.format(home=tmp_path))
    assert list(tellers_of(Settings(home=tmp_path)).receivers) == ["acme"]
    (tmp_path / "alerts.yaml").write_text(
        "receivers: [{name: a, plugin: {name: acme-pager, options: {file: 'https://u:secret@host/x'}}}]\n"
    )
    with pytest.raises(DeclarationError, match="expected a reference") as told:
        tellers_of(Settings(home=tmp_path))
    assert "secret@" not in told.value.message
    (tmp_path / "alerts.yaml").write_text("receivers: [{name: a, plugin: {name: pigeon}}]\n")
    with pytest.raises(DeclarationError, match=r"of an installed package \(acme-pager\), found pigeon"):
        tellers_of(Settings(home=tmp_path))


def test_data_goes_from_a_strangers_store_and_table_through_a_strangers_engine_and_says_so(tmp_path: Path) -> None:
    site, home, folder = install(tmp_path / "site"), tmp_path / "home", tmp_path / "pipelines" / "shop"
    folder.mkdir(parents=True)
    home.mkdir()
    (folder / "pipeline.yaml").write_text(PIPELINE.format(home=home))
    (folder / "orders.contract.yaml").write_text(ORDERS)
    (folder / "visits.contract.yaml").write_text(VISITS)
    (home / "alerts.yaml").write_text(ALERTS.format(home=home))
    lines = [json.dumps({"table": "visits", "id": n, "at": f"{DAY}T10:00:{n:02d}+00:00"}) for n in range(9)]
    (home / "journal.jsonl").write_text("\n".join(lines) + "\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        "ORCHESTRAI_HOME": str(home),
        "ORCHESTRAI_PIPELINES": str(folder.parent),
        "HOME_OF_TEST": str(home),
        "DAY_OF_TEST": DAY,
    }

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    run("-c", LAND)
    listed = json.loads(run("-c", CLI, "plugins", "--json"))["plugins"]
    assert {one["distribution"] for one in listed if one["name"].startswith("acme")} == {"acme-orchestrai"}
    found = json.loads(run("-c", RUN).splitlines()[-1])
    assert found == {
        "orders": 3,
        "visits": 9,
        "engine": found["engine"],
        "twice": [2.0, 4.0, 6.0],
        "plugin": "acme-orchestrai 1.2",
    }
    assert found["engine"].startswith("acme-single over duckdb") and found["engine"].endswith("by acme-orchestrai 1.2")
    run("-c", CLI, "alerts", "test")
    assert "nothing is wrong" in (home / "told.jsonl").read_text()


CLI = "from orchestrai.cli import main; main()"
LAND = """
import os
from orchestrai.storage.url import open_store
home, day = os.environ["HOME_OF_TEST"], os.environ["DAY_OF_TEST"]
rows = "".join(f"{n},{day}T10:00:0{n}Z,{n}\\n" for n in (1, 2, 3))
open_store(f"acme-shelf://{home}/landing.sqlite").write(f"{day}.csv", ("order_id,at_,amount\\n" + rows).encode())
"""
RUN = """
import json, os
import pyarrow.parquet as pq
from datetime import UTC, datetime
from orchestrai.pipeline.load import load_project, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
day, settings = os.environ["DAY_OF_TEST"], load_settings()
now = datetime.fromisoformat(day).replace(tzinfo=UTC, hour=12)
runtime = Runtime(settings, load_project(pipeline_folders(settings.pipelines), {}), clock=lambda: now)
for asset in ("orders/raw_events", "orders/snapshot", "orders/restored", "visits/raw_events", "visits/snapshot", "visits/restored",
              "amounts/features"):
    report = runtime.run(runtime.project.nodes[f"shop/{asset}"], [day])
    assert not report.refused, (asset, report.refused)
ledger = runtime.ledger
features = ledger.open("shop/amounts/features")
with features.fetched([day]) as files:
    twice = [value for file in files[day] for value in pq.read_table(file.path)["twice"].to_pylist()]
print(json.dumps({
    "orders": ledger.open("shop/orders/restored").rows, "visits": ledger.open("shop/visits/restored").rows,
    "engine": features.receipt(day).parameters["engine"], "twice": twice,
    "plugin": ledger.open("shop/visits/raw_events").receipt(day).facts["plugin"],
}))
"""


def test_the_page_shows_the_notifier_that_is_tested_here() -> None:
    here = Path(__file__).parent
    page = (here.parents[1] / "docs" / "plugins.md").read_text()
    assert (here / "acme" / "pager.py").read_text().strip() in page
    assert all(f"`{plugins.GROUP}{kind}`" in page for kind in plugins.KINDS)
