"""The champion in an MLflow Model Registry: the model's files as artifacts of a run, a version with tags, an alias.

No MLflow flavour is used, because those of Python models are pickles: who fetches `models:/NAME@champion` gets the very
files of the ledger, with the receipt that vouches for them.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrai.errors import MissingExtra, StorageError, TransientStorageError
from orchestrai.models.registry.registry_urls import Address
from orchestrai.models.registry.target_port import RECEIPT_FILE, Champion, Registered

FOLDER = "model"
TRANSIENT = frozenset({"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR"})


class MlflowRegistry:
    """Registers champions over MLflow's own client; credentials are found as MLflow finds them."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.url = f"mlflow+{address.base}"
        self.alias = address.options.get("alias", "champion")

    def register(self, champion: Champion) -> Registered:
        """Upload the files once per version, create the model version, and move the alias to it."""
        client = _client(self.address.base)
        name = self.address.options.get("name", champion.name)
        with _translated(self.url):
            _ensure_model(client, name)
            earlier = _version_of(client, name, champion.scorer.version)
            version = earlier or self._create(client, name, champion)
            moved = not earlier or _aliased(client, name, self.alias) != version
            if moved:
                client.set_registered_model_alias(name, self.alias, version)
            source = str(client.get_model_version(name, version).source)
        return Registered(self.url, name, version, f"@{self.alias}", source, moved)

    def _artifacts(self) -> str | None:
        """Beside an SQLite file; MLflow itself would take the working directory. A server knows its own place."""
        if self.address.scheme != "mlflow+sqlite":
            return None
        database = Path(self.address.base.removeprefix("sqlite:///")).resolve()
        return (database.parent / "mlartifacts").as_uri()

    def _create(self, client: Any, name: str, champion: Champion) -> str:
        experiment = self.address.options.get("experiment", "orchestrai")
        known = client.get_experiment_by_name(experiment)
        experiment_id = known.experiment_id if known is not None else client.create_experiment(experiment, self._artifacts())
        run = client.create_run(experiment_id, run_name=champion.scorer.version[7:19], tags=champion.labels())
        run_id = run.info.run_id
        with tempfile.TemporaryDirectory() as folder:
            for path, data in {**champion.files, RECEIPT_FILE: champion.receipt}.items():
                (Path(folder) / path).write_bytes(data)
            client.log_artifacts(run_id, folder, FOLDER)
        for metric, value in sorted(champion.metrics.items()):
            client.log_metric(run_id, metric, value)
        client.set_terminated(run_id)
        source = f"{run.info.artifact_uri}/{FOLDER}"
        created = client.create_model_version(
            name, source, run_id, tags=champion.labels(), description=f"{champion.scorer.asset} {champion.scorer.version}"
        )
        return str(created.version)


def _client(uri: str) -> Any:
    # MLflow reports its use to its makers unless told not to
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
    except ImportError as exc:
        raise MissingExtra(
            "expected the extra mlflow for a registry mlflow+..., found none: pip install 'orchestrai[mlflow]'"
        ) from exc
    with _translated(uri):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as exc:
        first = str(exc.message).splitlines()[0][:300]
        kind = TransientStorageError if exc.error_code in TRANSIENT else StorageError
        raise kind(f"expected MLflow at {uri} to answer, found {exc.error_code}: {first}") from exc


def _ensure_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as exc:
        if exc.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version_of(client: Any, name: str, version: str) -> str | None:
    token = None
    while True:
        page = client.search_model_versions(f"name='{name}'", page_token=token)
        for one in page:
            if one.tags.get("orchestrai_version") == version:
                return str(one.version)
        token = page.token
        if not token:
            return None


def _aliased(client: Any, name: str, alias: str) -> str | None:
    aliases = client.get_registered_model(name).aliases
    version = aliases.get(alias)
    return None if version is None else str(version)
