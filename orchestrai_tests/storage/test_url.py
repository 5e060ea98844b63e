"""URLs, options and secrets."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.objects import ObjectStore
from orchestrai.storage.retry import RetryingStore
from orchestrai.storage.url import open_store

CANARY = "c4nary-s3cret-value"
VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_HOST")


@pytest.fixture(autouse=True)
def no_cloud_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        monkeypatch.delenv(name)
    # neither the user's own profiles nor a machine's role
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def backend(store: object) -> Any:
    assert isinstance(store, RetryingStore)
    assert isinstance(store.base, ObjectStore)
    return store.base.backend


@pytest.mark.parametrize("url", ["data/here", "./data", "/abs/data", "file:///abs/data", "file:/abs/data"])
def test_paths_and_file_urls_open_a_directory(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, LocalStore)
    assert store.url.startswith("file:///")


def test_a_file_url_is_unquoted_and_comes_back_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c"
    store = open_store(folder.as_uri())
    store.write("k", b"1")
    assert (folder / "k").read_bytes() == b"1"
    assert open_store(store.url).read("k") == b"1"


def test_a_memory_url_opens_a_fresh_store() -> None:
    first, second = open_store("memory:"), open_store("memory:")
    assert isinstance(first, MemoryStore)
    first.write("k", b"1")
    assert list(second.list()) == []


@pytest.mark.parametrize(
    ("url", "shown", "prefix"),
    [
        ("s3://bucket", "s3://bucket", ""),
        ("s3://bucket/", "s3://bucket", ""),
        ("s3://bucket/a/b", "s3://bucket/a/b", "a/b/"),
        ("s3://bucket/a//b/", "s3://bucket/a/b", "a/b/"),
        ("gs://bucket/a", "gs://bucket/a", "a/"),
        ("abfss://box@account1.dfs.core.windows.net/a", "abfss://box@account1.dfs.core.windows.net/a", "a/"),
    ],
)
def test_cloud_urls_keep_bucket_and_prefix(url: str, shown: str, prefix: str) -> None:
    store = open_store(url)
    assert store.url == shown
    assert backend(store).prefix == prefix


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host/x", "http://host/x", "https://host/x", "s3:", "s3://", "s3:///x", "s3://-bad/x", "s3://b/../x"),
        *(f"s3://key:{CANARY}@bucket/x", f"s3://bucket/x?secret={CANARY}", f"s3://bucket/x#{CANARY}", "file://host/x"),
        *(
            f"az://{CANARY}:p@box/x",
            "abfss://box/x",
            "abfss://box@/x",
            f"abfss://u:{CANARY}@acc.dfs.core.windows.net/x",
            "az://box",
        ),
    ],
)
def test_a_wrong_url_is_refused_in_one_line_without_secrets(url: str) -> None:
    with pytest.raises(ConfigError) as told:
        open_store(url)
    assert "\n" not in str(told.value)
    assert CANARY not in str(told.value)


@pytest.mark.parametrize(
    "endpoint", ["http://example.com", "http://169.254.169.254", "http://10.0.0.1:9000", "ftp://127.0.0.1", "x"]
)
def test_plain_http_is_for_loopback_only(endpoint: str) -> None:
    for url in ("s3://bucket", "gs://bucket", "az://bucket"):
        with pytest.raises(ConfigError, match="https"):
            open_store(url, StoreOptions(endpoint_url=endpoint, account_name="account1"))


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9", "https://minio.example.com"]
)
def test_loopback_and_https_endpoints_are_taken(endpoint: str) -> None:
    assert backend(open_store("s3://bucket", StoreOptions(endpoint_url=endpoint))).options.endpoint_url == endpoint


def test_an_endpoint_never_carries_a_password() -> None:
    with pytest.raises(ConfigError) as told:
        open_store("s3://bucket", StoreOptions(endpoint_url=f"https://user:{CANARY}@host"))
    assert CANARY not in str(told.value)


def test_the_environment_fills_what_the_options_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    options = backend(open_store("s3://bucket")).options
    assert (options.endpoint_url, options.region, options.access_key_id) == ("http://127.0.0.1:9", "eu-central-1", "id")
    assert options.reveal("secret_access_key") == CANARY
    own = backend(open_store("s3://bucket", StoreOptions(access_key_id="own", secret_access_key="mine"))).options
    assert (own.access_key_id, own.reveal("secret_access_key"), own.reveal("session_token")) == ("own", "mine", None)


def test_half_a_key_pair_is_refused() -> None:
    with pytest.raises(ConfigError, match="both or neither"):
        open_store("s3://bucket", StoreOptions(access_key_id="id"))


def test_a_connection_string_speaks_only_for_its_own_account(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"AccountName=account1;AccountKey={CANARY}==;BlobEndpoint=http://127.0.0.1:9/account1;"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    options = backend(open_store("az://box")).options
    assert (options.account_name, options.endpoint_url) == ("account1", "http://127.0.0.1:9/account1")
    assert options.reveal("account_key") == f"{CANARY}=="
    other = backend(open_store("abfss://box@another.dfs.core.windows.net/x")).options
    assert (other.endpoint_url, other.account_key) == (None, None)


def test_no_secret_is_shown_by_any_object(monkeypatch: pytest.MonkeyPatch) -> None:
    options = StoreOptions(
        access_key_id="id",
        secret_access_key=CANARY,
        session_token=CANARY,
        account_name="account1",
        account_key=CANARY,
        sas_token=CANARY,
        service_account_key=CANARY,
    )
    for url in ("s3://bucket", "az://box", "gs://bucket"):
        store = open_store(url, options)
        for shown in (
            repr(options),
            str(options),
            repr(store),
            str(store),
            store.url,
            repr(backend(store)),
            f"{vars(store)}",
        ):
            assert CANARY not in shown


def test_missing_credentials_are_said_with_the_remedy() -> None:
    store = open_store("s3://bucket")
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        store.read("k")
    with pytest.raises(ConfigError, match="AWS_PROFILE"):
        open_store("s3://bucket", StoreOptions(profile="no-such-profile")).read("k")


def test_importing_the_package_reads_no_environment_and_loads_no_cloud_library() -> None:
    script = (
        "import sys, orchestrai.storage.url as s; s.open_store('s3://bucket/x'); "
        "heavy = {'boto3', 'botocore', 'obstore', 'azure', 'google', 'pandas', 'pyarrow', 'dagster'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_models_of_s3_are_read_once_for_all_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.loaders import JSONFileLoader

    from orchestrai.storage.cloud.aws import S3Backend

    options = StoreOptions(endpoint_url="http://127.0.0.1:1", region="eu-west-1", access_key_id="k", secret_access_key="s")
    first = S3Backend("bucket", "", options).client
    read: list[str] = []
    load = JSONFileLoader.load_file
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda loader, path: read.append(path) or load(loader, path))  # type: ignore[func-returns-value]
    second = S3Backend(
        "other",
        "",
        StoreOptions(endpoint_url="http://127.0.0.1:1", region="us-east-1", access_key_id="l", secret_access_key="t"),
    ).client
    assert read == []
    assert [client.meta.region_name for client in (first, second)] == ["eu-west-1", "us-east-1"]
