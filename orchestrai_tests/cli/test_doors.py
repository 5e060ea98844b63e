"""Every command that uses data or a model asks for the same evidence as a run; what only tells of them works on bad evidence, too."""

import csv
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrai.core.code_identity import Producer
from orchestrai.errors import IntegrityError, NotReceipted, SignatureInvalid
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import open_ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.signing import Signer, load_or_create_signer
from orchestrai.models.registry.serving import ServingModel
from orchestrai.models.registry.target_port import open_champion
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.forgery import dropped, forging, trusted
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.small import CANDIDATE, CHAMPION, DAYS, FEATURES, PIPELINE, RESTORED, Small

NOWHERE = "sha256:" + "0" * 64


@dataclass
class Site:
    """A pipeline with two champions, and a key of somebody else's."""

    folder: Path
    small: Small
    other: Signer
    champions: tuple[str, str]

    def anew(self) -> Small:
        """A process that starts now."""
        return Small.at(self.folder)

    def frame(self) -> str:
        """Entities and moments of one's own."""
        path = self.folder / "who.csv"
        with path.open("w", newline="") as sink:
            csv.writer(sink).writerows([("device_id", "event_timestamp"), ("d0", "2026-10-09T23:00:00Z")])
        return str(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("doors")
    small = Small.at(folder)
    small.land(*DAYS)
    small.publish(*DAYS[:8])
    first = small.train()
    small.publish(DAYS[8])
    second = small.train()
    assert first != second
    return folder, (first, second)


@pytest.fixture
def site(built: tuple[Path, tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site"
    shutil.copytree(built[0], folder)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(folder / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(folder))
    return Site(folder, Small.at(folder), load_or_create_signer(tmp_path / "other"), built[1])


# -- forgeries ----------------------------------------------------------------------------------------------------

LACKS = {
    "verdict": "a verdict of every gate",
    "input": "as its inputs? for|as its input for",
    "root": "a snapshot in the vault that counts|inputs that were published|as its input for",
}


def forge(site: Site, asset: str, lacks: str) -> str:
    """Publish what nobody made, under a receipt that lacks something; its version."""
    ledger = forging(site.small.runtime, site.other)
    honest = ledger.open(asset)
    day = max(honest.partitions)
    receipt = honest.receipt(day)
    module = {"features": "orchestrai.features.run", "restored": "orchestrai.restore.run"}.get(asset.rsplit("/", 1)[-1])
    stage = asset.rsplit("/", 1)[-1]
    session = ledger.session(asset, Producer(stage, module) if module else producer(stage))
    for entry in honest.files(day).files:
        session.add_entry(day, entry)
    if asset in (CANDIDATE, CHAMPION):
        session.add_bytes(day, f"lacks-{lacks}.txt", b"another model")
    session.add_stats(day, **honest.files(day).stats)
    verdicts = {} if lacks == "verdict" else {day: receipt.verdicts[day]}
    inputs = {
        "verdict": list(receipt.inputs),
        "input": [],
        "root": [replace(ref, partitions=dict.fromkeys(ref.partitions, NOWHERE)) for ref in receipt.inputs],
    }[lacks]
    return str(session.commit(verdicts, inputs=inputs, parameters=receipt.parameters, facts=receipt.facts).version)


def honest_again(site: Site) -> None:
    """What is forged lies behind an honest entry: it is asked for by a rollback alone."""
    ledger = site.small.runtime.ledger
    current = next(head for head in ledger.history(CHAMPION) if head.version == site.champions[1])
    dataset = ledger.dataset(current)
    receipt = dataset.receipt("all")
    session = ledger.session(CHAMPION, producer("champion"))
    for entry in dataset.files("all").files:
        session.add_entry("all", entry)
    session.commit({"all": receipt.verdicts["all"]}, inputs=receipt.inputs, facts=receipt.facts)


def refused(call: Callable[[], object], lacks: str) -> None:
    with pytest.raises(NotReceipted, match=LACKS[lacks]):
        call()


# -- the doors ----------------------------------------------------------------------------------------------------


def features_get(site: Site) -> tuple[int, str]:
    return command("features", "get", "small", "--entities", site.frame(), "--json")


def serve(site: Site) -> tuple[int, str]:
    return command("model", "serve", "alarm", "--port", "0")


def export_proof(site: Site) -> tuple[int, str]:
    return command("model", "export", "alarm@champion", "--format", "proof", "--to", str(site.folder / "proof"))


def export_signed(site: Site) -> tuple[int, str]:
    return command("model", "export", "alarm@champion", "--format", "oms", "--to", str(site.folder / "signed"))


def deploy(site: Site) -> object:
    return open_champion(site.anew().runtime.ledger, CHAMPION)


def predict(site: Site) -> object:
    return site.anew().run("small/alarm/predictions")


MODEL_DOORS = (serve, export_proof, export_signed, deploy, predict)


@pytest.mark.parametrize("lacks", LACKS)
def test_forged_features_are_given_to_nobody(site: Site, lacks: str) -> None:
    trusted(site.small.runtime, site.other)
    forge(site, FEATURES, lacks)
    refused(lambda: features_get(site), lacks)


@pytest.mark.parametrize("lacks", LACKS)
def test_a_forged_champion_is_neither_served_nor_exported_nor_deployed(site: Site, lacks: str) -> None:
    trusted(site.small.runtime, site.other)
    forge(site, CHAMPION, lacks)
    for door in MODEL_DOORS:
        refused(lambda door=door: door(site), lacks)  # type: ignore[misc]
    # a way back is open: the champion before, whose evidence is whole
    code, text = command("model", "rollback", "alarm", "--json")
    assert (code, json.loads(text)["to"]) == (0, site.champions[1])
    assert export_signed(site)[0] == 0


@pytest.mark.parametrize("lacks", LACKS)
def test_a_champion_is_not_rolled_back_to_a_forged_one(site: Site, lacks: str) -> None:
    trusted(site.small.runtime, site.other)
    version = forge(site, CHAMPION, lacks)
    honest_again(site)
    refused(lambda: command("model", "rollback", "alarm", "--to", version), lacks)
    assert site.anew().runtime.ledger.open(CHAMPION).version == site.champions[1]


@pytest.mark.parametrize(
    ("asset", "lacks"), [(FEATURES, "verdict"), (RESTORED, "verdict"), (CHAMPION, "input"), (FEATURES, "root")]
)
def test_a_pipeline_is_not_rolled_back_to_what_nothing_proves(site: Site, asset: str, lacks: str) -> None:
    trusted(site.small.runtime, site.other)
    ledger = site.small.runtime.ledger
    forge(site, asset, lacks)
    if asset == CHAMPION:
        honest_again(site)
        moment = next(head for head in ledger.history(CHAMPION) if head.version not in site.champions).time
    else:
        forged = ledger.open(asset)
        moment = forged.head.time
        day = max(forged.partitions)
        # by now it is honest again, and another day is gone
        session = ledger.session(asset, producer(asset.rsplit("/", 1)[-1]))
        session.commit(drop=[day])
    refused(lambda: command("rollback", "small", "--to", moment, "--apply"), lacks)


def test_what_a_forged_champion_was_made_of_is_asked_for_too(site: Site) -> None:
    """A candidate that nobody trained, promoted under a receipt in which nothing lacks."""
    trusted(site.small.runtime, site.other)
    forge(site, CANDIDATE, "input")
    ledger = forging(site.small.runtime, site.other)
    candidate, before = ledger.open(CANDIDATE), ledger.open(CHAMPION).receipt("all")
    session = ledger.session(CHAMPION, producer("champion"))
    for entry in candidate.files("all").files:
        session.add_entry("all", entry)
    judged = [ref for ref in before.inputs if ref.asset != CANDIDATE]
    inputs = [InputRef(CANDIDATE, candidate.version, candidate.roots()), *judged]
    session.commit({"all": before.verdicts["all"]}, inputs=inputs, facts=before.facts)
    refused(lambda: serve(site), "input")
    # nor does it help to name a candidate whose files it has not
    session = ledger.session(CHAMPION, producer("champion"))
    for entry in candidate.files("all").files:
        session.add_entry("all", entry)
    session.add_bytes("all", "more.txt", b"more")
    session.commit({"all": before.verdicts["all"]}, inputs=before.inputs, facts=before.facts)
    with pytest.raises(NotReceipted, match=r"at sha256:.* as its input for .*champion"):
        export_signed(site)


def test_a_server_keeps_the_model_that_it_had_and_says_why(site: Site) -> None:
    trusted(site.small.runtime, site.other)
    serving = ServingModel(site.small.runtime.ledger, CHAMPION, every=0.0)
    assert serving.current().version == site.champions[1]
    forge(site, CHAMPION, "verdict")
    assert serving.current().version == site.champions[1]
    assert "a verdict of every gate" in serving.problem


@pytest.mark.parametrize("asset", [FEATURES, CHAMPION])
def test_a_dropped_key_that_nobody_signed_for_opens_no_door(site: Site, asset: str) -> None:
    dropped(site.small.runtime, site.other)
    forge(site, asset, "verdict")
    for door in (features_get,) if asset == FEATURES else MODEL_DOORS[:-1]:
        with pytest.raises(SignatureInvalid, match="not on their signed list"):
            door(site)


def test_what_only_tells_of_evidence_works_where_it_is_bad(site: Site) -> None:
    trusted(site.small.runtime, site.other)
    forge(site, FEATURES, "input")
    forge(site, CHAMPION, "verdict")
    ledger, model = site.small.runtime.ledger, site.folder / "model"
    with ledger.showing(), ledger.open(CHAMPION).fetched(["all"]) as files:
        model.write_bytes(next(file.path for file in files["all"] if file.entry.path.startswith("model.")).read_bytes())
    for told in (
        ("model", "list", "alarm"),
        ("model", "trace", "alarm"),
        ("model", "verify", str(model)),
        ("model", "export", "alarm", "--format", "dossier", "--to", str(site.folder / "alarm.html")),
        ("audit",),
        ("report",),
        ("stale",),
    ):
        code, text = command(*told)
        assert code in (0, 1) and text, told


def test_the_ordinary_way_is_open(site: Site) -> None:
    code, text = features_get(site)
    assert code == 0 and json.loads(text)["rows"] == 1
    assert (export_proof(site)[0], export_signed(site)[0]) == (0, 0)
    assert open_champion(site.anew().runtime.ledger, CHAMPION).scorer.version == site.champions[1]
    assert site.anew().run("small/alarm/predictions").version
    # back, and forth again: what was brought back is proven by what it was
    assert command("model", "rollback", "alarm")[0] == 0
    assert site.anew().runtime.ledger.open(CHAMPION).version == site.champions[0]
    assert command("model", "rollback", "alarm", "--to", site.champions[1][7:19])[0] == 0
    assert site.anew().run("small/alarm/predictions").version


def test_what_was_declared_since_does_not_end_the_model_that_serves(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more view, and a check more on the one that it learned from: the next candidate has them, the champion serves on."""
    declared = PIPELINE.replace("ENCRYPT", "").replace("features: [levels]", "features: [levels, halves]")
    declared = declared.replace(
        """more FROM readings"}""",
        """more FROM readings", checks: {null_rate: {more: 0.5}}}
  - {name: halves, from: [readings], entity: device_id, event_time: ts, sql: "SELECT device_id, ts, level / 2 AS half FROM readings"}""",
    )
    monkeypatch.setattr("orchestrai_tests.provenance.small.PIPELINE", declared)
    assert open_champion(site.anew().runtime.ledger, CHAMPION).scorer.version == site.champions[1]
    (site.folder / "declared" / "pipeline.yaml").write_text(declared)
    assert command("model", "rollback", "alarm")[0] == 0
    small = site.anew()
    for asset in (FEATURES, "small/halves/features"):
        small.run(asset, DAYS)
    assert small.train() not in site.champions


def test_serve_answers_with_the_champion(site: Site) -> None:
    script = "import sys; from orchestrai.cli import main; main()"
    arguments = [sys.executable, "-c", script, "model", "serve", "alarm", "--port", "0", "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            told = json.loads("".join(server.stdout.readline() for _ in range(4)))
            assert told["url"].startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{told['url']}/model", timeout=60) as answer:
                assert json.load(answer)["version"] == site.champions[1]
        finally:
            server.terminate()


def test_a_ledger_opened_for_its_records_hands_out_no_byte(site: Site) -> None:
    records = open_ledger(site.small.runtime.settings)
    dataset: Dataset = records.open(CHAMPION)
    assert dataset.receipt("all").stage == "champion"
    with pytest.raises(IntegrityError, match="opened for its records"), dataset.fetched(["all"]):
        pass
