"""AWS Backup as its model describes it, with the jobs that moto lacks; pages, regions and every member are the generated server's.

Jobs advance by one state each time they are looked at.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrai_tests.clouds.aws_resources import Refused
from orchestrai_tests.clouds.aws_server import aws_server

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
    validated: str = ""

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
    vaults: dict[str, Answer] = field(default_factory=dict)
    deaf: bool = False
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

    def point(self, vault: str, resource: str, source: str = "") -> str:
        region, account, name = vault.split(":")[3], vault.split(":")[4], vault.split(":")[-1]
        arn = f"arn:aws:backup:{region}:{account}:recovery-point:{len(self.points) + 1}"
        self.points[arn] = {
            "RecoveryPointArn": arn,
            "BackupVaultName": name,
            "BackupVaultArn": vault,
            "ResourceArn": resource,
            "ResourceType": "Aurora" if ":cluster:" in resource else "DynamoDB",
            "Status": "COMPLETED",
            "CreationDate": self.now,
            "CompletionDate": self.now + timedelta(minutes=9),
            "BackupSizeInBytes": 4096,
            "IsEncrypted": True,
            "CalculatedLifecycle": {"DeleteAt": self.now + timedelta(days=35)},
            **({"SourceBackupVaultArn": source} if source else {}),
        }
        return arn

    def answer(self, name: str, region: str, given: Answer) -> Answer:
        """One operation."""
        self.calls.append(name)
        found: Answer = getattr(self, name)(given, region)
        return found

    # -- operations ----------------------------------------------------------------------------------------------

    def StartBackupJob(self, given: Answer, region: str) -> Answer:
        job = self.start("backup", given, region)
        return {"BackupJobId": job.id, "CreationDate": job.created}

    def DescribeBackupJob(self, given: Answer, region: str) -> Answer:
        job = self.jobs[given["BackupJobId"]]
        if job.look() == "COMPLETED" and not job.result:
            arn = f"arn:aws:backup:{region}:{ACCOUNT}:backup-vault:{job.given['BackupVaultName']}"
            job.result = self.point(arn, job.given["ResourceArn"])
        done = {"RecoveryPointArn": job.result} if job.result else {}
        return {"BackupJobId": job.id, "State": job.state, "StatusMessage": "as planned", **done}

    def ListBackupJobs(self, given: Answer, region: str) -> Answer:
        return {
            "BackupJobs": [
                {
                    "BackupJobId": job.id,
                    "State": job.state,
                    "CreationDate": job.created,
                    "ResourceArn": job.given["ResourceArn"],
                }
                for job in self.started("backup")
                if job.given["ResourceArn"] == given["ByResourceArn"]
            ]
        }

    def DescribeRecoveryPoint(self, given: Answer, region: str) -> Answer:
        found = self.points.get(given["RecoveryPointArn"])
        owner = given.get("BackupVaultAccountId", ACCOUNT)
        vault = f"arn:aws:backup:{region}:{owner}:backup-vault:{given['BackupVaultName']}"
        if found is None or found["BackupVaultArn"] != vault:
            raise Refused("ResourceNotFoundException", f"no {given['RecoveryPointArn']} in {vault}")
        return found

    def DescribeBackupVault(self, given: Answer, region: str) -> Answer:
        owner = given.get("BackupVaultAccountId", ACCOUNT)
        vault = f"arn:aws:backup:{region}:{owner}:backup-vault:{given['BackupVaultName']}"
        if vault not in self.vaults:
            raise Refused("ResourceNotFoundException", f"no {vault}")
        return {"BackupVaultName": given["BackupVaultName"], "BackupVaultArn": vault, **self.vaults[vault]}

    def StartCopyJob(self, given: Answer, region: str) -> Answer:
        job = self.start("copy", given, region)
        return {"CopyJobId": job.id, "CreationDate": job.created}

    def DescribeCopyJob(self, given: Answer, region: str) -> Answer:
        job = self.jobs[given["CopyJobId"]]
        if job.look() == "COMPLETED" and not job.result:
            source = self.points[job.given["RecoveryPointArn"]]
            job.result = self.point(job.given["DestinationBackupVaultArn"], source["ResourceArn"], source["BackupVaultArn"])
        done = {"DestinationRecoveryPointArn": job.result} if job.result else {}
        return {"CopyJob": {"CopyJobId": job.id, "State": job.state, "StatusMessage": "as planned", **done}}

    def ListCopyJobs(self, given: Answer, region: str) -> Answer:
        return {
            "CopyJobs": [
                {
                    "CopyJobId": job.id,
                    "State": job.state,
                    "CreationDate": job.created,
                    "SourceRecoveryPointArn": job.given["RecoveryPointArn"],
                }
                for job in self.started("copy")
                if job.given["RecoveryPointArn"] == given["BySourceRecoveryPointArn"]
            ]
        }

    def GetRecoveryPointRestoreMetadata(self, given: Answer, region: str) -> Answer:
        if given["RecoveryPointArn"] not in self.points:
            raise Refused("ResourceNotFoundException", "no such point")
        return {"RecoveryPointArn": given["RecoveryPointArn"], "RestoreMetadata": {"originalTableName": "shop"}}

    def StartRestoreJob(self, given: Answer, region: str) -> Answer:
        return {"RestoreJobId": self.start("restore", given, region).id}

    def DescribeRestoreJob(self, given: Answer, region: str) -> Answer:
        return self._restore(self.jobs[given["RestoreJobId"]], look=True)

    def ListRestoreJobsByProtectedResource(self, given: Answer, region: str) -> Answer:
        return {"RestoreJobs": [self._restore(job) for job in self.started("restore")]}

    def _restore(self, job: Job, look: bool = False) -> Answer:
        done = {"CreatedResourceArn": self.created_as} if (job.look() if look else job.state) == "COMPLETED" else {}
        validated = {"ValidationStatus": job.validated} if job.validated else {}
        point = {"RecoveryPointArn": job.given["RecoveryPointArn"], "CreationDate": job.created}
        return {"RestoreJobId": job.id, "Status": job.state, **point, **done, **validated}

    def PutRestoreValidationResult(self, given: Answer, region: str) -> Answer:
        if self.deaf:
            raise Refused("InvalidRequestException", "not now")
        self.validations.append(given["ValidationStatus"])
        self.jobs[given["RestoreJobId"]].validated = given["ValidationStatus"]
        return {}


@dataclass(frozen=True)
class BackupServer:
    """Where it listens, and what it knows; `faults` are requests or answers outside the model."""

    url: str
    service: Service
    faults: list[str]


@contextlib.contextmanager
def aws_backup_server() -> Iterator[BackupServer]:
    """Serve two regions on a free loopback port."""
    service = Service()
    with aws_server("backup", regions=("eu-west-1", "eu-central-1")) as server:
        server.answers["backup"] = service.answer
        yield BackupServer(server.url, service, server.faults)
