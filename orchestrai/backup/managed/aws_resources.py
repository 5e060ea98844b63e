"""What AWS Backup restored: is it there, does it answer, and away with it again.

Only what a restore job created is ever deleted, never a resource that is backed up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.storage.cloud.cloud_errors import aws_errors

Client = Callable[[str], Any]


@dataclass(frozen=True)
class Restored:
    """A restored resource of one of the services; `client` makes boto3 clients by service name."""

    arn: str
    client: Client

    @property
    def service(self) -> str:
        """The service in the ARN."""
        return self.arn.split(":")[2]

    @property
    def name(self) -> str:
        """The resource's own name."""
        return self.arn.split(":", 5)[5].rpartition("/")[2].rpartition(":")[2]


def problem_of(restored: Restored) -> str | None:
    """What is wrong with a restored resource, or None: its service describes it as ready."""
    states = {"rds": _rds_state, "dynamodb": _table_state, "elasticfilesystem": _efs_state, "s3": _bucket_state}
    if restored.service not in states:
        return f"expected a resource of {', '.join(sorted(states))}, found {restored.arn}"
    try:
        with aws_errors(f"{restored.arn} to answer"):
            state = states[restored.service](restored)
    except OrchestraiError as exc:
        # an outage too: whoever ran again would restore again and leave this one behind
        return exc.message
    return None if state in ("available", "ACTIVE") else f"expected {restored.arn} to be ready, found it {state}"


def remove(restored: Restored, source: str) -> str:
    """Delete a restored resource; returns why it is still there, or "". Raises ConfigError for the source itself."""
    if restored.arn == source:
        raise ConfigError(f"expected a restored resource to remove, found the live {source}: it is never removed")
    ways = {"rds": _remove_rds, "dynamodb": _remove_table, "elasticfilesystem": _remove_efs}
    if restored.service not in ways:
        return f"{restored.arn} is yours to delete: a bucket goes only when it is empty"
    try:
        with aws_errors(f"to delete {restored.arn}", "delete it"):
            ways[restored.service](restored)
    except OrchestraiError as exc:
        return exc.message
    return ""


def _rds_state(restored: Restored) -> str:
    response = restored.client("rds").describe_db_instances(DBInstanceIdentifier=restored.name)
    return str(response["DBInstances"][0]["DBInstanceStatus"])


def _table_state(restored: Restored) -> str:
    return str(restored.client("dynamodb").describe_table(TableName=restored.name)["Table"]["TableStatus"])


def _efs_state(restored: Restored) -> str:
    response = restored.client("efs").describe_file_systems(FileSystemId=restored.name)
    return str(response["FileSystems"][0]["LifeCycleState"])


def _bucket_state(restored: Restored) -> str:
    restored.client("s3").list_objects_v2(Bucket=restored.name, MaxKeys=1)
    return "available"


def _remove_rds(restored: Restored) -> None:
    restored.client("rds").delete_db_instance(
        DBInstanceIdentifier=restored.name, SkipFinalSnapshot=True, DeleteAutomatedBackups=True
    )


def _remove_table(restored: Restored) -> None:
    restored.client("dynamodb").delete_table(TableName=restored.name)


def _remove_efs(restored: Restored) -> None:
    restored.client("efs").delete_file_system(FileSystemId=restored.name)
