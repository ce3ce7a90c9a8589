"""For all tests: coverage is that of the Slicer module, so the library's tests run without its tracer."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY_TESTS = Path(__file__).resolve().parent / "lib"
LONGEST = (
    *("test_lungs", "test_distributed", "test_training", "test_training_kills", "test_training_damaged"),
    *("test_batch", "test_finetune", "test_pipeline", "test_module_file", "test_ablation", "test_evaluation"),
    *("test_geometry_invariance", "test_cavities", "test_training_panel", "test_cli", "test_lesions"),
    *("test_panes", "test_widget", "test_vessels", "test_patterns_d", "test_dicom_passes", "test_fidelity"),
    *("test_logic", "test_worker", "test_cancel", "test_training_data", "test_generate"),
    *("test_training_beside", "test_lesion_cases", "test_trouble", "test_phantom"),
)
"""Test files of more than six seconds, longest first: begun last, one would keep a single core at work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, and leaves the library's tests out of the measurement of coverage.

    Measured (pytest-cov's `no_cover` forbids it), they would take a third longer.
    """
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
    for item in items:
        if item.path.is_relative_to(LIBRARY_TESTS):
            item.add_marker(pytest.mark.no_cover)


def pytest_collection_finish() -> None:
    """What is imported by now stays: half a second less for every look at what can be forgotten."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_installed_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees, or touches, the models that this user has installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path_factory.mktemp("library") / "models"))
        yield
