"""The champion in a workspace's model registry, by azure-ai-ml's own interface: asked first, a name by the digest, a tag that follows."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from orchestrai.errors import ConfigError, ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.registry.clouds import stored_files
from orchestrai.models.registry.clouds.azureml_registry import AzureMLRegistry
from orchestrai.models.registry.deployment import open_target
from orchestrai.models.registry.registry_urls import parse_address
from orchestrai.models.registry.target_port import Registered, open_champion
from orchestrai.models.registry.versions import rollback
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.clouds.azure_registry import ModelVersions
from orchestrai_tests.clouds.loopback import Reply, serving
from orchestrai_tests.models.conftest import CHAMPION, customers, spec

Run = Callable[..., Any]
Register = Callable[[], Registered]
PLACE = "azureml://00000000-0000-0000-0000-000000000001/shop/mlw/churn"
URL = f"{PLACE}?output=abfss://models@shop.dfs.core.windows.net/churn&datastore=models/churn"


@pytest.fixture
def versions() -> Iterator[ModelVersions]:
    played = ModelVersions()
    yield played
    assert played.faults == []


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """What the output's URL is."""
    store = MemoryStore(name="models")
    monkeypatch.setattr(stored_files, "open_store", lambda url: {parse_address(URL).options["output"]: store}[url])
    return store


@pytest.fixture
def register(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, versions: ModelVersions, container: MemoryStore
) -> Iterator[Register]:
    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        assert headers["Authorization"] == "Bearer t"
        status, told = versions.answer(method, url, json.loads(body) if body else None)
        return status, {}, told

    monkeypatch.setattr("orchestrai.models.registry.clouds.azureml_registry._token", lambda: "t")
    with serving(ask) as url:

        def bring() -> Registered:
            target = AzureMLRegistry(parse_address(URL), endpoint=url, clock=Clock(lambda _: None, lambda: 0.0))
            return target.register(open_champion(ledger, CHAMPION))

        yield bring


def tagged(versions: ModelVersions) -> list[str]:
    return [name for name, told in versions.versions.items() if "champion" in told["tags"]]


def test_the_tag_follows_promotion_and_rollback_and_no_two_versions_have_it(
    ledger: Ledger, run: Run, register: Register, versions: ModelVersions
) -> None:
    first = str(run(spec(), customers())[0].version)
    held = register()
    assert held.version == first.removeprefix("sha256:")[:32] and held.changed
    again = register()
    assert not again.changed and again.as_json() == held.as_json()
    assert versions.calls["model_versions_create_or_update"] == 2
    run(spec(), customers(seed=2))
    second = register().version
    assert tagged(versions) == [second]
    rollback(ledger, CHAMPION)
    assert register().version == held.version and tagged(versions) == [held.version]
    assert versions.versions[held.version]["properties"]["orchestrai_version"] == first
    # what somebody else put on a version stays
    assert versions.versions[second]["tags"] == {"made_by": "orchestrai"}


def test_a_run_that_died_between_the_tags_is_mended_by_the_next(
    run: Run, register: Register, versions: ModelVersions
) -> None:
    run(spec(), customers())
    first = register().version
    run(spec(), customers(seed=2))
    second = register().version
    versions.versions[first]["tags"]["champion"] = "true"
    versions.versions = {**{"0": {**versions.versions[first]}}, **versions.versions}
    assert register().changed and tagged(versions) == [second]


def test_the_champion_s_files_lie_where_the_workspace_is_told(
    ledger: Ledger, run: Run, register: Register, versions: ModelVersions, container: MemoryStore
) -> None:
    run(spec(), customers())
    artifact, champion = register().artifact, open_champion(ledger, CHAMPION)
    begin = "azureml://subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/shop/workspaces/mlw/datastores/models/paths/churn/"
    folder = artifact.removeprefix(begin)
    assert folder == f"models/{champion.scorer.version.removeprefix('sha256:')}"
    for name, data in {**champion.files, "receipt.dsse.json": champion.receipt}.items():
        assert container.read(f"{folder}/{name}") == data


def test_a_version_that_fails_and_one_of_somebody_else_are_told(
    run: Run, register: Register, versions: ModelVersions
) -> None:
    run(spec(), customers())
    versions.states = ["Creating", "Failed"]
    with pytest.raises(ModelError, match="found Failed"):
        register()
    (name,) = versions.versions
    versions.versions[name]["properties"] = {}
    with pytest.raises(ModelError, match="found another's: remove it there"):
        register()


def test_a_registry_of_azure_ml_is_named_by_its_url() -> None:
    target = open_target(URL)
    assert isinstance(target, AzureMLRegistry) and target.url == PLACE


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("azureml://sub/shop/mlw/churn?output=abfss://c&datastore=d", "expected azureml://SUBSCRIPTION"),
        (f"{PLACE}?output=s3://b&datastore=d", "expected an abfss:// or az:// folder"),
        (f"{PLACE}?output=abfss://c", "none named datastore"),
        (f"{PLACE}?output=abfss://c&datastore=d&alias=x", "unknown alias"),
    ],
)
def test_a_url_that_names_no_model_of_a_workspace_is_told(url: str, found: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_address(url)
    assert found in str(refused.value)
