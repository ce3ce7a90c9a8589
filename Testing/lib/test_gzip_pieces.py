"""Gzip files in large pieces: what :mod:`gzip` reads in small ones, and refuses."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from DiffSegLungLib.io.gzip_pieces import Unpacked

CONTENT = np.random.default_rng(0).integers(0, 40, 11_000_000).astype(np.uint8).tobytes()
"""More than two pieces, of which each needs several megabytes of the file."""

PACKED = gzip.compress(CONTENT, 1)


def unpacked(path: Path, packed: bytes) -> bytes:
    path.write_bytes(packed)
    with path.open("rb") as file:
        stream, room, found = Unpacked(file), bytearray(1 << 20), []
        found.append(stream.read(540))
        while count := stream.readinto(memoryview(room)):
            found.append(bytes(room[:count]))
        assert stream.read(1) == b""
        return b"".join(found)


def test_the_content_comes_out_byte_for_byte(tmp_path: Path) -> None:
    assert unpacked(tmp_path / "one.gz", PACKED) == CONTENT
    assert unpacked(tmp_path / "none.gz", gzip.compress(b"")) == b""


def test_members_in_a_row_are_one_content_and_zeros_after_them_are_none(tmp_path: Path) -> None:
    packed = PACKED + gzip.compress(b"more") + b"\0" * 1000 + gzip.compress(b"yet more") + b"\0" * 3_000_000
    assert unpacked(tmp_path / "three.gz", packed) == CONTENT + b"moreyet more"


def test_reading_goes_on_at_any_byte_ahead_or_in_the_first_piece(tmp_path: Path) -> None:
    (tmp_path / "one.gz").write_bytes(PACKED)
    with (tmp_path / "one.gz").open("rb") as file:
        stream = Unpacked(file)
        stream.read(540)
        for place in (352, 9_000_000):
            stream.seek(place)
            assert stream.read(100) == CONTENT[place : place + 100]
        stream.seek(len(CONTENT) + 5)
        assert stream.read(1) == b""


@pytest.mark.parametrize("left", [1, 5, 3000, len(PACKED) - 1])
def test_a_cut_file_is_told_from_a_damaged_one(left: int, tmp_path: Path) -> None:
    with pytest.raises(EOFError):
        unpacked(tmp_path / "cut.gz", PACKED[:left])


def test_a_wrong_checksum_or_length_or_header_is_no_gzip(tmp_path: Path) -> None:
    for packed in (
        PACKED[:-8] + b"\1\2\3\4" + PACKED[-4:],
        PACKED[:-4] + b"\1\2\3\4",
        PACKED + b"and then something else",
        b"no gzip at all",
    ):
        with pytest.raises(gzip.BadGzipFile):
            unpacked(tmp_path / "bad.gz", packed)


def test_damage_within_the_content_is_zlibs(tmp_path: Path) -> None:
    damaged = PACKED[:2_000_000] + b"\xff" * 64 + PACKED[2_000_064:]
    with pytest.raises((zlib.error, gzip.BadGzipFile)):
        unpacked(tmp_path / "damaged.gz", damaged)


def test_the_beginning_stays_at_hand_whatever_members_it_comes_in(tmp_path: Path) -> None:
    members = [CONTENT[a:b] for a, b in ((0, 100), (100, 400), (400, 9000), (9000, 20000))]
    (tmp_path / "four.gz").write_bytes(b"".join(gzip.compress(member) for member in members))
    with (tmp_path / "four.gz").open("rb") as file:
        stream = Unpacked(file)
        assert stream.read(540) == CONTENT[:540]
        stream.seek(352)
        assert stream.read(30_000) == CONTENT[352:20_000]
