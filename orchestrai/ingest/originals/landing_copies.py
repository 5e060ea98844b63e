"""Objects on their way from the landing into the lake, hashed as they pass, and what cannot be taken of them."""

from collections import deque
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from orchestrai.core.time.partition_key import segment
from orchestrai.errors import InvalidKey, ObjectNotFound, PreconditionFailed, StorageError
from orchestrai.ingest.dead_letters import Unplaced
from orchestrai.ingest.discovery.partitioning import uri_of
from orchestrai.ingest.originals.originals import LANDED, Arrival
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.session import Session
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.zstd_stream import write_compressed

MAX_READS = 3


class LandingCopies:
    """Takes objects of the landing, each with its bytes here and, with `keep`, its original in the lake; `now` is when they came.

    One that a store cannot name by its key is in `nameless`, one that the landing lists and does not hand out in `denied`.
    """

    def __init__(self, session: Session, landing: Store, work: Path, now: str, *, keep: bool) -> None:
        self.session, self.landing, self.work, self.now, self.keep = session, landing, work, now, keep
        self.bytes_read = self.objects_read = 0
        self.nameless: dict[str, list[Unplaced]] = {}
        self.denied: dict[str, list[Unplaced]] = {}
        self._failed: StorageError | None = None

    def take(self, partition: str, uri: str, info: ObjectInfo) -> Arrival | None:
        """Take a landed object, hashed on the way; None when it is gone by now, or noted as one that cannot be taken."""
        listed = info
        for _ in range(MAX_READS):
            try:
                return self._copy(partition, uri, info)
            except PreconditionFailed:
                # overwritten since it was listed: take what is there now
                try:
                    info = self.landing.head(info.key)
                except ObjectNotFound:
                    return None
            except ObjectNotFound:
                # by a shorter prefix: a store asked for just this key would look whether it is there
                if any(again.key == info.key for again in self.landing.list(info.key[:-1])):
                    # listed and not there: it is written otherwise than it is listed, with a slash at its end for one
                    self.note_nameless(partition, listed, "a key under which it is read")
                return None
            except InvalidKey:
                self.note_nameless(partition, listed, "a key that landing and lake can hold")
                return None
            except StorageError as exc:
                if exc.retryable or exc is not self._failed:
                    raise
                item = Unplaced(uri, listed.version or listed.etag, exc.message)
                self.denied.setdefault(partition, []).append(item)
                return None
        raise PreconditionFailed(f"expected {uri} to hold still, found it rewritten {MAX_READS} times: try again")

    def note_nameless(self, partition: str, info: ObjectInfo, expected: str) -> None:
        """Note an object that no partition can hold under its key."""
        reason = f"expected {expected}, found {info.key!r}: rename the object"
        item = Unplaced(uri_of(self.landing, info), info.version or info.etag, reason)
        self.nameless.setdefault(partition, []).append(item)

    def require_readable(self) -> None:
        """Raise the landing's refusal where it handed out nothing at all: that is an outage, and no fault of an object."""
        if self.denied and not self.objects_read and self._failed is not None:
            raise self._failed

    def _copy(self, partition: str, uri: str, info: ObjectInfo) -> Arrival:
        name = LANDED + info.key
        key = self.session.key(partition, name)
        lake, digest = self.session.ledger.lake, sha256()
        # what lies on this disk is read there again; of an own name: two keys of a landing may be a file and its folder
        here = self.keep and lake.local_path(key) is not None
        path = None if here else self.work / "taken" / segment(partition) / sha256(name.encode()).hexdigest()[:24]
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        size = 0

        def chunks() -> Iterator[bytes]:
            nonlocal size
            sink = path.open("wb") if path is not None else None
            try:
                for chunk in self.landing.stream(info.key, version=info.version, if_match=info.etag or None):
                    digest.update(chunk)
                    size += len(chunk)
                    if sink:
                        sink.write(chunk)
                    yield chunk
            except StorageError as exc:
                self._failed = exc
                raise
            finally:
                if sink:
                    sink.close()

        original = None
        if self.keep:
            packed = write_compressed(lake, key, chunks())
            original = FileEntry(name, size, 0, digest.hexdigest(), key, "lake", "landed", packed)
        else:
            deque(chunks(), maxlen=0)
        self.bytes_read += size
        self.objects_read += 1
        etag, modified = info.version or info.etag, info.modified.isoformat()
        material = Material(uri, digest.hexdigest(), size, etag, modified, partition, self.now)
        return Arrival(material, name, original if here else None, path, original=original)
