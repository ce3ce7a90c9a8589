"""Fixtures of the module's tests: the headless host with an empty scene, and the real CT volumes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import slicer

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "Testing"), str(CHECKOUT / "DiffSegLung"), str(CHECKOUT)]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")

from headless_slicer import Host, start  # noqa: E402 - the path is set above
from headless_slicer.qt.wrapper import errors  # noqa: E402

start()  # before any test file imports slicer's application side, or the module


def pytest_sessionfinish() -> None:
    """Removes the host's temporary folder: pytest-xdist's workers end without Python's own clean-up."""
    start().end()


@pytest.fixture(autouse=True)
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of models, and beside it a folder of trainings, that are the test's own."""
    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path / "library" / "models"))
    return tmp_path / "library" / "models"


@pytest.fixture
def host() -> Iterator[Host]:
    """The running host with an empty scene and nothing recorded; reset again afterwards.

    An exception in a function connected to a signal is printed and swallowed as in Slicer; here it fails the
    test.
    """
    running = start()
    running.reset()
    yield running
    swallowed = list(errors)
    running.reset()
    assert swallowed == []


@pytest.fixture
def scene(host: Host) -> slicer.vtkMRMLScene:
    """The host's scene, empty."""
    return slicer.mrmlScene


@pytest.fixture
def own_modules() -> Iterator[None]:
    """Puts back what the other tests of this process have imported of the module and the library."""
    before = {name: module for name, module in sys.modules.items() if name.startswith("DiffSeg")}
    yield
    for name in [name for name in sys.modules if name.startswith("DiffSeg")]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are processes that have imported torch already; not for tests that are about processes."""
    import warm_python

    warm_python.start()
    ours = SimpleNamespace(**{**vars(subprocess), "Popen": warm_python.WarmPopen})
    monkeypatch.setattr("DiffSegLungLib.running.child.subprocess", ours)


@pytest.fixture
def use_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: None) -> Callable[..., None]:
    """Puts a swift trainer in place of the library's command, with its options, or the real one again."""
    from swift_trainer import swift_trainer

    def use(*, real: bool = False, **options: Any) -> None:
        program = sys.executable if real else swift_trainer(tmp_path, **options)
        monkeypatch.setattr("DiffSegLungPanel.work.worker.pythonExecutable", lambda: program)

    use()
    return use


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where results are remembered, for all processes of this test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "remembered"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def remembered(tmp_path: Path, memory: Path, warm: None) -> Iterator[pytest.MonkeyPatch]:
    """Segmentations that another test has had are not computed again, until ``undo`` is called."""
    from remembering_worker import remembering_worker

    program = remembering_worker(tmp_path, memory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("DiffSegLungPanel.work.worker.pythonExecutable", lambda: program)
        yield patch


@pytest.fixture
def opened(host: Host, use_trainer: Callable[..., None]) -> Iterator[Callable[..., Any]]:
    """A panel whose Train section is open, over a scene with three CT that can be used."""
    from panels import Desk
    from small_volume import add_chest
    from smallchest import chest

    made: list[Any] = []

    def open_panel(count: int = 3, logic: Any = None) -> Any:
        for number in range(count):
            add_chest(f"Doe Jane {number}", chest(seed=number))
        desk: Any = Desk(host, logic)
        desk.ui.trainCollapsibleButton.collapsed = False
        desk.training = desk.panel.training
        desk.train = desk.training.ui
        made.append(desk)
        return desk

    yield open_panel
    for desk in made:
        desk.panel.cleanup()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real CT volumes beside the checkout; skips where they are absent."""
    root = Path(os.environ.get("DIFFSEGLUNG_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (root / "index.csv").exists():
        pytest.skip(f"real CT volumes not found at {root}; set DIFFSEGLUNG_DATA")
    return root
