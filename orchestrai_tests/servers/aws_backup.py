"""AWS Backup over HTTP, as far as we call it: every request and every answer is checked against botocore's own service model.

Jobs advance by one state each time they are looked at. moto has no jobs, which is why this is here.
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = dict[str, Any]
ACCOUNT = "123456789012"


@dataclass
class Job:
    """One job; `states` are those still to come."""

    id: str
    kind: str
    given: Mapping[str, Any]
    region: str
    states: list[str]
    created: datetime
    result: str = ""
    state: str = "CREATED"

    def look(self) -> str:
        if self.states:
            self.state = self.states.pop(0)
        return self.state


@dataclass
class Service:
    """The state of the service in all regions; `plan` names the states of the next jobs of a kind."""

    created_as: str = ""
    plan: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    points: dict[str, Answer] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    validations: list[str] = field(default_factory=list)
    now: datetime = datetime(2026, 11, 23, 2, tzinfo=UTC)

    def started(self, kind: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.kind == kind]

    def start(self, kind: str, given: Mapping[str, Any], region: str) -> Job:
        token = given.get("IdempotencyToken", "")
        if token in self.tokens:
            return self.jobs[self.tokens[token]]
        self.now += timedelta(seconds=1)
        states = [*self.plan.get(kind, ["RUNNING", "COMPLETED"])]
        initial = "PENDING" if kind == "restore" else "CREATED"
        job = Job(f"{kind}-{len(self.jobs) + 1}", kind, given, region, states, self.now, state=initial)
        self.jobs[job.id] = job
        self.tokens[token] = job.id
        return job

    def point(self, region: str, vault: str, resource: str, source: str = "") -> str:
        arn = f"arn:aws:backup:{region}:{ACCOUNT}:recovery-point:{len(self.points) + 1}"
        self.points[arn] = {
            "RecoveryPointArn": arn,
            "BackupVaultName": vault,
            "BackupVaultArn": f"arn:aws:backup:{region}:{ACCOUNT}:backup-vault:{vault}",
            "ResourceArn": resource,
            "ResourceType": "DynamoDB",
            "Status": "COMPLETED",
            "CreationDate": self.now,
            "CompletionDate": self.now + timedelta(minutes=9),
            "BackupSizeInBytes": 4096,
            "IsEncrypted": True,
            "CalculatedLifecycle": {"DeleteAt": self.now + timedelta(days=35)},
            **({"SourceBackupVaultArn": source} if source else {}),
        }
        return arn

    # -- operations ----------------------------------------------------------------------------------------------

    def StartBackupJob(self, given: Answer, region: str) -> Answer:
        job = self.start("backup", given, region)
        return {"BackupJobId": job.id, "CreationDate": job.created}

    def DescribeBackupJob(self, given: Answer, region: str) -> Answer:
        job = self.jobs[given["BackupJobId"]]
        if job.look() == "COMPLETED" and not job.result:
            job.result = self.point(region, job.given["BackupVaultName"], job.given["ResourceArn"])
        done = {"RecoveryPointArn": job.result} if job.result else {}
        return {"BackupJobId": job.id, "State": job.state, "StatusMessage": "as planned", **done}

    def ListBackupJobs(self, given: Answer, region: str) -> Answer:
        found = [job for job in self.started("backup") if job.given["ResourceArn"] == given["ByResourceArn"]]
        # one a page, so that pages are turned
        at = int(given.get("NextToken", "0"))
        entries = [
            {"BackupJobId": job.id, "State": job.state, "CreationDate": job.created, "ResourceArn": job.given["ResourceArn"]}
            for job in found[at : at + 1]
        ]
        return {"BackupJobs": entries, **({"NextToken": str(at + 1)} if at + 1 < len(found) else {})}

    def DescribeRecoveryPoint(self, given: Answer, region: str) -> Answer:
        found = self.points[given["RecoveryPointArn"]]
        assert (found["BackupVaultName"], region) == (given["BackupVaultName"], found["RecoveryPointArn"].split(":")[3])
        return found

    def StartCopyJob(self, given: Answer, region: str) -> Answer:
        job = self.start("copy", given, region)
        return {"CopyJobId": job.id, "CreationDate": job.created}

    def DescribeCopyJob(self, given: Answer, region: str) -> Answer:
        job = self.jobs[given["CopyJobId"]]
        if job.look() == "COMPLETED" and not job.result:
            vault = job.given["DestinationBackupVaultArn"].split(":")
            source = self.points[job.given["RecoveryPointArn"]]
            job.result = self.point(vault[3], vault[-1], source["ResourceArn"], source["BackupVaultArn"])
        done = {"DestinationRecoveryPointArn": job.result} if job.result else {}
        return {"CopyJob": {"CopyJobId": job.id, "State": job.state, "StatusMessage": "as planned", **done}}

    def ListCopyJobs(self, given: Answer, region: str) -> Answer:
        found = [j for j in self.started("copy") if j.given["RecoveryPointArn"] == given["BySourceRecoveryPointArn"]]
        return {
            "CopyJobs": [
                {
                    "CopyJobId": job.id,
                    "State": job.state,
                    "CreationDate": job.created,
                    "SourceRecoveryPointArn": job.given["RecoveryPointArn"],
                }
                for job in found
            ]
        }

    def GetRecoveryPointRestoreMetadata(self, given: Answer, region: str) -> Answer:
        assert given["RecoveryPointArn"] in self.points
        return {"RecoveryPointArn": given["RecoveryPointArn"], "RestoreMetadata": {"originalTableName": "shop"}}

    def StartRestoreJob(self, given: Answer, region: str) -> Answer:
        return {"RestoreJobId": self.start("restore", given, region).id}

    def DescribeRestoreJob(self, given: Answer, region: str) -> Answer:
        job = self.jobs[given["RestoreJobId"]]
        done = {"CreatedResourceArn": self.created_as} if job.look() == "COMPLETED" else {}
        return {"RestoreJobId": job.id, "Status": job.state, **done}

    def ListRestoreJobsByProtectedResource(self, given: Answer, region: str) -> Answer:
        return {
            "RestoreJobs": [
                {
                    "RestoreJobId": job.id,
                    "Status": job.state,
                    "CreationDate": job.created,
                    "RecoveryPointArn": job.given["RecoveryPointArn"],
                }
                for job in self.started("restore")
            ]
        }

    def PutRestoreValidationResult(self, given: Answer, region: str) -> Answer:
        self.validations.append(given["ValidationStatus"])
        return {}


class Model:
    """botocore's model of the service: which operation a request is, and whether request and answer are what it says."""

    def __init__(self) -> None:
        import botocore.session
        from botocore.validate import ParamValidator

        self.model = botocore.session.get_session().get_service_model("backup")
        self.validator = ParamValidator()
        self.routes = []
        for name in self.model.operation_names:
            operation = self.model.operation_model(name)
            path = operation.http["requestUri"].split("?")[0]
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
            self.routes.append((operation.http["method"], re.compile(f"{pattern}/?"), operation))

    def request(self, method: str, url: str, body: bytes) -> tuple[Any, Answer]:
        parts = urlsplit(url)
        for verb, pattern, operation in self.routes:
            match = pattern.fullmatch(parts.path)
            if verb == method and match and hasattr(Service, operation.name):
                given = json.loads(body) if body else {}
                query = parse_qs(parts.query)
                for name, shape in operation.input_shape.members.items():
                    wire = shape.serialization.get("name", name)
                    if shape.serialization.get("location") == "uri":
                        given[name] = unquote(match[wire])
                    elif shape.serialization.get("location") == "querystring" and wire in query:
                        given[name] = query[wire][0]
                self.check(given, operation.input_shape, f"request of {operation.name}")
                return operation, given
        raise AssertionError(f"no operation for {method} {url}")

    def check(self, value: Answer, shape: Any, what: str) -> None:
        problems = self.validator.validate(value, shape) if shape is not None else None
        unknown = set(value) - set(shape.members) if shape is not None else set(value)
        if (problems is not None and problems.has_errors()) or unknown:
            raise AssertionError(f"{what}: {problems.generate_report() if problems else ''} {sorted(unknown)}")


@dataclass(frozen=True)
class BackupServer:
    """Where it listens, and what it knows; `faults` are requests or answers outside the model."""

    url: str
    service: Service
    faults: list[str]


@contextlib.contextmanager
def aws_backup_server() -> Iterator[BackupServer]:
    """Serve on a free loopback port; leaving the block raises for anything outside the service model."""
    service, model, faults = Service(), Model(), []  # type: ignore[var-annotated]
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            region = self.headers["Authorization"].split("Credential=")[1].split("/")[2]
            try:
                with lock:
                    operation, given = model.request(self.command, self.path, body)
                    service.calls.append(operation.name)
                    answer = getattr(service, operation.name)(given, region)
                    model.check(answer, operation.output_shape, f"answer of {operation.name}")
            except (AssertionError, KeyError) as exc:
                faults.append(repr(exc))
                self._answer(400, {"message": str(exc)}, "InvalidParameterValueException")
                return
            self._answer(200, answer)

        do_GET = do_PUT = do_POST = _serve

        def _answer(self, status: int, body: Answer, error: str = "") -> None:
            data = json.dumps(body, default=lambda moment: moment.timestamp()).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if error:
                self.send_header("x-amzn-ErrorType", error)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serve: Callable[[], None] = lambda: server.serve_forever(poll_interval=0.05)  # noqa: E731
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield BackupServer(f"http://127.0.0.1:{server.server_address[1]}", service, faults)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
