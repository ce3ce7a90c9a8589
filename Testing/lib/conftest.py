"""Fixtures shared by the library's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
    """A very small chest CT file (64 × 64 × 24 voxels of 5 mm) that the whole path segments in seconds."""
    from smallchest import chest, image, save

    return save(image(chest()), tmp_path_factory.mktemp("ct") / "chest.nii.gz")
