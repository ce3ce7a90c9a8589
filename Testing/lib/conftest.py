"""Fixtures shared by the library's tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from DiffSegLungLib.model.library import Library

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real CT volumes beside the checkout; skips where they are absent."""
    root = Path(os.environ.get("DIFFSEGLUNG_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (root / "index.csv").exists():
        pytest.skip(f"real CT volumes not found at {root}; set DIFFSEGLUNG_DATA")
    return root


@pytest.fixture(scope="session")
def small_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small chest CT file (64 × 64 × 24 voxels of 3.5 mm) that the whole path segments in seconds."""
    from smallchest import quick_image, save

    return save(quick_image(), tmp_path_factory.mktemp("ct") / "chest.nii.gz")


@pytest.fixture
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of this process generate the small chest, in a third of the standard one's time."""
    from DiffSegLungLib.phantom import phantom

    def generate(seed: int, _size: str) -> phantom.Phantom:
        return made(seed, "small")

    made = phantom.generate_phantom
    monkeypatch.setattr(phantom, "generate_phantom", generate)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small bundle on disk, own 1."""
    from modelfiles import make

    return make(tmp_path / "made")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """An empty library, which the command line uses as well."""
    from DiffSegLungLib.model.library import Library

    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path / "user" / "models"))
    return Library()


@pytest.fixture
def stocked(library: Library, tmp_path: Path) -> Library:
    """A library with own 1, own 2 and own 10."""
    from modelfiles import make

    for version in ("1", "2", "10"):
        library.install(make(tmp_path / f"v{version}", version=version, shift=float(version)))
    return library
