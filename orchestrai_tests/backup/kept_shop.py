"""The small shop of the gate's tests, four days published up to its champion, with everything that is kept declared."""

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.load import Project, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.defs.shop import CONTRACT, DAYS, NOW, PIPELINE, csv_of

PUBLISHED = DAYS[:4]
VIEW, MODEL, DATABASE = "shop/levels", "shop/alarm", "shop/crm"
FEATURES, RAW = f"{VIEW}/features", "shop/readings/raw_events"
CRM = "\ndatabases:\n  - {name: crm, dsn_env: CRM_URL, minimum_rows: 2, keep: {last: 2}}\n"


def declared(folder: Path, more: str = CRM, changes: Mapping[str, str] | None = None) -> Path:
    """The pipeline's folder; `more` is appended, `changes` replaces text in the declaration."""
    # the label follows from the feature, which elsewhere would be taken for a leak
    text = PIPELINE.replace("at_least: 0.5}", "at_least: 0.5}\n    alarm_above: 1")
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(text + more)
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    return folder


def project(folder: Path, more: str = CRM, changes: Mapping[str, str] | None = None) -> Project:
    return load_project([declared(folder, more, changes)], {})


def materialize(runtime: Runtime, asset: str, partitions: list[str] | None = None) -> StageReport:
    return runtime.run(runtime.project.nodes[asset], partitions or ["all"])


def publish(runtime: Runtime, days: list[str]) -> None:
    """Landing to champion."""
    landing = runtime.settings.home / "landing" / "readings"
    landing.mkdir(parents=True, exist_ok=True)
    for day in days:
        (landing / f"{day}.csv").write_text(csv_of(day))
    for stage in ("readings/raw_events", "readings/snapshot", "readings/restored", "levels/features"):
        assert not materialize(runtime, f"shop/{stage}", days).refused, stage
    for stage in ("training_set", "candidate", "evaluation", "champion"):
        assert not materialize(runtime, f"{MODEL}/{stage}").refused, stage


def fresh(home: Path, folder: Path, more: str = CRM, changes: Mapping[str, str] | None = None) -> Runtime:
    """A runtime on some home, as a new process would have it."""
    return Runtime(Settings(home=home), project(folder, more, changes), clock=lambda: NOW)


def copied(base: Path, home: Path) -> Path:
    shutil.copytree(base, home, copy_function=shutil.copy2)
    return home


def make_sqlite(path: Path, rows: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT)")
        opened.executemany("INSERT INTO customer (name) VALUES (?)", [(f"customer {n}",) for n in range(rows)])
    return path


def make_instance(home: Path) -> Path:
    """What Dagster's SQLite storages look like: runs, an index of events, a database for each run, schedules."""
    base = home / "dagster"
    for name, rows in (
        ("history/runs.db", 4),
        ("history/runs/index.db", 9),
        ("history/runs/r1.db", 5),
        ("schedules/s.db", 1),
    ):
        make_sqlite(base / name, rows)
    return base
