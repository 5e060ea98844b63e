"""Databricks, Dataproc and Synapse on loopback, as small as they are used: they keep what they are asked and run the job's script.

Dataproc is its discovery document; of Databricks and Synapse the shapes are recorded by hand. Nothing ran on those services.
"""

import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from orchestrai_tests.clouds import loopback
from orchestrai_tests.clouds.google_service import GoogleService, Held
from orchestrai_tests.clouds.loopback import Reply

WORDS = {
    "databricks": {"running": "RUNNING", "done": "SUCCESS", "failed": "FAILED", "cancelled": "CANCELED"},
    "dataproc": {"running": "RUNNING", "done": "SUCCEEDED", "failed": "FAILED", "cancelled": "CANCELLED"},
    "synapse": {"running": "running", "done": "success", "failed": "dead", "cancelled": "killed"},
}
RESULTS = {"running": "Uncertain", "done": "Succeeded", "failed": "Failed", "cancelled": "Cancelled"}


@dataclass
class Run:
    """One job, by the name that its sender gave it."""

    token: str
    script: str
    arguments: list[str]
    body: dict[str, Any]
    state: str = "running"


@dataclass
class Cloud:
    """All three; a job ends at the `looks`-th look at it, as `ends_as` says where that is not empty."""

    looks: int = 1
    ends_as: str = ""
    broken: int = 0
    lost: int = 0
    url: str = ""
    runs: list[Run] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    execute: Callable[[Run], int] | None = None
    batches: GoogleService = field(init=False)

    def __post_init__(self) -> None:
        self.batches = GoogleService("dataproc.v1", ("europe-west4",), look=self._look_at_batch, cancel=self._cancel_batch)

    def add(self, token: str, script: str, arguments: list[str], body: dict[str, Any]) -> int:
        """Begin a job; returns its number."""
        self.runs.append(Run(token, script, arguments, body))
        return len(self.runs) - 1

    def named(self, token: str) -> int | None:
        return next((number for number, run in enumerate(self.runs) if run.token == token), None)

    def look(self, number: int) -> Run:
        run = self.runs[number]
        if run.state == "running":
            self.looks -= 1
            if self.looks <= 0:
                code = self._execute(run)
                run.state = self.ends_as or ("failed" if code else "done")
        return run

    def _execute(self, run: Run) -> int:
        self.executed.append(run.token)
        return (self.execute or script)(run)

    def answer(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        """One request."""
        if self.broken:
            self.broken -= 1
            return 503, {"error": {"code": "UNAVAILABLE", "message": "try later"}}
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.startswith("/v1/"):
            return self._dataproc(method, url, body)
        for prefix, served in (("/api/2.2/jobs/runs/", self._databricks), ("/livyApi/", self._synapse)):
            if parts.path.startswith(prefix):
                return served(method, parts.path, query, body)
        return 404, {"error_code": "NOT_FOUND", "message": parts.path}

    def _databricks(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        what = (method, path.rpartition("/")[2])
        if what == ("POST", "submit"):
            task = body["tasks"][0]["spark_python_task"]
            number = self.named(body["idempotency_token"])
            if number is None:
                number = self.add(body["idempotency_token"], task["python_file"], task["parameters"], body)
            return 200, {"run_id": 1000 + number}
        if what == ("GET", "get"):
            run = self.look(int(query["run_id"]) - 1000)
            state = {
                "life_cycle_state": "RUNNING" if run.state == "running" else "TERMINATED",
                "state_message": "see its log",
            }
            if run.state != "running":
                state["result_state"] = WORDS["databricks"][run.state]
            return 200, {"run_id": int(query["run_id"]), "state": state}
        assert what == ("POST", "cancel"), path
        self.runs[int(body["run_id"]) - 1000].state = "cancelled"
        return 200, {}

    def _dataproc(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        status, answer = self.batches.answer(method, url, body)
        if method == "POST" and status == 200 and not url.endswith(":cancel"):
            held = list(self.batches.resources.values())[-1]
            token = held.name.rpartition("/")[2]
            if self.named(token) is None:
                work = held.body["pysparkBatch"]
                self.add(token, work["mainPythonFileUri"], work["args"], held.body)
        return status, answer

    def _look_at_batch(self, held: Held) -> None:
        number = self.named(held.name.rpartition("/")[2])
        assert number is not None
        held.told.update(state=WORDS["dataproc"][self.look(number).state], stateMessage="see its log")

    def _cancel_batch(self, held: Held) -> None:
        number = self.named(held.name.rpartition("/")[2])
        assert number is not None
        self.runs[number].state = "cancelled"

    def _synapse(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        base = "/livyApi/versions/2019-11-01-preview/sparkPools/features/batches"
        assert path.startswith(base), path
        if method == "POST" and path == base:
            return 200, self._batch(self.add(body["name"], body["file"], body["args"], body))
        if method == "GET" and path == base:
            first, size = int(query["from"]), min(int(query["size"]), 20)
            shown = range(len(self.runs))[first : first + size]
            return 200, {"from": first, "total": len(self.runs), "sessions": [self._batch(number) for number in shown]}
        number = int(path.rpartition("/")[2])
        if method == "DELETE":
            self.runs[number].state = "cancelled"
            return 200, None
        self.look(number)
        return 200, self._batch(number)

    def _batch(self, number: int) -> dict[str, Any]:
        run = self.runs[number]
        errors = [{"message": "see its log", "errorCode": "x", "source": "User"}] if run.state == "failed" else None
        words = {"state": WORDS["synapse"][run.state], "result": RESULTS[run.state], "errorInfo": errors}
        return {"id": number, "name": run.token, "appId": None, **words}


def script(run: Run) -> int:
    """What a cluster does: the script of the exchange, in the Spark session of this process."""
    path = unquote(urlsplit(run.script).path)
    code: int = runpy.run_path(path)["main"](*run.arguments)
    return code


@contextmanager
def serving(cloud: Cloud) -> Iterator[Cloud]:
    """The services on a loopback port; `lost` answers are never sent."""

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if not url.startswith("/.well-known/"):  # what Databricks' SDK asks of any host
            cloud.tokens.add(headers.get("Authorization", ""))
        status, told = cloud.answer(method, url, json.loads(body) if body else None)
        if cloud.lost and method == "POST":
            cloud.lost -= 1
            status = 0
        return status, {}, told

    with loopback.serving(ask) as cloud.url:
        yield cloud
    assert cloud.batches.faults == []
