"""What a sealed vault shows to whoever can list and read its store, as an exact list: it cannot grow unseen."""

import json
from base64 import b64decode
from pathlib import Path

import pytest

from orchestrai.storage.base import Store
from orchestrai_tests.provenance.small import DAYS, PREDICTIONS, Small, csv_of

# what is looked for, in what a reader without any key can read
KINDS = {
    "dataset and model names": b"small/readings",
    "partitions": DAYS[0].encode(),
    "where data was landed": f"landing/readings/{DAYS[0]}.csv".encode(),
    "names of stored files": b".parquet",
    "column names": b"device_id",
    "SQL of views and labels": b"level * 2 AS twice",
    "messages of checks": b'"message":"',
    "metrics of models": b'"auc"',
    "parameters of models": b"num_boost_round",
    "hashes of contents": b"sha256",
}
VALUES = b"d0,2026-10-01T00:"

# by folder of the store; docs/vault.md says the same in words
IN_CLEAR: dict[str, set[str]] = {
    "contracts": {"column names"},
    "heads": {"dataset and model names", "hashes of contents", "partitions"},
    "manifests": {"column names", "dataset and model names", "hashes of contents", "names of stored files", "partitions"},
    "receipts": {
        "SQL of views and labels",
        "column names",
        "dataset and model names",
        "hashes of contents",
        "messages of checks",
        "metrics of models",
        "parameters of models",
        "partitions",
        "where data was landed",
    },
    "vault/snapshots": {"dataset and model names", "hashes of contents", "partitions"},
}


def folder_of(key: str) -> str:
    parts = key.split("/")
    return "/".join(parts[:2]) if parts[0] == "vault" and len(parts) > 2 else parts[0] if len(parts) > 1 else key


def readable(data: bytes) -> bytes:
    """A record's payload, opened; anything else as it is."""
    try:
        return data + b64decode(json.loads(data)["payload"])
    except (ValueError, KeyError, TypeError):
        return data


def in_clear(store: Store) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for info in store.list():
        text = info.key.encode() + b"\n" + readable(store.read(info.key))
        here = found.setdefault(folder_of(info.key), set())
        here |= {kind for kind, needle in KINDS.items() if needle in text}
        if VALUES in text:
            here.add("values")
    return {folder: kinds for folder, kinds in found.items() if kinds}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small.at(tmp_path_factory.mktemp("sealed"), sealed=True)
    small.land(*DAYS[:8])
    small.publish(*DAYS[:8])
    small.train(PREDICTIONS)
    return small


def test_a_sealed_vault_shows_what_is_listed_and_nothing_else(sealed: Small) -> None:
    store = sealed.runtime.vault.store
    assert VALUES in csv_of(DAYS[0]).encode()
    assert in_clear(store) == IN_CLEAR


def test_the_page_about_the_vault_says_what_is_shown() -> None:
    page = Path(__file__).parents[2] / "docs" / "vault.md"
    text = page.read_text(encoding="utf-8")
    section = text.split("## What a sealed vault shows", 1)[1].split("\n## ", 1)[0]
    for folder, kinds in IN_CLEAR.items():
        (line,) = [line for line in section.splitlines() if line.startswith(f"| `{folder}/`")]
        assert {kind for kind in KINDS if kind in line} == kinds
    assert section.count("\n| `") == len(IN_CLEAR)
