"""For all tests: coverage is that of the Slicer module, so the library's tests run without its tracer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY_TESTS = Path(__file__).resolve().parent / "lib"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the library's tests with pytest-cov's `no_cover`: measured, they would take a third longer."""
    for item in items:
        if item.path.is_relative_to(LIBRARY_TESTS):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session", autouse=True)
def _no_installed_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees, or touches, the models that this user has installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path_factory.mktemp("library") / "models"))
        yield
