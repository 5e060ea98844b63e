"""What buckets made by others hold, bodies too large for one request, and forks."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import InvalidKey, ObjectExists, ObjectNotFound, StorageError
from orchestrai.storage import objects
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.url import open_store
from orchestrai_tests.servers.azurite import AzuriteServer
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import OPENERS, s3_options

pytestmark = pytest.mark.emulator


def test_folder_markers_of_consoles_are_left_out(moto: S3Server) -> None:
    bucket, client = moto.bucket(), moto.client()
    for name in ("landing/", "landing/2024/", "landing/2024-1", "landing/2024/y", "landing/empty"):
        client.put_object(Bucket=bucket, Key=name, Body=b"")
    store = open_store(f"s3://{bucket}/landing", s3_options(moto))
    assert [info.key for info in store.list()] == ["2024-1", "2024/y", "empty"]
    assert [info.key for info in store.list("2024/")] == ["2024/y"]


@pytest.mark.parametrize(
    "name", ["landing/e//f", "landing/p/./z", "landing/q/../z", "landing//abs", "landing/full/", "landing/tab\tx"]
)
def test_a_name_that_the_store_cannot_hold_is_told_and_never_skipped(moto: S3Server, name: str) -> None:
    bucket, client = moto.bucket(), moto.client()
    client.put_object(Bucket=bucket, Key="landing/a", Body=b"1")
    client.put_object(Bucket=bucket, Key="landing/full/x", Body=b"1")
    client.put_object(Bucket=bucket, Key=name, Body=b"1")
    store = open_store(f"s3://{bucket}/landing", s3_options(moto))
    with pytest.raises((InvalidKey, ObjectNotFound)) as told:
        for info in store.list():
            store.head(info.key)
    assert name.removeprefix("landing").strip("/").split("/")[0].split("\t")[0] in str(told.value)


@pytest.mark.parametrize(
    "key", ["tab\tx", "new\nline", "\x7f", "a\ud800", "\uffff", "x" * 200 + "/" + "é" * 120 + "/" + "y" * 255 * 2]
)
@pytest.mark.parametrize("kind", ["s3-moto", "azure-azurite", "gcs-shim"])
def test_keys_that_clouds_garble_are_refused(kind: str, key: str, request: pytest.FixtureRequest) -> None:
    store = OPENERS[kind](request)
    with pytest.raises(InvalidKey):
        store.write(key, b"1")


def test_the_prefix_counts_towards_the_longest_name(moto: S3Server) -> None:
    bucket = moto.bucket()
    key = "/".join(["k" * 100] * 10)
    assert open_store(f"s3://{bucket}", s3_options(moto)).write(key, b"1").size == 1
    with pytest.raises(InvalidKey, match="1,024"):
        open_store(f"s3://{bucket}/{'p' * 30}", s3_options(moto)).write(key, b"1")


def test_azure_refuses_a_segment_that_ends_in_a_dot(azurite: AzuriteServer) -> None:
    options = StoreOptions(account_name=azurite.account, account_key=azurite.key, endpoint_url=azurite.endpoint)
    store = open_store(f"az://{azurite.container()}", options)
    with pytest.raises(InvalidKey, match="dot"):
        store.write("a./b", b"1")


@pytest.mark.parametrize("kind", ["s3-moto", "s3-rgw", "azure-azurite", "gcs-shim"])
def test_a_body_above_the_limit_of_one_request_goes_in_parts(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(objects, "SINGLE_PUT_BYTES", 9 * 1024 * 1024)
    store: Store = OPENERS[kind](request)
    body = bytes(range(256)) * 4096 * 20
    (tmp_path / "body").write_bytes(body)
    written = [
        store.write("bytes", body, create=True),
        store.write("chunks", iter([body[:1000], body[1000:]]), create=True),
        store.write_file("file", tmp_path / "body", create=True),
    ]
    for info in written:
        assert info.size == len(body)
        assert store.read(info.key) == body
        with pytest.raises(ObjectExists):
            store.write(info.key, body, create=True)
    assert store.write("bytes", body + b"!").size == len(body) + 1


def _use(store: Any, answer: Any) -> None:
    try:
        store.read("k")
    except StorageError as exc:
        answer.put(str(exc))


def test_a_fork_is_refused_instead_of_hanging(moto: S3Server) -> None:
    store = open_store(f"s3://{moto.bucket()}", s3_options(moto))
    store.write("k", b"1")
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_use, args=(store, answer))
    child.start()
    told = answer.get(timeout=30)
    child.join(30)
    assert "spawn" in told


@pytest.mark.parametrize(
    "told",
    [
        "Server returned non-2xx status code: 400 Bad Request: <Code>InvalidArgument</Code> Invalid version id specified",
        "Server returned non-2xx status code: 400 Bad Request: <Code>InvalidQueryParameterValue</Code>",
    ],
)
def test_a_version_that_is_written_as_another_service_writes_them_is_not_there(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore
    from obstore.exceptions import GenericError

    class Bucket:
        url, prefix, reads = "s3://b", "", None

        def refuse(self, name: str) -> None:
            return None

    def refused(*args: object, **options: object) -> None:
        raise GenericError(told)

    monkeypatch.setattr(obstore, "get", refused)
    store = objects.ObjectStore(Bucket())  # type: ignore[arg-type]
    for call in (store.read, store.head):
        with pytest.raises(ObjectNotFound):
            call("k", version="17")
    with pytest.raises(StorageError) as other:
        store.read("k")
    assert type(other.value) is StorageError
