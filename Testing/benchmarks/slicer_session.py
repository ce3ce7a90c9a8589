"""A session in the Slicer module with a real CT: real MRML, headless host, pictures and numbers.

    python Testing/benchmarks/slicer_session.py CT -o FOLDER [--preset fast|balanced|best]

Loads the CT, presses Apply, follows the run and the main loop's gaps, checks where the result lies with
SimpleITK, saves and reloads the scene, moves the sensitivity (before and after an edit, and after reloading),
cancels a second run. Writes session.json and PNGs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]

from headless_slicer import start  # noqa: E402

host = start()

import qt  # noqa: E402
import slicer  # noqa: E402
import vtk  # noqa: E402

MOVES = (0.25, 0.75, 0.6, 0.0, 1.0, 0.5)
"""Where the sensitivity is moved to, one after the other."""

RESULT_ROLES = (
    *("uncertainty", "evidence", "regions", "classTable", "densityTable", "histogramTable"),
    *("volumeChart", "histogramChart"),
)

ORDER = ("consolidation", "cavity", "fibrosis", "ground_glass", "emphysema", "healthy")
"""Classes by how well a single piece of them shows whether the result lies where it belongs."""


class LoopGaps:
    """How long Qt's main loop did not answer, by a timer that would like to fire every 5 ms."""

    def __init__(self) -> None:
        self.stage = "start"
        self.gaps: list[tuple[float, str]] = []
        self._last = time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append((now - self._last, self.stage))
        self._last = now

    def stop(self) -> dict[str, Any]:
        """Ends the measurement; the longest gaps in milliseconds, each with the stage it happened in."""
        self._timer.stop()
        milliseconds = [(round(1000 * gap, 1), stage) for gap, stage in self.gaps]
        longest = sorted(milliseconds, reverse=True)[:5]
        return {
            "longest_ms": longest,
            "p99_ms": round(float(np.percentile([m for m, _ in milliseconds], 99)), 1),
        }


def spin(until: Any, limit_s: float = 600.0) -> float:
    """Runs the main loop until a condition holds; the seconds it took."""
    begin = time.monotonic()
    while not until():
        slicer.app.processEvents()
        time.sleep(0.002)
        if time.monotonic() - begin > limit_s:
            raise TimeoutError
    return time.monotonic() - begin


def is_idle(panel: Any) -> bool:
    """Whether the panel has nothing to do and its button reads Apply again."""
    return panel.run.state.value == "idle"


def workers() -> list[str]:
    """Worker processes that live, as their command lines."""
    found = []
    for process in psutil.Process().children(recursive=True):
        line = " ".join(process.cmdline())
        found += [line] if "DiffSegLungLib" in line else []
    return found


def node_ids() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


def run(panel: Any, out: Path) -> dict[str, Any]:
    """Presses Apply and follows the run to its end."""
    fractions, stages = [], []
    gaps = LoopGaps()
    panel.ui.applyButton.click()
    task = panel.actions._task

    def on_progress(progress: Any) -> None:
        fractions.append(round(progress.fraction, 4))
        stages.append(progress.stage)
        gaps.stage = progress.stage

    task.progressed.connect(on_progress)
    seconds = spin(lambda: is_idle(panel))  # with the result shown in the panel
    measured = gaps.stop()
    if task.error is not None:
        raise task.error
    return {
        "seconds": round(seconds, 1),
        "distinct_fractions": len(set(fractions)),
        "stages": list(dict.fromkeys(stages)),
        "main_loop": measured,
        "message": panel.ui.messageLabel.text,
        "segmentation": task.result,
    }


def alignment(node: Any, volume: Any, path: Path, folder: Path) -> dict[str, Any]:
    """The place of the piece looked at: once through MRML, once through SimpleITK alone, from the files."""
    image = sitk.ReadImage(str(path))
    segment, lesion = piece_to_look_at(node, volume)
    k, j, i = (int(v) for v in lesion[len(lesion) // 2])
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    ras = np.array(to_ras.MultiplyPoint((i, j, k, 1)))[:3]
    index = image.TransformPhysicalPointToIndex((-ras[0], -ras[1], float(ras[2])))
    saved = folder / "saved.seg.nrrd"
    slicer.util.saveNode(node, str(saved))
    again = sitk.ReadImage(str(saved))
    number = node.GetSegmentation().GetSegmentIndex(segment)
    label = int(again.GetMetaData(f"Segment{number}_LabelValue"))
    point = image.TransformIndexToPhysicalPoint(index)
    value = again[again.TransformPhysicalPointToIndex(point)]
    hu = slicer.util.arrayFromVolume(volume)
    return {
        "segment": segment,
        "world_ras_mm": [round(float(v), 2) for v in ras],
        "index_by_mrml": [i, j, k],
        "index_by_simpleitk": list(index),
        "hu_by_mrml": int(hu[k, j, i]),
        "hu_by_simpleitk": int(image[index]),
        "saved_label_there_is_the_segments": bool(value == label),
        "lesion_ml": round(len(lesion) * float(np.prod(image.GetSpacing())) / 1000, 2),
    }


def piece_to_look_at(node: Any, volume: Any) -> tuple[str, np.ndarray]:
    """The largest piece of the first class found of ORDER: the segment's id, and (n, 3) voxels (k, j, i)."""
    for key in ORDER:
        segment = f"Segment_{key}"
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
        if mask is not None and mask.any():
            return segment, largest_component(mask)
    raise SystemExit("The result has no voxel of any class.")


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The voxels (n, 3) of the largest connected piece of a mask, in (k, j, i)."""
    found = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    numbers = sitk.GetArrayFromImage(found)
    return np.argwhere(numbers == 1 + np.argmax(np.bincount(numbers.ravel())[1:]))


def contents(node: Any) -> dict[str, Any]:
    """What of a result has to survive saving and loading."""
    segments = node.GetSegmentation()
    found: dict[str, Any] = {"segments": {}}
    tag = vtk.mutable("")
    for n in range(segments.GetNumberOfSegments()):
        segment = segments.GetNthSegment(n)
        segment.GetTag("DiffSegLung.class", tag)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(
            node, segments.GetNthSegmentID(n), node.GetNodeReference("referenceImageGeometryRef")
        )
        colour = [round(255 * c) for c in segment.GetColor()]  # files keep six digits
        found["segments"][segment.GetName()] = (str(tag), int(mask.sum()), colour)
    for role in RESULT_ROLES:
        part = node.GetNodeReference(f"DiffSegLung.{role}")
        found[role] = part.GetName()
        if part.IsA("vtkMRMLTableNode"):
            table = part.GetTable()
            found[role + ".cells"] = [
                [table.GetValue(r, c).ToString() for c in range(table.GetNumberOfColumns())]
                for r in range(table.GetNumberOfRows())
            ]
    return found


def parameters(panel: Any) -> dict[str, Any]:
    node = panel.parameters
    return {
        "input": node.inputVolume.GetName(),
        "output": node.outputSegmentation.GetName(),
        "preset": str(node.preset),
        "device": str(node.device),
        "bundle": node.bundle,
        "settings": panel.advanced.settings,
        "sensitivity": node.sensitivity,
    }


def save_and_reload(panel: Any, node: Any, out: Path) -> dict[str, Any]:
    before, chosen = contents(node), parameters(panel)
    path = out / "scene.mrb"
    slicer.util.saveScene(str(path))
    name = node.GetName()
    host.close_scene()
    slicer.util.loadScene(str(path))
    slicer.app.processEvents()
    loaded = slicer.util.getNode(name)
    after = contents(loaded)
    return {
        "mrb_mb": round(path.stat().st_size / 1e6, 1),
        "results_equal": after == before,
        "differences": [key for key in before if after.get(key) != before[key]],
        "parameters_equal": parameters(panel) == chosen,
        "table_rows": len(after["classTable.cells"]),
        "segments": {n: v[1] for n, v in after["segments"].items()},
    }


def pictures(panel: Any, node: Any, volume: Any, out: Path) -> None:
    """Axial and coronal slices through the piece looked at, with and without the overlay, and 3D."""
    _segment, lesion = piece_to_look_at(node, volume)
    centre = lesion[len(lesion) // 2][::-1]
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    ras = to_ras.MultiplyPoint((*(float(c) for c in centre), 1.0))[:3]
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(1500, -600)
    slicer.util.resetSliceViews()
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    for name, view in (("Red", "axial"), ("Green", "coronal")):
        host.render_slice(name, out / f"{view}.png")
    panel.ui.overlayCheckBox.click()
    slicer.app.processEvents()
    for name, view in (("Red", "axial"), ("Green", "coronal")):
        host.render_slice(name, out / f"{view}_uncertainty.png")
    panel.ui.overlayCheckBox.click()
    panel.ui.show3DButton.click()
    surfaces = panel.actions._task
    spin(lambda: not surfaces.isRunning)
    host.render_3d(out / "three_d.png")


def sensitivity(panel: Any, node: Any) -> dict[str, Any]:
    """Moves of the slider, each until the tables have followed: seconds, and the main loop's longest gaps."""
    spin(lambda: is_idle(panel))
    gaps, seconds = LoopGaps(), []
    for value in MOVES:
        gaps.stage = f"to {value}"
        begin = time.perf_counter()
        panel.ui.sensitivitySlider.value = value
        spin(lambda: not panel.sensitivity.isBusy)
        seconds.append(round(time.perf_counter() - begin, 2))
    gaps.stage = "dragged"
    for value in np.linspace(0, 1, 101):
        panel.ui.sensitivitySlider.value = float(value)
        slicer.app.processEvents()
    panel.ui.sensitivitySlider.value = MOVES[-1]
    spin(lambda: not panel.sensitivity.isBusy)
    return {"moves_s": seconds, "main_loop": gaps.stop(), "voxels": class_voxels(node)}


def class_voxels(node: Any) -> dict[str, int]:
    """Voxels of every class segment."""
    ct = node.GetNodeReference("referenceImageGeometryRef")
    return {
        key: int(np.count_nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(node, f"Segment_{key}", ct)))
        for key in ORDER
    }


def sensitivity_with_edits(panel: Any, node: Any) -> dict[str, Any]:
    """A cube of emphysema painted over healthy lung; then the moves; whether it is kept, voxel for voxel."""
    ct = node.GetNodeReference("referenceImageGeometryRef")

    def mask(key: str) -> np.ndarray:
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, f"Segment_{key}", ct).astype(bool)

    healthy, emphysema = mask("healthy"), mask("emphysema")
    places = np.argwhere(healthy)
    cube = tuple(slice(int(c) - 6, int(c) + 6) for c in places[len(places) // 2])
    inside = np.zeros_like(healthy)
    inside[cube] = healthy[cube]
    for key, voxels in (("emphysema", emphysema | inside), ("healthy", healthy & ~inside)):
        slicer.util.updateSegmentBinaryLabelmapFromArray(voxels.astype(np.uint8), node, f"Segment_{key}", ct)
    spin(lambda: not panel.ui.editedLabel.text.startswith(("The tables", "Not")))
    found = sensitivity(panel, node)
    return {
        "painted_voxels": int(inside.sum()),
        "emphysema_kept": bool(np.array_equal(mask("emphysema"), emphysema | inside)),
        "edited": panel.ui.editedLabel.text,
        **found,
    }


def cancel_second_run(panel: Any) -> dict[str, Any]:
    """A run into a new output, cancelled in the middle."""
    panel.parameters.outputSegmentation = None
    slicer.app.processEvents()
    before = node_ids()
    panel.ui.applyButton.click()
    task = panel.actions._task
    spin(lambda: task.progress.fraction > 0.4)
    alive = len(workers())
    panel.ui.applyButton.click()
    seconds = spin(lambda: is_idle(panel))
    temporary = Path(slicer.app.temporaryPath)
    return {
        "workers_before": alive,
        "idle_after_s": round(seconds, 2),
        "cancelled": task.wasCancelled,
        "workers_after": len(workers()),
        "folders_left": len(list(temporary.glob("DiffSegLung-*"))),
        "nodes_left": len(node_ids() - before),
        "button": panel.ui.applyButton.text,
        "message": panel.ui.messageLabel.text,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--preset", default="balanced")
    options = parser.parse_args()
    out: Path = options.output
    out.mkdir(parents=True, exist_ok=True)

    host.load(ROOT / "DiffSegLung" / "DiffSegLung.py")
    widget = slicer.util.getModuleWidget("DiffSegLung")
    panel = widget.panel
    panel.enter()
    volume = slicer.util.loadVolume(str(options.ct))
    panel.parameters.inputVolume = volume
    panel.parameters.preset = type(panel.parameters.preset)(options.preset)
    slicer.app.processEvents()
    host.grab(widget.parent, out / "panel_before.png")

    # The picture during a run is taken of another run: painting it would count as a gap of the main loop.
    panel.ui.applyButton.click()
    task = panel.actions._task
    spin(lambda: task.progress.fraction > 0.35)
    host.grab(widget.parent, out / "panel_during.png")
    panel.actions.stop()

    found: dict[str, Any] = {"run": run(panel, out)}
    node = found["run"].pop("segmentation")
    host.grab(widget.parent, out / "panel_after.png")
    found["alignment"] = alignment(node, volume, options.ct, out)
    pictures(panel, node, volume, out)
    found["sensitivity"] = sensitivity(panel, node)
    found["sensitivity_edited"] = sensitivity_with_edits(panel, node)
    panel.ui.sensitiveButton.click()
    spin(lambda: not panel.sensitivity.isBusy)
    host.grab(widget.parent, out / "panel_sensitive.png")
    found["mrb"] = save_and_reload(panel, node, out)
    host.grab(widget.parent, out / "panel_reloaded.png")
    found["mrb"]["slider"] = panel.ui.sensitivitySlider.value
    found["sensitivity_reloaded"] = sensitivity(panel, panel.parameters.outputSegmentation)
    found["cancel"] = cancel_second_run(panel)
    text = json.dumps(found, indent=2)
    (out / "session.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
