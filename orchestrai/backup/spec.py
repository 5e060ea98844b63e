"""What a user declares to be kept beside events: databases, and resources that AWS Backup keeps."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrai.backup.managed.aws_backup import BackupTarget
from orchestrai.core.time.duration_cron import Cron, Duration
from orchestrai.core.yaml.declaration import Declaration, field_reader
from orchestrai.vault.spec import BackupSpec, KeepSpec

KeptName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="lower case, digits and underscores")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name of an environment variable")]
WEEKLY = BackupSpec(every="0 5 * * 0", keep=KeepSpec(weekly=5, monthly=12), rpo=timedelta(days=8))
NIGHTLY = BackupSpec(every="45 2 * * *", keep=KeepSpec(daily=7, weekly=5, monthly=12), rpo=timedelta(hours=26))


def _declared(value: Any) -> Any:
    """`backup: false` keeps nothing; what a declaration leaves out is as in WEEKLY."""
    if value is False:
        return None
    if isinstance(value, Mapping):
        return {**WEEKLY.model_dump(include={"every", "keep", "rpo", "rto"}), **value}
    return value


WeeklyBackup = Annotated[BackupSpec | None, BeforeValidator(_declared)]


class DatabaseSpec(BackupSpec):
    """A database of one's own: dumped, kept, drilled. `dsn_env` names the variable with its URL, or the path of a SQLite file.

    A drill restores into a database that it creates and drops again, on the server that `scratch_env` names, else on the same one.
    `method: wal` keeps a whole PostgreSQL server to any moment of the last `window`: a base backup `every` so often, kept as `keep` says,
    and its write-ahead log in between, which `rpo` says how often to commit. `tools` is the folder of the server's programs.
    """

    name: KeptName
    description: str = ""
    dsn_env: EnvName
    scratch_env: EnvName | None = None
    minimum_rows: Annotated[int, Field(ge=0)] = 0
    every: Cron | None = "45 2 * * *"
    keep: KeepSpec = NIGHTLY.keep
    method: Literal["dump", "wal"] = "dump"
    window: Duration = timedelta(days=7)
    tools: str = ""

    @model_validator(mode="before")
    @classmethod
    def _rpo_of_log(cls, value: Any) -> Any:
        """A log is followed to lose less than a day."""
        if isinstance(value, Mapping) and value.get("method") == "wal":
            return {"rpo": "5m", **value}
        return value

    @model_validator(mode="after")
    def _one_method(self) -> "DatabaseSpec":
        """What only one method reads is not declared for the other."""
        other = {"window", "tools"} if self.method == "dump" else {"scratch_env", "minimum_rows", "cold"}
        misplaced = sorted(other & self.model_fields_set)
        if misplaced:
            raise ValueError(f"expected no {misplaced[0]} beside method {self.method}, found one: remove it")
        return self


class RestoreTestSpec(Declaration):
    """How a recovery point is restored to prove it; `metadata` overrides the point's own (a new name, a private subnet)."""

    every: Cron = "0 6 1 * *"
    metadata: Mapping[str, str]
    cleanup: bool = True


class ManagedBackupSpec(Declaration):
    """A resource that AWS Backup keeps. `copy_to` is the ARN of a backup vault in another region or account, with `air_gapped` of one that
    is logically air-gapped.

    `region` is needed where the resource's ARN names none (S3). `after` names a dataset or model of this pipeline: the backup
    then also runs with it.
    """

    name: KeptName
    description: str = ""
    resource: str
    region: str = ""
    vault: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{2,50}$")]
    role: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::")]
    every: Cron | None = "30 2 * * *"
    delete_after_days: Annotated[int, Field(ge=0)] = 35
    copy_to: str = ""
    air_gapped: bool = False
    after: KeptName | None = None
    wait: Duration = timedelta(hours=12)
    test: RestoreTestSpec | None = None

    def target(self) -> BackupTarget:
        """What the service is asked for; raises ConfigError for a wrong ARN."""
        return BackupTarget(self.resource, self.vault, self.role, self.delete_after_days, self.copy_to, self.air_gapped)

    @property
    def home_region(self) -> str:
        """The region of the resource."""
        return self.region or self.resource.split(":")[3]

    @property
    def copy_region(self) -> str:
        """The region of the copy."""
        return self.copy_to.split(":")[3] if self.copy_to else ""


def _is_target(spec: ManagedBackupSpec) -> ManagedBackupSpec:
    spec.target()
    if not spec.home_region:
        raise ValueError("expected a region beside an ARN that names none, as those of S3 do: add region")
    return spec


CheckedManagedBackup = Annotated[ManagedBackupSpec, AfterValidator(field_reader(_is_target))]
