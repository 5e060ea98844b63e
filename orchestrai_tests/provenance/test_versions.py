"""Versions read one after another give what each gives alone, however they differ."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.errors import IntegrityError
from orchestrai.ledger.manifest import DatasetManifest, PartitionEntry
from orchestrai.provenance.asset_versions import Versions

partitions = st.dictionaries(st.sampled_from([f"2026-01-{day:02}" for day in range(1, 20)]), st.integers(0, 2), max_size=19)


def manifest(roots: dict[str, int], asset: str = "p/d/raw_events") -> DatasetManifest:
    entries = {key: PartitionEntry(key, f"sha256:{root:064x}", 1, 1, 1, "m", "r") for key, root in roots.items()}
    return DatasetManifest(asset, entries)


def growing(sizes: Sequence[int]) -> list[dict[str, int]]:
    return [{f"{number:04}": number for number in range(size)} for size in sizes]


@settings(max_examples=40)
@given(st.lists(partitions, max_size=8))
def test_versions_read_in_any_order_are_those_of_their_manifests(found: list[dict[str, int]]) -> None:
    reader = Versions("p/d/raw_events")
    for roots in found:
        rows, version = reader.read(manifest(roots).encode())
        assert version == manifest(roots).version
        assert {key: PartitionEntry(*row) for key, row in rows.items()} == manifest(roots).partitions


@settings(max_examples=40)
@given(st.lists(st.integers(0, 70), max_size=12))
def test_versions_of_a_dataset_that_grows_or_shrinks_are_those_of_their_manifests(sizes: list[int]) -> None:
    reader = Versions("p/d/raw_events")
    for roots in growing(sizes):
        assert reader.read(manifest(roots).encode())[1] == manifest(roots).version


def test_a_line_added_out_of_order_or_twice_does_not_count_as_one_that_is_new() -> None:
    first = manifest({"2": 1, "3": 1}).encode()
    for key in ("1", "3"):
        twisted = first.replace(b"]]}", b'],["%s","sha256:%s",1,1,1,"m","r"]]}' % (key.encode(), b"f" * 64))
        alone, after = Versions("p/d/raw_events"), Versions("p/d/raw_events")
        after.read(first)
        assert after.read(twisted) == alone.read(twisted)


def test_another_assets_manifest_and_bytes_that_do_not_parse_are_refused_also_after_a_good_one() -> None:
    reader = Versions("p/d/raw_events")
    good = manifest({"1": 1}).encode()
    reader.read(good)
    for bad in (manifest({"1": 1}, "p/other/raw_events").encode(), good[:-1], good + b"]}", b"[]"):
        with pytest.raises(IntegrityError, match="manifest of p/d/raw_events"):
            reader.read(bad)
    assert reader.read(good)[1] == manifest({"1": 1}).version
