"""How long the module keeps Slicer's main thread at a time, on a CT of 512 × 512 × 300 voxels.

    python Testing/benchmarks/scene_steps.py

prints total time, number of steps and the longest step of every piece of work, and memory.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CHECKOUT = Path(__file__).resolve().parents[2]
SHAPE = (300, 512, 512)


def main() -> None:
    sys.path[:0] = [str(CHECKOUT / part) for part in ("Testing/module", "Testing", "DiffSegLung", "")]
    from headless_slicer import start

    start()  # before anything imports the application side of slicer
    import slicer
    from DiffSegLungPanel.scene import edits, exchange, redraw, results
    from mrml_scenes import add_ct, lung_hu, lung_labels, put_under, rotation, write_worker_output

    scene, labels = slicer.mrmlScene, lung_labels(SHAPE)
    ct = add_ct(scene, lung_hu(labels))
    with tempfile.TemporaryDirectory() as name:
        folder = write_worker_output(Path(name), ct, labels)
        print(f"{'':34}{'total s':>9}{'steps':>7}{'longest ms':>12}{'memory GB':>11}")
        timed("export the CT", exchange.exportVolume(ct, folder / "ct.mhd"))
        node = timed("import a result", results.importResults(scene, ct, folder))
        timed("measure again", results.refreshResults(scene, node))
        timed("sensitivity, first move", redraw.redrawResult(scene, node, 0.6))
        timed("sensitivity, next move", redraw.redrawResult(scene, node, 0.4))
        paint(node)
        timed("sensitivity, after a stroke", redraw.redrawResult(scene, node, 0.7))
        timed("sensitivity, next move", redraw.redrawResult(scene, node, 0.4))
        timed("report", results.exportReport(scene, node, folder / "report.html"))
        lungs = folder / "lungs.mhd"
        timed("export lungs, same grid", exchange.exportSegment(node, "Segment_healthy", ct, lungs))
        turn = np.eye(4)
        turn[:3, :3] = rotation((2, 3, 4))
        put_under(scene, node, turn)
        timed("export lungs, turned grid", exchange.exportSegment(node, "Segment_healthy", ct, lungs))
        node.GetSegmentation().GetSegment("Segment_healthy").Modified()
        for title in ("edited? after a change", "edited? once more"):
            begin = time.perf_counter()
            edits.isEdited(node)
            print(f"{title:34}{time.perf_counter() - begin:9.2f}")


def paint(node: Any) -> None:
    """A cube of emphysema, taken from healthy lung."""
    import slicer

    k, j, i = (size // 4 for size in SHAPE)
    for key, value in (("emphysema", 1), ("healthy", 0)):
        segment = f"Segment_{key}"
        ct = node.GetNodeReference("referenceImageGeometryRef")
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, ct)
        mask[k : k + 20, j : j + 20, i : i + 20] = value
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, ct)


def timed(title: str, steps: Generator[Any, None, Any]) -> Any:
    seconds = []
    while True:
        begin = time.perf_counter()
        try:
            next(steps)
        except StopIteration as stop:
            result = stop.value
            break
        finally:
            seconds.append(time.perf_counter() - begin)
    memory = psutil.Process().memory_info().rss / 1e9
    print(f"{title:34}{sum(seconds):9.2f}{len(seconds):7}{max(seconds) * 1000:12.0f}{memory:11.2f}")
    return result


if __name__ == "__main__":
    main()
