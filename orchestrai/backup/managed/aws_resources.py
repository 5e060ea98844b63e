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
        """The service in the ARN; of RDS with the kind, for a cluster (Aurora, Neptune, DocumentDB) is no instance."""
        parts = self.arn.split(":")
        return f"rds:{parts[5]}" if parts[2] == "rds" else parts[2]

    @property
    def name(self) -> str:
        """The resource's own name."""
        return self.arn.split(":", 5)[5].rpartition("/")[2].rpartition(":")[2]


def problem_of(restored: Restored) -> str | None:
    """What is wrong with a restored resource, or None: its service describes it as ready."""
    states = {
        "rds:db": _rds_state,
        "rds:cluster": _cluster_state,
        "dynamodb": _table_state,
        "elasticfilesystem": _efs_state,
        "s3": _bucket_state,
    }
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
    ways = {
        "rds:db": _remove_rds,
        "rds:cluster": _remove_cluster,
        "dynamodb": _remove_table,
        "elasticfilesystem": _remove_efs,
    }
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


def _cluster_of(restored: Restored) -> dict[str, Any]:
    response = restored.client("rds").describe_db_clusters(DBClusterIdentifier=restored.name)
    cluster: dict[str, Any] = response["DBClusters"][0]
    return cluster


def _cluster_state(restored: Restored) -> str:
    return str(_cluster_of(restored)["Status"])


def _table_state(restored: Restored) -> str:
    return str(restored.client("dynamodb").describe_table(TableName=restored.name)["Table"]["TableStatus"])


def _efs_state(restored: Restored) -> str:
    response = restored.client("efs").describe_file_systems(FileSystemId=restored.name)
    return str(response["FileSystems"][0]["LifeCycleState"])


def _bucket_state(restored: Restored) -> str:
    restored.client("s3").list_objects_v2(Bucket=restored.name, MaxKeys=1)
    return "available"


def _remove_rds(restored: Restored) -> None:
    rds = restored.client("rds")
    described = rds.describe_db_instances(DBInstanceIdentifier=restored.name)["DBInstances"][0]
    if described.get("DeletionProtection"):
        # it came with the backup, and what was restored for a test is not worth protecting
        rds.modify_db_instance(DBInstanceIdentifier=restored.name, DeletionProtection=False, ApplyImmediately=True)
    rds.delete_db_instance(DBInstanceIdentifier=restored.name, SkipFinalSnapshot=True, DeleteAutomatedBackups=True)


def _remove_cluster(restored: Restored) -> None:
    rds, cluster = restored.client("rds"), _cluster_of(restored)
    if cluster.get("DeletionProtection"):
        rds.modify_db_cluster(DBClusterIdentifier=restored.name, DeletionProtection=False, ApplyImmediately=True)
    # a restore makes none, but a cluster goes only without its instances
    for member in cluster.get("DBClusterMembers", ()):
        rds.delete_db_instance(DBInstanceIdentifier=member["DBInstanceIdentifier"], SkipFinalSnapshot=True)
    rds.delete_db_cluster(DBClusterIdentifier=restored.name, SkipFinalSnapshot=True)


def _remove_table(restored: Restored) -> None:
    tables = restored.client("dynamodb")
    if tables.describe_table(TableName=restored.name)["Table"].get("DeletionProtectionEnabled"):
        tables.update_table(TableName=restored.name, DeletionProtectionEnabled=False)
    tables.delete_table(TableName=restored.name)


def _remove_efs(restored: Restored) -> None:
    restored.client("efs").delete_file_system(FileSystemId=restored.name)
