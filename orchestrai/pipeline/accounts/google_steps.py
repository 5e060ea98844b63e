"""What is tried in a project of Google Cloud."""

import secrets

from orchestrai.errors import StorageError
from orchestrai.pipeline.accounts.account_proof import Given, Step, declared
from orchestrai.pipeline.accounts.common_steps import common_steps
from orchestrai.pipeline.accounts.warehouse_steps import SNOWFLAKE, warehouse_step


def google_steps() -> tuple[Step, ...]:
    """The steps, cheapest first."""
    return (
        *common_steps(
            "gs://BUCKET/FOLDER", "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K", "pubsub://PROJECT/SUBSCRIPTION",
            "gcpsm://PROJECT/NAME",
        ),
        Step("vertex", "look for a custom job that is not there, by its display name", ("project", "location"), _vertex),
        Step("vertex models", "list the versions of a model, to the last page", ("project", "location", "model"), _models),
        Step("dataproc", "ask for a batch that is not there", ("project", "location"), _dataproc),
        warehouse_step(f"bigquery://PROJECT/DATASET?staging=gs://BUCKET/FOLDER or {SNOWFLAKE}"),
    )  # fmt: skip


def _vertex(given: Given) -> str:
    from orchestrai.models.remote.spec import VertexTraining
    from orchestrai.models.remote.vertex import VertexJobs

    where = declared(VertexTraining, given, image="none", bucket="gs://none")
    name = f"orchestrai-prove-{secrets.token_hex(8)}"
    found = VertexJobs(where).phase(name)
    return f"the filter is understood; {name} {'is there' if found else 'is not there, as it should be'}"


def _models(given: Given) -> str:
    from orchestrai.models.registry.clouds.vertex_registry import VertexRegistry
    from orchestrai.models.registry.registry_urls import parse_address

    # what only an upload needs is not asked for
    address = parse_address(f"vertex://{given['project']}/{given['location']}/{given['model']}?output=gs://none&image=none")
    found = list(VertexRegistry(address, endpoint=given.get("endpoint", "")).versions())
    return f"{len(found)} version(s) of {given['model']}"


def _dataproc(given: Given) -> str:
    from orchestrai.features.jobs.dataproc import DataprocBatches, DataprocFile

    file = declared(DataprocFile, given, region=given["location"])
    name = f"orchestrai-prove-{secrets.token_hex(8)}"
    try:
        DataprocBatches(file).phase(name)
    except StorageError as exc:
        if "found none" in exc.message:
            return f"the region answers; {name} is not there, as it should be"
        raise
    return f"the region answers; {name} is there"
