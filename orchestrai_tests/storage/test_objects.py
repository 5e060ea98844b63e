"""What buckets made by others hold, bodies too large for one request, and forks."""

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

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


ODD = ["e//f", "p/./z", "q/../z", "/abs", "full/", "tab\tx"]


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_the_store_cannot_hold_is_told_and_ends_no_listing(moto: S3Server, name: str) -> None:
    bucket, client = moto.bucket(), moto.client()
    for key in ("a", "full", "full/x", "~", name):
        client.put_object(Bucket=bucket, Key=f"landing/{key}", Body=b"1")
    store = open_store(f"s3://{bucket}/landing", s3_options(moto))
    infos = list(store.list())
    assert [info.key for info in infos] == sorted(["a", "full", "full/x", "~", name])
    assert [info.key for info in infos if info.odd] == [name]
    plain = {info.key: info for info in infos if not info.odd}
    assert plain == {key: store.head(key) for key in ("a", "full", "full/x", "~")}
    with pytest.raises(InvalidKey):
        store.head(name)


def test_odd_names_among_thousands_hide_none_and_are_told_once(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LIST_PAGE", 3)
    bucket, client = moto.bucket(), moto.client()
    names = sorted([*(f"k{number:03d}" for number in range(40)), "k003//x", "k004//y", "k019/../z", "k039//last"])
    for name in names:
        client.put_object(Bucket=bucket, Key=name, Body=b"1")
    store = open_store(f"s3://{bucket}", s3_options(moto))
    assert [info.key for info in store.list()] == names
    assert [info.key for info in store.list(start_after="k020")] == [name for name in names if name > "k020"]
    assert [info.key for info in store.list("k019")] == ["k019", "k019/../z"]


def test_a_line_end_in_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with listing_server(["a", "b\nforged", "c"]) as endpoint:
        options = StoreOptions(endpoint_url=endpoint, access_key_id="k", secret_access_key="s", region="us-east-1")
        infos = list(open_store("s3://bucket", options).list())
    assert [(info.key, bool(info.odd)) for info in infos] == [("a", False), ("b\nforged", True), ("c", False)]


@contextmanager
def listing_server(keys: list[str]) -> Iterator[str]:
    """A bucket that is only listed; no server for tests takes such keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            told = quote if "encoding-type" in query else lambda key: key.replace("\n", "&#10;")
            after = query.get("start-after", [""])[0]
            rows = "".join(
                f"<Contents><Key>{told(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{number}&quot;</ETag><Size>1</Size></Contents>"
                for number, key in enumerate(keys)
                if key > after
            )
            body = (
                '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>bucket</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
                f"<IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
            ).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_odd_name_of_an_azure_container_ends_no_listing(azurite: AzuriteServer) -> None:
    options = StoreOptions(account_name=azurite.account, account_key=azurite.key, endpoint_url=azurite.endpoint)
    name = azurite.container()
    for key in ("a", "b//c", "d/e"):
        azurite.blob_service().get_blob_client(name, f"in/{key}").upload_blob(b"1")
    store = open_store(f"az://{name}/in", options)
    infos = list(store.list())
    assert [(info.key, bool(info.odd)) for info in infos] == [("a", False), ("b//c", True), ("d/e", False)]
    azurite.blob_service().get_blob_client(name, "in/b//c").delete_blob()
    assert list(store.list()) == [info for info in infos if not info.odd]


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
        url, prefix, once = "s3://b", "", None

        def refuse(self, name: str) -> None:
            return None

        def credentials_error(self, exc: Exception) -> None:
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
