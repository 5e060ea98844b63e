"""An API is asked at declared hosts and addresses only, whatever a name, a redirect or a next page says; secrets go no further."""

import logging
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, StorageError, TransientStorageError, UnreadableObject
from orchestrai.ingest.sources.access.addresses import check_reach, reach_of
from orchestrai.ingest.sources.access.http_client import Hosts, HttpReader
from orchestrai.ingest.sources.landing import check_landing
from orchestrai.ingest.spec import HttpOptions, SourceSpec
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.test_pull import Api, Handler, api, pull, spec

__all__ = ["api"]


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """The name service of `api.example`: one answer a question, the last one from then on."""
    real: Callable[..., Any] = socket.getaddrinfo
    left = list(answers)

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host != "api.example":
            return real(host, port, *args, **more)
        return real(left.pop(0) if len(left) > 1 else left[0], port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def named(api: Api, **options: object) -> SourceSpec:
    return spec(api, **options).model_copy(update={"url": f"http://api.example:{api.server_port}/items"})


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.216.34", "public"), ("2606:4700::1111", "public"), ("127.0.0.1", "loopback"), ("127.8.8.8", "loopback"),
        ("::1", "loopback"), ("10.1.2.3", "private"), ("192.168.0.1", "private"), ("172.16.0.1", "private"),
        ("100.64.0.1", "private"), ("fd12::1", "private"), ("169.254.1.1", "link-local"), ("fe80::1%eth0", "link-local"),
        ("169.254.169.254", "metadata"), ("168.63.129.16", "metadata"), ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"), ("::ffff:169.254.169.254", "metadata"), ("64:ff9b::a9fe:a9fe", "metadata"),
        ("::ffff:127.0.0.1", "loopback"), ("2002:7f00:1::", "loopback"), ("0.0.0.0", "reserved"), ("224.0.0.1", "reserved"),
    ],
)  # fmt: skip
def test_an_address_is_what_it_reaches_however_it_is_written(address: str, reach: str) -> None:
    assert reach_of(address) == reach
    for private in (False, True):
        allowed = reach == "public" or (private and reach in ("loopback", "private"))
        if allowed:
            check_reach(address, "h", private=private)
        else:
            with pytest.raises(StorageError, match="expected a public address for h"):
                check_reach(address, "h", private=private)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "x.localhost", "[::1]", "10.0.0.1", "169.254.169.254", "0.0.0.0"]
)
def test_a_declaration_of_a_private_address_has_to_say_so_and_one_of_metadata_never_may(host: str) -> None:
    source = SourceSpec(url=f"http://{host}:8790/items", format="http")
    with pytest.raises(ConfigError, match="expected"):
        check_landing(source)
    declared = source.model_copy(update={"http": HttpOptions(allow_private=True)})
    if host in ("169.254.169.254", "0.0.0.0"):
        with pytest.raises(ConfigError, match="expected an address that may be asked"):
            check_landing(declared)
    else:
        check_landing(declared)


@pytest.mark.parametrize("hosts", [("http://x",), ("a@b",), ("x:y",), ("",), ("x/y",)])
def test_a_listed_host_is_a_name_and_perhaps_a_port(hosts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected http\.hosts of names"):
        check_landing(SourceSpec(url="https://api.example/x", format="http", http=HttpOptions(hosts=hosts)))


def test_a_public_name_that_stands_for_a_private_address_is_not_asked(
    api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "127.0.0.1")
    with pytest.raises(StorageError, match=r"expected a public address for api.example, found 127.0.0.1 \(loopback\)"):
        pull(named(api, allow_private=False), landing)
    assert api.asked == []
    assert pull(named(api), landing)[0]


def test_a_name_that_changes_between_look_up_and_connection_is_judged_by_the_address_connected_to(
    api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "93.184.216.34", "127.0.0.1")
    with pytest.raises(StorageError, match=r"found 127.0.0.1 \(loopback\)"):
        pull(named(api, allow_private=False), landing)
    assert api.asked == [] and list(landing.list()) == []


class Redirecting(Handler):
    """Sends the first page elsewhere."""

    target = ""

    def do_GET(self) -> None:
        if self.path.startswith("/items?go") or self.path == "/items":
            self.server.asked.append(f"{self.path} {self.headers.get('authorization', '')}".strip())
            self.send_response(302)
            self.send_header("location", self.target)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        super().do_GET()


def test_a_redirect_within_the_host_is_followed(api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redirecting, "target", "/items?page=1")
    api.RequestHandlerClass = Redirecting
    assert pull(spec(api), landing)[0]
    assert api.asked[:2] == ["/items", "/items?page=1"]
    monkeypatch.setattr(Redirecting, "target", "/items?go=on")
    landing.delete("2026-11-22.jsonl")
    with pytest.raises(StorageError, match="at most 5 redirects"):
        pull(spec(api), landing)


def test_a_listed_host_is_asked_without_the_secrets_of_the_first(
    api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITEMS_TOKEN", "s3cret")
    api.RequestHandlerClass = Redirecting
    monkeypatch.setattr(Redirecting, "target", f"http://localhost:{api.server_port}/items?page=1")
    with pytest.raises(StorageError, match=r"found status 302 to 'localhost:.*list that host in http\.hosts"):
        pull(spec(api, token_env="ITEMS_TOKEN"), landing)
    assert api.asked == ["/items Bearer s3cret"]
    api.asked.clear()
    assert pull(spec(api, token_env="ITEMS_TOKEN", hosts=(f"localhost:{api.server_port}",)), landing)[0]
    assert api.asked == ["/items Bearer s3cret", "/items?page=1", "/items?page=2", "/items?page=3"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://api.example/other", True), ("https://api.example:443/x", True), ("http://api.example/x", False),
        ("https://api.example:8443/x", False), ("https://cdn.example/x", True), ("http://cdn.example/x", False),
        ("https://cdn.example:1/x", False), ("https://files.example:8443/x", True), ("https://files.example/x", False),
        ("https://api.example.evil/x", False), ("https://api.example@evil.example/x", False), ("file:///etc/passwd", False),
        ("ftp://cdn.example/x", False), ("https://API.example/x", True), ("https://api.example:x/", False),
    ],
)  # fmt: skip
def test_only_listed_hosts_are_allowed_and_tls_is_never_given_up(url: str, allowed: bool) -> None:
    hosts = Hosts.of("https://api.example/items", ("cdn.example", "files.example:8443"))
    assert hosts.allow(url) is allowed


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:{port}\\@evil.example/items", "http://evil.example\\@127.0.0.1:{port}/items",
        "http://evil.example#@127.0.0.1:{port}/items", "http://127.0.0.1:{port}%2f@evil.example/", "//evil.example/items",
        "http:///evil.example/items", "http:evil.example", "\thttp://evil.example/", "http://127.0.0.1:{port}@evil.example/",
        "http://[::ffff:127.0.0.1]:{port}/items", "file:///etc/passwd", "http://127.1:{port}/items",
    ],
)  # fmt: skip
def test_a_link_that_two_readers_could_read_differently_asks_nobody_else(
    api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    connected: list[object] = []
    real = socket.create_connection

    def create_connection(address: tuple[str, int], *args: Any, **more: Any) -> Any:
        connected.append(address)
        return real(address, *args, **more)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setattr(api, "next_host", link.format(port=api.server_port) + "#")
    with pytest.raises((StorageError, UnreadableObject)):
        pull(spec(api, retries=0, max_pages=3), landing)
    assert {host for host, _ in connected} == {"127.0.0.1"} and list(landing.list()) == []  # type: ignore[misc]


def test_a_proxy_of_the_environment_is_not_used(api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert pull(spec(api), landing)[0]


def test_secrets_by_reference_are_sent_and_neither_logged_nor_told(
    api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ITEMS_KEY", "s3cret")
    source = spec(api, params={"api_key": "env://ITEMS_KEY"}, headers={"Authorization": "env://ITEMS_KEY"})
    with caplog.at_level(logging.DEBUG):
        assert pull(source, landing)[0]
    assert api.asked[0] == "/items?api_key=s3cret s3cret" and api.asked[2].endswith("api_key=s3cret s3cret")
    landing.delete("2026-11-22.jsonl")
    api.troubles = [401]
    with pytest.raises(StorageError) as caught:
        pull(source, landing)
    assert "s3cret" not in f"{caught.value} {caplog.text} {source!r}"


def test_all_pages_together_have_a_time_and_a_size(api: Api, landing: LocalStore) -> None:
    source = spec(api)
    clock = iter(range(0, 10_000, 20))
    reader = HttpReader(source, api.url, lambda _: None, lambda: float(next(clock)))
    reader.source = spec(api, time_limit=timedelta(seconds=30))
    reader._ends = 30.0
    with reader, pytest.raises(TransientStorageError, match=r"raise http\.time_limit"):
        for _ in range(9):
            reader.get(api.url, {})
    with pytest.raises(UnreadableObject, match="expected at most 1500 bytes"):
        pull(source.model_copy(update={"max_object_bytes": 1500}), landing)
    assert list(landing.list()) == []


def test_the_shipped_pipeline_declares_its_loopback_api() -> None:
    from orchestrai.pipeline.load import SHIPPED, load_project

    items = load_project(sorted(path.parent for path in SHIPPED.glob("[a-z]*/pipeline.yaml")), {}).dataset(
        "recommendations/items"
    )
    assert items.spec.source.http.allow_private
    assert Path(items.folder).name == "recommendations"
