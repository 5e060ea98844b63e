"""A masked copy of a pipeline: no person in it anywhere, orchestrai trains on it, and the trail says who made it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.privacy.masking.keyed_values import MaskKey
from orchestrai.provenance.audit_trail import trail
from orchestrai.provenance.masking.export_record import EXPORTS
from orchestrai.provenance.masking.masked_copy import MaskedCopy, Request, write_masked_copy
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.audit import audit
from orchestrai.settings import load_settings

KEY = MaskKey(b"k" * 32)
DAYS = [f"2026-10-{day:02d}" for day in range(1, 10)]
CANARY = "Ottilie-Canary"
PIPELINE = """
pipeline: clinic
owner: ottilie@canary.example
datasets:
  - name: people
    source: {url: "${PEOPLE_URL:-landing/people/}", format: csv}
    contract: people.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}
    backup: {every: "0 2 * * *", replica: "${REPLICA_URL:-}", lock: 30d}
  - name: visits
    source: {url: landing/visits/, format: jsonl}
    contract: visits.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}
    backup: {every: "0 2 * * *"}
features:
  - {name: levels, from: [visits, people], entity: patient, event_time: ts, lookback: {time: 30d},
     sql: "SELECT v.patient, v.ts, v.level, COALESCE(p.born_year, 0) AS born FROM visits AS v LEFT JOIN people AS p
       ON p.id = v.patient AND p.ts <= v.ts"}
models:
  - name: alarm
    features: [levels]
    entity: patient
    label: {sql: "SELECT patient, ts, CASE WHEN worse THEN 1 ELSE 0 END AS label FROM visits", horizon: 1m}
    estimator: {xgboost: {max_depth: 2, num_boost_round: 4}}
    split: {by: time, test_share: 0.25, gap: 1m}
    promote_when: {metric: auc, at_least: 0.5}
    registry: "${ALARM_REGISTRY:-}"
"""
PEOPLE = """
kind: DataContract
apiVersion: v3.0.2
name: people
version: 1.0.0
team: {name: ottilie.canary@example.org}
schema:
  - name: people
    properties:
      - {name: id, physicalName: ID, logicalType: string, primaryKey: true, classification: pii, logicalTypeOptions: {pattern: '^p-.*$'}}
      - {name: name, logicalType: string, required: true, classification: pii, examples: [Ottilie-Canary Schmidt]}
      - {name: email, logicalType: string, classification: restricted}
      - {name: born, logicalType: date, classification: pii}
      - {name: born_year, logicalType: integer}
      - {name: consent, logicalType: boolean, classification: sensitive}
      - {name: ward, logicalType: string, classification: public, enum: [{value: north}, {value: south}]}
      - {name: note, logicalType: string}
      - {name: ts, logicalType: timestamp, required: true, classification: public}
customProperties:
  - {property: eventTime, value: ts}
  - {property: volume, value: {method: none}}
  - {property: keyAcrossPartitions, value: "off"}
"""
VISITS = """
kind: DataContract
apiVersion: v3.0.2
name: visits
version: 1.0.0
schema:
  - name: visits
    properties:
      - {name: patient, logicalType: string, required: true, classification: pii}
      - {name: ts, logicalType: timestamp, required: true, classification: public}
      - {name: level, logicalType: integer, required: true, classification: public}
      - {name: worse, logicalType: boolean, required: true, classification: public}
      - {name: remark, logicalType: string, classification: public}
customProperties:
  - {property: eventTime, value: ts}
  - {property: volume, value: {method: none}}
"""


def patient(number: int) -> str:
    return f"p-{number}-{CANARY}"


class Clinic:
    """A home with nine patients, one of whom is new on each of nine days."""

    def __init__(self, folder: Path, remark: str = "calm", days: Sequence[str] = DAYS) -> None:
        self.folder, home = folder, folder / "home"
        declared = folder / "declared" / "clinic"
        declared.mkdir(parents=True)
        for name, text in (("pipeline.yaml", PIPELINE), ("people.contract.yaml", PEOPLE), ("visits.contract.yaml", VISITS)):
            (declared / name).write_text(text)
        for day in days:
            people, visits = home / "landing" / "people" / f"{day}.csv", home / "landing" / "visits" / f"{day}.jsonl"
            for path in (people, visits):
                path.parent.mkdir(parents=True, exist_ok=True)
            header = "ID,name,email,born,born_year,consent,ward,note,ts"
            number = int(day[-1])
            person = [
                patient(number),
                f"{CANARY} {number}",
                f"canary{number}@example.org",
                f"1944-05-{10 + number}",
                f"{1940 + number}",
            ]
            people.write_text(f"{header}\n{','.join(person)},true,north,hates {CANARY},{day}T00:00:00Z\n")
            for n in range(24):
                level = (n * 37 + number * 11) % 100
                visit = {"patient": patient(n % 9 + 1), "ts": f"{day}T{n:02d}:00:00Z", "level": level}
                visit |= {"worse": (level > 60) ^ ((n * 7 + number) % 10 == 0), "remark": remark if n % 5 else None}
                with visits.open("a") as stream:
                    stream.write(json.dumps(visit) + "\n")
        self.runtime = Runtime(load_settings(home=home), load_project([declared], {}))
        run_all(self.runtime, list(days), stages=("raw_events", "snapshot"))

    def copy(self, to: str, key: MaskKey = KEY, *asked: tuple[str, str]) -> MaskedCopy:
        request = Request(("clinic",), "ana", "new starter", asked)
        return write_masked_copy(self.runtime.project, self.runtime.ledger, request, key, self.folder / to)


LEARNING = ("raw_events", "snapshot", "restored", "features", "training_set", "candidate", "evaluation", "champion")


def run_all(runtime: Runtime, days: list[str], stages: tuple[str, ...] = LEARNING) -> None:
    for node in runtime.project.nodes.values():
        if (
            node.executable
            and node.stage.name not in ("catalog", "predictions")
            and (not stages or node.stage.name in stages)
        ):
            report = runtime.run(node, days if node.grain != "all" else ["all"])
            assert not report.refused, (node.asset, [v for v in report.refused[0].verdicts if not v.passed])


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    return Clinic(tmp_path_factory.mktemp("clinic"))


@pytest.fixture(scope="module")
def copied(clinic: Clinic) -> tuple[Path, MaskedCopy]:
    return clinic.folder / "copy", clinic.copy("copy")


def everything(folder: Path) -> Iterator[tuple[str, str]]:
    """All that a folder says: names, bytes, and the decoded cells of Parquet files."""
    for path in sorted(folder.rglob("*")):
        yield str(path), path.name
        if path.is_file():
            yield str(path), path.read_bytes().decode("utf-8", "replace")
            if path.suffix == ".parquet":
                file = pq.ParquetFile(path)
                yield str(path), f"{file.read().to_pylist()} {file.metadata.to_dict()}"


def rows(folder: Path, dataset: str) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((folder / "landing" / "clinic" / dataset).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def test_no_canary_is_in_any_byte_of_the_copy(copied: tuple[Path, MaskedCopy]) -> None:
    folder, made = copied
    assert made.files == 18 and made.record.rows == 9 * (1 + 24)
    for place, text in everything(folder):
        for canary in ("canary", "ottilie"):
            assert canary not in text.lower(), place


def test_rows_join_as_before_and_bands_and_public_columns_are_what_they_are(copied: tuple[Path, MaskedCopy]) -> None:
    folder, made = copied
    people, visits = rows(folder, "people"), rows(folder, "visits")
    assert {row["patient"] for row in visits} == {row["id"] for row in people} and len({row["id"] for row in people}) == 9
    assert {row["born_year"] for row in people} == {1000} and {str(row["born"])[-2:] for row in people} == {"01"}
    assert {row["ward"] for row in people} == {"north"} and {row["level"] for row in visits} >= {2, 11}
    assert made.record.columns["clinic/people"] == {
        "id": "token", "name": "token", "email": "token", "born": "band", "born_year": "band", "consent": "synthetic", "ward": "copy",
        "note": "token", "ts": "copy",
    }  # fmt: skip


def test_orchestrai_itself_trains_on_the_copy(copied: tuple[Path, MaskedCopy], tmp_path: Path) -> None:
    folder, _ = copied
    project = load_project([folder / "pipelines" / "clinic"], {})
    dataset = project.dataset("clinic/people")
    assert not dataset.spec.backup.replica and dataset.contract.column("id").pattern is None
    assert dataset.contract.primary_key == ("id",) and dataset.contract.column("ward").allowed == ("north", "south")
    runtime = Runtime(load_settings(home=folder), project)
    run_all(runtime, DAYS)
    assert runtime.ledger.open("clinic/alarm/champion").version
    # what was landed is what is learned from, row by row
    assert sum(entry.rows for entry in runtime.ledger.open("clinic/visits/restored").partitions.values()) == 9 * 24


def test_the_same_key_gives_the_same_files_and_another_key_others(clinic: Clinic, copied: tuple[Path, MaskedCopy]) -> None:
    again, other = clinic.copy("again"), clinic.copy("other", MaskKey(b"o" * 32))
    assert again.record.files == copied[1].record.files != other.record.files
    assert {row["id"] for row in rows(clinic.folder / "other", "people")}.isdisjoint(
        row["id"] for row in rows(clinic.folder / "again", "people")
    )


def test_the_trail_tells_of_it_in_lake_and_vault_and_the_audit_holds(
    clinic: Clinic, copied: tuple[Path, MaskedCopy]
) -> None:
    folder, made = copied
    ledger = clinic.runtime.ledger
    assert ledger.vault is not None
    for store in (ledger.lake, ledger.vault):
        events = [
            event for event in trail(Records(store, ledger.keyring)) if event.record == EXPORTS.key(made.record.digest)
        ]
        assert [(event.action, event.subject, event.why) for event in events] == [("masked export", "clinic", "new starter")]
        assert events[0].who.startswith("ana (key ") and "225 rows of 2 datasets" in events[0].what
    assert (folder / "masked-export.json").read_bytes() == ledger.lake.read(EXPORTS.key(made.record.digest))
    assert audit(ledger.vault, ledger.keyring).ok


def test_a_public_column_that_names_a_patient_stops_the_copy_and_nothing_is_written(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, remark=f"asked for {patient(3)} again", days=DAYS[:1])
    with pytest.raises(IntegrityError, match=r"clinic/visits\.remark"):
        clinic.copy("copy")
    assert not (tmp_path / "copy").exists() and not EXPORTS.keys(clinic.runtime.ledger.lake)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".export-")]
    made = clinic.copy("copy", KEY, ("clinic/visits.remark", "token"))
    assert made.record.columns["clinic/visits"]["remark"] == "token"


def test_days_of_before_a_column_came_or_went_are_copied_as_the_contract_has_them_now(clinic: Clinic) -> None:
    folder = clinic.folder / "younger" / "clinic"
    folder.mkdir(parents=True)
    for path in (clinic.folder / "declared" / "clinic").iterdir():
        text = path.read_text().replace("      - {name: remark, logicalType: string, classification: public}\n", "")
        (folder / path.name).write_text(
            text.replace("- {name: note, logicalType: string}", "- {name: nick, logicalType: string}")
        )
    request = Request(("clinic",), "ana", "r")
    made = write_masked_copy(load_project([folder], {}), clinic.runtime.ledger, request, KEY, clinic.folder / "young")
    assert "remark" not in made.record.columns["clinic/visits"] and "note" not in made.record.columns["clinic/people"]
    assert {row["nick"] for row in rows(clinic.folder / "young", "people")} == {None}
    assert not any("canary" in text.lower() for _, text in everything(clinic.folder / "young"))


def test_contracts_that_lie_elsewhere_stay_as_they_are_and_the_copy_has_its_own(clinic: Clinic, tmp_path: Path) -> None:
    folder = tmp_path / "declared" / "clinic"
    folder.mkdir(parents=True)
    people, visits = tmp_path / "people.yaml", tmp_path / "visits.yaml"
    people.write_text(PEOPLE)
    visits.write_text(VISITS)
    text = PIPELINE.replace("people.contract.yaml", str(people)).replace("visits.contract.yaml", "../../visits.yaml")
    (folder / "pipeline.yaml").write_text(text)
    fresh = Runtime(load_settings(home=tmp_path / "fresh"), load_project([folder], {}))
    write_masked_copy(fresh.project, fresh.ledger, Request(("clinic",), "ana", "r"), KEY, tmp_path / "copies" / "one")
    assert (people.read_text(), visits.read_text()) == (PEOPLE, VISITS)
    copied = load_project([tmp_path / "copies" / "one" / "pipelines" / "clinic"], {}).dataset("clinic/people")
    assert copied.contract.column("id").pattern is None


def test_a_pipeline_that_has_published_nothing_gives_declarations_alone(clinic: Clinic, tmp_path: Path) -> None:
    fresh = Runtime(load_settings(home=tmp_path / "fresh"), clinic.runtime.project)
    made = write_masked_copy(fresh.project, fresh.ledger, Request(("clinic",), "ana", "r"), KEY, tmp_path / "empty")
    assert (made.files, made.record.rows, made.spans) == (0, 0, {}) and load_project(
        [tmp_path / "empty" / "pipelines" / "clinic"], {}
    )


def test_a_wrong_request_is_told_before_anything_is_read(clinic: Clinic) -> None:
    with pytest.raises(ConfigError, match=r"PIPELINE/DATASET\.COLUMN"):
        clinic.copy("wrong", KEY, ("visits.remark", "token"))
    (clinic.folder / "taken").mkdir(exist_ok=True)
    with pytest.raises(ConfigError, match="expected a new place"):
        clinic.copy("taken")
    with pytest.raises(ConfigError, match="expected a reason"):
        write_masked_copy(
            clinic.runtime.project, clinic.runtime.ledger, Request(("clinic",), "", " "), KEY, clinic.folder / "none"
        )


def test_the_command_writes_it_with_the_sites_own_key(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from orchestrai.cli.app import app

    monkeypatch.setenv("ORCHESTRAI_HOME", str(clinic.runtime.settings.home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(clinic.folder / "declared"))
    done = CliRunner().invoke(
        app, ["export", "clinic", "--masked", "--to", str(tmp_path / "dev"), "--as", "clinic/visits.remark=token", "--json"]
    )
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    key = clinic.runtime.settings.key_folder / "masking.key"
    assert body["rows"] == 225 and key.stat().st_mode & 0o777 == 0o600
    assert not any(path.name == key.name for path in (tmp_path / "dev").rglob("*"))
    again = CliRunner().invoke(
        app, ["export", "clinic", "--masked", "--to", str(tmp_path / "two"), "--as", "clinic/visits.remark=token", "--json"]
    )
    assert json.loads(again.stdout)["files"] == body["files"]
