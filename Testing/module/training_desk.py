"""A radiologist at the Train section: what the tests of it press, wait for and read."""

from __future__ import annotations

from typing import Any

import slicer

NAME = "diffseglung-ct-tuned"
"""Of a model that nobody has named."""


def activity(desk: Any) -> str:
    """What the section does, by name."""
    return str(desk.training.pane.activity.value)


def wait_idle(desk: Any) -> None:
    """Until nothing is going on in it."""
    desk.wait(lambda: activity(desk) == "idle")


def train(desk: Any) -> None:
    """Start or resume, and wait for the end."""
    desk.train.startTrainingButton.click()
    wait_idle(desk)


def train_until(desk: Any, step: int) -> None:
    """Start, and wait until this step is in the log."""
    desk.train.startTrainingButton.click()
    desk.wait(lambda: desk.training.pane.run is not None and desk.training.pane.run.step >= step)


def pause(desk: Any) -> None:
    """Pause, and wait until it does."""
    desk.train.pauseTrainingButton.click()
    wait_idle(desk)


def texts(desk: Any, column: int) -> list[str]:
    """A column of the table of scans."""
    table = desk.train.trainTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def training_nodes() -> list[Any]:
    """What curves are made of: their tables, series and charts."""
    kinds = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode")
    return [n for kind in kinds for n in slicer.util.getNodesByClass(kind)]
