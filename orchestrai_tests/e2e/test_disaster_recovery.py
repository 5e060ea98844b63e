"""docs/disaster-recovery.md, executed: a region is lost with everything in it, and the commands of the page bring the house back elsewhere.

The second region's store is an S3 server; an empty machine there has its URL, the root's key and its fingerprint.
"""

import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.defs.instance import open_instance
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.backup import kept_shop
from orchestrai_tests.backup.kept_shop import FEATURES, MODEL
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.defs.shop import DAYS, csv_of
from orchestrai_tests.docs.pages import ROOT, blocks_of
from orchestrai_tests.servers.s3 import S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.emulator]
PAGE = ROOT / "docs" / "disaster-recovery.md"
LATE = DAYS[4]


@dataclass
class Lost:
    """What is left of a region: the replica's URL, the root's key and fingerprint; and what there was, to compare."""

    replica: str
    root: Path
    fingerprint: str
    old_key: str
    versions: dict[str, str]
    runs: set[str]
    landing: Path


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory, moto: S3Server) -> Iterator[Lost]:
    """A region that worked for four days, was backed up and replicated, took one day more, and is gone."""
    folder = tmp_path_factory.mktemp("regions")
    home, replica = folder / "first", f"s3://{moto.bucket()}/vault"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**moto.environment(), "ORCHESTRAI_HOME": str(home)}.items():
            patch.setenv(name, value)
        patch.delenv("DAGSTER_HOME", raising=False)
        runtime = kept_shop.fresh(home, folder / "declared", more="")
        patch.setenv("ORCHESTRAI_PIPELINES", str(folder / "declared"))
        kept_shop.publish(runtime, kept_shop.PUBLISHED)
        with open_instance(home) as instance:
            for job in ("shop_backup", "orchestrai_backup"):
                runs = {run.run_id for run in instance.get_runs()}
                done = build_definitions(runtime).resolve_job_def(job).execute_in_process(instance=instance)
                assert done.success, job
        assert command("vault", "replicate", "--to", replica)[0] == 0
        keys = json.loads(command("keys", "list", "--json")[1])
        assert command("keys", "export", str(folder / "root.pem"), "--root")[0] == 0
        # after the last replication: a day that is in the lake and in the first region's vault alone
        (home / "landing" / "readings" / f"{LATE}.csv").write_text(csv_of(LATE))
        for stage in ("raw_events", "snapshot"):
            runtime.run(runtime.project.nodes[f"shop/readings/{stage}"], [LATE])
        ledger = runtime.ledger
        assets = (FEATURES, "shop/readings/restored", f"{MODEL}/candidate", f"{MODEL}/champion")
        versions = {asset: ledger.open(asset).version for asset in assets}
        shutil.copytree(home / "landing", folder / "producers")
        own = ledger.signer.key_id
        shutil.rmtree(home)
        shutil.rmtree(folder / "declared")
        yield Lost(replica, folder / "root.pem", fingerprint_in(keys), own, versions, runs, folder / "producers")


def fingerprint_in(keys: object) -> str:
    found = re.search(r'"root": "([0-9a-f]{64})"', json.dumps(keys))
    assert found, keys
    return found[1]


@pytest.fixture
def empty(lost: Lost, tmp_path: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty machine, and a shell there."""
    home = tmp_path / "second"
    home.mkdir()
    variables = {
        **moto.environment(),
        "ORCHESTRAI_HOME": str(home),
        "ORCHESTRAI_VAULT_URL": lost.replica,
        "ORCHESTRAI_PIPELINES": "pipelines",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(lost.root, tmp_path / "root.pem")
    return home


def commands(lost: Lost, third: str) -> list[list[list[str]]]:
    """The blocks of the page, each as the words of its commands, with the places of this test."""
    places = {
        "s3://backup-2/vault": lost.replica,
        "s3://backup-3/vault": third,
        "3f2a 77c1 ...": lost.fingerprint,
        "KEY": lost.old_key,
    }
    found = []
    for block in blocks_of(PAGE, PAGE.read_text(encoding="utf-8")):
        assert block.language == "sh" and block.not_run is None, block.place
        lines = []
        for line in block.text.strip().splitlines():
            words = [places.get(word, os.path.expandvars(word)) for word in shlex.split(line, comments=True)]
            assert words[0] == "orchestrai", line
            lines.append(words[1:])
        found.append(lines)
    return found


def test_the_page_brings_a_lost_region_back_from_its_replica(
    lost: Lost, empty: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    third = str(tmp_path / "third")
    seconds = []
    for number, block in enumerate(commands(lost, third)):
        began = time.monotonic()
        if number == 4:
            # producers of another region hold what they sent
            shutil.copytree(lost.landing, empty / "landing")
        for words in block:
            code, text = command(*words)
            # a watcher may well have something to tell
            assert code == 0 or words[0] == "watch", (words, code, text)
        seconds.append(time.monotonic() - began)
    record_property("seconds of each block", [round(one, 1) for one in seconds])
    runtime = Runtime(Settings(home=empty, vault_url=lost.replica, pipelines="pipelines"))
    ledger = runtime.ledger
    # the same bytes of what was in the vault, and the same model from the same snapshot
    for asset in (FEATURES, f"{MODEL}/champion", f"{MODEL}/candidate"):
        assert ledger.open(asset).version == lost.versions[asset], asset
    restored = ledger.open("shop/readings/restored")
    assert sorted(restored.partitions) == kept_shop.PUBLISHED
    assert restored.version == lost.versions["shop/readings/restored"]
    # lost, as the page says: the day after the last replication, the old key, the runs since the last backup of the instance
    assert LATE not in ledger.open("shop/readings/raw_events").partitions
    code, text = command("landing", "status", "shop/readings", "--json")
    (status,) = json.loads(text)
    assert (status["waiting"], status["raw_events"]) == (1, 4), status
    ended = {key["key"]: key for key in json.loads(command("keys", "list", "--json")[1])["key_log"]["keys"]}
    assert ended[lost.old_key]["ended"], ended
    with open_instance(empty) as instance:
        assert {run.run_id for run in instance.get_runs()} >= lost.runs
        assert len(instance.get_materialized_partitions(asset_key(FEATURES))) == len(kept_shop.PUBLISHED)
    # what landed elsewhere is taken by the next run, and only it
    done = command("backfill", "shop", "--from", LATE, "--to", LATE, "--no-models")
    assert done[0] == 0, done[1]
    new = Runtime(runtime.settings).ledger
    assert sorted(new.open("shop/readings/restored").partitions) == [*kept_shop.PUBLISHED, LATE]
