"""What a sealed vault shows to whoever can list and read its store, as an exact list: it cannot grow unseen."""

import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
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

# the fields in which they stand, by folder; `*` is a name of what the record tells of, `[]` each of a list, `(key)` the object's own key
FIELDS: dict[str, set[str]] = {
    "contracts": {"columns[].name", "columns[].source"},
    "heads": {"(key)", "asset", "changed[]"},
    "manifests": {
        "asset",
        "files[].key",
        "files[].path",
        "partition",
        "partitions[][]",
        "stats.arrived.*",
        "stats.inputs.*",
        "stats.inputs.*.*",
        "stats.profile.columns.*",
    },
    "receipts": {
        "asset",
        "facts.columns.*",
        "facts.columns.*.from[][]",
        "facts.data_end",
        "facts.dataset",
        "facts.judged.inputs.*",
        "facts.last_moment",
        "facts.partition",
        "facts.trained_until",
        "inputs[].asset",
        "inputs[].partitions.*",
        "materials[].partition",
        "materials[].uri",
        "parameters.columns[]",
        "parameters.label.sql",
        "parameters.label_sql",
        "parameters.recipe.entity[]",
        "parameters.recipe.estimator.xgboost.*",
        "parameters.sql",
        "parameters.views[].entity[]",
        "partitions.*",
        "subject[].name",
        "verdicts.*",
        "verdicts.*[].details.contracts.*",
        "verdicts.*[].details.earliest",
        "verdicts.*[].details.evidence[].evidence",
        "verdicts.*[].details.newest",
        "verdicts.*[].message",
    },
    "vault/snapshots": {"(key)", "changed[]", "dataset", "source.asset"},
}

# documents of these fields are keyed by names of what the record tells of
_MAPS = (
    "facts.columns",
    "facts.judged.inputs",
    "inputs[].partitions",
    "parameters.recipe.estimator.xgboost",
    "partitions",
    "verdicts",
    "verdicts.*[].details.contracts",
    "stats.arrived",
    "stats.inputs",
    "stats.inputs.*",
    "stats.profile.columns",
)
# said by their shape and not by what they hold: a hash, a message, a figure
_NO_NAMES = ("hashes of contents", "messages of checks", "metrics of models")


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


def fields_of(value: object, names: Sequence[str], at: str = "") -> Iterator[str]:
    """The fields of a document in which one of these names stands."""
    if isinstance(value, dict):
        for key, below in value.items():
            if at in _MAPS:
                yield from [f"{at}.*"] if any(name in key for name in names) else []
            else:
                assert not any(name in key for name in names), f"{at}.{key}"
            yield from fields_of(below, names, f"{at}.{'*' if at in _MAPS else key}".lstrip("."))
    elif isinstance(value, list):
        for below in value:
            yield from fields_of(below, names, f"{at}[]")
    elif isinstance(value, str) and any(name in value for name in names):
        yield at


def clear_fields(store: Store) -> dict[str, set[str]]:
    """Every field of every object of a store that names what KINDS and DAYS name, by folder."""
    names = [*(needle.decode() for kind, needle in KINDS.items() if kind not in _NO_NAMES), *DAYS]
    found: dict[str, set[str]] = {}
    for info in store.list():
        here = found.setdefault(folder_of(info.key), set())
        here |= {"(key)"} if any(name in info.key for name in names) else set()
        try:
            document = json.loads(store.read(info.key))
        except ValueError:
            continue  # sealed, or a list of sealed bytes
        if isinstance(document, dict) and "payload" in document:
            document = json.loads(b64decode(document["payload"]))
        if isinstance(document, dict) and "predicate" in document:
            document = {**document["predicate"], "subject": document["subject"]}
        here |= set(fields_of(document, names))
    return {folder: fields for folder, fields in found.items() if fields}


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


def test_names_and_sql_stand_in_these_fields_and_in_no_other(sealed: Small) -> None:
    assert clear_fields(sealed.runtime.vault.store) == FIELDS


def test_the_page_about_the_vault_says_what_is_shown() -> None:
    page = Path(__file__).parents[2] / "docs" / "vault.md"
    text = page.read_text(encoding="utf-8")
    section = text.split("## What a sealed vault shows", 1)[1].split("\n## ", 1)[0]
    for folder, kinds in IN_CLEAR.items():
        (line,) = [line for line in section.splitlines() if line.startswith(f"| `{folder}/`")]
        _, _, kinds_told, fields_told, _ = line.split("|")
        assert {kind for kind in KINDS if kind in kinds_told} == kinds
        assert {field.strip("` ") for field in fields_told.split(",")} == FIELDS[folder]
    assert section.count("\n| `") == len(IN_CLEAR)
