"""Pull an HTTP API into the landing: one object a partition, a page of the API a line, so that its own words are kept."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urljoin, urlsplit

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import Grain, partition_of, time_grain
from orchestrai.errors import ObjectExists, StorageError, UnreadableObject
from orchestrai.ingest.ports import PositionedSource
from orchestrai.ingest.readers.json import parse_document, records_in
from orchestrai.ingest.sources.access.http_client import HttpReader, Sleep
from orchestrai.ingest.spec import SourceSpec
from orchestrai.secrets.url_credentials import shown_url
from orchestrai.storage.base import Store


def object_key(partition: str) -> str:
    """The landing key of a pulled partition."""
    return f"{partition.replace(':', '-')}.jsonl"


def pull_http(
    source: SourceSpec, landing: Store, partition: str, grain: Grain, now: datetime, *, sleep: Sleep = time.sleep
) -> bool:
    """Land one partition of an API unless it is landed; True when something new was landed.

    A URL without `{partition}` tells only the present, so an earlier partition is left alone. Nothing is landed when a page
    fails: the object appears whole or not at all. Raises StorageError, TransientStorageError, UnreadableObject.
    """
    key = object_key(partition)
    if "{partition}" not in source.url and partition != partition_of(now, time_grain(grain)):
        return False
    if any(info.key == key for info in landing.list(key)):
        return False
    try:
        landing.write(key, _lines(source, partition, sleep), create=True)
    except ObjectExists:
        return False
    return True


def _lines(source: SourceSpec, partition: str, sleep: Sleep) -> Iterator[bytes]:
    size = 0
    for body in pages(source, partition, sleep=sleep):
        size += len(body) + 1
        if size > source.max_object_bytes:
            raise UnreadableObject(
                f"expected at most {source.max_object_bytes} bytes of {source.address}, found more: use a finer grain"
            )
        # a JSON text has no line end inside its strings, so a page fits one line without a change of meaning
        yield body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"


def pages(source: SourceSpec, partition: str, *, sleep: Sleep = time.sleep) -> Iterator[bytes]:
    """Yield the bodies of an API's pages, in order; raises as `pull_http`."""
    with HttpPages(source, partition, sleep) as opened:
        api: PositionedSource[Page] = opened
        after: JsonValue = None
        for number in range(1, source.http.max_pages + 1):
            if number > 1:
                sleep(1.0 / source.http.requests_per_second)
            page = api.next_batch(after)
            if not page.empty or number == 1:
                yield page.body
            if not page.more:
                return
            after = page.end
    raise StorageError(
        f"expected at most {source.http.max_pages} pages of {source.address}, found more: raise http.max_pages"
    )


@dataclass(frozen=True)
class Page:
    """One page of an API, whether it has records, and where the next one is."""

    body: bytes
    empty: bool
    more: bool
    end: JsonValue


class HttpPages:
    """An API read page by page: the position is the number of the last page, or the URL of the next one, empty where none follows."""

    def __init__(self, source: SourceSpec, partition: str, sleep: Sleep = time.sleep) -> None:
        self.source = source
        self.first = source.url.replace("{partition}", quote(partition, safe=""))
        self._reader = HttpReader(source, self.first, sleep)

    @property
    def uri(self) -> str:
        """Where the API is, without any secret."""
        return shown_url(self.first)

    def __enter__(self) -> "HttpPages":
        return self

    def __exit__(self, *raised: object) -> None:
        self._reader.__exit__(*raised)

    def next_batch(self, after: JsonValue) -> Page:
        """The page behind a position, the first one behind None; raises as `pull_http`."""
        if after == "":
            return Page(b"", True, False, after)
        options = self.source.http
        number = after + 1 if isinstance(after, int) else 1
        url, params = (after, {}) if isinstance(after, str) else (self.first, self._numbered(number))
        self._check_next(url)
        body, came_from = self._reader.get(url, params)
        document = parse_document(body, "utf-8")
        empty = not records_in(document, self.source.records)
        if options.next:
            # where pages name the next one, nothing else says that there is one
            following = document.get(options.next) if isinstance(document, dict) else None
            target = urljoin(came_from, str(following)) if following else ""
            if target:
                self._check_next(target)
            return Page(body, empty, bool(target), target)
        if not options.page_param:
            return Page(body, empty, False, "")
        return Page(body, empty, not empty, after if empty else number)

    def _numbered(self, number: int) -> dict[str, str]:
        options = self.source.http
        size = {options.size_param: str(options.page_size)} if options.size_param else {}
        return size | ({options.page_param: str(number)} if options.page_param else {})

    def _check_next(self, url: str) -> None:
        if not self._reader.hosts.allow(url):
            scheme, host, port = self._reader.hosts.origin
            raise StorageError(
                f"expected the next page at {scheme}://{host}:{port}, found {urlsplit(url).netloc.rpartition('@')[2]!r}: list that "
                "host in http.hosts if it is meant"
            )
