"""What an object is packed with is found by its bytes, whatever its name says."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrai.errors import UnreadableObject
from orchestrai.ingest.readers.compression import unpacked

DATA = b"id,price\n" + b"1,2.50\n" * 50_000


def zstd(data: bytes) -> bytes:
    """A zstd frame that, as one of a stream, does not say how much is in it."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def landed(folder: Path, data: bytes, name: str = "2026-01-01.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["2026-01-01.csv", "2026-01-01.csv.gz", "2026-01-01.zst"])
@pytest.mark.parametrize("packing", PACKERS)
def test_packed_objects_are_unpacked_whatever_their_name(tmp_path: Path, packing: str, name: str) -> None:
    pack = PACKERS[packing]
    assert unpacked(landed(tmp_path, pack(DATA), name), 10**6, tmp_path / "unpacked").read_bytes() == DATA
    both = unpacked(landed(tmp_path, pack(DATA) + pack(b"2,3\n"), name), 10**6, tmp_path / "unpacked")
    assert both.read_bytes() == DATA + b"2,3\n", "streams one behind another are one object"
    assert unpacked(landed(tmp_path, pack(b"")), 10**6, tmp_path / "unpacked").read_bytes() == b""


@pytest.mark.parametrize("packing", PACKERS)
def test_a_bomb_and_a_torn_or_flipped_stream_are_refused_by_their_packing(tmp_path: Path, packing: str) -> None:
    packed = PACKERS[packing](DATA)
    with pytest.raises(UnreadableObject, match="at most 1000 bytes unpacked, found more: it is a decompression bomb"):
        unpacked(landed(tmp_path, packed), 1000, tmp_path / "unpacked")
    for cut in (len(packed) - 1, len(packed) // 2, 20):
        with pytest.raises(UnreadableObject, match=f"expected a whole {packing} object, found"):
            unpacked(landed(tmp_path, packed[:cut]), 10**6, tmp_path / "unpacked")
    if packing == "zstd":
        return  # Arrow writes zstd without a checksum
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    with pytest.raises(UnreadableObject, match="expected"):
        unpacked(landed(tmp_path, bytes(flipped)), 10**6, tmp_path / "unpacked")


@pytest.mark.parametrize("packing", PACKERS)
def test_what_follows_a_packed_stream_and_is_none_is_refused(tmp_path: Path, packing: str) -> None:
    with pytest.raises(UnreadableObject, match=f"expected a whole {packing} object, found"):
        unpacked(landed(tmp_path, PACKERS[packing](DATA) + b"2,3\n"), 10**6, tmp_path / "unpacked")


@pytest.mark.parametrize(
    "data", [b"id,price\n1,2\n", b"BZh9,price\n1,2\n", b"\x1f,x\n", b"\xef\xbb\xbfid\n1\n", b"PKid\n1\n"]
)
def test_text_is_taken_as_it_is_even_under_the_name_of_a_packing(tmp_path: Path, data: bytes) -> None:
    path = landed(tmp_path, data, "2026-01-01.csv.gz")
    assert unpacked(path, 1000, tmp_path / "unpacked") == path
    with pytest.raises(UnreadableObject, match="expected at most 3 bytes in an object"):
        unpacked(path, 3, tmp_path / "unpacked")


@pytest.mark.parametrize("magic", [b"PK\x03\x04rest", b"7z\xbc\xaf\x27\x1crest", b"Rar!\x1a\x07rest"])
def test_an_archive_is_refused_by_name(tmp_path: Path, magic: bytes) -> None:
    with pytest.raises(UnreadableObject, match="archive: land what is in it, one by one"):
        unpacked(landed(tmp_path, magic), 1000, tmp_path / "unpacked")
