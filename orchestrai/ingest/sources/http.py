"""Pull an HTTP API into the landing: one object a partition, a page of the API a line, so that its own words are kept."""

import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from orchestrai.core.calendar import Grain, partition_of
from orchestrai.errors import (
    ConfigError,
    ObjectExists,
    StorageError,
    TransientStorageError,
    UnreadableObject,
    transient_status,
)
from orchestrai.ingest.readers.json import parse_document, records_in
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.base import Store

if TYPE_CHECKING:
    import httpx

Sleep = Callable[[float], None]
MAX_WAIT = 60.0


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
    if "{partition}" not in source.url and partition != partition_of(now, grain):
        return False
    if any(info.key == key for info in landing.list(key)):
        return False
    try:
        landing.write(key, _lines(source, partition, sleep), create=True)
    except ObjectExists:
        return False
    return True


def _lines(source: SourceSpec, partition: str, sleep: Sleep) -> Iterator[bytes]:
    for body in pages(source, partition, sleep=sleep):
        # a JSON text has no line end inside its strings, so a page fits one line without a change of meaning
        yield body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"


def pages(source: SourceSpec, partition: str, *, sleep: Sleep = time.sleep) -> Iterator[bytes]:
    """Yield the bodies of an API's pages, in order; raises as `pull_http`."""
    import httpx

    options = source.http
    url = source.url.replace("{partition}", quote(partition, safe=""))
    headers = {"accept": "application/json"} | _token(options.token_env)
    params: dict[str, str] = {options.size_param: str(options.page_size)} if options.size_param else {}
    origin = urlsplit(url)[:2]
    with httpx.Client(timeout=options.timeout_seconds, headers=headers, follow_redirects=False) as client:
        for number in range(1, options.max_pages + 1):
            if number > 1:
                sleep(1.0 / options.requests_per_second)
            numbered = {options.page_param: str(number)} if options.page_param else {}
            body = _get(client, url, params | numbered, source, sleep)
            document = parse_document(body, "utf-8")
            records = records_in(document, source.records)
            if records or number == 1:
                yield body
            following = document.get(options.next) if options.next and isinstance(document, dict) else None
            if options.next and following:
                url, params = urljoin(url, str(following)), {}
                if urlsplit(url)[:2] != origin:
                    raise StorageError(f"expected the next page at {origin[0]}://{origin[1]}, found {urlsplit(url)[1]!r}")
            elif not options.page_param or not records:
                return
    raise StorageError(
        f"expected at most {options.max_pages} pages of {_shown(source.url)}, found more: raise http.max_pages"
    )


def _token(name: str) -> dict[str, str]:
    if not name:
        return {}
    token = os.environ.get(name)
    if not token:
        raise ConfigError(f"expected a token in the environment variable {name}, found none: set it")
    return {"authorization": f"Bearer {token}"}


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _get(client: "httpx.Client", url: str, params: dict[str, str], source: SourceSpec, sleep: Sleep) -> bytes:
    import httpx

    options, problem = source.http, ""
    for attempt in range(options.retries + 1):
        wait = min(MAX_WAIT, 0.25 * 2**attempt * random.uniform(0.5, 1.5))
        try:
            with client.stream("GET", url, params=params or None) as answer:
                if answer.status_code == 200:
                    return _bounded(answer, options.max_page_bytes, url)
                problem = f"status {answer.status_code}"
                if not transient_status(answer.status_code):
                    raise StorageError(
                        f"expected status 200 from {_shown(url)}, found {problem}: check the URL and the token"
                    )
                wait = max(wait, _retry_after(answer))
        except httpx.TransportError as exc:
            problem = f"{type(exc).__name__} {exc}".strip()
        except httpx.HTTPError as exc:
            raise StorageError(f"expected an answer from {_shown(url)}, found {exc}") from exc
        if attempt < options.retries:
            sleep(min(wait, MAX_WAIT))
    raise TransientStorageError(
        f"expected an answer from {_shown(url)}, found {problem} {options.retries + 1} times: try again"
    )


def _retry_after(answer: "httpx.Response") -> float:
    text = answer.headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, at.timestamp() - time.time())


def _bounded(answer: "httpx.Response", limit: int, url: str) -> bytes:
    body = bytearray()
    for block in answer.iter_bytes():
        body += block
        if len(body) > limit:
            raise UnreadableObject(f"expected a page of at most {limit} bytes from {_shown(url)}, found more: ask for less")
    return bytes(body)
