"""What a training does: its CT out of the scene, the library's command in its own process, pause, resume."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.errors import Cancelled, DiffSegLungError, InputError

from ..places import notWritten
from ..scene import exchange
from ..work.tasks import Steps, TaskProgress, spanned
from ..work.temporary import temporaryFolder, writeText
from ..work.worker import workerSteps
from .runs import FEWEST, SCANS, TrainingOutcome, TrainingRun

EXPORT_END = 0.05
"""Fraction of a training at which the volumes of the scene have been written."""

_ENDLESS = 1_000_000
"""Steps of a training that goes by time."""

_AT_ONCE = 0.001
"""A budget of minutes that is over after one step: the library then tests and keeps what it has."""

_GRACE_S = 25.0
"""How long a pause may take: a step has to end before the checkpoint is written, a long one on a CPU."""

_STATEMENT = "CT chosen by the user in 3D Slicer; their licence was not stated."


@dataclass(frozen=True)
class TrainingData:
    """What to train on: a folder, or volumes of the scene.

    Attributes:
        folder: searched for CT files and DICOM series; None takes the volumes.
        volumes: in the order in which they get their numbers.
    """

    folder: Path | None = None
    volumes: tuple[slicer.vtkMRMLScalarVolumeNode, ...] = ()

    def check(self) -> None:
        """Refuse what cannot work, before any work is done.

        Raises:
            InputError: no folder, or too few volumes.
        """
        if self.folder is not None:
            if not self.folder.is_dir():
                raise InputError(
                    "no-such-path",
                    _("The folder {name} does not exist.").format(name=self.folder.name or self.folder),
                    _("Choose the folder that holds the CT."),
                )
        elif len(self.volumes) < FEWEST:
            raise InputError(
                "too-few-volumes",
                _("A training needs at least {least} CT; {count} are chosen.").format(
                    least=FEWEST, count=len(self.volumes)
                ),
                _("Load more, or choose a folder."),
            )


@dataclass(frozen=True)
class TrainingPlan:
    """How to train.

    Attributes:
        parent: the model to start from.
        name: identifier of the new one.
        minutes: of training, None to go by steps.
        steps: of training, None to go by time.
        device: as in the settings.
    """

    parent: str
    name: str
    minutes: float | None = None
    steps: int | None = None
    device: str = "auto"

    def options(self) -> list[str]:
        """As options of ``diffseglung train``."""
        options = [f"--from={self.parent}", f"--name={self.name}", f"--device={self.device}"]
        options += [f"--data={_STATEMENT}"]
        if self.minutes is not None:
            options += [f"--minutes={self.minutes:g}"]
        return [*options, f"--steps={self.steps or _ENDLESS}"]


def checkSteps(scene: slicer.vtkMRMLScene, run: TrainingRun, data: TrainingData) -> Steps:
    """Find out which CT can be used; what is prepared for it, the training takes over.

    Raises:
        DiffSegLungError: no CT at all, or something cannot be read or written.
    """
    data.check()
    sources = yield from spanned(_sources(scene, run, data), 0.0, EXPORT_END)
    yield from _command(["train", *sources, f"--out={run.folder}", "--check"], EXPORT_END)


def trainSteps(scene: slicer.vtkMRMLScene, run: TrainingRun, data: TrainingData, plan: TrainingPlan) -> Steps:
    """Train from the beginning; :func:`resumeSteps` goes on with what a pause or a crash left.

    Returns:
        The :class:`.runs.TrainingOutcome`.

    Raises:
        DiffSegLungError: the library's reasons; cancelling keeps everything that was learned.
    """
    data.check()
    run.keepBudget(plan.minutes)
    sources = yield from spanned(_sources(scene, run, data), 0.0, EXPORT_END)
    try:
        yield from _command(["train", *sources, f"--out={run.folder}", *plan.options()], EXPORT_END)
    except Cancelled:
        raise
    except DiffSegLungError:
        run.takeBack()
        raise
    return _end(run)


def resumeSteps(run: TrainingRun) -> Steps:
    """Go on with a training, with everything it was started with; a budget of time goes on, too."""
    options = [f"--resume={run.folder}"]
    if run.minutes is not None:
        options += [f"--minutes={max(0.5, run.minutes - run.seconds / 60):g}"]
    yield from _command(["train", *options], 0.0)
    return _end(run)


def finishSteps(run: TrainingRun) -> Steps:
    """Make the model of what a paused training has learned by now."""
    yield from _command(["train", f"--resume={run.folder}", f"--minutes={_AT_ONCE}"], 0.0)
    return _end(run)


def _command(arguments: list[str], begin: float) -> Steps:
    with temporaryFolder() as private:
        yield from spanned(workerSteps(arguments, private, graceS=_GRACE_S), begin, 1.0)


def _end(run: TrainingRun) -> TrainingOutcome:
    outcome = run.outcome()
    if outcome is None:
        raise DiffSegLungError(
            "damaged-result",
            _("The training ended without a result."),
            _("Resume it; if this happens twice, please report it."),
        )
    return outcome


def _sources(
    scene: slicer.vtkMRMLScene, run: TrainingRun, data: TrainingData
) -> Generator[TaskProgress, None, list[str]]:
    """What to train on, as arguments; volumes of the scene are written to files first, each once."""
    run.lookAt(data.folder)
    if data.folder is not None:
        return [str(data.folder.expanduser().absolute())]
    folder = run.folder / SCANS
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise notWritten(folder, error) from error
    files: list[str] = []
    for number, volume in enumerate(data.volumes):
        _requireVolume(scene, volume)
        name, state = run.written.get(_stateOf(volume)), _stateOf(volume)
        if name is None:
            name = neutralName(len(run.written))
            for fraction in exchange.exportVolume(volume, folder / name):
                yield TaskProgress(_("Writing the CT"), (number + fraction) / len(data.volumes))
                _requireVolume(scene, volume)
            run.written[state] = name
        run.names[name] = volume.GetName()
        files.append(name)
    writeText(folder / "patients.csv", _patientsTable(scene, data.volumes, files))
    return [str(folder / name) for name in files]


def neutralName(number: int) -> str:
    """The file of a volume, counted from 0: without anything that could name a patient."""
    return f"ct-{number + 1:03d}.mhd"


def fileOf(run: TrainingRun | None, volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The file of a training that holds a volume as it is now; empty where there is none."""
    return run.written.get(_stateOf(volume), "") if run is not None else ""


def _stateOf(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[object, ...]:
    """Changes with the volume's voxels and with its own geometry."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image = volume.GetImageData()
    return (volume.GetID(), image.GetMTime() if image is not None else 0, *matrix.GetData())


def _patientsTable(
    scene: slicer.vtkMRMLScene,
    volumes: Sequence[slicer.vtkMRMLScalarVolumeNode],
    files: Sequence[str],
) -> str:
    """Which CT are of one patient, who must not be trained on and tested with: by numbers, without names."""
    keys: dict[str, int] = {}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", "patient"])
    for volume, name in zip(volumes, files, strict=True):
        writer.writerow([name, keys.setdefault(_patientOf(scene, volume), len(keys) + 1)])
    return stream.getvalue()


def _patientOf(scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The patient's folder in the data tree; without one (no DICOM), the library's rule for file names."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is not None:
        item = hierarchy.GetItemByDataNode(volume)
        level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
        patient = hierarchy.GetItemAncestorAtLevel(item, level) if item else 0
        if patient:
            return f"item {patient}"
    from DiffSegLungLib.training.patients import patient_of  # not while Slicer starts

    return patient_of(Path(f"{volume.GetName()}.nrrd".replace("/", "_")))


def _requireVolume(scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    if not scene.IsNodePresent(volume):
        raise DiffSegLungError(
            "node-deleted",
            _("A CT was deleted before it was written for the training."),
            _("Choose the CT again and press Start."),
        )
