"""What every stage works with: settings, declarations, stores, keys and the clock of one process."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

from orchestrai.core.identity import utc_now
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError
from orchestrai.features.engines.engine import Engine
from orchestrai.ingest.sources.landing import open_landing
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.ledger import Ledger, open_ledger
from orchestrai.pipeline.backup_graph import declared_backups
from orchestrai.pipeline.engines import Launch, engine_for, session_settings
from orchestrai.pipeline.load import Project, load_pipelines, pipeline_folders
from orchestrai.pipeline.nodes import DatasetNode, ViewNode
from orchestrai.pipeline.protection import open_vault
from orchestrai.privacy.persons import PersonKeys, open_person_keys
from orchestrai.settings import Settings
from orchestrai.stage.context import RunContext
from orchestrai.storage.base import Store
from orchestrai.vault.vault import Vault


class Site:
    """Settings, stores and declarations, opened once per process and only when first needed."""

    def __init__(self, settings: Settings, project: Project | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        self._project = project
        self.launch: Launch | None = None

    @cached_property
    def project(self) -> Project:
        """Every deployed pipeline that can be read."""
        return self._project or load_pipelines(pipeline_folders(self.settings.pipelines))

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger over the lake, with the vault as witness."""
        return open_ledger(self.settings, self.clock)

    @cached_property
    def vault(self) -> Vault:
        """The backup engine over the vault store; sealed as a whole when any dataset declares `encrypt`."""
        return open_vault(self.ledger, self.settings.key_folder, self._seals)

    @cached_property
    def persons(self) -> PersonKeys:
        """The keys that tokens are made with, outside lake and vault so that destroying one is final."""
        return open_person_keys(self.settings)

    def _seals(self) -> str:
        """What is declared to wrap the data key, or nothing: a vault is sealed as a whole, and when it is made."""
        for pipeline in self.project.left_out:
            # what is written plain stays so, and a vault is made once
            if pipeline.may_encrypt:
                raise ConfigError(
                    f"expected {pipeline.name} to load before a vault is made, since it may declare that it be encrypted, "
                    f"found it left out: {pipeline.mistakes[0].message}"
                )
        declared = {spec.key_url for spec in declared_backups(tuple(self.project.nodes.values())).values()} - {""}
        if len(declared) > 1:
            raise ConfigError(
                f"expected one key for the vault, found {', '.join(sorted(declared))} declared: a vault is sealed as a whole"
            )
        return declared.pop() if declared else ""

    def context(self, progress: Progress | None = None, overrides: Sequence[Override] = ()) -> RunContext:
        """What travels with one run here."""
        return RunContext(self.ledger, self.settings, self.clock, lambda: self.persons, progress, overrides)

    def landing(self, dataset: DatasetNode) -> Store:
        """The store a dataset's producers write to; a relative path lies under the home folder."""
        return open_landing(dataset.spec.source.url, self.settings.home)

    def online_path(self, node: ViewNode) -> Path:
        """The file from which the newest features of a view are read by key."""
        return self.settings.home / "online" / node.pipeline / f"{node.view.name}.sqlite"

    def engine(self, wanted: str = "auto", size: int = 0) -> Engine:
        """The engine by the settings, else as a view wants it, else by the bytes of its input."""
        return engine_for(self.settings, self.spark_session, self.launch, wanted, size)

    def spark_session(self) -> object:
        """The session that Spark views run in; replaced by the Dagster side with dagster-pyspark's."""
        from pyspark.sql import SparkSession

        builder = SparkSession.builder
        for name, value in session_settings(self.settings.spark_url).items():
            builder = builder.config(name, value)
        return builder.getOrCreate()
