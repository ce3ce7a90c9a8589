"""What the Slicer module says, and leaves behind, when things go wrong during a real run in the panel.

    python Testing/benchmarks/slicer_trouble.py CT      (as root: the full disk is a small tmpfs)

Every situation starts a real run on the CT, does the harm, waits until the panel is idle and prints its
message, its button, and the workers, folders and nodes that are left; the next one uses the same panel.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]

from headless_slicer import start  # noqa: E402

host = start()

import slicer  # noqa: E402


class Trouble:
    """One panel, one CT, and what is counted after every situation."""

    def __init__(self, ct: Path) -> None:
        self.ct = ct
        host.load(ROOT / "DiffSegLung" / "DiffSegLung.py")
        self.panel = slicer.util.getModuleWidget("DiffSegLung").panel
        self.panel.enter()
        self.volume: Any = None
        self.before: set[str] = set()

    def begin(self, until: float = 0.2) -> Any:
        """Loads the CT where it is not there, presses Apply, and waits until the worker is well under way."""
        if self.volume is None or not slicer.mrmlScene.IsNodePresent(self.volume):
            self.volume = slicer.util.loadVolume(str(self.ct), properties={"name": "CT"})
        self.panel.parameters.inputVolume = self.volume
        slicer.app.processEvents()
        self.before = node_ids()
        self.panel.ui.applyButton.click()
        task = self.panel.actions._task
        spin(lambda: task.progress.fraction > until or not task.isRunning)
        return task

    def row(self, name: str, seconds: float) -> str:
        """One line of the table, once the panel has said its word."""
        spin(lambda: self.panel.run.state.value == "idle")
        temporary = Path(slicer.app.temporaryPath)
        left = len(list(temporary.glob("DiffSegLung-*"))) if temporary.is_dir() else 0
        button = self.panel.ui.applyButton
        state = f"{button.text}{'' if button.enabled else ' (disabled)'}"
        made = len(node_ids() - self.before)
        said = self.panel.ui.messageLabel.text
        return f"| {name} | {said} | {state} | {seconds:.1f} | {len(workers())} | {left} | {made} |"


def spin(until: Callable[[], bool], limit_s: float = 300.0) -> float:
    """Runs the main loop until a condition holds; the seconds it took."""
    begin = time.monotonic()
    while not until():
        slicer.app.processEvents()
        time.sleep(0.005)
        if time.monotonic() - begin > limit_s:
            raise TimeoutError
    return time.monotonic() - begin


def workers() -> list[int]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            found += [process.pid] if "DiffSegLungLib" in " ".join(process.cmdline()) else []
        except psutil.Error:
            continue
    return found


def node_ids() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


def scene_closed(trouble: Trouble) -> float:
    task = trouble.begin()
    trouble.before = set()
    begin = time.monotonic()
    host.close_scene()
    spin(lambda: not task.isRunning)
    trouble.before = node_ids()
    return time.monotonic() - begin


def second_apply(trouble: Trouble) -> float:
    """The button cancels while a run is on, so a second Apply can only come from a script: it is refused."""
    task = trouble.begin()
    try:
        trouble.panel.actions._logic.segment(trouble.volume, waitForCompletion=False)
    except Exception as error:
        trouble.panel.messages.error(error)
    trouble.panel.ui.applyButton.click()
    shown = trouble.panel.ui.messageLabel.text
    seconds = spin(lambda: not task.isRunning and trouble.panel.run.state.value == "idle")
    trouble.panel.ui.messageLabel.text = f"{shown} → {trouble.panel.ui.messageLabel.text}"
    return seconds


def input_deleted(trouble: Trouble) -> float:
    task = trouble.begin()
    slicer.mrmlScene.RemoveNode(trouble.volume)
    return spin(lambda: not task.isRunning)


def output_deleted(trouble: Trouble) -> float:
    trouble.begin(0.0)
    trouble.panel.actions.stop()
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    trouble.panel.parameters.outputSegmentation = output
    task = trouble.begin()
    trouble.before.discard(output.GetID())
    slicer.mrmlScene.RemoveNode(output)
    return spin(lambda: not task.isRunning)


def worker_killed(trouble: Trouble) -> float:
    task = trouble.begin()
    for pid in workers():
        psutil.Process(pid).kill()
    return spin(lambda: not task.isRunning)


def disk_full(trouble: Trouble, megabytes: int) -> float:
    """Slicer's temporary folder on a disk that is too small: for the CT, or only for the results."""
    usual = slicer.app.temporaryPath
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
        try:
            slicer.app.temporaryPath = folder
            task = trouble.begin(1.0)
            seconds = spin(lambda: not task.isRunning)
            left = [item.name for item in Path(folder).iterdir()]
            if left:
                print(f"left on the full disk: {left}")
        finally:
            slicer.app.temporaryPath = usual
            subprocess.run(["umount", folder], check=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ct", type=Path)
    trouble = Trouble(parser.parse_args().ct)
    print("| situation | what the panel says | button | idle after s | workers | folders | nodes left |")
    print("|---|---|---|---|---|---|---|")
    for situation in (scene_closed, second_apply, input_deleted, output_deleted, worker_killed):
        print(trouble.row(situation.__name__.replace("_", " "), situation(trouble)), flush=True)
    for megabytes, name in ((20, "disk full at export"), (68, "disk full at the results")):
        print(trouble.row(name, disk_full(trouble, megabytes)), flush=True)
    task = trouble.begin()
    spin(lambda: not task.isRunning)
    print(trouble.row("afterwards: an ordinary run", 0.0))


if __name__ == "__main__":
    main()
