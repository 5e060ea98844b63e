"""What is tried in a subscription of Azure."""

import secrets

from orchestrai.pipeline.accounts.account_proof import Given, Step, declared
from orchestrai.pipeline.accounts.common_steps import common_steps
from orchestrai.pipeline.accounts.warehouse_steps import SNOWFLAKE, warehouse_step


def azure_steps() -> tuple[Step, ...]:
    """The steps, cheapest first."""
    return (
        *common_steps(
            "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER", "azurekv://VAULT/KEY",
            "azure-queue://ACCOUNT.queue.core.windows.net/NAME", "azkv://VAULT/NAME",
        ),
        Step(
            "azure ml", "ask the workspace for a job that is not there", ("subscription", "resource_group", "workspace"), _workspace
        ),
        Step(
            "azure ml models", "list the versions of a model that have the tag champion, to the last page",
            ("subscription", "resource_group", "workspace", "model"), _models,
        ),
        Step("synapse", "look for a batch that is not there, to the last page", ("synapse_workspace", "pool"), _pool),
        warehouse_step(SNOWFLAKE),
    )  # fmt: skip


def _workspace(given: Given) -> str:
    from orchestrai.models.remote.azureml import AzureMLJobs
    from orchestrai.models.remote.spec import AzureMLTraining

    # what only a job needs is not asked for
    where = declared(AzureMLTraining, given, environment="azureml:none:1", staging="memory:", datastore="https://none")
    name = f"orchestrai-prove-{secrets.token_hex(8)}"
    found = AzureMLJobs(where).phase(name)
    return f"the workspace answers; {name} {'is there' if found else 'is not there, as it should be'}"


def _models(given: Given) -> str:
    from orchestrai.models.registry.clouds.azureml_registry import MANAGEMENT, AzureMLRegistry
    from orchestrai.models.registry.registry_urls import parse_address

    # what only a new version needs is not asked for
    place = "/".join(given[name] for name in ("subscription", "resource_group", "workspace", "model"))
    address = parse_address(f"azureml://{place}?output=abfss://none&datastore=none")
    found = list(AzureMLRegistry(address, endpoint=given.get("endpoint", MANAGEMENT)).tagged())
    return f"{len(found)} version(s) of {given['model']} with the tag"


def _pool(given: Given) -> str:
    from orchestrai.features.jobs.synapse import SynapseBatches, SynapseFile

    file = declared(SynapseFile, given, workspace=given["synapse_workspace"])
    found = SynapseBatches(file).named(f"orchestrai-prove-{secrets.token_hex(8)}")
    return f"the pool answers; {'a batch' if found else 'no batch'} of that name"
