"""What settings change of the Dagster instance: where its records lie, where output goes, who starts runs."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrai.errors import ConfigError
from orchestrai.project.in_force import connection_for, connections
from orchestrai.secrets.reference import check_reference
from orchestrai.settings import Settings, variables

SQLITE = """\
# Dagster's own SQLite storages. One process at a time makes their tables (orchestrai/defs/platform/sqlite_storage.py), and the event log
# keeps its connections open (orchestrai/defs/event_log.py)
run_storage:
  module: orchestrai.defs.platform.sqlite_storage
  class: RunStorage
  config: {base_dir: "{base}/history"}
event_log_storage:
  module: orchestrai.defs.event_log
  class: EventLog
  config: {base_dir: "{base}/history/runs"}
schedule_storage:
  module: orchestrai.defs.platform.sqlite_storage
  class: ScheduleStorage
  config: {base_dir: "{base}/schedules"}
"""
LOCAL_LOGS = """\
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config: {base_dir: "{base}/compute_logs"}
"""
POSTGRES = """\
# the URL lies behind the reference, and its password is asked for at each connection (orchestrai/defs/platform/postgres_storage.py)
storage:
  custom:
    module: orchestrai.defs.platform.postgres_storage
    class: PostgresStorage
    config: {url: REFERENCE}
"""
# what happens to an asset, Dagster tells as DEBUG
JSON_LOG = """\
python_logs:
  dagster_handler_config:
    handlers:
      json: {class: logging.StreamHandler, level: DEBUG, stream: "ext://sys.stdout", formatter: json}
    formatters:
      json: {"()": orchestrai.defs.platform.json_log.JsonLines}
"""
COORDINATOR = """\
# Dagster's queue, which notes for each run whom the proxy let in (orchestrai/defs/launch/named_coordinator.py)
run_coordinator:
  module: orchestrai.defs.launch.named_coordinator
  class: NamedRunCoordinator
  config: {user_header: HEADER}
"""
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_LOGS = {"s3": ("dagster_aws.s3", "S3ComputeLogManager"), "gs": ("dagster_gcp.gcs", "GCSComputeLogManager"),
         "az": ("dagster_azure.blob", "AzureBlobComputeLogManager")}  # fmt: skip
_LAUNCHERS = {
    "docker": ("dagster_docker", "DockerRunLauncher", "image"),
    "k8s": ("dagster_k8s", "K8sRunLauncher", "job_image"),
}
# what a run in another container needs to be of the same settings, and to find the database
PASSED_ON = (*variables(), "DAGSTER_PG_URL")


@dataclass(frozen=True)
class InstanceOptions:
    """The settings that shape dagster.yaml, checked; raises ConfigError for one that means nothing.

    `passed_on` are the variables that a container of a run is given: Dagster ends a run for one of them that is not set.
    """

    database: str = ""
    compute_logs: str = ""
    launcher: str = "local"
    log_format: str = "text"
    passed_on: tuple[str, ...] = ()
    user_header: str = ""
    max_runs: int = 2
    store_runs: int = 0

    def __post_init__(self) -> None:
        if self.database:
            check_reference(self.database)
        self.logs_section()
        self.launcher_section()
        if self.user_header and not _HEADER.fullmatch(self.user_header):
            raise ConfigError(
                f"ORCHESTRAI_USER_HEADER: expected a header's name such as X-Forwarded-User, found {self.user_header!r}"
            )
        if self.log_format not in ("text", "json"):
            raise ConfigError(f"ORCHESTRAI_LOG_FORMAT: expected text or json, found {self.log_format!r}")

    @property
    def log_section(self) -> str:
        """How a run's log is written beside Dagster's own console."""
        return JSON_LOG if self.log_format == "json" else ""

    @property
    def coordinator_section(self) -> str:
        """Whose runs are whose, where a proxy names people; nothing where there is none: then a header is no more than a claim."""
        return COORDINATOR.replace("HEADER", json.dumps(self.user_header)) if self.user_header else ""

    @property
    def store_limit(self) -> str:
        """How many runs may read one source's store at once."""
        limit = "{applyLimitPerUniqueValue: true}, limit: "
        return f"      - {{key: orchestrai/store, value: {limit}{self.store_runs}}}\n" if self.store_runs else ""

    @property
    def storage_section(self) -> str:
        """Where runs, events and ticks lie."""
        return POSTGRES.replace("REFERENCE", json.dumps(self.database)) if self.database else SQLITE

    def logs_section(self) -> str:
        """Where what runs print lies."""
        if not self.compute_logs:
            return LOCAL_LOGS
        parts = urlsplit(self.compute_logs)
        prefix = parts.path.strip("/")
        config: Mapping[str, object]
        if parts.scheme == "az":
            container, _, prefix = prefix.partition("/")
            # the identity of the machine signs in: no key stands in a file
            config = {"storage_account": parts.netloc, "container": container, "prefix": prefix or "dagster",
                      "default_azure_credential": {}}  # fmt: skip
        else:
            container, config = parts.netloc, {"bucket": parts.netloc, "prefix": prefix or "dagster"}
        if parts.scheme == "s3":
            # by whom it is reached, the chain of the machine says: no key stands in a file
            one = connection_for(self.compute_logs, "aws")
            more = {"region": one.region, "endpoint_url": one.endpoint_of("s3")}
            config = {**config, **{name: value for name, value in more.items() if value}}
        if parts.scheme not in _LOGS or not parts.netloc or not container:
            raise ConfigError(
                "ORCHESTRAI_COMPUTE_LOGS: expected s3://bucket/prefix, gs://bucket/prefix or az://account/container/prefix, "
                f"found {self.compute_logs!r}"
            )
        module, name = _LOGS[parts.scheme]
        return f"compute_logs:\n  module: {module}\n  class: {name}\n  config: {json.dumps(config)}\n"

    def launcher_section(self) -> str:
        """Who starts runs; nothing for a process on this machine, which is Dagster's own default."""
        if self.launcher == "local":
            return ""
        if self.launcher == "ecs":
            # Dagster passes on the environment of its own task definition
            return "run_launcher:\n  module: dagster_aws.ecs\n  class: EcsRunLauncher\n"
        kind, _, image = self.launcher.partition(":")
        if kind not in _LAUNCHERS or not image:
            raise ConfigError(
                f"ORCHESTRAI_RUN_LAUNCHER: expected local, docker:IMAGE, k8s:IMAGE or ecs, found {self.launcher!r}"
            )
        module, name, field = _LAUNCHERS[kind]
        config: dict[str, object] = {field: image}
        if kind == "docker":
            config["env_vars"] = list(self.passed_on)
        else:
            config |= {"dagster_home": {"env": "DAGSTER_HOME"}, "instance_config_map": {"env": "DAGSTER_K8S_INSTANCE_CONFIG_MAP"},
                       "service_account_name": {"env": "DAGSTER_K8S_SERVICE_ACCOUNT"}}  # fmt: skip
        return f"run_launcher:\n  module: {module}\n  class: {name}\n  config: {json.dumps(config)}\n"


def instance_options(settings: Settings) -> InstanceOptions:
    """What the settings say of the instance."""
    secrets = [name for one in connections().by_name.values() for name in one.identity.variables]
    there = tuple(name for name in dict.fromkeys((*PASSED_ON, *secrets)) if name in os.environ)
    return InstanceOptions(
        database=settings.instance_db,
        compute_logs=settings.compute_logs,
        launcher=settings.run_launcher,
        log_format=settings.log_format,
        passed_on=there,
        user_header=settings.user_header,
        max_runs=settings.max_runs,
        store_runs=settings.store_runs,
    )
