"""Session fixtures: each server is started once, on first use, and skipped with the reason where it is absent."""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from orchestrai_tests.servers.azurite import AzuriteServer, azurite_server
from orchestrai_tests.servers.gcs import GcsServer, gcs_server
from orchestrai_tests.servers.mariadb import MariadbServer, mariadb_server
from orchestrai_tests.servers.mlflow import mlflow_server
from orchestrai_tests.servers.moto import moto_server
from orchestrai_tests.servers.postgres import PostgresServer, postgres_server
from orchestrai_tests.servers.process import ServerAbsent
from orchestrai_tests.servers.rgw import rgw_server
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.servers.sail import sail_server
from orchestrai_tests.servers.spark import local_spark

T = TypeVar("T")


def _or_skip(server: contextlib.AbstractContextManager[T]) -> Iterator[T]:
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except ServerAbsent as exc:
            pytest.skip(str(exc))
        yield running


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """moto's server: AWS services on one port."""
    yield from _or_skip(moto_server())


@pytest.fixture(scope="session")
def rgw() -> Iterator[S3Server]:
    """Ceph RGW: S3 with real object lock."""
    yield from _or_skip(rgw_server())


@pytest.fixture(scope="session")
def azurite() -> Iterator[AzuriteServer]:
    """Azurite: Azure Blob and Queue storage."""
    yield from _or_skip(azurite_server())


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsServer]:
    """The XML API of Google Cloud Storage over moto."""
    yield from _or_skip(gcs_server())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    yield from _or_skip(postgres_server())


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """A MariaDB server."""
    yield from _or_skip(mariadb_server())


@pytest.fixture(scope="session")
def mlflow_url() -> Iterator[str]:
    """MLflow's server: tracking, artifacts and model registry."""
    yield from _or_skip(mlflow_server())


@pytest.fixture(scope="session")
def spark_session() -> Iterator[Any]:
    """Spark in this process, shared by all its tests: two cores, one partition, no user interface."""
    yield from _or_skip(local_spark())


@pytest.fixture(scope="session")
def sail_url() -> Iterator[str]:
    """A Spark Connect server without a JVM."""
    yield from _or_skip(sail_server())
