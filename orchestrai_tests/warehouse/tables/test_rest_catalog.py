"""An Iceberg table in a catalog that is a service: committed by its protocol, asked as declared, and by no other word of the service."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import AccessRefused, ConcurrentCommit, ConfigError, OrchestraiError, TransientStorageError
from orchestrai.storage.local import LocalStore
from orchestrai.warehouse.tables.iceberg.client_token import ClientToken
from orchestrai.warehouse.tables.iceberg.iceberg_catalog import IcebergPlace
from orchestrai.warehouse.tables.iceberg.iceberg_table import IcebergTable
from orchestrai.warehouse.tables.iceberg.store_io import StoreIO
from orchestrai.warehouse.tables.table_version import change_to
from orchestrai_tests.servers.iceberg_rest import CLIENT, SCOPE, SECRET, IcebergRest, iceberg_rest
from orchestrai_tests.warehouse.tables.conftest import ASSET, NAME, Rows, World, in_order, some
from orchestrai_tests.warehouse.tables.test_shares import MINE, deployed, fill, hour, reading, run

GIVEN = {"warehouse": "shop", "token": "given"}
BY_SECRET = {"warehouse": "shop", "client": CLIENT, "secret": SECRET, "scope": SCOPE}


@dataclass
class Served(World):
    """A dataset whose table is in the service's catalog."""

    url: str = ""
    access: dict[str, str] = field(default_factory=lambda: GIVEN)

    def table(self) -> IcebergTable:
        place = IcebergPlace(NAME, self.url, self.lake, "tables/p/readings", self.access)
        return IcebergTable(place, ASSET, self.lake, self.columns)

    def read(self, version: str) -> Rows:
        """What pyiceberg's own client of the service reads as of a version's tag."""
        from pyiceberg.catalog.rest import RestCatalog

        catalog = RestCatalog("reader", uri=self.url, **GIVEN)
        table = catalog.load_table(NAME)
        return in_order(table.scan(snapshot_id=table.refs()[version.replace(":", "-")].snapshot_id).to_arrow().to_pylist())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[IcebergRest]:
    with iceberg_rest(tmp_path) as served:
        yield served


@pytest.fixture
def world(service: IcebergRest, tmp_path: Path) -> Served:
    return Served(tmp_path, "iceberg", LocalStore(tmp_path / "lake"), url=service.url)


def test_each_version_is_a_snapshot_that_the_services_other_clients_read(world: Served, service: IcebergRest) -> None:
    versions = [world.publish({"a": some(1, 2), "b": some(3)})]
    assert world.follow().committed == 1
    versions.append(world.publish({"b": some(4, 5)}))
    assert world.follow().committed == 1
    assert world.follow().committed == 0
    # nobody asks the service to hand out credentials for the store
    assert "X-Iceberg-Access-Delegation" not in service.headers
    for version in versions:
        assert world.read(version) == world.rows_of(version)


def test_retention_takes_snapshots_out_of_the_service(world: Served) -> None:
    versions = []
    for number in range(3):
        versions.append(world.publish({"a": some(number)}))
        world.follow()
    newest = world.publish({"a": some(9)})

    def newest_alone(published: Any) -> set[int]:
        return {max(published, key=published.__getitem__)}

    assert world.follow(newest_alone).expired == 3
    assert world.versions() == [newest]
    with pytest.raises(KeyError):
        world.read(versions[0])


def test_who_loses_against_another_writer_is_told_and_the_next_run_mends_it(world: Served) -> None:
    world.publish({"a": some(1)})
    world.follow()
    late = world.table()
    late.open()
    version = world.publish({"b": some(2)})
    world.follow()
    change = change_to(world.ledger, world.ledger.open(ASSET), None, None)
    with pytest.raises(ConcurrentCommit, match="found another: run it again"):
        late.commit(change)
    late.close()
    assert world.follow().committed == 0 and world.read(version) == world.rows_of(version)


def test_a_commit_whose_end_is_unknown_is_looked_at_by_the_next_run(world: Served, service: IcebergRest) -> None:
    world.publish({"a": some(1)})
    world.follow()
    world.publish({"a": some(2)})
    service.answers.append((500, {}, {"error": {"message": "m", "type": "t", "code": 500}}))
    table = world.table()
    table.open()
    with pytest.raises(ConcurrentCommit):
        table.commit(change_to(world.ledger, world.ledger.open(ASSET), None, None))
    table.close()
    assert world.follow().committed == 1 and len(world.versions()) == 2


def test_an_application_exchanges_its_secret_and_no_message_shows_it(world: Served, service: IcebergRest) -> None:
    service.tokens.clear()
    version = world.publish({"a": some(1)})
    access = {**BY_SECRET, "token_url": f"{service.url}/v1/oauth/tokens"}
    world.access = access
    assert world.follow().committed == 1
    assert sum(one.endswith("/oauth/tokens") for one in service.asked) == 1
    world.access = {**access, "client": "another"}
    with pytest.raises(AccessRefused, match="check client, secret, token_url and scope") as refused:
        world.follow()
    assert SECRET not in str(refused.value)
    world.access = {**GIVEN, "token": "expired"}
    with pytest.raises(AccessRefused, match="check the token"):
        world.follow()
    world.access = access
    assert world.versions() == [version]


def test_a_token_is_exchanged_anew_shortly_before_it_ends(service: IcebergRest) -> None:
    now = [0.0]
    token = ClientToken(CLIENT, SECRET, f"{service.url}/v1/oauth/tokens", SCOPE, clock=lambda: now[0])
    first = token.auth_header()
    now[0] = 3500
    assert token.auth_header() == first
    now[0] = 3541
    assert token.auth_header() != first


@pytest.mark.parametrize(
    ("told", "kind", "found"),
    [
        ((503, {}, {"error": {"message": "later", "type": "t", "code": 503}}), TransientStorageError, "later; run it again"),
        ((403, {}, {"error": {"message": "not yours", "type": "t", "code": 403}}), AccessRefused, "not yours"),
        ((0, {}, None), TransientStorageError, "run it again"),
    ],
)
def test_what_the_service_answers_instead_is_an_error_with_a_remedy(
    world: Served, service: IcebergRest, told: Any, kind: type[OrchestraiError], found: str
) -> None:
    world.publish({"a": some(1)})
    service.answers.append(told)
    with pytest.raises(kind, match=found):
        world.follow()
    assert world.follow().committed == 1


def test_the_url_of_something_else_is_told(world: Served, service: IcebergRest) -> None:
    world.publish({"a": some(1)})
    world.url = f"{service.url}/v1/shop/namespaces"
    with pytest.raises(OrchestraiError, match="expected the catalog of"):
        world.follow()


def test_a_service_cannot_send_the_token_elsewhere_nor_name_classes_to_load(world: Served, service: IcebergRest) -> None:
    version = world.publish({"a": some(1)})
    service.overrides["uri"] = "http://127.0.0.1:9"
    with pytest.raises(ConfigError, match="found that it names"):
        world.follow()
    marker = world.folder / "ran"
    loads = {"type": "custom", "impl": "subprocess.Popen", "custom": {"args": ["touch", str(marker)]}}
    service.overrides = {"auth": loads, "py-io-impl": "os.path.join"}
    assert world.follow().committed == 1
    service.overrides = {}
    assert not marker.exists() and world.read(version) == world.rows_of(version)


def test_a_property_of_a_table_names_no_class_to_read_it_by(tmp_path: Path) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    world = World(tmp_path, "iceberg", LocalStore(tmp_path / "lake"))
    world.publish({"a": some(1)})
    world.follow()
    other = SqlCatalog("orchestrai", uri=f"sqlite:///{tmp_path}/catalog.db")
    other.load_table(NAME).transaction().set_properties(
        {"py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"}
    ).commit_transaction()
    other.close()
    table = world.table()
    table.open()
    assert isinstance(table, IcebergTable) and isinstance(table._table and table._table.io, StoreIO)
    table.close()
    version = world.publish({"a": some(2)})
    assert world.follow().committed == 1 and world.versions()[-1] == version


def test_a_declared_table_reaches_the_service(tmp_path: Path, service: IcebergRest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_TOKEN", "given")
    share = f"share:\n  - {{name: mine, from: readings, as: iceberg, catalog: '{service.url}', access: {{warehouse: shop, token: 'env://CATALOG_TOKEN'}}}}\n"
    runtime = deployed(tmp_path, share)
    fill(runtime, reading(1), reading(2))
    run(runtime, [hour(10)])
    assert runtime.run(runtime.project.nodes[MINE], ["all"]).facts["table"] == "plant.mine"
    rows = service.catalog.load_table("plant.mine").scan().to_arrow()
    assert sorted(rows["id"].to_pylist()) == [1, 2]
