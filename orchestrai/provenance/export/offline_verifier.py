#!/usr/bin/env python3
"""Checks where a model comes from, with plain Python: no package, no network, nothing to install.

    python3 -S verify.py [PROOF] [--root FINGERPRINT | --key FILE.pem | --key KEYID] [--model FILE] [--vault FOLDER] [--json]

PROOF is the folder or zip file that holds this file (default: where it lies), or a whole vault with --model. Every signature, hash
and Merkle root is checked from the model's file back to the landed objects. With --vault, every file of the snapshots that were
used is read from a copy of the vault and hashed. Exit code 0: all holds; 1: something does not; 2: it could not be checked.

Trust begins with a public key: give the fingerprint of the owner's root key (--root), or a key that signed for it (--key), which you
have from the owner by another way; else the keys in the proof are taken and you are told to compare them. The key log, signed by
the root, says which keys there were, what each might sign, and where each ended.

Sources: RFC 8032 (Ed25519), RFC 6962 (Merkle trees), DSSE v1, in-toto Statement v1.

This file is written into each proof as it stands here, and imports the standard library alone.
"""

import argparse
import base64
import binascii
import functools
import hashlib
import importlib
import io
import json
import os
import stat
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Point = tuple[int, int, int, int]
Json = dict[str, Any]
Line = list[Any]
Tell = Callable[[int, int], None]

# -- Ed25519, RFC 8032 ---------------------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
D2 = 2 * D % P
ROOT = pow(2, (P - 1) // 4, P)
ZERO = (0, 1, 1, 0)


def point(data: bytes) -> "Point | None":
    """The point of 32 bytes as (X, Y, Z, T), RFC 8032 section 5.1.3; None where they name none in the one right spelling."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if len(data) != 32 or y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * ROOT % P
    if (v * x * x - u) % P or (not x and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def added(one: Point, two: Point) -> Point:
    """The sum of two points: complete formulas, RFC 8032 section 5.1.4."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = t1 * D2 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def doubled(one: Point) -> Point:
    """Twice a point."""
    x, y, z, _ = one
    a, b, c = x * x % P, y * y % P, 2 * z * z % P
    h = a + b
    e, g = h - (x + y) ** 2 % P, a - b
    f = c + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def negative(one: Point) -> Point:
    """The opposite of a point."""
    x, y, z, t = one
    return P - x if x else 0, y, z, P - t if t else 0


def combined(terms: "list[tuple[int, Point]]") -> Point:
    """The sum of scalar times point over many pairs, by buckets (Pippenger)."""
    width = max(2, min(12, len(terms).bit_length() - 1))
    top = max((scalar.bit_length() for scalar, _ in terms), default=0)
    total, mask = ZERO, (1 << width) - 1
    for shift in range((top + width - 1) // width * width - width, -1, -width):
        for _ in range(width):
            total = doubled(total)
        buckets: dict[int, Point] = {}
        for scalar, one in terms:
            digit = scalar >> shift & mask
            if digit:
                buckets[digit] = added(buckets[digit], one) if digit in buckets else one
        running = part = ZERO
        for digit in range(max(buckets, default=0), 0, -1):
            if digit in buckets:
                running = added(running, buckets[digit])
            part = added(part, running)
        total = added(total, part)
    return total


def is_zero(one: Point) -> bool:
    """Whether a point is the neutral one."""
    return one[0] % P == 0 and (one[1] - one[2]) % P == 0


# a proof has thousands of signatures by few keys
key_point = functools.lru_cache(maxsize=256)(point)
BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or ZERO


def opened(key: bytes, message: bytes, signature: bytes) -> "tuple[Point, Point, int, int] | None":
    """(point of the key, point R, challenge, s) of a signature in its one right spelling, else None."""
    a, r = key_point(key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= L:
        return None
    return a, r, int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L, s


def holds(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature is right, RFC 8032 section 5.1.7, without the factor 8."""
    parts = opened(key, message, signature)
    if parts is None:
        return False
    a, r, challenge, s = parts
    return is_zero(combined([(s, BASE), (challenge, negative(a)), (1, negative(r))]))


def wrong(signatures: "list[tuple[bytes, bytes, bytes]]") -> "list[int]":
    """The places of the signatures (key, message, signature) in a list that are not right.

    All at once: a sum with weights that follow from all of them is zero exactly where each is right, but for a chance of 2**-125, or
    where the owner of a key spoilt his own by points of small order. Where it is not zero, one by one.
    """
    known: dict[bytes, Point] = {}
    per_key: dict[bytes, int] = {}
    terms: list[tuple[int, Point]] = []
    bad: list[int] = []
    seed, base = hashlib.sha512(), 0
    for key, message, signature in signatures:
        seed.update(hashlib.sha512(key + signature + message).digest())
    for place, (key, message, signature) in enumerate(signatures):
        parts = opened(key, message, signature)
        if parts is None:
            bad.append(place)
            continue
        known[key], r, challenge, s = parts
        weight = int.from_bytes(hashlib.sha512(seed.digest() + place.to_bytes(8, "little")).digest()[:16], "little") | 1
        base = (base + weight * s) % L
        per_key[key] = (per_key.get(key, 0) + weight * challenge) % L
        terms.append((weight, negative(r)))
    terms += [(scalar, negative(known[key])) for key, scalar in per_key.items()]
    if not is_zero(combined([*terms, (base, BASE)])):
        bad += [place for place, one in enumerate(signatures) if place not in set(bad) and not holds(*one)]
    return sorted(bad)


# -- what everything is written in ----------------------------------------------------------------------------------

PUBLIC = bytes.fromhex("302a300506032b6570032100")  # what stands before the key in the DER of RFC 8410
# what each format of receipts calls the Merkle roots that are its subjects
RECEIPTS = {"urn:orchestrai:receipt:v1": "sha256", "urn:orchestrai:receipt:v2": "merkleSha256"}
VERBATIM = {"snapshot", "restored", "feature_backup"}
SOURCES = {
    "raw_events": set(),
    "snapshot": {"raw_events"},
    "restored": {"snapshot"},
    "features": {"restored", "features"},
    "feature_backup": {"features"},
    "training_set": {"features", "restored"},
    "candidate": {"training_set"},
    "evaluation": {"candidate", "training_set"},
    "champion": {"candidate", "evaluation"},
    "deployment": {"champion"},
    "predictions": {"champion", "features"},
}


class Wrong(Exception):
    """Something that does not hold: which check, and why."""

    def __init__(self, check: str, why: str) -> None:
        super().__init__(why)
        self.check = check


class Void(Wrong):
    """A record is rightly signed, by a key that may not sign it: it takes its place and counts for nothing."""


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def leaf(data: bytes) -> bytes:
    """The hash of a leaf, RFC 6962."""
    return hashlib.sha256(b"\0" + data).digest()


def merkle(level: "list[bytes]") -> str:
    """The root over hashed leaves, as `sha256:<hex>`."""
    if not level:
        return "sha256:" + sha256(b"")
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + level[-1:] if len(level) % 2 else pairs
    return "sha256:" + level[0].hex()


def file_root(files: "Iterable[tuple[Any, ...]]") -> str:
    """The root over a partition's files, (path, size, rows, sha256) each."""
    return merkle([leaf(canonical(list(file))) for file in sorted(files)])


def stage_of(asset: str) -> str:
    """The stage that made an asset."""
    return asset.rsplit("/", 1)[-1]


def regular(path: str) -> "io.BufferedReader":
    """A file to read; raises OSError for whatever else lies there: a pipe would be waited for without end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no file")
    return os.fdopen(descriptor, "rb")


class Place:
    """A folder or a zip file, read by names that stay inside it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.zip = zipfile.ZipFile(path) if os.path.isfile(path) else None
        if self.zip is None and not os.path.isdir(path):
            raise OSError(f"{path} is neither a folder nor a zip file")

    def read(self, name: str) -> bytes:
        """The bytes under a name; raises Wrong where there are none."""
        if name.startswith("/") or ".." in name.split("/"):
            raise Wrong("records", f"expected a name inside the proof, found {name!r}")
        try:
            if self.zip is not None:
                return self.zip.read(name)
            with regular(os.path.join(self.path, *name.split("/"))) as stream:
                data: bytes = stream.read()
                return data
        except (KeyError, OSError):
            raise Wrong("records", f"expected {name}, found nothing") from None

    def has(self, name: str) -> bool:
        """Whether there is something under a name."""
        if self.zip is not None:
            return name in self.zip.NameToInfo
        return os.path.isfile(os.path.join(self.path, *name.split("/")))

    def names(self, prefix: str) -> "list[str]":
        """The names that begin with a folder's, ascending."""
        if self.zip is not None:
            inside = (name for name in self.zip.namelist() if name.startswith(prefix))
            return sorted(name for name in inside if "/" not in name[len(prefix) :] and name != prefix)
        top = os.path.join(self.path, *prefix.strip("/").split("/"))
        if not os.path.isdir(top):
            return []
        return sorted(prefix + name for name in os.listdir(top) if os.path.isfile(os.path.join(top, name)))


KEY_LOG = "application/vnd.orchestrai.key-log+json"
COMMIT = "application/vnd.orchestrai.snapshot+json"
HEAD = "application/vnd.orchestrai.head+json"
TOMBSTONE = "application/vnd.orchestrai.tombstone+json"
WITNESS = "application/vnd.orchestrai.witness+json"
ROLES = {"write", "prune", "release", "decide"}
NOTES = {"fence": {"prune"}, "hold": {"write", "release"}, "opened": ROLES}


class KeyLog:
    """Which keys there were, and what each might sign: records signed by the root, each naming the hash of the one before.

    A record may name another root; it is signed by both, and from the next one on only the new root's signature counts.
    """

    def __init__(self, records: "Records", given: "dict[str, bytes]", root: str) -> None:
        self.place = records.place
        self.digests: list[str] = []
        self.keys: dict[str, Json] = {}
        self.approvals: Json = {}
        self.exempt = self.root = self.vault = ""
        self.public_root = b""
        self.roots: list[str] = []
        self.censuses: dict[str, frozenset[bytes]] = {}
        self.vouching: set[str] = set()
        for number, name in enumerate(self.place.names("vault/keylog/"), 1):
            self.read(records, number, name)
        if root and not self.digests:
            raise Wrong("keys", "expected a key log, found none: there is no root to compare")
        known = any(one.startswith(root) for one in self.roots) if root else {*self.vouching} & given.keys()
        if self.digests and not known:
            raise Wrong("keys", f"expected a root that you named or that your key signed for, found {self.root}")

    def read(self, records: "Records", number: int, name: str) -> None:
        """One record: signed by the root, for this vault, behind the one before."""
        envelope = self.place.read(name)
        body, payload, signatures = records.opened(KEY_LOG, name, envelope)
        if number == 1:
            self.public_root, self.vault = base64.b64decode(body["root"]), body["vault"]
            self.root = sha256(self.public_root)
            self.roots.append(self.root)
            if sha256(self.place.read("vault/identity.json")) != body["identity"]:
                raise Wrong("keys", "expected the key log of this vault, found that of another")
        before = self.digests[-1] if self.digests else ""
        place = name, body["seq"], body["vault"], body["previous"], body["format"]
        succeeds = number > 1 and "root" in body
        if place != (f"vault/keylog/{number:012d}.json", number, self.vault, before, 2 if succeeds else 1):
            raise Wrong("keys", f"expected record {number} of the key log, found another in {name}")
        if self.root[:16] not in dict(signatures):
            raise Wrong("keys", f"expected {name} to be signed by the root {self.root[:16]}, found it is not")
        self.take(number, body)
        signing = {self.root[:16]: self.public_root}
        if succeeds:
            self.succeed(name, base64.b64decode(body["root"]), dict(signatures))
            signing[self.root[:16]] = self.public_root
        for signer, signature in signatures:
            if signer in signing or signer in self.keys:
                key = signing[signer] if signer in signing else self.public(signer)
                records.gather(f"{name} ({signer})", key, KEY_LOG, payload, signature)
                self.vouching.add(signer)
        self.digests.append(sha256(envelope))

    def succeed(self, name: str, public: bytes, signatures: "dict[str, bytes]") -> None:
        """Go on under another root, which has signed the record that names it."""
        new = sha256(public)
        if new[:16] not in signatures or new in self.roots:
            raise Wrong("keys", f"expected {name} to be signed by the new root {new[:16]} too, found it is not")
        self.public_root, self.root = public, new
        self.roots.append(new)

    def take(self, number: int, body: Json) -> None:
        """What one record changes."""
        for name, key in body.get("add", {}).items():
            if name in self.keys or sha256(base64.b64decode(key["public"]))[:16] != name or not set(key["roles"]) <= ROLES:
                raise Wrong("keys", f"expected a new key under its own name in record {number} of the key log, found {name}")
            self.keys[name] = {**key, "ended": 0, "census": ""}
        for name, end in body.get("end", {}).items():
            self.keys[name] = {**self.keys[name], "ended": number, "census": end["census"]}
        if "approvals" in body:
            self.approvals, self.exempt = body["approvals"], body["exempt"]

    def public(self, name: str) -> bytes:
        """The 32 bytes of a key."""
        return base64.b64decode(self.keys[name]["public"])

    def census(self, digest: str) -> "frozenset[bytes]":
        """The hashes of the records that a list names."""
        if digest not in self.censuses:
            data = self.place.read(f"vault/census/{digest}") if digest else b""
            if digest and sha256(data) != digest:
                raise Wrong("keys", f"expected vault/census/{digest} to hash to its name, found other bytes")
            self.censuses[digest] = frozenset(data[at : at + 32] for at in range(0, len(data), 32))
        return self.censuses[digest]

    def known(self, name: str, named: str) -> None:
        """Raise Wrong where a record names another end of the log than there is."""
        number, _, digest = named.partition(":")
        if named and (not 0 < int(number) <= len(self.digests) or self.digests[int(number) - 1] != digest):
            raise Wrong("keys", f"expected the key log that {name} names, {number} records, found it cut off or replaced")

    def admit(self, kind: str, name: str, envelope: bytes, body: Any, signers: "list[str]") -> None:
        """Raise Void for a record that its keys may not sign, Wrong where the log is not the one that the record names."""
        chained = kind in (COMMIT, HEAD)
        self.known(name, body.get("key_log", "") if chained else "")
        if not self.digests:
            return
        roles = NOTES.get(body.get("kind", ""), {"write"}) if kind == COMMIT else {"write"}
        roles, need = ({"prune"}, int(self.approvals.get("forget", 1))) if kind == TOMBSTONE else (roles, 1)
        place = (name.rpartition("/")[0], body["seq"]) if chained else ("", 0)
        digest = bytes.fromhex(sha256(envelope))
        refusals = [self.refusal(signer, roles, place, digest) for signer in signers]
        counted = refusals.count("")
        if not counted:
            raise Void("keys", f"expected {name} by a key that may sign it, found {refusals[0]}")
        if counted < need and digest not in self.census(self.exempt):
            raise Void("keys", f"expected {need} signatures of {name}, found {counted}")

    def refusal(self, signer: str, roles: "set[str]", place: "tuple[str, int]", digest: bytes) -> str:
        """Why a key may not sign a record; nothing where it may."""
        key, (chain, seq) = self.keys[signer], place
        if key["ended"] and digest not in self.census(key["census"]):
            return f"{signer}, which was ended by record {key['ended']} of the key log and had not signed it by then"
        if not roles & set(key["roles"]):
            return f"{signer}, which may not {' or '.join(sorted(roles))}"
        if chain in key["starts"] and seq <= key["starts"][chain]:
            return f"{signer}, which begins behind {key['starts'][chain]}"
        return ""


class Records:
    """Signed and hashed records. Signatures are gathered, and checked all at once by `settle`, before anything is concluded."""

    def __init__(self, place: Place, keys: "dict[str, bytes]", root: str = "") -> None:
        self.place = place
        self.keys = keys
        self.root = root
        self.key_log: KeyLog | None = None
        self.waiting: dict[str, tuple[bytes, bytes, bytes]] = {}
        self.done = 0
        self.blobs: dict[str, bytes] = {}
        self.pieces: Json | None = None
        self.logs: dict[str, list[Json]] = {}
        self.lines: dict[str, dict[str, Line]] = {}
        self.listings: dict[str, Json] = {}
        self.leaves: dict[tuple[str, str], bytes] = {}
        self.receipts: dict[str, Json] = {}
        self.lists: dict[str, tuple[str, Json]] = {}
        self.roots = 0
        self.hashes = 0

    def begin(self) -> KeyLog:
        """Read the key log; from then on its keys are the ones that count."""
        self.key_log = KeyLog(self, self.keys, self.root)
        if self.key_log.digests:
            self.keys = {name: self.key_log.public(name) for name in self.key_log.keys}
        return self.key_log

    def gather(self, name: str, key: bytes, kind: str, payload: bytes, signature: bytes) -> None:
        """Have a signature checked by and by."""
        what = kind.encode()
        self.waiting[name] = (key, b"DSSEv1 %d %s %d %s" % (len(what), what, len(payload), payload), signature)

    def signed(self, kind: str, name: str, envelope: bytes) -> Any:
        """The document in a DSSE envelope whose signatures will be checked; raises Wrong, and Void for one that does not count."""
        body, payload, signatures = self.opened(kind, name, envelope)
        signers = [key for key, _ in signatures]
        if not signers or len(set(signers)) != len(signers) or not set(signers) <= self.keys.keys():
            raise Wrong("signatures", f"expected {name} to be signed by a trusted key, found {', '.join(signers) or 'none'}")
        if self.key_log is not None:
            self.key_log.admit(kind, name, envelope, body, signers)
        for number, (key, signature) in enumerate(signatures):
            self.gather(name if not number else f"{name} ({key})", self.keys[key], kind, payload, signature)
        return body

    def opened(self, kind: str, name: str, envelope: bytes) -> "tuple[Any, bytes, list[tuple[str, bytes]]]":
        """Document, payload and signatures of a DSSE envelope; raises Wrong for any but the one spelling."""
        try:
            document = json.loads(envelope)
            payload = base64.b64decode(document["payload"], validate=True)
            signatures = [(one["keyid"], base64.b64decode(one["sig"], validate=True)) for one in document["signatures"]]
            again = canonical(
                {
                    "payloadType": document["payloadType"],
                    "payload": base64.b64encode(payload).decode(),
                    "signatures": [{"keyid": key, "sig": base64.b64encode(sig).decode()} for key, sig in signatures],
                }
            )
            if document["payloadType"] != kind:
                raise Wrong("signatures", f"expected {name} to be {kind}, found {document['payloadType']}")
            body = json.loads(payload)
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise Wrong("signatures", f"expected a signed envelope in {name}, found something else") from None
        if again != envelope:
            raise Wrong("signatures", f"expected {name} as it was written, found it altered around its payload")
        return body, payload, signatures

    def settle(self) -> "list[str]":
        """Check the signatures gathered so far; yields the names of the records whose signature is wrong."""
        names = list(self.waiting)
        bad = wrong([self.waiting[name] for name in names])
        self.done += len(names)
        self.waiting.clear()
        return [names[place] for place in bad]

    def blob(self, kind: str, digest: str) -> bytes:
        """A record under its hash."""
        name = f"{kind}/{digest[:2]}/{digest}.json"
        if name not in self.blobs:
            data = self.shared(digest) if kind == "manifests" else b""
            data = data or self.place.read(name)
            if sha256(data) != digest:
                raise Wrong("hashes", f"expected {name} to hash to its name, found other bytes")
            self.hashes += 1
            self.blobs[name] = data
        return self.blobs[name]

    def shared(self, digest: str) -> bytes:
        """A list of partitions out of those that share their text in one file of the proof; nothing where it is not among them."""
        if self.pieces is None:
            self.pieces = {"between": "", "lists": {}, "pieces": []}
            if self.place.has("shared_lists.json"):
                self.pieces = json.loads(self.place.read("shared_lists.json"))
        runs, pieces = self.pieces["lists"].get(digest, ()), self.pieces["pieces"]
        text = self.pieces["between"].join(piece for first, number in runs for piece in pieces[first : first + number])
        return str(text).encode()

    def log(self, asset: str) -> "list[Json]":
        """The heads of an asset, oldest first: numbered without a gap, each naming the hash of the one before."""
        if asset not in self.logs:
            heads: list[Json] = []
            before = ""
            for number, name in enumerate(self.place.names(f"heads/{asset}/"), 1):
                if name != f"heads/{asset}/{number:012d}.json":
                    raise Wrong("records", f"expected head {number} of {asset}, found {name}")
                envelope = self.place.read(name)
                try:
                    head = self.signed(HEAD, name, envelope)
                except Void:
                    if not heads:
                        raise
                    # it stands for the one before it
                    before = sha256(envelope)
                    heads.append({**heads[-1], "seq": number, "digest": before, "changed": []})
                    continue
                if (head["format"], head["asset"], head["seq"]) != (1, asset, number):
                    raise Wrong("records", f"expected head {number} of {asset} in {name}, found another")
                if head["previous"] != before:
                    raise Wrong("records", f"expected head {number} of {asset} to follow the one before, found a break")
                before = head["digest"] = sha256(envelope)
                heads.append(self.counted(head, heads))
            self.logs[asset] = heads
        return self.logs[asset]

    def counted(self, head: Json, heads: "list[Json]") -> Json:
        """What a head stands for: itself, or its predecessor where its transaction was not committed."""
        name = head.get("transaction")
        if not name:
            return head
        try:
            key = f"transactions/{name}.json"
            decision = self.signed("application/vnd.orchestrai.transaction+json", key, self.place.read(key))
        except Wrong as error:
            if error.check != "records":
                raise
            decision = {"outcome": "none"}
        if decision["outcome"] == "commit":
            if decision["heads"].get(head["asset"]) != head["digest"]:
                raise Wrong("records", f"expected transaction {name} to name the head of {head['asset']}, found another")
            return head
        if not heads:
            raise Wrong("records", f"expected a head of {head['asset']} before transaction {name}, found none")
        return {**heads[-1], "seq": head["seq"], "digest": head["digest"], "changed": []}

    def head(self, asset: str, version: str, moment: str) -> Json:
        """The newest head with a version at a moment, else the newest with it."""
        same = [head for head in self.log(asset) if head["version"] == version]
        if not same:
            raise Wrong("receipts", f"expected {version} of {asset} in its log, found none: it was never published")
        return ([head for head in same if head["time"] <= moment] or same)[-1]

    def partitions(self, head: Json) -> "dict[str, Line]":
        """The lines of the dataset manifest at a head by partition, its root computed again."""
        name = head["manifest"]
        if name not in self.lines:
            lines = {line[0]: line for line in self.listed(head["asset"], name)}
            root = merkle([self.line_leaf(key, lines[key][1]) for key in sorted(lines)])
            if root != head["version"]:
                raise Wrong("merkle", f"expected the manifest of {head['asset']} to give {head['version']}, found {root}")
            self.roots += 1
            self.lines[name] = lines
        return self.lines[name]

    def listed(self, asset: str, name: str, height: "int | None" = None) -> "list[Line]":
        """The lines of a manifest: a list of them, or pages that name those below them by their hashes."""
        if name not in self.listings:
            document = json.loads(self.blob("manifests", name))
            if document["format"] not in (1, 2) or document["asset"] != asset:
                raise Wrong("records", f"expected the manifest of {asset}, found another")
            self.listings[name] = document
        document = self.listings[name]
        actual = document["height"] if document["format"] == 2 else 0
        if height is not None and height != actual:
            raise Wrong("records", f"expected a page of height {height} of {asset}, found {actual}")
        if not actual:
            lines: list[Line] = document["partitions"]
            return lines
        return [line for page in document["pages"] for line in self.listed(asset, page[-1], actual - 1)]

    def line_leaf(self, partition: str, root: str) -> bytes:
        """The hash of one line of a dataset; kept, as most lines stand in many versions."""
        key = partition, root
        if key not in self.leaves:
            self.leaves[key] = leaf(canonical([partition, root]))
        return self.leaves[key]

    def receipt(self, digest: str) -> Json:
        """A receipt: signed, of its format, its subjects those that it lists."""
        if digest not in self.receipts:
            name = f"receipts/{digest[:2]}/{digest}.json"
            statement = self.signed("application/vnd.in-toto+json", name, self.blob("receipts", digest))
            digest_name = RECEIPTS.get(statement.get("predicateType"))
            if digest_name is None:
                raise Wrong("receipts", f"expected a receipt in {name}, found {statement.get('predicateType')}")
            body = statement["predicate"]
            subjects = [(body["asset"], body["version"])]
            subjects += [(f"{body['asset']}@{key}", root) for key, root in sorted(body["partitions"].items())]
            if statement["subject"] != [{"name": n, "digest": {digest_name: r[len("sha256:") :]}} for n, r in subjects]:
                raise Wrong("receipts", f"expected the subjects of {name} to be its partitions, found others")
            self.receipts[digest] = body
        return self.receipts[digest]

    def admitted(self, asset: str, line: Line) -> Json:
        """The receipt that admits a partition: it covers the root, with an open gate."""
        partition, root = line[0], line[1]
        receipt = self.receipt(line[6])
        if receipt["asset"] != asset or receipt["partitions"].get(partition) != root:
            raise Wrong("receipts", f"expected a receipt for {asset}@{partition} at {root}, found one for something else")
        waiver = receipt.get("overrides", {}).get(partition)
        waived = ()
        if waiver and (waiver["asset"], waiver["partition"], waiver["root"]) == (asset, partition, root):
            waived = waiver["checks"]
        closed = [
            verdict["check"]
            for verdict in receipt["verdicts"].get(partition, ())
            if not verdict["passed"] and verdict["severity"] == "error" and verdict["check"] not in waived
        ]
        if closed:
            raise Wrong("receipts", f"expected passing checks for {asset}@{partition}, found failed: {', '.join(closed)}")
        return receipt

    def files(self, asset: str, line: Line) -> Json:
        """The list of a partition's files, its Merkle root computed again."""
        data = self.blob("manifests", line[5])
        if line[5] not in self.lists:
            document = json.loads(data)
            files = document["files"]
            root = file_root((f["path"], f["size"], f["rows"], f["sha256"]) for f in files)
            if (
                canonical(document) != data
                or document["format"] not in (1, 2)
                or len({f["path"] for f in files}) != len(files)
            ):
                raise Wrong("records", f"expected the list of files of {asset}@{line[0]} as it was written, found another")
            self.roots += 1
            self.lists[line[5]] = root, document
        root, document = self.lists[line[5]]
        if (root, document["partition"]) != (line[1], line[0]):
            raise Wrong("merkle", f"expected the files of {asset}@{line[0]} to give {line[1]}, found {root}")
        return document


class Witness:
    """What a place outside the vault had seen of its chains, and when: signed records, each naming the hash of the one before.

    An end of a chain stands for all before it. A record that accepts a loss begins anew. Keys that were ended since still count: a
    record is guarded by the place where it lay, and by those behind it.
    """

    def __init__(self, records: Records, vault: str) -> None:
        self.times: list[str] = []
        self.ends: dict[str, tuple[int, str, str]] = {}
        self.seen: dict[str, list[tuple[int, str, str]]] = {}
        self.accepted: list[str] = []
        self.before = ""
        names = records.place.names(f"witness/{vault}/")
        self.stamps = sum(name.endswith(".tsr") for name in names)
        for number, name in enumerate((name for name in names if name.endswith(".json")), 1):
            self.read(records, vault, number, name)

    def read(self, records: Records, vault: str, number: int, name: str) -> None:
        """One record: by a known key, of this vault, behind the one before."""
        envelope = records.place.read(name)
        body, payload, signatures = records.opened(WITNESS, name, envelope)
        place = name, body["format"], body["seq"], body["vault"], body["previous"]
        if place != (f"witness/{vault}/{number:012d}.json", 1, number, vault, self.before):
            raise Wrong("witness", f"expected record {number} of the witness of this vault, found another in {name}")
        if not signatures or not {key for key, _ in signatures} <= records.keys.keys():
            raise Wrong("witness", f"expected {name} to be signed by a trusted key, found it is not")
        for key, signature in signatures:
            records.gather(f"{name} ({key})", records.keys[key], WITNESS, payload, signature)
        if records.key_log is not None and records.key_log.digests:
            records.key_log.known(name, body["key_log"])
        if body["accepted"]:
            self.ends, self.seen = {}, {}
            self.accepted.append(f"{body['time'][:19]} by {body['by']}: {body['accepted']}")
        for dataset, (end, digest) in body["heads"].items():
            self.ends[dataset] = end, digest, body["time"]
            seen = self.seen.setdefault(dataset, [])
            if not seen or seen[-1][:2] != (end, digest):
                seen.append((end, digest, body["time"]))
        self.times.append(body["time"])
        self.before = sha256(envelope)

    def since(self, dataset: str, number: int) -> str:
        """From when on a record of a chain was seen; nothing where it never was."""
        return next((time for end, _, time in self.seen.get(dataset, ()) if end >= number), "")


class Verifier:
    """Walks from a model's file to the landed objects."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.problems: list[tuple[str, str, str]] = []
        self.unopened: dict[str, int] = {}
        self.counts = dict.fromkeys(("partitions", "verdicts", "waived", "steps", "equal", "commits", "forgotten"), 0)
        self.objects: set[tuple[str, str]] = set()
        self.snapshots: dict[str, tuple[str, Json, dict[str, str]]] = {}
        self.witness: Witness | None = None
        self.witnessed: dict[str, str] = {}
        self.notes: dict[str, list[Json]] = {}  # what stands between the commits of a dataset's chain, oldest first

    def say(self, check: str, where: str, why: str) -> None:
        """Note what does not hold."""
        if (check, where, why) not in self.problems:
            self.problems.append((check, where, why))

    def owner(self, digests: "set[str]", asset: str) -> "tuple[Json, Line] | None":
        """The newest (head, line) of an asset that lists files of these hashes."""
        for head in reversed(self.records.log(asset)):
            lines = self.records.partitions(head)
            for key in head["changed"]:
                if key in lines and digests <= {f["sha256"] for f in self.records.files(asset, lines[key])["files"]}:
                    return head, lines[key]
        return None

    def walk(self, asset: str, lines: "dict[str, Line]") -> None:
        """Every step behind some partitions, each once."""
        waiting, seen = [(asset, lines)], set[Any]()
        while waiting:
            asset, lines = waiting.pop()
            identity = asset, frozenset((line[0], line[1], line[6]) for line in lines.values())
            if identity in seen:
                continue
            seen.add(identity)
            self.counts["steps"] += 1
            waiting += self.step(asset, lines)

    def histories(self) -> None:
        """What each head of the logs that were read names is there, and hashes to its name."""
        for asset, heads in self.records.logs.items():
            for head in heads:
                try:
                    self.records.blob("manifests", head["manifest"])
                    self.records.blob("receipts", head["receipt"])
                except Wrong as error:
                    self.say(error.check, asset, str(error))

    def step(self, asset: str, lines: "dict[str, Line]") -> "list[tuple[str, dict[str, Line]]]":
        """Check the partitions of one asset; the uses above them."""
        stage = stage_of(asset)
        wanted: dict[tuple[str, str, str], dict[str, str]] = {}
        for key, line in sorted(lines.items()):
            try:
                for ref, finished, roots in self.partition(asset, line):
                    wanted.setdefault((ref["asset"], ref["version"], finished), {}).update(roots)
            except Wrong as error:
                self.say(error.check, f"{asset}@{key}", str(error))
        above = {place[0] for place in wanted}
        for name in sorted(above):
            if stage_of(name) not in SOURCES.get(stage, {stage_of(name)}):
                self.say(
                    "lineage", asset, f"expected {stage} to come from {', '.join(sorted(SOURCES[stage]))}, found {name}"
                )
        if stage in SOURCES and stage != "raw_events" and not above:
            self.say("lineage", asset, f"expected {stage} to name its inputs, found none")
        return list(self.above(wanted))

    def partition(self, asset: str, line: Line) -> "list[tuple[Json, str, dict[str, str]]]":
        """Check one partition; what it learned from, as (input, moment, partition roots of it)."""
        key, root, stage = line[0], line[1], stage_of(asset)
        receipt = self.records.admitted(asset, line)
        document = self.records.files(asset, line)
        self.counts["partitions"] += 1
        self.counts["verdicts"] += len(receipt["verdicts"].get(key, ()))
        self.counts["waived"] += key in receipt.get("overrides", {})
        if receipt["stage"] != stage:
            raise Wrong("lineage", f"expected a receipt of stage {stage}, found one of {receipt['stage']}")
        if stage == "raw_events":
            self.landed(key, receipt, document)
        if stage == "snapshot":
            self.snapshots.setdefault(line[6], (asset, receipt, {}))[2][key] = root
        uses = []
        for ref in receipt["inputs"]:
            if stage in ("evaluation", "champion") and ref["asset"].endswith("/champion"):
                continue  # it was compared with, not learned from
            roots = self.narrowed(stage, key, ref, document)
            if roots or not ref["partitions"]:
                uses.append((ref, receipt["finished"], roots))
        if stage in VERBATIM:
            self.counts["equal"] += 1
            if {roots.get(key) for _, _, roots in uses} != {root}:
                raise Wrong("equal", f"expected the root of its source to be {root}, found another")
        return uses

    def landed(self, key: str, receipt: Json, document: Json) -> None:
        """A raw partition names the objects it came from, and keeps exactly those where it keeps any."""
        named = {m["sha256"]: m for m in receipt["materials"] if m["partition"] in ("", key)}
        if not named:
            raise Wrong("lineage", "expected raw events to name the landed objects they came from, found none")
        self.objects |= {(m["uri"], m["sha256"]) for m in named.values()}
        kept = {f["sha256"] for f in document["files"] if f["role"] == "landed"}
        own = {digest for digest, material in named.items() if not material.get("same_as")}
        if kept and kept != own:
            raise Wrong("lineage", "expected the landed objects kept to be those the receipt names, found others")

    def narrowed(self, stage: str, key: str, ref: Json, document: Json) -> "dict[str, str]":
        """The partition roots of one input that went into one output partition."""
        if stage in VERBATIM:
            if key not in ref["partitions"]:
                raise Wrong("lineage", f"expected a source in {ref['asset']} to be named, found none")
            return {key: ref["partitions"][key]}
        if stage == "features":
            roots = document["stats"].get("inputs", {}).get(ref["asset"], {})
            if isinstance(roots, dict) and roots.items() <= ref["partitions"].items():
                return roots
        named: dict[str, str] = ref["partitions"]
        return named

    def above(self, wanted: "dict[tuple[str, str, str], dict[str, str]]") -> "Iterator[tuple[str, dict[str, Line]]]":
        """The partitions that inputs name, as they were published."""
        groups: dict[str, dict[tuple[str, str, str], Line]] = {}
        for (asset, version, moment), roots in sorted(wanted.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])):
            try:
                lines = self.records.partitions(self.records.head(asset, version, moment))
                for key in roots or lines:
                    if key not in lines or (roots and lines[key][1] != roots[key]):
                        raise Wrong(
                            "lineage", f"expected {asset}@{key} in version {version}, found another: never published"
                        )
                    place = lines[key][0], lines[key][1], lines[key][6]
                    groups.setdefault(asset, {})[place] = lines[key]
            except Wrong as error:
                self.say(error.check, asset, str(error))
        for asset, published in groups.items():
            uses: list[dict[str, Line]] = []
            for _, line in sorted(published.items()):
                use = next((use for use in uses if line[0] not in use), None)
                if use is None:
                    uses.append(use := {})
                use[line[0]] = line
            yield from ((asset, use) for use in uses)

    def commits(self, bytes_from: "Place | None", tell: Tell) -> "tuple[int, int]":
        """The vault's own commit behind each snapshot receipt; with a place of bytes every file of it is read and hashed."""
        files = size = 0
        name = "vault/identity.json"
        vault = self.records.signed("application/vnd.orchestrai.vault+json", name, self.records.place.read(name))["vault"]
        for dataset in sorted({str(receipt["facts"].get("dataset")) for _, receipt, _ in self.snapshots.values()}):
            try:
                self.chain(vault, dataset)
            except Wrong as error:
                self.say(error.check, dataset, str(error))
        self.outside(vault)
        for done, (asset, receipt, roots) in enumerate(self.snapshots.values()):
            try:
                commit = self.commit(vault, receipt)
                for length in stored_bytes(bytes_from, commit, roots, self.unopened) if commit and bytes_from else ():
                    files, size = files + 1, size + length
            except KeyError as error:
                self.say("snapshots", asset, f"expected the receipt to name its commit, found no {error}")
            except Wrong as error:
                self.say(error.check, asset, str(error))
            tell(done + 1, len(self.snapshots))
        return files, size

    def outside(self, vault: str) -> None:
        """Hold what a witness saw against the chains that were used, and note since when it had seen each snapshot."""
        try:
            self.witness = Witness(self.records, vault)
        except Wrong as error:
            self.say(error.check, "witness", str(error))
            return
        losses: dict[str, tuple[int, str, str] | None] = {}
        for _, receipt, _ in self.snapshots.values():
            dataset, number = receipt["facts"].get("dataset"), receipt["facts"].get("snapshot_seq", 0)
            if dataset not in losses:
                # a chain may have grown past what took the place of an end that was seen
                ends = self.witness.seen.get(dataset, ())
                losses[dataset] = next((seen for seen in ends if self.unlike(vault, dataset, *seen[:2])), None)
            lost = losses[dataset]
            if lost is not None:
                self.say(
                    "witness",
                    dataset,
                    f"expected vault/snapshots/{dataset}/{lost[0]:012d}.json as it was seen at {lost[2][:19]}, found another or none: "
                    "rolled back",
                )
            elif self.witness.since(dataset, number):
                self.witnessed[f"{dataset}@{number}"] = self.witness.since(dataset, number)

    def unlike(self, vault: str, dataset: str, number: int, digest: str) -> bool:
        """Whether a record of a chain is not the one that was seen; of a former end that was given up or forgotten nobody asks."""
        name = f"vault/snapshots/{dataset}/{number:012d}.json"
        if self.records.place.has(name) and sha256(self.records.place.read(name)) == digest:
            return False
        last = self.witness is not None and self.witness.ends.get(dataset, (0, ""))[0] == number
        gone = {"dataset": dataset, "snapshot_seq": number}
        stone = name.replace("snapshots", "forgotten", 1)
        return last or not any(self.forgotten(vault, {**gone, "commit": commit}, stone) for commit in ("", digest))

    def commit(self, vault: str, receipt: Json) -> "Json | None":
        """The commit that a snapshot receipt names; None where retention has forgotten it since."""
        facts = receipt["facts"]
        key = f"{facts['dataset']}/{facts['snapshot_seq']:012d}.json"
        if self.forgotten(vault, facts, f"vault/forgotten/{key}") and not self.held(facts["dataset"], facts["snapshot_seq"]):
            self.counts["forgotten"] += 1
            return None
        envelope = self.records.place.read("vault/snapshots/" + key)
        commit: Json = self.records.signed(COMMIT, "vault/snapshots/" + key, envelope)
        if sha256(envelope) != facts["commit"]:
            raise Wrong("snapshots", f"expected vault/snapshots/{key} to be the commit the receipt names, found another")
        if (commit["vault"], commit["dataset"], commit["seq"]) != (vault, facts["dataset"], facts["snapshot_seq"]):
            raise Wrong("snapshots", f"expected the commit of {key}, found one of another place")
        if commit["version"] != receipt["version"]:
            raise Wrong("snapshots", f"expected the commit {key} to hold {receipt['version']}, found {commit['version']}")
        self.counts["commits"] += 1
        return commit

    def held(self, dataset: str, number: int) -> bool:
        """Whether a hold overrules the tombstone of a snapshot: on when it was written, and no note says that it was forgotten before."""
        notes = self.notes.get(dataset, [])
        if any(first <= number <= last for note in notes for first, last in note["forgotten"]):
            return False
        holds = [note for note in notes if note["kind"] == "hold"]
        return bool(holds) and any(hold["seq"] in (0, number) for hold in holds[-1]["held"])

    def chain(self, vault: str, dataset: str) -> None:
        """Every record of a dataset's chain in the vault, commits and what stands between them: signed, in place, each after the last."""
        before: tuple[int, str] | None = None
        notes = self.notes.setdefault(dataset, [])
        for name in self.records.place.names(f"vault/snapshots/{dataset}/"):
            envelope = self.records.place.read(name)
            try:
                record = self.records.signed(COMMIT, name, envelope)
            except Void:
                before = int(name.rpartition("/")[2][:12]), sha256(envelope)
                continue
            number = record["seq"]
            if (record["vault"], record["dataset"], f"{number:012d}.json") != (vault, dataset, name.rpartition("/")[2]):
                raise Wrong("snapshots", f"expected the record of {name}, found one of another place")
            lacking = range(before[0] + 1 if before else min(1, number), number)
            if any(not self.lost(vault, dataset, gap) for gap in lacking) or (
                before is None and number and record["previous"]
            ):
                raise Wrong("snapshots", f"expected every record of {dataset} before {number}, found one gone")
            follows = before is None or number != before[0] + 1 or record["previous"] == before[1]
            # a forgotten record may have been damaged, and be back: what came behind it names the damaged bytes
            if before is not None and not follows and self.stone(f"vault/forgotten/{dataset}/{before[0]:012d}.json") is None:
                raise Wrong("snapshots", f"expected {name} to follow the record before it, found another before it")
            before = number, sha256(envelope)
            if "kind" in record:
                notes.append(record)

    def lost(self, vault: str, dataset: str, number: int) -> bool:
        """Whether a signed record says that a number of a chain was given up as lost."""
        return self.forgotten(
            vault,
            {"dataset": dataset, "snapshot_seq": number, "commit": ""},
            f"vault/forgotten/{dataset}/{number:012d}.json",
        )

    def stone(self, name: str) -> Json | None:
        """What the tombstone under a name says; None where there is none."""
        try:
            envelope = self.records.place.read(name)
        except Wrong:
            return None
        try:
            stone: Json = self.records.signed(TOMBSTONE, name, envelope)
        except Void:
            return None
        return stone

    def forgotten(self, vault: str, facts: Json, name: str) -> bool:
        """Whether a signed record says that retention removed a snapshot."""
        stone = self.stone(name)
        if stone is None:
            return False
        place = facts["dataset"], facts["snapshot_seq"], facts["commit"]
        return stone["vault"] == vault and (stone["dataset"], stone["seq"], stone["commit"]) == place


# -- the bytes of a vault -------------------------------------------------------------------------------------------

FILE = "path role size rows sha256 session name pack offset length token version stored piece at compressed objects table".split()
PARTITION = "partition root rows size files key session sha256 length version".split()


def unpacked(data: bytes) -> "tuple[Any, bytes]":
    """Compressed JSON, and what follows it."""
    stream = zlib.decompressobj()
    try:
        return json.loads(stream.decompress(data)), stream.unused_data
    except (zlib.error, ValueError):
        raise Wrong("bytes", "expected a list of the vault, found something else") from None


def table(data: bytes, columns: "list[str]") -> "list[Json]":
    """The rows of a vault's list: zlib-compressed JSON, a column each; hashes follow it as 32 raw bytes each."""
    lists, more = unpacked(data)
    rest = more
    if columns is FILE:
        lengths = lists[17] if len(lists) > 17 else []
        end = len(rest) - sum(lengths)
        lists[4] = [rest[start : start + 32].hex() for start in range(0, end, 32)]
        for number, length in enumerate(lengths):
            lengths[number], end = rest[end : end + length], end + length
    if len({len(column) for column in lists}) > 1:
        raise Wrong("bytes", "expected a list of the vault, found its columns uneven")
    return [dict(zip(columns, row)) for row in zip(*lists)]  # noqa: B905 - later columns may be absent


class Pages:
    """A snapshot's tree: one list of partitions, or pages that name the pages below them by the SHA-256 of their bytes."""

    def __init__(self, place: Place, key: str, data: bytes) -> None:
        self.place = place
        self.objects = {key: data}
        self.pages: dict[Any, Json] = {}
        # of several pages the root comes last, before its length
        self.root = data[-4 - int.from_bytes(data[-4:], "big") : -4] if data.startswith(b"ORT2") else data

    def row(self, partition: str) -> "Json | None":
        """A partition's line, or nothing."""
        page = self.page(None, self.root)
        while page["height"]:
            below = [child for child in page["rows"] if child[0] <= partition] or page["rows"][:1]
            child = below[-1]
            session, number, start, length, name = child[-6:-1]
            key = f"vault/trees/{session}/{number:03d}"
            if key not in self.objects:
                self.objects[key] = self.place.read(key)
            data = self.objects[key][start : start + length]
            if sha256(data) != name:
                raise Wrong(
                    "bytes", f"expected the page at {start} of {key} to hash as what refers to it says, found other bytes"
                )
            below_it = self.page(name, data)
            if below_it["height"] != page["height"] - 1:
                raise Wrong("bytes", f"expected a page of height {page['height'] - 1} in {key}, found another")
            page = below_it
        return next((row for row in page["rows"] if row["partition"] == partition), None)

    def page(self, name: "str | None", data: bytes) -> Json:
        """What a page holds, and how many levels are below it."""
        if name not in self.pages:
            document = unpacked(data)[0]
            if isinstance(document, dict):
                if document["format"] != 2:
                    raise Wrong("bytes", f"expected pages of format 2, found {document['format']}: take a newer verifier")
                self.pages[name] = {"height": document["height"], "rows": list(zip(*document["columns"]))}  # noqa: B905
            else:
                self.pages[name] = {"height": 0, "rows": table(data, PARTITION)}
        return self.pages[name]


def stored_bytes(place: Place, commit: Json, roots: "dict[str, str]", unopened: "dict[str, int]") -> "Iterator[int]":
    """Read every file of some partitions of a snapshot and hash it; yields the sizes. What nothing opens goes to `unopened`, by hash."""
    if commit["encrypted"]:
        raise Wrong("bytes", "expected a plain vault, found a sealed one: its owner alone can read the bytes back")
    tree = place.read(commit["tree"])
    if sha256(tree) != commit["tree_sha256"]:
        raise Wrong("bytes", f"expected {commit['tree']} to hash as its commit says, found other bytes")
    pages = Pages(place, commit["tree"], tree)
    for partition, root in sorted(roots.items()):
        row = pages.row(partition) or {"root": "none", "key": ""}
        if row["root"] != root:
            raise Wrong("bytes", f"expected {partition} at {root} in the vault, found {row['root']}")
        listing = place.read(row["key"])
        if sha256(listing) != row["sha256"]:
            raise Wrong("bytes", f"expected {row['key']} to hash as its tree says, found other bytes")
        files = table(listing, FILE)
        if file_root((f["path"], f["size"], f["rows"], f["sha256"]) for f in files) != root:
            raise Wrong("bytes", f"expected {row['key']} to list the files of {root}, found others")
        pieces = Pieces(place, unopened)
        for file in files:
            one_file(place, file) if not file.get("piece") and not file.get("table") else pieces.file(file)
            yield int(file["size"])


class Pieces:
    """Files that lie in pieces, which may be compressed: in Python 3.14 the standard library opens them, before it a package."""

    MOST = 1 << 20

    def __init__(self, place: Place, unopened: "dict[str, int]") -> None:
        self.place = place
        self.unopened = unopened
        self.objects: set[str] = set()
        self.last: tuple[tuple[Any, ...], bytes] = ((), b"")

    def file(self, file: Json) -> None:
        """Hash one file; where nothing opens its pieces, hold the objects they lie in against the signed list."""
        table = file.get("table") or b""
        if table:
            rows = list(struct.iter_unpack(">32sIQII", table))
            objects = file["objects"]
            for key, length, _, _ in objects:
                self.sized(key, length)
            if any(row[4] >> 31 for row in rows) and opener() is None:
                self.unopened[file["sha256"]] = file["size"]
                for key, length, _, stored in objects:
                    self.object(key, length, stored)
                return
            parts: Iterator[bytes] = (self.read(objects[at][0], start, length, size) for _, at, start, length, size in rows)
        else:
            key = f"vault/packs/{file['session']}/{file['pack']:06d}"
            if file["compressed"] and opener() is None:
                self.unopened[file["sha256"]] = file["size"]
                self.object(key, int(file["name"]), file["stored"])
                return
            asked = key, file["offset"], file["length"], file["piece"] | bool(file["compressed"]) << 31
            if self.last[0] != asked:
                self.last = asked, self.read(*asked)
            parts = iter([self.last[1][file["at"] : file["at"] + file["size"]]])
        digest, size = hashlib.sha256(), 0
        for part in parts:
            digest.update(part)
            size += len(part)
        if size != file["size"] or digest.hexdigest() != file["sha256"]:
            raise Wrong("bytes", f"expected {file['path']} to hash to {file['sha256']}, found other bytes")

    def sized(self, key: str, length: int) -> None:
        """Raise Wrong unless an object is as long as the signed list says."""
        try:
            size = os.stat(os.path.join(self.place.path, *key.split("/"))).st_size
        except OSError:
            raise Wrong("bytes", f"expected {key} in the vault, found nothing") from None
        if size != length:
            raise Wrong("bytes", f"expected {length} bytes in {key}, found {size}")

    def read(self, key: str, start: int, length: int, size: int) -> bytes:
        """A piece: the top bit of its size says whether it is compressed."""
        compressed, size = size >> 31, size & (1 << 31) - 1
        if max(length, size) > self.MOST:
            raise Wrong("bytes", f"expected a piece of at most a MiB in {key}, found one of {size}")
        try:
            with regular(os.path.join(self.place.path, *key.split("/"))) as stream:
                stream.seek(start)
                data = stream.read(length)
        except OSError:
            raise Wrong("bytes", f"expected {key} in the vault, found nothing") from None
        opens = opener() if compressed else None
        if opens is not None:
            try:
                data = opens[0](data, size)
            except opens[1] as error:
                raise Wrong(
                    "bytes", f"expected a compressed piece at {start} of {key}, found other bytes ({error})"
                ) from None
        if len(data) != size:
            raise Wrong("bytes", f"expected {size} bytes at {start} of {key}, found {len(data)}")
        return data

    def object(self, key: str, length: int, stored: str) -> None:
        """Check an object as it is stored: its length, and its hash where the list has one."""
        if key in self.objects:
            return
        self.objects.add(key)
        digest, size = hashlib.sha256(), 0
        try:
            with regular(os.path.join(self.place.path, *key.split("/"))) as stream:
                while chunk := stream.read(1 << 22):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError:
            raise Wrong("bytes", f"expected {key} in the vault, found nothing") from None
        if size != length or (stored and digest.hexdigest() != stored):
            raise Wrong("bytes", f"expected {key} to be {length} bytes of sha256 {stored or 'any'}, found other bytes")


@functools.cache
def opener() -> "tuple[Callable[[bytes, int], bytes], type[Exception]] | None":
    """What opens a zstd frame into little more than it should hold, and what it raises; None where neither Python nor a package can."""
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            zstd = importlib.import_module(name)
        except ImportError:
            continue
        return functools.partial(expanded, zstd), zstd.ZstdError
    return None


def expanded(zstd: Any, data: bytes, size: int) -> bytes:
    """What a frame holds, but no more than a byte too much: its own word for how much it holds is not believed."""
    opened = zstd.ZstdDecompressor()
    if hasattr(opened, "stream_reader"):
        return bytes(opened.stream_reader(data).read(size + 1))
    return bytes(opened.decompress(data, size + 1))


def one_file(place: Place, file: Json) -> int:
    """Hash one stored file; its size."""
    packed = file["pack"] >= 0
    key = f"vault/packs/{file['session']}/{file['pack']:06d}" if packed else None
    key = key or f"vault/objects/{file['session']}/{file['name'] or file['sha256']}"
    path = os.path.join(place.path, *key.split("/"))
    digest, left = hashlib.sha256(), file["length"]
    try:
        with regular(path) as stream:
            if not packed and os.fstat(stream.fileno()).st_size != left:
                raise Wrong("bytes", f"expected {key} to be {left} bytes, found another length")
            stream.seek(file["offset"])
            while left and (chunk := stream.read(min(left, 1 << 22))):
                digest.update(chunk)
                left -= len(chunk)
    except OSError:
        raise Wrong("bytes", f"expected {key} in the vault, found nothing") from None
    if left or digest.hexdigest() != file["sha256"]:
        raise Wrong("bytes", f"expected {file['path']} in {key} to hash to {file['sha256']}, found other bytes")
    return int(file["size"])


# -- the command ----------------------------------------------------------------------------------------------------


def public_keys(place: Place, given: "list[str]") -> "tuple[dict[str, bytes], bool]":
    """The keys to trust by their ids (the first 16 hex digits of their SHA-256), and whether the reader chose them."""
    files, ids = [one for one in given if os.path.isfile(one)], {one for one in given if not os.path.isfile(one)}
    pems = []
    for name in files:
        with regular(name) as stream:
            pems.append(stream.read())
    if not files:
        pems = [place.read(name) for name in place.names("keys/") if name.endswith(".pem")]
    keys = {}
    for pem in pems:
        der = base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-----")))
        if not der.startswith(PUBLIC) or len(der) != len(PUBLIC) + 32:
            raise OSError("expected an Ed25519 public key in PEM, found another file")
        raw = der[len(PUBLIC) :]
        keys[sha256(raw)[:16]] = raw
    if ids:
        keys = {name: raw for name, raw in keys.items() if any(name.startswith(one) and len(one) >= 16 for one in ids)}
    if not keys:
        raise OSError("expected a public key to check signatures with, found none that was asked for: give --key FILE.pem")
    return keys, bool(given)


def find_model(place: Place, model: "str | None") -> "tuple[str, dict[str, str]]":
    """The asset that a proof is about, and the hashes of the model's files by name."""
    about = json.loads(place.read("proof.json"))
    if about["format"] not in (1, 2):
        raise Wrong(
            "records", f"expected a proof of format 1 or 2, found {about['format']!r}: take the verifier that came with it"
        )
    if model is None:
        return about["asset"], {name: sha256(place.read(name)) for name in about["files"]}
    digest = hashlib.sha256()
    with regular(model) as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return about["asset"], {model: digest.hexdigest()}


def verified(records: Records, asset: str, model: "dict[str, str]", vault: "Place | None", tell: Tell) -> Json:
    """Check everything; what was found, as a document that JSON can say."""
    started = time.perf_counter()
    verifier = Verifier(records)
    owner, read = None, (0, 0)
    try:
        records.begin()
        owner = verifier.owner(set(model.values()), asset)
        if owner is None:
            names = ", ".join(f"{name} ({digest[:16]})" for name, digest in model.items())
            verifier.say("file", asset, f"expected a published version with {names}, found none")
        else:
            verifier.walk(asset, {owner[1][0]: owner[1]})
            verifier.histories()
            read = verifier.commits(vault, tell)
    except Wrong as error:
        verifier.say(error.check, asset, str(error))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        verifier.say("records", asset, f"expected records of this format, found another ({type(error).__name__}: {error})")
    for name in records.settle():
        verifier.say("signatures", name, "expected the signature to fit, found that it does not: forged or altered")
    counts, log = verifier.counts, records.key_log
    waived = f", {counts['waived']} under a signed waiver" if counts["waived"] else ""
    checks = [
        ("file", len(model), "files of the model, their hashes in one published list"),
        ("keys", len(log.digests) if log else 0, f"records of the key log of root {log.root[:16] if log else ''}"),
        ("signatures", records.done, "signatures by keys that might sign"),
        ("hashes", records.hashes, "records that hash to their names"),
        ("records", len(records.logs), "logs, numbered without a gap and chained"),
        ("merkle", records.roots, "Merkle roots computed again"),
        ("receipts", counts["partitions"], f"partitions with an open gate ({counts['verdicts']} verdicts{waived})"),
        ("lineage", counts["steps"], f"steps whose inputs were published, back to {len(verifier.objects)} landed objects"),
        ("equal", counts["equal"], "partitions whose copies have the root of their source"),
        ("snapshots", counts["commits"], "snapshots with a signed commit of what was used"),
    ]
    unprovable = ["that the landed objects were true: what is proven is that these bytes were learned from"]
    unprovable.append("that nothing was recalled or removed after the proof was written")
    if vault is None:
        unprovable.append("that the vault still holds the bytes: give --vault FOLDER, a copy of it")
    else:
        checks.append(("bytes", read[0], f"files of the vault read and hashed, {read[1]:,} bytes"))
        if verifier.unopened:
            size = sum(verifier.unopened.values())
            unprovable.append(
                f"the contents of {len(verifier.unopened)} compressed files, {size:,} bytes: their objects are "
                "as long as the signed lists say, and hash so where those name a hash; "
                "to open them too take Python 3.14, or `pip install zstandard` and leave -S out"
            )
    witness = verifier.witness
    if witness is None or not witness.times:
        unprovable.append("since when the snapshots were there: no records of a witness outside the vault are in the proof")
    else:
        first, last = (min(verifier.witnessed.values(), default="")[:19], max(verifier.witnessed.values(), default="")[:19])
        about = f"snapshots seen outside the vault, from {first} to {last}" if first else "snapshots seen outside the vault"
        checks.append(("witness", len(verifier.witnessed), about))
        unprovable.append("the times of the witness, which are by the clock of whoever wrote it")
        if witness.stamps:
            unprovable.append(
                f"the {witness.stamps} time-stamps beside its records: check one by `openssl ts -verify -data RECORD.json -in RECORD.tsr "
                "-CAfile ROOTS.pem`"
            )
        unprovable += [f"what the vault had lost when it was accepted {told}" for told in witness.accepted]
    if counts["forgotten"]:
        unprovable.append(f"the bytes of {counts['forgotten']} snapshots that retention has removed since")
    failed = {problem[0] for problem in verifier.problems}
    return {
        "ok": not verifier.problems,
        "asset": asset,
        "version": owner[0]["version"] if owner else "",
        "files": model,
        "keys": sorted(records.keys),
        "root": log.root if log else "",
        "checks": [{"name": n, "count": c, "passed": n not in failed, "about": about} for n, c, about in checks],
        "problems": [{"check": check, "where": where, "message": why} for check, where, why in verifier.problems],
        "unprovable": unprovable,
        "witnessed": verifier.witnessed,
        "seconds": round(time.perf_counter() - started, 3),
    }


def show(result: Json, chosen: bool) -> None:
    """Print a result for people."""
    say = sys.stdout.write
    say(f"{result['asset']} at {result['version'] or 'no version'}\n")
    for name, digest in result["files"].items():
        say(f"sha256 {digest} {name}\n")
    say("\n")
    for check in result["checks"]:
        say(f"  {'ok ' if check['passed'] else 'NO '} {check['name']:<11}{check['count']:>9,}  {check['about']}\n")
    for problem in result["problems"][:20]:
        say(f"\n  {problem['check']}: {problem['where']}\n    {problem['message']}\n")
    if len(result["problems"]) > 20:
        say(f"\n  and {len(result['problems']) - 20} more: --json tells all\n")
    say("\nNot proven by this:\n" + "".join(f"  - {text}\n" for text in result["unprovable"]))
    if not chosen:
        say(f"  - whose keys these are: compare {', '.join(result['keys'])} with the owner's, or give --key\n")
        say(f"  - whose root this is: compare {result['root']} with the owner's, or give --root\n" if result["root"] else "")
    say(f"\n{'ok' if result['ok'] else 'FAILED'} in {result['seconds']:.2f} s\n")


def main(arguments: "list[str] | None" = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Check where a model comes from, with plain Python.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument(
        "proof", nargs="?", default=here, help="folder or zip file of the proof; default: where this file lies"
    )
    parser.add_argument("--key", action="append", default=[], help="public key file (PEM) or key id of 16 digits to trust")
    parser.add_argument(
        "--root", default="", help="fingerprint of the root key (32 to 64 hex digits) that signs for all keys"
    )
    parser.add_argument("--model", help="check this file in place of the proof's own copy")
    parser.add_argument("--vault", help="folder with a copy of the vault: read its bytes back too")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    chosen = parser.parse_args(arguments)
    bar = sys.stderr.isatty() and not chosen.json

    def tell(done: int, of: int) -> None:
        if bar:
            sys.stderr.write(f"\r{done}/{of} snapshots" if done < of else "\r" + " " * 40 + "\r")

    try:
        place = Place(chosen.proof)
        keys, own = public_keys(place, chosen.key)
        asset, model = find_model(place, chosen.model)
        vault = Place(chosen.vault) if chosen.vault else None
        if vault is not None and vault.zip is not None:
            raise OSError("expected the vault's copy to be a folder, found a file")
        root = "".join(chosen.root.split()).replace(":", "").lower()
        if root and not (32 <= len(root) <= 64 and set(root) <= set("0123456789abcdef")):
            raise OSError("expected a root's fingerprint of 32 to 64 hex digits, found another text")
        result = verified(Records(place, keys, root), asset, model, vault, tell)
    except (OSError, Wrong, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        sys.stderr.write(f"cannot check: {error}\n")
        if chosen.json:
            sys.stdout.write(json.dumps({"ok": False, "error": str(error)}) + "\n")
        return 2
    if chosen.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        show(result, own or bool(root))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
