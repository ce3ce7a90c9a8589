"""Files that must not become models: refused in one sentence, without a trace."""

from __future__ import annotations

import os
import stat
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from modelfiles import change_card, content, make, pack, refused
from tinymodel import tiny_bundle

from DiffSegLungLib.io.owners import own_mark
from DiffSegLungLib.model.archive import CARD, WEIGHTS
from DiffSegLungLib.model.library import Library


def poisoned(case: str, folder: Path, tmp_path: Path) -> Path:
    """A file to import that must be refused."""
    target = tmp_path / "own.zip"
    if case == "one bit changed":
        weights = bytearray((folder / WEIGHTS).read_bytes())
        weights[-1] ^= 1
        (folder / WEIGHTS).write_bytes(weights)
        return pack(folder, target)
    if case == "cut off":
        whole = pack(folder, target).read_bytes()
        target.write_bytes(whole[: len(whole) // 2])
        return target
    if case == "damaged inside":
        whole = bytearray(pack(folder, target).read_bytes())
        whole[len(whole) // 2] ^= 1
        target.write_bytes(whole)
        return target
    if case == "links in a folder":
        (folder / WEIGHTS).rename(tmp_path / "elsewhere")
        (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
        return folder
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        add_poison(archive, case, folder)
    return target


MISPLACED = {
    "path upwards": {CARD: CARD, WEIGHTS: f"../{WEIGHTS}"},
    "absolute path": {CARD: f"/etc/{CARD}", WEIGHTS: WEIGHTS},
    "path of Windows": {CARD: f"C:/{CARD}", WEIGHTS: WEIGHTS},
    "two folders": {CARD: f"other/{CARD}", WEIGHTS: WEIGHTS},
    "no weights": {CARD: CARD},
    "weights in macOS's folder": {CARD: CARD, WEIGHTS: f"__MACOSX/{WEIGHTS}"},
}


def add_poison(archive: zipfile.ZipFile, case: str, folder: Path) -> None:
    names = MISPLACED.get(case, {CARD: CARD, WEIGHTS: WEIGHTS})
    for name, told in names.items():
        if case == "link" and name == WEIGHTS:
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        elif case == "bomb" and name == WEIGHTS:
            archive.writestr(name, bytes(8 * 1024**2))
        elif case == "huge card" and name == CARD:
            archive.writestr(name, np.random.default_rng(0).bytes(5 * 1024**2))
        elif case == "deep card" and name == CARD:
            archive.writestr(name, "[" * 200_000)
        elif case == "unusual packing":
            archive.write(folder / name, told, zipfile.ZIP_BZIP2)
        else:
            archive.write(folder / name, told)
    if case == "foreign file":
        archive.writestr("setup.py", "print('hello')")
    elif case == "a file twice":
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(WEIGHTS, b"other weights")


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("one bit changed", "bundle-tampered"),
        ("cut off", "no-bundle"),
        ("damaged inside", "bundle-broken"),
        ("links in a folder", "bundle-broken"),
        ("path upwards", "bundle-broken"),
        ("absolute path", "bundle-broken"),
        ("path of Windows", "bundle-broken"),
        ("two folders", "bundle-broken"),
        ("no weights", "no-bundle"),
        ("weights in macOS's folder", "no-bundle"),
        ("link", "bundle-broken"),
        ("bomb", "bundle-broken"),
        ("huge card", "bundle-broken"),
        ("deep card", "bundle-broken"),
        ("unusual packing", "bundle-broken"),
        ("foreign file", "bundle-broken"),
        ("a file twice", "bundle-broken"),
    ],
)
def test_a_poisoned_file_is_refused_and_leaves_nothing(
    case: str, code: str, library: Library, folder: Path, tmp_path: Path
) -> None:
    source = poisoned(case, folder, tmp_path)
    assert refused(lambda: library.install(source)).code == code
    assert not library.folder.exists()


def test_a_bomb_is_refused_before_it_is_unpacked(
    library: Library, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = poisoned("bomb", folder, tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    assert "more than any model" in refused(lambda: library.install(source)).message


def test_a_bomb_whose_header_lies_is_unpacked_no_further_than_it_admits(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "own.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD, b" " * 200_000_000)
        archive.write(folder / WEIGHTS, WEIGHTS)
    told = (200_000_000).to_bytes(4, "little")
    source.write_bytes(source.read_bytes().replace(told, (1000).to_bytes(4, "little")))
    tracemalloc.start()
    refused(lambda: library.install(source))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    "entries",
    [
        {"id": "../../own"},
        {"id": "a/b"},
        {"id": "a\\b"},
        {"id": ".hidden"},
        {"id": "default"},
        {"id": "Built-in"},
        {"id": ""},
        {"id": "a\nb"},
        {"id": "x" * 100},
        {"id": ["own"]},
        {"version": "1 2"},
        {"version": "/1"},
        {"version": 1},
    ],
)
def test_a_name_that_is_no_file_name_is_refused(
    entries: dict[str, object], library: Library, folder: Path
) -> None:
    change_card(folder, **entries)
    assert refused(lambda: library.install(folder)).code == "bundle-name"
    assert not library.folder.exists()


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"architecture": {"base": 16, "attention_heads": 1, "timesteps": 250}}, "bundle-broken"),
        ({"architecture": {"base": 4096, "attention_heads": 1, "timesteps": 250}}, "bad-architecture"),
        ({"schedule": {"timesteps": 10**12}}, "bundle-broken"),
        ({"schedule": {"timesteps": 250, "beta_first": float("nan")}}, "bundle-broken"),
        ({"schedule": {"timesteps": 250, "beta_first": "low"}}, "bundle-broken"),
        ({"patch": [16, 64]}, "bundle-broken"),
        ({"patch": [16, 64, 63]}, "bundle-broken"),
        ({"patch": "large"}, "bundle-broken"),
        ({"patch": None}, "bundle-broken"),
        ({"format": 99}, "bundle-format"),
    ],
)
def test_a_card_that_would_fail_later_is_refused_at_once(
    entries: dict[str, object], code: str, library: Library, folder: Path
) -> None:
    change_card(folder, **entries)
    assert refused(lambda: library.install(folder)).code == code
    assert content(library.folder) == {}


@pytest.mark.parametrize(
    "mixture",
    [
        {"hybrid.weights": np.ones(2)},
        {"other.weights": np.ones(2)},
        {"statistics.weights": np.full(2, np.nan)},
        {"statistics.weights": np.ones(2), "statistics.means": np.ones((3, 2))}
        | {"statistics.covariances": np.ones((3, 2, 2))},
    ],
)
def test_a_population_mixture_that_would_fail_later_is_refused_at_once(
    mixture: dict[str, np.ndarray], library: Library, tmp_path: Path
) -> None:
    tiny_bundle(mixture).save(tmp_path / "made")
    assert refused(lambda: library.install(tmp_path / "made")).code == "bundle-broken"
    assert content(library.folder) == {}


def test_weights_that_are_no_numbers_are_refused(library: Library, tmp_path: Path) -> None:
    make(tmp_path / "made", shift=float("nan"))
    assert "not numbers" in refused(lambda: library.install(tmp_path / "made")).message


def test_a_failing_disk_leaves_what_was_there(
    library: Library, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.install(folder)
    before = content(library.folder)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    other = make(tmp_path / "other", shift=1.0)
    monkeypatch.setattr(os, "fsync", full)
    error = refused(lambda: library.install(other, overwrite=True))
    assert error.code == "not-written"
    assert "No space left" in error.message
    assert content(library.folder) == before
    assert refused(lambda: library.export("own", tmp_path / "out.zip")).code == "not-written"
    assert not (tmp_path / "out.zip").exists()
    assert not list(tmp_path.glob(".part-*"))


def test_what_killed_imports_left_is_removed_by_the_next(library: Library, folder: Path) -> None:
    library.folder.mkdir(parents=True)
    host, own = own_mark().rsplit("-", 1)
    dead, living = (library.folder / f".part-{host}-{pid}-own 2.zip" for pid in (2**22 + 1, own))
    for left in (dead, living):
        left.write_bytes(b"half")
    assert [m.name for m in library.models()][1:] == []
    library.install(folder)
    assert sorted(p.name for p in library.folder.iterdir()) == [living.name, "own 1.zip"]
