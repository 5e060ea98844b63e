"""Tags of jobs by which a platform sizes and counts their runs: what they are of, which store they read, what machine they get."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from orchestrai.pipeline.costs.run_spec import ResourcesSpec
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.secrets.url_credentials import shown_url

DATASET, STORE, KUBERNETES = "orchestrai/dataset", "orchestrai/store", "dagster-k8s/config"


def dataset_tags(dataset: DatasetNode) -> dict[str, Any]:
    """The tags of runs of a dataset; dagster.yaml limits how many runs of one value are at work at once."""
    return {DATASET: dataset.prefix, STORE: store_of(dataset), **machine_tags([dataset.spec.resources])}


def store_of(dataset: DatasetNode) -> str:
    """The server, bucket or folder that a dataset's producers write to, without credentials and path."""
    url = str(dataset.spec.source.url)
    if "://" not in url:
        return "home"
    parts = urlsplit(shown_url(url))
    # a user's name is no part of which server it is
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else parts.scheme


def machine_tags(declared: Iterable[ResourcesSpec | None]) -> dict[str, Any]:
    """What a run on Kubernetes is given: the most of what is declared for its parts; nothing where nothing is."""
    specs = [one for one in declared if one is not None]
    cpu = max((one.cpu for one in specs if one.cpu is not None), default=None)
    memory = max((one.memory_gb for one in specs if one.memory_gb is not None), default=None)
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if cpu is not None:
        requests["cpu"] = f"{round(cpu * 1000)}m"
    if memory is not None:
        # beyond its memory a run is ended, and not its neighbours
        requests["memory"] = limits["memory"] = f"{round(memory * 1024)}Mi"
    resources = {name: value for name, value in (("requests", requests), ("limits", limits)) if value}
    return {KUBERNETES: {"container_config": {"resources": resources}}} if resources else {}
