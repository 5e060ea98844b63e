"""Every kind of store that the conformance suite runs against."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrai.storage.base import Store
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store

SERVED = ("s3-moto", "s3-rgw", "azure-azurite", "gcs-shim")
KINDS = ("local", "memory", *(pytest.param(kind, marks=pytest.mark.emulator) for kind in SERVED))
Opener = Callable[[pytest.FixtureRequest], Store]


def s3_options(server: Any, **more: Any) -> StoreOptions:
    return StoreOptions(
        endpoint_url=server.endpoint,
        region=server.region,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        **more,
    )


def _local(request: pytest.FixtureRequest) -> Store:
    path: Path = request.getfixturevalue("tmp_path")
    return LocalStore(path / "store")


def _memory(request: pytest.FixtureRequest) -> Store:
    return MemoryStore()


def _moto(request: pytest.FixtureRequest) -> Store:
    server = request.getfixturevalue("moto")
    return open_store(f"s3://{server.bucket()}/some/prefix", s3_options(server))


def _rgw(request: pytest.FixtureRequest) -> Store:
    server = request.getfixturevalue("rgw")
    return open_store(f"s3://{server.bucket()}/some/prefix", s3_options(server))


def _azurite(request: pytest.FixtureRequest) -> Store:
    server = request.getfixturevalue("azurite")
    options = StoreOptions(account_name=server.account, account_key=server.key, endpoint_url=server.endpoint)
    return open_store(f"az://{server.container()}/some/prefix", options)


def _gcs(request: pytest.FixtureRequest) -> Store:
    server = request.getfixturevalue("gcs")
    return open_store(f"gs://{server.bucket()}/some/prefix", StoreOptions(endpoint_url=server.endpoint))


OPENERS: dict[str, Opener] = {
    "local": _local,
    "memory": _memory,
    "s3-moto": _moto,
    "s3-rgw": _rgw,
    "azure-azurite": _azurite,
    "gcs-shim": _gcs,
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest) -> Store:
    """A fresh, empty store of each kind."""
    return OPENERS[kind](request)
