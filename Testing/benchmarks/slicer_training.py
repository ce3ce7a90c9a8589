"""A training in the Slicer module, from scans of the scene to the comparison: real MRML, headless host.

    python Testing/benchmarks/slicer_training.py -o FOLDER [--parent MODEL] [--steps N] [CT ...]

Opens the Train section over the CT (generated small chests unless some are named), checks them, trains,
pauses at ten points of the curve, resumes, uses the new model and compares both on the first CT. Writes
training.json and PNGs of the panel and of the curves. Models and trainings go to FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / part) for part in ("benchmarks", "module", "lib")]

import slicer  # noqa: E402
from slicer_session import LoopGaps, host, spin  # noqa: E402 - starts the host

CHESTS = 5
POINTS = 10


def scans(paths: list[Path]) -> list[Any]:
    """The CT, and two volumes that cannot be trained on."""
    from small_volume import add_chest
    from smallchest import chest

    if paths:
        volumes = [slicer.util.loadVolume(str(path)) for path in paths]
    else:
        volumes = [add_chest(f"Chest {number + 1}", chest(seed=number)) for number in range(CHESTS)]
    add_chest("Scout", chest()[:, :1].copy())
    add_chest("Upper abdomen", chest()[:, :, :13].copy())
    slicer.app.processEvents()
    return volumes


def curve(name: str, path: Path) -> None:
    """A picture of the chart that the plot view shows."""
    (node,) = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setMRMLPlotViewNode(node)
    host.grab(widget, path / f"{name}.png", 640, 420)


def train(panel: Any, ui: Any, root: Any, out: Path) -> dict[str, Any]:
    """Start, pause at some points, resume to the end; what was seen meanwhile."""
    pane = panel.training.pane
    begin = time.monotonic()
    gaps = LoopGaps()
    ui.startTrainingButton.click()
    spin(lambda: pane.run is not None and len(pane.run.entries()) > POINTS, 3600)
    slicer.app.processEvents()
    loop = gaps.stop()
    host.grab(root, out / "3_running.png")
    curve("4_loss", out)
    ui.retrievalCurveButton.click()
    curve("5_retrieval", out)
    paused = time.monotonic()
    ui.pauseTrainingButton.click()
    spin(lambda: pane.activity.value == "idle")
    found: dict[str, Any] = {
        "points_when_paused": len(pane.run.entries()),
        "seconds_to_pause": round(time.monotonic() - paused, 1),
        "message_when_paused": panel.messages.text,
        "main_loop": loop,
    }
    host.grab(root, out / "6_paused.png")
    ui.startTrainingButton.click()
    spin(lambda: pane.activity.value == "idle", 3600)
    host.grab(root, out / "7_finished.png")
    steps = [entry["step"] for entry in pane.run.entries()]
    return found | {
        "steps_of_the_log": steps,
        "strictly_rising": steps == sorted(set(steps)),
        "seconds": round(time.monotonic() - begin, 1),
        "message": panel.messages.text,
        "result": json.loads((pane.run.folder / "result.json").read_text()),
    }


def compare(panel: Any, ui: Any, root: Any, volume: Any, out: Path) -> dict[str, Any]:
    """Both models on one CT."""
    ui.useModelButton.click()
    used = panel.parameters.bundle
    ui.compareSelector.setCurrentNode(volume)
    ui.compareButton.click()
    spin(lambda: panel.run.state.value == "idle", 1800)
    host.grab(root, out / "8_compared.png")
    table = ui.compareTableView.mrmlTableNode()
    rows = range(table.GetNumberOfRows()) if table is not None else ()
    return {
        "used": used,
        "message": panel.messages.text,
        "table": [[table.GetCellText(row, column) for column in range(4)] for row in rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--parent", type=Path, help="model file to start from; the built-in one by default")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    out: Path = options.output.absolute()
    out.mkdir(parents=True, exist_ok=True)
    os.environ["DIFFSEGLUNG_MODELS"] = str(out / "models")
    if options.parent is not None:
        from DiffSegLungLib.model.library import Library

        Library().set_default(Library().install(options.parent)[0].name)

    host.load(ROOT / "DiffSegLung" / "DiffSegLung.py")
    widget = slicer.util.getModuleWidget("DiffSegLung")
    panel = widget.panel
    panel.enter()
    volumes = scans(options.ct)
    for section in ("inputs", "model", "results"):
        getattr(panel.ui, f"{section}CollapsibleButton").collapsed = True
    panel.ui.trainCollapsibleButton.collapsed = False
    ui = panel.training.ui
    ui.trainBudgetComboBox.currentIndex = 1
    ui.trainBudgetComboBox.activated(1)
    ui.trainStepsSpinBox.value = options.steps
    host.grab(widget.parent, out / "1_new.png")
    begin = time.monotonic()
    ui.checkScansButton.click()
    spin(lambda: panel.training.pane.activity.value == "idle")
    host.grab(widget.parent, out / "2_checked.png")
    found: dict[str, Any] = {"seconds_to_check": round(time.monotonic() - begin, 1)}
    found["training"] = train(panel, ui, widget.parent, out)
    found["comparison"] = compare(panel, ui, widget.parent, volumes[0], out)
    text = json.dumps(found, indent=2)
    (out / "training.json").write_text(text + "\n")
    print(text)
    panel.cleanup()


if __name__ == "__main__":
    main()
