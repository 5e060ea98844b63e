"""An HTTP API as a landing: paged, retried, bounded, whole or not at all."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrai.errors import ConfigError, StorageError, TransientStorageError, UnreadableObject
from orchestrai.ingest.sources.http import pull_http
from orchestrai.ingest.sources.landing import open_landing
from orchestrai.ingest.spec import HttpOptions, SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.conftest import NOW, contract_of
from orchestrai_tests.running import ingest

TODAY = "2026-11-22"
ITEMS = """\
kind: DataContract
apiVersion: v3.0.2
name: items
version: 1.0.0
schema:
  - name: items
    properties:
      - {name: item, physicalType: BIGINT, primaryKey: true}
      - {name: price, physicalType: "DECIMAL(12,2)"}
"""


class Api(ThreadingHTTPServer):
    """25 items, 10 a page; `troubles` are answered first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.troubles: list[int] = []
        self.asked: list[str] = []
        self.next_host = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/items"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.path} {self.headers.get('authorization', '')}".strip())
        query = parse_qs(urlsplit(self.path).query)
        number = int(query.get("page", ["1"])[0])
        status = self.server.troubles.pop(0) if self.server.troubles else 200
        items = [{"item": i, "price": 1.25, "name": "x\ny"} for i in range((number - 1) * 10, min(number * 10, 25))]
        page: dict[str, object] = {"data": items}
        if number < 3:
            page["next"] = f"{self.server.next_host}/items?page={number + 1}"
        body = json.dumps(page, indent=1).encode() if status == 200 else b"trouble"
        self.send_response(status)
        if status == 302:
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def spec(api: Api, **options: object) -> SourceSpec:
    http = HttpOptions(**{"next": "next", "retries": 2, "allow_private": True, **options})  # type: ignore[arg-type]
    return SourceSpec(url=api.url, format="http", records="data", http=http)


def pull(source: SourceSpec, landing: LocalStore, partition: str = TODAY) -> tuple[bool, list[float]]:
    slept: list[float] = []
    return pull_http(source, landing, partition, "day", NOW, sleep=slept.append), slept


@pytest.mark.parametrize("options", [{"next": "next"}, {"next": "", "page_param": "page", "size_param": "size"}])
def test_all_pages_land_as_one_object_and_become_rows(
    api: Api, ledger: Ledger, tmp_path: Path, options: dict[str, str]
) -> None:
    source = spec(api, **options)
    landing = open_landing(source.url, tmp_path)
    contract = contract_of(ITEMS, tmp_path)

    def run() -> int:
        report = ingest(
            ledger, asset="shop/items/raw_events", landing=landing, source=source, contract=contract, grain="day",
            partitions=[TODAY], now=NOW,
        )  # fmt: skip
        assert not report.refused
        return report.rows

    assert run() == 25
    asked = len(api.asked)
    assert run() == 25 and len(api.asked) == asked


def test_a_passing_trouble_is_retried_and_a_lasting_one_is_transient(api: Api, landing: LocalStore) -> None:
    api.troubles = [503, 429]
    done, slept = pull(spec(api), landing)
    assert done and len(slept) == 2 + 2
    landing.delete(f"{TODAY}.jsonl")
    api.troubles = [200, 500, 500, 500]
    with pytest.raises(TransientStorageError, match="status 500 3 times"):
        pull(spec(api), landing)
    assert list(landing.list()) == []


@pytest.mark.parametrize("status", [302, 401, 404])
def test_a_refusal_is_not_retried(api: Api, landing: LocalStore, status: int) -> None:
    api.troubles = [status]
    with pytest.raises(StorageError, match=f"found status {status}"):
        pull(spec(api), landing)
    assert len(api.asked) == 1


def test_the_next_page_of_another_host_is_not_asked(api: Api, landing: LocalStore) -> None:
    api.next_host = "http://127.0.0.1:1"
    with pytest.raises(StorageError, match="expected the next page at"):
        pull(spec(api), landing)


def test_endless_pages_huge_ones_and_pages_without_records_are_refused(api: Api, landing: LocalStore) -> None:
    with pytest.raises(StorageError, match="at most 2 pages"):
        pull(spec(api, max_pages=2), landing)
    with pytest.raises(UnreadableObject, match="expected a list of records in wrong"):
        pull(spec(api).model_copy(update={"records": "wrong"}), landing)
    assert list(landing.list()) == []


def test_the_past_of_an_api_without_a_date_is_left_alone(api: Api, landing: LocalStore) -> None:
    assert pull(spec(api), landing, "2026-11-21") == (False, [])
    assert api.asked == []


def test_a_token_comes_from_the_environment_and_is_never_shown(
    api: Api, landing: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = spec(api, token_env="ITEMS_TOKEN")
    monkeypatch.delenv("ITEMS_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="ITEMS_TOKEN"):
        pull(source, landing)
    monkeypatch.setenv("ITEMS_TOKEN", "s3cret")
    api.troubles = [401]
    with pytest.raises(StorageError) as caught:
        pull(source, landing)
    assert "s3cret" not in str(caught.value)
    assert api.asked[-1].endswith("Bearer s3cret")
