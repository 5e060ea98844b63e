"""The champion in Vertex AI's model registry, by its discovery document: asked first, uploaded once, the alias wherever it may move."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from orchestrai.errors import ConfigError, ModelError, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.registry.clouds import stored_files
from orchestrai.models.registry.clouds.vertex_registry import VertexRegistry
from orchestrai.models.registry.deployment import open_target
from orchestrai.models.registry.registry_urls import parse_address
from orchestrai.models.registry.target_port import Registered, open_champion
from orchestrai.models.registry.versions import rollback
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.clouds.loopback import Reply, serving
from orchestrai_tests.clouds.vertex_models import VertexModels
from orchestrai_tests.models.conftest import CHAMPION, customers, spec

Run = Callable[..., Any]
Register = Callable[[], Registered]
URL = "vertex://shop-1/europe-west4/churn?output=gs://models/churn&image=europe-docker.pkg.dev/shop/serve:1"


@pytest.fixture
def models() -> Iterator[VertexModels]:
    played = VertexModels()
    yield played
    assert played.faults == []


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """What gs://models/churn is."""
    store = MemoryStore(name="models")
    monkeypatch.setattr(stored_files, "open_store", lambda url: {"gs://models/churn": store}[url])
    return store


@pytest.fixture
def register(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, models: VertexModels, bucket: MemoryStore
) -> Iterator[Register]:
    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        assert headers["Authorization"] == "Bearer t"
        status, told = models.answer(method, url, json.loads(body) if body else None)
        return status, {}, told

    monkeypatch.setattr("orchestrai.models.registry.clouds.vertex_registry._token", lambda: "t")
    with serving(ask) as url:

        def bring() -> Registered:
            target = VertexRegistry(parse_address(URL), endpoint=url, clock=Clock(lambda _: None, lambda: 0.0))
            return target.register(open_champion(ledger, CHAMPION))

        yield bring


@pytest.mark.parametrize("aliases", ["move", "refuse", "keep"])
def test_the_alias_follows_promotion_and_rollback_whatever_the_service_does_with_one_that_is_taken(
    ledger: Ledger, run: Run, register: Register, models: VertexModels, aliases: str
) -> None:
    models.aliases = aliases
    first = str(run(spec(), customers())[0].version)
    held = register()
    assert (held.name, held.version, held.changed) == ("projects/shop-1/locations/europe-west4/models/churn", "1", True)
    again = register()
    assert not again.changed and again.as_json() == held.as_json() and models.calls["upload"] == 1
    run(spec(), customers(seed=2))
    assert register().version == "2"
    rollback(ledger, CHAMPION)
    assert register().version == "1" and models.calls["upload"] == 2
    versions = models.models["churn"]
    assert [("champion" in one["versionAliases"]) for one in versions] == [True, False]
    assert versions[0]["labels"]["orchestrai_version"] == first.removeprefix("sha256:")
    assert all(len(value) <= 64 for value in versions[0]["labels"].values())


def test_the_champion_s_own_files_and_its_receipt_lie_where_the_version_says(
    ledger: Ledger, run: Run, register: Register, models: VertexModels, bucket: MemoryStore
) -> None:
    run(spec(), customers())
    artifact = register().artifact
    champion = open_champion(ledger, CHAMPION)
    assert artifact == models.models["churn"][0]["artifactUri"]
    folder = artifact.removeprefix("gs://models/churn/")
    for name, data in {**champion.files, "receipt.dsse.json": champion.receipt}.items():
        assert bucket.read(f"{folder}/{name}") == data


def test_what_is_registered_is_not_stored_again(run: Run, register: Register, bucket: MemoryStore) -> None:
    run(spec(), customers())
    register()
    for info in list(bucket.list("")):
        bucket.delete(info.key)
    register()
    assert list(bucket.list("")) == []


def test_other_bytes_where_a_version_is_stored_are_refused(
    ledger: Ledger, run: Run, register: Register, models: VertexModels, bucket: MemoryStore
) -> None:
    version = str(run(spec(), customers())[0].version)
    bucket.write(f"models/{version.removeprefix('sha256:')}/model.ubj", b"other")
    with pytest.raises(ModelError, match="found other bytes: remove the folder"):
        register()
    assert models.models == {}


def test_an_upload_that_fails_is_told_and_tried_again(run: Run, register: Register, models: VertexModels) -> None:
    run(spec(), customers())
    models.problem = "the artifact cannot be read"
    with pytest.raises(ModelError, match="found 3: the artifact cannot be read"):
        register()
    models.problem = ""
    assert register().version == "1"


def test_a_project_without_it_is_an_error_of_the_service(run: Run, register: Register, models: VertexModels) -> None:
    run(spec(), customers())
    models.place = "projects/other-1/locations/europe-west4"
    with pytest.raises(StorageError, match="Vertex AI to POST"):
        register()


def test_a_registry_of_vertex_is_named_by_its_url() -> None:
    target = open_target(URL)
    assert isinstance(target, VertexRegistry) and target.url == "vertex://shop-1/europe-west4/churn"
    assert spec(registry=URL).registry == [URL]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("vertex://shop-1/europe-west4?output=gs://b&image=i", "expected vertex://PROJECT/LOCATION/MODEL"),
        ("vertex://shop-1/europe-west4/Churn?output=gs://b&image=i", "expected vertex://PROJECT/LOCATION/MODEL"),
        ("vertex://shop-1/europe-west4/churn?output=gs://b&image=i&alias=1", "an alias of small letters"),
        ("vertex://shop-1/europe-west4/churn?output=s3://b&image=i", "expected a gs:// folder"),
        ("vertex://shop-1/europe-west4/churn?output=gs://b", "none named image"),
        ("vertex://shop-1/europe-west4/churn?output=gs://b&image=i&region=x", "unknown region"),
    ],
)
def test_a_url_that_names_no_model_of_vertex_is_told(url: str, found: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_address(url)
    assert found in str(refused.value)
