"""What clouds say when an object was written: S3 (also through SNS and EventBridge), Event Grid and Cloud Storage.

Pure: a message's text in, object events and refused parts out. Nothing of a message is dropped without a word.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus, urlsplit

SHOWN = 16_384
_BLOBS = "/blobServices/default/containers/"


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One object that a queue says was written; identity is `uri` with `version`, or `etag` where there is none."""

    uri: str
    etag: str
    version: str
    size: int
    time: datetime

    @property
    def identity(self) -> tuple[str, str]:
        """What tells this arrival from every other."""
        return self.uri, self.version or self.etag


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message, or a part of one, that is no event we know; `text` holds it as it came (at most SHOWN characters)."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one message says; `passed_over` counts events that are of no new object (tests, removals)."""

    events: tuple[ObjectEvent, ...] = ()
    refused: tuple[Refusal, ...] = ()
    passed_over: int = 0


class _Odd(Exception):
    """A part of a message is not what its kind promises."""


def parse_s3(text: str) -> Parsed:
    """A message of S3 as SQS delivers it: direct, in an SNS envelope, or as an EventBridge event."""
    try:
        document = _json(text)
        while document.get("Type") == "Notification" and isinstance(document.get("Message"), str):
            document = _json(document["Message"])
        if document.get("Event") == "s3:TestEvent":
            return Parsed(passed_over=1)
        if document.get("source") == "aws.s3":
            return _gathered([document], _from_event_bridge)
        records = document.get("Records")
        if not isinstance(records, list):
            raise _Odd("expected Records of S3, an SNS notification or an EventBridge event of aws.s3, found none of them")
    except _Odd as exc:
        return Parsed(refused=(Refusal(str(exc), text[:SHOWN]),))
    return _gathered(records, _from_s3)


def parse_event_grid(text: str) -> Parsed:
    """A message of Event Grid, in its own schema or as CloudEvents 1.0, alone or in a list."""
    try:
        document = _json(text, many=True)
    except _Odd as exc:
        return Parsed(refused=(Refusal(str(exc), text[:SHOWN]),))
    return _gathered(document if isinstance(document, list) else [document], _from_event_grid)


def parse_gcs(attributes: Mapping[str, str], text: str) -> Parsed:
    """A Pub/Sub notification of Cloud Storage: its attributes name the event, its data is the object's JSON resource."""

    def read(_: Any) -> ObjectEvent | None:
        kind = _text(attributes, "eventType")
        if kind != "OBJECT_FINALIZE":
            return None
        document = _json(text) if text else {}
        uri = f"gs://{_text(attributes, 'bucketId')}/{_text(attributes, 'objectId')}"
        time = attributes.get("eventTime") or document.get("updated")
        size = _whole(document.get("size", 0))
        return ObjectEvent(uri, _plain(document.get("etag", "")), _text(attributes, "objectGeneration"), size, _moment(time))

    shown = json.dumps({"attributes": dict(attributes), "data": text}, ensure_ascii=False)
    parsed = _gathered([None], read)
    return Parsed(parsed.events, tuple(Refusal(r.reason, shown[:SHOWN]) for r in parsed.refused), parsed.passed_over)


def _gathered(parts: list[Any], read: Any) -> Parsed:
    events, refused, passed_over = [], [], 0
    for part in parts:
        try:
            event = read(part)
        except _Odd as exc:
            refused.append(Refusal(str(exc), json.dumps(part, ensure_ascii=False)[:SHOWN]))
            continue
        if event is None:
            passed_over += 1
        else:
            events.append(event)
    return Parsed(tuple(events), tuple(refused), passed_over)


def _from_s3(record: Any) -> ObjectEvent | None:
    name = _text(_mapping(record), "eventName").removeprefix("s3:")
    if not name.startswith("ObjectCreated:"):
        return None
    s3 = _mapping(record.get("s3"))
    thing = _mapping(s3.get("object"))
    # S3 writes keys in its own messages as a form does: a blank is a plus
    uri = f"s3://{_text(_mapping(s3.get('bucket')), 'name')}/{unquote_plus(_text(thing, 'key'), errors='surrogateescape')}"
    time = _moment(record.get("eventTime"))
    return ObjectEvent(uri, _plain(thing.get("eTag")), str(thing.get("versionId") or ""), _whole(thing.get("size", 0)), time)


def _from_event_bridge(event: Any) -> ObjectEvent | None:
    if event.get("detail-type") != "Object Created":
        return None
    detail = _mapping(event.get("detail"))
    thing = _mapping(detail.get("object"))
    # EventBridge carries keys as they are
    uri = f"s3://{_text(_mapping(detail.get('bucket')), 'name')}/{_text(thing, 'key')}"
    version, size = str(thing.get("version-id") or ""), _whole(thing.get("size", 0))
    return ObjectEvent(uri, _plain(thing.get("etag")), version, size, _moment(event.get("time")))


def _from_event_grid(event: Any) -> ObjectEvent | None:
    kind = _mapping(event).get("eventType") or event.get("type")
    if not isinstance(kind, str):
        raise _Odd("expected an eventType or type, found none")
    if kind not in ("Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed"):
        return None
    data = _mapping(event.get("data"))
    container, middle, path = _text(event, "subject").partition(_BLOBS)[2].partition("/blobs/")
    if kind.endswith("Renamed"):
        container, middle, path = _container_path(_text(data, "destinationUrl"))
    if not (container and middle and path):
        raise _Odd(f"expected a subject {_BLOBS}<container>/blobs/<path>, found {str(event.get('subject'))[:200]!r}")
    account = _account(str(data.get("url") or data.get("destinationUrl") or ""))
    etag, size = _plain(data.get("eTag")), _whole(data.get("contentLength", 0))
    uri = f"abfss://{container}@{account}.dfs.core.windows.net/{path}"
    return ObjectEvent(uri, etag, "", size, _moment(event.get("eventTime") or event.get("time")))


def _container_path(url: str) -> tuple[str, str, str]:
    return urlsplit(url).path.lstrip("/").partition("/")


def _account(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    # an emulator has its account in the path
    account = host.partition(".")[0] if ".core." in host or ".storage." in host else parts.path.lstrip("/").partition("/")[0]
    if not account:
        raise _Odd(f"expected data.url to name a storage account, found {url[:200]!r}")
    return account


def _json(text: str, *, many: bool = False) -> Any:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _Odd(f"expected JSON, found {str(exc)[:200]}") from exc
    if not isinstance(document, dict) and not (many and isinstance(document, list)):
        raise _Odd(f"expected a JSON object, found {type(document).__name__}")
    return document


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Odd(f"expected a JSON object, found {type(value).__name__}")
    return value


def _text(mapping: Mapping[str, Any], name: str) -> str:
    value = mapping.get(name)
    if not isinstance(value, str) or not value:
        raise _Odd(f"expected {name}, found {value!r}"[:200])
    return value


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise _Odd(f"expected a size in bytes, found {value!r}"[:200]) from None


def _plain(etag: Any) -> str:
    return str(etag or "").removeprefix("W/").strip('"')


def _moment(text: Any) -> datetime:
    try:
        time = datetime.fromisoformat(_trimmed(str(text)))
    except ValueError:
        raise _Odd(f"expected the time of the event, found {text!r}"[:200]) from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _trimmed(text: str) -> str:
    """Event Grid writes seven digits of a second; Python reads six."""
    head, dot, rest = text.partition(".")
    digits = "".join(_leading_digits(rest))
    return f"{head}.{digits[:6]}{rest[len(digits) :]}" if dot and digits else text


def _leading_digits(text: str) -> Iterator[str]:
    for character in text:
        if not character.isdigit():
            return
        yield character
