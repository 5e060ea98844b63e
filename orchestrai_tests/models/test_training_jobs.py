"""Azure ML and Vertex AI behind one port: requests held against the published interfaces, answers from a loopback service.

Nothing here ran on Azure or Google Cloud. The service below keeps what it was asked and runs the script that a container would.
"""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ModelError, StorageError, TransientStorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators import boosting
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.remote import azureml, vertex
from orchestrai.models.remote.script_job import ScriptTrainer
from orchestrai.models.remote.spec import AzureMLTraining, VertexTraining
from orchestrai.models.rows import Rows, encode, infer_columns
from orchestrai.models.spec import ModelSpec
from orchestrai.models.training import train
from orchestrai.provenance.export.page import trace_html
from orchestrai.provenance.export.text_tree import trace_text
from orchestrai.provenance.trace import trace
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai_tests.clouds.aws_model import OutsideModel
from orchestrai_tests.clouds.azure_model import azure_machine_learning
from orchestrai_tests.clouds.google_document import google_document
from orchestrai_tests.clouds.google_service import GoogleService, Held
from orchestrai_tests.clouds.loopback import Reply, serving
from orchestrai_tests.models.conftest import CANDIDATE, TRAINING_SET, customers, publish, spec

TREES = {"num_boost_round": 12, "max_depth": 3, "subsample": 0.8, "early_stopping_rounds": 4}
AZURE = {"running": "Running", "done": "Completed", "failed": "Failed", "cancelled": "Canceled"}
VERTEX = {
    "running": "JOB_STATE_RUNNING",
    "done": "JOB_STATE_SUCCEEDED",
    "failed": "JOB_STATE_FAILED",
    "cancelled": "JOB_STATE_CANCELLED",
}


class Cloud:
    """Both interfaces, as small as they are used; a job ends after `looks` looks at it."""

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self.jobs: dict[str, dict[str, Any]] = {}
        self.state: dict[str, str] = {}
        self.looks, self.ends_as, self.broken = 1, "done", 0
        self.tokens: set[str] = set()
        # a process of its own takes seconds to start, so only one test has it
        self.processes = False
        self.url = ""
        self.faults: list[str] = []
        self.vertex = GoogleService(
            "aiplatform.v1", ("europe-west4",), look=self._look_at_vertex, cancel=self._cancel_on_vertex
        )

    def run(self, job: str) -> None:
        """What the container does."""
        folder = self.staging / job
        if self.processes:
            subprocess.run([sys.executable, folder / "train.py", folder, folder / "output"], check=True, timeout=120)
        else:
            runpy.run_path(str(folder / "train.py"))["main"](folder, folder / "output")

    def look(self, job: str) -> str:
        if self.state[job] == "running":
            self.looks -= 1
            if self.looks <= 0:
                self.state[job] = self.ends_as
                if self.ends_as == "done":
                    self.run(job)
        return self.state[job]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.broken:
            self.broken -= 1
            return 503, {"error": {"code": "ServiceUnavailable", "message": "try later"}}
        if "Microsoft" not in path:
            return self.vertex.answer(method, path, body)
        return self._azure(method, path, body)

    def _azure(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        try:
            operation, job = azure_machine_learning().request(method, url, body)
        except OutsideModel as exc:
            self.faults.append(str(exc))
            return 400, {"error": {"code": "BadRequest", "message": str(exc)}}
        if operation == "jobs_create_or_update":
            self.jobs[job], self.state[job] = body, "running"
            return 201, {**body, "name": job}
        if job not in self.jobs:
            return 404, {"error": {"code": "UserError", "message": "not found"}}
        if operation == "jobs_cancel":
            self.state[job] = "cancelled"
            return 202, None
        answer = {"name": job, "properties": {**self.jobs[job]["properties"], "status": AZURE[self.look(job)]}}
        azure_machine_learning().check(answer, "JobBase")
        return 200, answer

    def _look_at_vertex(self, held: Held) -> None:
        job = held.body["displayName"]
        self.jobs[job] = held.body
        self.state.setdefault(job, "running")
        held.told["state"] = VERTEX[self.look(job)]
        if self.state[job] == "done":
            held.told.update(startTime="2026-01-01T00:00:00Z", endTime="2026-01-01T00:01:30.000000001Z")
        if self.state[job] == "failed":
            held.told["error"] = {"message": "out of memory"}

    def _cancel_on_vertex(self, held: Held) -> None:
        self.state[held.body["displayName"]] = "cancelled"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "staging")

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        cloud.tokens.add(headers["Authorization"])
        status, told = cloud.answer(method, url, json.loads(body) if body else None)
        return status, {}, told

    with serving(ask) as cloud.url:
        yield cloud
    assert cloud.vertex.faults == cloud.faults == []


def _azure(cloud: Cloud, **changes: Any) -> AzureMLTraining:
    fields = {
        "subscription": "00000000-1111-2222-3333-444444444444",
        "resource_group": "rg",
        "workspace": "wks",
        "environment": "azureml:trees:3",
        "staging": str(cloud.staging),
        "datastore": "azureml://datastores/jobs/paths/orchestrai",
        "endpoint": cloud.url,
        "price_per_hour": 0.5,
        "poll": "1s",
    }
    return AzureMLTraining.model_validate({**fields, **changes})


def _vertex(cloud: Cloud, **changes: Any) -> VertexTraining:
    fields = {
        "project": "my-project",
        "location": "europe-west4",
        "image": "europe-docker.pkg.dev/my-project/trees:3",
        "bucket": "gs://jobs/orchestrai",
        "staging": str(cloud.staging),
        "endpoint": cloud.url,
        "price_per_hour": 0.5,
        "poll": "1s",
    }
    return VertexTraining.model_validate({**fields, **changes})


def _trainer(service: str, cloud: Cloud, **changes: Any) -> ScriptTrainer:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 60

    clocks: dict[str, Any] = {"token": lambda: "secret-token", "clock": Clock(sleep, lambda: now[0])}
    if service == "azure":
        return azureml.azureml_trainer(_azure(cloud, **changes), **clocks)
    return vertex.vertex_trainer(_vertex(cloud, **changes), **clocks)


def _rows(seed: int = 1) -> Rows:
    table = customers(seed=seed, per_moment=60)
    return encode(table, infer_columns(table, spec()), spec().entity)


def _train(trainer: ScriptTrainer, seed: int = 1) -> Any:
    params = spec(estimator={"xgboost": TREES}).estimator.xgboost
    assert params is not None
    return trainer.train("churn", params, "binary", _rows(seed), _rows(seed + 1))


BOTH = pytest.mark.parametrize("service", ["azure", "vertex"])


@BOTH
def test_the_job_gives_the_bytes_of_a_local_training_and_tells_its_cost(cloud: Cloud, service: str) -> None:
    cloud.looks, cloud.processes = 3, service == "vertex"
    trees, job = _train(_trainer(service, cloud))
    params = spec(estimator={"xgboost": TREES}).estimator.xgboost
    assert params is not None
    assert trees.encode() == boosting.fit(params, "binary", _rows(), _rows(2)).encode()
    assert job.usd is not None and job.name in cloud.jobs and not job.spot
    if service == "vertex":
        assert job.seconds == 90 and job.usd == pytest.approx(0.0125)
    assert cloud.tokens == {"Bearer secret-token"} and len(cloud.jobs) == 1


@BOTH
def test_nothing_that_names_a_person_leaves_for_the_job(cloud: Cloud, service: str) -> None:
    _train(_trainer(service, cloud))
    sent = b"".join(path.read_bytes() for path in cloud.staging.rglob("*") if path.is_file())
    assert b"c00001" not in sent and b"customer_id" not in sent
    assert "customer_id" in customers().column_names


@BOTH
def test_a_job_that_completed_or_runs_is_taken_up_and_other_data_gets_another(cloud: Cloud, service: str) -> None:
    first = _train(_trainer(service, cloud))[1]
    assert _train(_trainer(service, cloud))[1].name == first.name and len(cloud.jobs) == 1
    cloud.looks = 1
    assert _train(_trainer(service, cloud), seed=7)[1].name != first.name and len(cloud.jobs) == 2


@BOTH
def test_after_an_outage_the_next_run_takes_up_the_job_that_still_runs(cloud: Cloud, service: str) -> None:
    cloud.looks = 4
    trainer = _trainer(service, cloud)
    slept = trainer.waiting.clock.sleep

    def outage(seconds: float) -> None:
        slept(seconds)
        cloud.broken = 1

    object.__setattr__(trainer.waiting, "clock", Clock(outage))
    with pytest.raises(TransientStorageError, match="try later"):
        _train(trainer)
    assert set(cloud.state.values()) == {"running"}
    _train(_trainer(service, cloud))
    assert len(cloud.jobs) == 1


@BOTH
def test_a_run_that_is_ended_while_it_waits_cancels_its_job(cloud: Cloud, service: str) -> None:
    cloud.looks = 100
    trainer = _trainer(service, cloud)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    object.__setattr__(trainer.waiting, "clock", Clock(interrupted))
    with pytest.raises(KeyboardInterrupt):
        _train(trainer)
    assert list(cloud.state.values()) == ["cancelled"]


@BOTH
def test_a_job_past_its_time_limit_is_cancelled(cloud: Cloud, service: str) -> None:
    cloud.looks = 10_000
    with pytest.raises(ModelError, match=r"to end within .* it was stopped; raise train_on"):
        _train(_trainer(service, cloud, time_limit="10m"))
    assert list(cloud.state.values()) == ["cancelled"]


@BOTH
def test_a_failed_job_is_told_and_the_next_run_starts_another(cloud: Cloud, service: str) -> None:
    cloud.ends_as = "failed"
    with pytest.raises(ModelError, match=r"to complete, found (Failed|JOB_STATE_FAILED: out of memory)"):
        _train(_trainer(service, cloud))
    cloud.ends_as, cloud.looks = "done", 1
    assert _train(_trainer(service, cloud))[1].name.endswith("-2")


@BOTH
def test_the_service_is_asked_for_no_more_attempts_than_there_are(cloud: Cloud, service: str) -> None:
    trainer, asked = _trainer(service, cloud), []  # type: ignore[var-annotated]
    phase = trainer.service.phase
    trainer.service.phase = lambda job: asked.append(job) or phase(job)  # type: ignore[func-returns-value, method-assign]
    _train(trainer)
    assert asked == [*cloud.jobs] * 2


@BOTH
@pytest.mark.parametrize("junk", [b"\x80\x04.", b"", b"{L"])
def test_an_artifact_that_is_no_model_is_refused(
    cloud: Cloud, service: str, junk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(job: str) -> None:
        output = cloud.staging / job / "output"
        output.mkdir(parents=True)
        (output / "model.ubj").write_bytes(junk)
        (output / "done.json").write_bytes(b"{}")

    monkeypatch.setattr(cloud, "run", run)
    with pytest.raises(ModelError, match="expected an XGBoost model in UBJ"):
        _train(_trainer(service, cloud))


def test_a_refusal_of_the_cloud_is_told_in_its_own_words(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = (403, {"error": {"code": "AuthorizationFailed", "message": "no right to jobs/write"}})
    monkeypatch.setattr(cloud, "answer", lambda *_: refusal)
    with pytest.raises(StorageError, match=r"403 AuthorizationFailed: no right to jobs/write"):
        _train(_trainer("azure", cloud))


@pytest.mark.parametrize("place", ["azure_ml", "vertex"])
def test_the_same_declaration_trains_there_and_the_receipt_has_the_job(
    ledger: Ledger, cloud: Cloud, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = azureml if place == "azure_ml" else vertex
    monkeypatch.setattr(module, "_token", lambda: "t")
    where = (_azure if place == "azure_ml" else _vertex)(cloud, spot=True, time_limit="90m")
    fields = where.model_dump(exclude_none=True)
    model: ModelSpec = spec(estimator={"xgboost": TREES}, train_on={place: fields})
    publish(ledger, TRAINING_SET, customers())
    report = train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    there = load_model(ledger, CANDIDATE).score(customers(seed=5))
    kept: Any = ledger.open(CANDIDATE).receipt("all")
    job: Any = kept.facts["job"]
    assert job == report.facts["job"] and place in kept.parameters["train_on"]
    assert (job["place"], job["spot"], job["limit_seconds"], job["per_hour"]) == (place, True, 5400, 0.5)
    found = trace(ledger, CANDIDATE)
    told = f"{place} {job['instance_type']} spot, {job['seconds']} s of at most 5,400 s, USD {job['usd']:g} at 0.5 an hour, {job['name']}"
    assert f"ran on {told}" in trace_text(found) and f"USD {job['usd']:g} elsewhere" in trace_text(found)
    assert told in trace_html(found)
    train(ledger, spec(estimator={"xgboost": TREES}), training_set=TRAINING_SET, asset=CANDIDATE)
    assert (load_model(ledger, CANDIDATE).score(customers(seed=5)) == there).all()


# -- the published interfaces -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spot", [False, True])
def test_the_vertex_request_is_one_of_the_published_interface(cloud: Cloud, spot: bool) -> None:
    where = _vertex(cloud, spot=spot, service_account="a@b", kms_key="projects/p/k", time_limit="2h")
    cloud.looks = 100
    vertex.VertexJobs(where, lambda: "t").start("churn-1", "churn-1")
    (held,) = cloud.vertex.resources.values()
    states = google_document("aiplatform.v1").schemas["GoogleCloudAiplatformV1CustomJob"]["properties"]["state"]["enum"]
    assert {*vertex.ENDED, *VERTEX.values()} <= set(states)
    assert held.body["jobSpec"]["scheduling"]["strategy"] == ("SPOT" if spot else "STANDARD")
    assert held.body["jobSpec"]["scheduling"]["timeout"] == "7200s"


def test_a_vertex_job_is_found_on_a_later_page_and_the_newest_of_a_name_counts(cloud: Cloud) -> None:
    jobs = vertex.VertexJobs(_vertex(cloud), lambda: "t")
    cloud.looks, cloud.vertex.late = 100, True
    for name in ("churn-1", "churn-2", "churn-1", "churn-3"):
        jobs.start(name, "folder")
    jobs = vertex.VertexJobs(_vertex(cloud), lambda: "t")
    assert jobs.phase("churn-1") is None, "a list does not yet show it"
    found = jobs._find("churn-1")
    assert found is not None and found["name"].endswith("/2")


def test_a_vertex_job_that_no_list_shows_yet_is_waited_for(cloud: Cloud) -> None:
    cloud.looks, cloud.vertex.late = 3, True
    assert _train(_trainer("vertex", cloud))[1].seconds == 90 and len(cloud.jobs) == 1


def test_a_vertex_job_elsewhere_is_refused_in_its_own_words(cloud: Cloud) -> None:
    with pytest.raises(StorageError, match="us-east1 is not served"):
        vertex.VertexJobs(_vertex(cloud, location="us-east1"), lambda: "t").start("churn-1", "churn-1")


@pytest.mark.parametrize("spot", [False, True])
def test_the_azure_request_is_one_of_the_published_interface(cloud: Cloud, spot: bool) -> None:
    cloud.looks = 100
    jobs = azureml.AzureMLJobs(_azure(cloud, spot=spot, time_limit="2h"), lambda: "t")
    jobs.start("churn-1", "churn-1")
    properties = cloud.jobs["churn-1"]["properties"]
    assert properties["limits"]["timeout"] == "PT7200S"
    words = azure_machine_learning().words("JobStatus")
    assert {*azureml.ENDED, *AZURE.values()} <= words
    azureml.AzureMLJobs(_azure(cloud, compute="trees"), lambda: "t").start("churn-2", "churn-2")
    on_cluster = cloud.jobs["churn-2"]["properties"]
    assert on_cluster["computeId"].endswith("/workspaces/wks/computes/trees") and "queueSettings" not in on_cluster


@pytest.mark.parametrize(
    ("service", "change", "told"),
    [
        ("azure", {"colour": "red"}, "CommandJob has no colour"),
        ("azure", {"queueSettings": {"jobTier": "Cheap"}}, "expected one of .*, found 'Cheap'"),
        ("azure", {"status": "Completed"}, "status cannot be set"),
        ("azure", {"limits": {"jobLimitsType": "Command", "timeout": "2h"}}, "expected a duration"),
        ("vertex", {"colour": "red"}, "has no colour"),
        ("vertex", {"scheduling": {"strategy": "CHEAP"}}, "expected one of .*, found 'CHEAP'"),
        ("vertex", {"scheduling": {"timeout": "2h"}}, "expected a google-duration"),
    ],
)
def test_a_request_outside_the_published_interface_is_refused_by_the_fake(
    cloud: Cloud, service: str, change: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: Any = (
        azureml.AzureMLJobs(_azure(cloud), lambda: "t")
        if service == "azure"
        else vertex.VertexJobs(_vertex(cloud), lambda: "t")
    )
    real, inner = jobs.request, "properties" if service == "azure" else "jobSpec"

    def changed(job: str, folder: str) -> dict[str, Any]:
        body = real(job, folder)
        return {**body, inner: {**body[inner], **change}}

    monkeypatch.setattr(jobs, "request", changed)
    with pytest.raises(StorageError, match=told):
        jobs.start("churn-1", "churn-1")
    assert cloud.jobs == {} and cloud.vertex.resources == {}
    cloud.faults.clear()
    cloud.vertex.faults.clear()


def test_vertex_filters_by_the_names_that_the_document_gives(cloud: Cloud) -> None:
    jobs = vertex.VertexJobs(_vertex(cloud), lambda: "t")
    with pytest.raises(StorageError, match="filters by create_time, display_name, labels, state, found displayName"):
        jobs.api.call("GET", f"{jobs.parent}/customJobs", query={"filter": 'displayName="churn-1"'})
    cloud.vertex.faults.clear()


def test_spot_on_a_named_compute_is_told_when_it_is_declared(cloud: Cloud) -> None:
    with pytest.raises(ValueError, match="its own priority"):
        _azure(cloud, compute="trees", spot=True)


def test_exactly_one_place_trains() -> None:
    for places in ({}, {"spark": {}, "vertex": None}):
        expected: Callable[..., Any] = spec
        if places:
            assert expected(train_on=places).train_on.spark is not None
            continue
        with pytest.raises(ValueError, match="expected exactly one of"):
            spec(train_on=places)
