"""Is the trail whole? Every log of heads: numbers without a gap, each entry signed and naming the one before it.

How far each log was found sound is remembered in a file of the home, signed by the home's own key and naming the point before it: what
somebody else wrote there counts for nothing, and every entry is read again. The next look reads the entry at which it ended, which must
still hash to the same, and what came since: it costs what is new, whatever the length. An earlier entry that was changed since is found by
a full look, and by `orchestrai audit`; whoever has no key of the home looks at everything.
"""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound, OrchestraiError
from orchestrai.ledger.decisions.signed_record import open_body, sign_body
from orchestrai.ledger.heads import has_head, head_key, head_prefix, last_number, read_head
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store

NEAR = 6
POINT_TYPE = "application/vnd.orchestrai.trail-point+json"


@dataclass(frozen=True)
class TrailReport:
    """What a look found: how many entries there are, how many were read now, and what is wrong."""

    logs: int
    entries: int
    read: int
    seconds: float
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.__dict__, "problems": list(self.problems), "ok": self.ok}


def logs_of(store: Store) -> Iterator[str]:
    """The assets that have a log, without listing the entries of each."""
    after: str | None = None
    while True:
        found = next(iter(store.list("heads/", start_after=after)), None)
        if found is None:
            return
        asset = found.key.removeprefix("heads/").rpartition("/")[0]
        yield asset
        # all that begins with "<asset>/" comes before this, and no other asset does
        after = f"heads/{asset}0"


def _local_ends(store: Store) -> dict[str, int]:
    """The highest number in each log's folder, where entries lie in folders here; nothing of any other store, or where one cannot be read.

    Names alone are read, each once: the first entry of each log would be found by sorting the names of its folder. A log of other names
    alone has 0.
    """
    root = store.local_path("heads")
    ends: dict[str, int] = {}
    folders = [""] if root is not None else []
    while folders:
        folder = folders.pop()
        try:
            names = os.listdir(f"{root}/{folder}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return {}  # a listing of the store says what is the matter
        numbers = [name[:12] for name in names if name[12:] == ".json"]
        if not "".join(numbers).isdecimal():
            numbers = [number for number in numbers if number.isdecimal()]
        strange: list[str] = []
        if len(numbers) < len(names):
            entries = {f"{number}.json" for number in numbers}
            strange = [name for name in names if name not in entries]
        below = [name for name in strange if _is_folder(f"{root}/{folder}{name}")]
        folders += [f"{folder}{name}/" for name in below]
        if folder and (numbers or len(below) < len(strange)):
            ends[folder[:-1]] = int(max(numbers, default="0"))
    return ends


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def remember(folder: Path, store: Store, signer: Signer, ends: Mapping[str, tuple[int, str]]) -> None:
    """Note by hand that the logs of a store were found sound up to these entries."""
    _Seen(folder, store.url, signer).save(ends)


def check_trail(
    store: Store, keyring: Keyring, folder: Path, signer: Signer | None = None, *, full: bool = False
) -> TrailReport:
    """Check every log of a store; what was found sound is remembered in `folder`, by the store's address, where `signer` can sign it."""
    begun = time.perf_counter()
    seen = _Seen(folder, store.url, signer)
    before = seen.load()
    known: dict[str, tuple[int, str]] = {}
    problems, read = [], 0
    there = _local_ends(store)
    assets = {*(there or logs_of(store)), *before}
    for asset in sorted(assets):
        try:
            last, digest, new = _check(
                store, keyring, asset, before.get(asset, (0, "")), full=full, highest=there.get(asset)
            )
        except (IntegrityError, ObjectNotFound) as exc:
            problems.append(f"{asset}: {exc.message}")
            continue
        known[asset], read = (last, digest), read + new
    if not problems:
        seen.save(known)
    entries = sum(last for last, _ in known.values())
    return TrailReport(len(assets), entries, read, time.perf_counter() - begun, tuple(problems))


def _check(
    store: Store, keyring: Keyring, asset: str, before: tuple[int, str], *, full: bool = False, highest: int | None = None
) -> tuple[int, str, int]:
    """The last entry of a log with its digest, and how many were read: from where a look ended before, or all of them.

    Where `highest` says that no name is behind the one that was verified before, no other is looked up.
    """
    number, digest = before
    if number:
        try:
            found = _digest(store, asset, number)
        except ObjectNotFound as exc:
            raise IntegrityError(
                f"expected entry {number}, which was verified before, found the log cut off before it"
            ) from exc
        if found != digest:
            raise IntegrityError(f"expected entry {number} as it was when it was verified, found it changed")
        if highest == number and not full:
            return number, digest, 0
    if full:
        # what was there is there; all before it is read again
        number, digest = 0, ""
    last = last_number(store, asset, number)
    for seq in range(number + 1, last + 1):
        previous = digest
        try:
            head = read_head(store, keyring, asset, seq)
        except NotCounted:
            # it has its number and moved nothing; the next one names it all the same
            digest = _digest(store, asset, seq)
            continue
        if head.previous != previous:
            raise IntegrityError(f"expected entry {seq} to follow {previous[:12] or 'nothing'}, found {head.previous[:12]}")
        digest = head.digest
    if (highest or 0) > last or _goes_on(store, asset, last, known=bool(number) and last == number):
        raise IntegrityError(f"expected nothing after entry {last}, found more behind a gap")
    return last, digest, last - number


def _goes_on(store: Store, asset: str, last: int, *, known: bool) -> bool:
    """Whether there are entries behind the last one; of a log that nothing was added to only the next few numbers are looked for."""
    if known:
        return any(has_head(store, asset, last + step) for step in range(2, NEAR))
    prefix = head_prefix(asset)
    return any("/" not in info.key[len(prefix) :] for info in store.list(prefix, start_after=f"{prefix}{last:012d}.json"))


def _digest(store: Store, asset: str, seq: int) -> str:
    return sha256_hex(store.read(head_key(asset, seq)))


class _Seen:
    """How far the logs of a store were found sound; what cannot be read, or is not signed by this home, counts as nothing known."""

    def __init__(self, folder: Path, url: str, signer: Signer | None) -> None:
        self.folder, self.url, self.signer = folder, url, signer
        self.path = folder / f"{sha256_hex(url.encode())[:16]}.json"
        self.previous, self.number = "", 0

    def load(self) -> dict[str, tuple[int, str]]:
        """What is known; nothing where there is none, or one of another store or key."""
        if self.signer is None:
            return {}
        try:
            envelope = self.path.read_bytes()
            body = open_body(self.signer.keyring(), POINT_TYPE, envelope, "point of a trail")
            if body["store"] != self.url:
                return {}
            known = {str(asset): (int(seq), str(digest)) for asset, (seq, digest) in body["logs"].items()}
            self.previous, self.number = sha256_hex(envelope), int(body["number"])
            return known
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OrchestraiError):
            return {}

    def save(self, known: Mapping[str, tuple[int, str]]) -> None:
        """Remember it; a home that cannot be written, or has no key, remembers nothing."""
        if self.signer is None:
            return
        body = {
            "store": self.url,
            "logs": {asset: list(end) for asset, end in known.items()},
            "number": self.number + 1,
            "previous": self.previous,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            staged = self.path.with_suffix(f".{os.getpid()}.tmp")
            staged.write_bytes(sign_body(self.signer, POINT_TYPE, body))
            staged.replace(self.path)
        except OSError:
            return
