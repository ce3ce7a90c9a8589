"""The logic on real MRML with real workers: runs, refusals, cancelling, deleted nodes, full disk, batches."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import slicer
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.scene.results import resultsOf
from DiffSegLungPanel.work.tasks import Task
from small_volume import QUICK, add_chest

from DiffSegLungLib.errors import DiffSegLungError, InputError


@pytest.fixture
def logic(host):
    made = DiffSegLungLogic()
    yield made
    made.stop()


def node_ids() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


def leftovers() -> list[Path]:
    """Folders of runs in Slicer's temporary folder."""
    return list(Path(slicer.app.temporaryPath).glob("DiffSegLung-*"))


def workers() -> list[psutil.Process]:
    """Living processes below this one that are in no session of its own: every command begins a new one."""
    return [child for child in psutil.Process().children(recursive=True) if apart(child)]


def apart(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) != os.getsid(0)
    except (psutil.Error, ProcessLookupError):
        return False


def spin_until(condition, timeout_s=30.0):
    begin = time.monotonic()
    while not condition():
        slicer.app.processEvents()
        time.sleep(0.01)
        assert time.monotonic() - begin < timeout_s


def started(logic, volume, **options) -> Task:
    """A run whose worker lives and has said something."""
    task = logic.segment(volume, settings=QUICK, waitForCompletion=False, **options)
    spin_until(lambda: task.progress.fraction > 0.05 or not task.isRunning)
    assert task.isRunning, task.error
    assert workers()
    return task


def nothing_left(before: set[str]) -> bool:
    return node_ids() == before and leftovers() == [] and workers() == []


def test_a_run_gives_a_segmentation_with_everything_attached(logic, warm):
    volume = add_chest()
    fractions = []
    task = logic.segment(volume, settings=QUICK, waitForCompletion=False)
    task.progressed.connect(lambda progress: fractions.append(progress.fraction))
    node = task.wait()
    segments = node.GetSegmentation()
    assert [segments.GetNthSegment(i).GetName() for i in range(7)][:2] == ["Healthy lung", "Emphysema"]
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    found = resultsOf(node)
    assert found.classTable.GetNumberOfRows() > 7
    for part in (
        found.uncertainty,
        found.regions,
        found.densityTable,
        found.volumeChart,
        found.histogramChart,
    ):
        assert part is not None
    healthy = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Segment_healthy", volume)
    hu = slicer.util.arrayFromVolume(volume)
    assert healthy.sum() == pytest.approx((hu < -600)[healthy > 0].sum(), rel=0.1)
    assert healthy.sum() == pytest.approx(2 * 4 / 3 * np.pi * 9 * 15 * 10.8, rel=0.05)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert leftovers() == []


def test_lungs_can_be_a_segment(logic, warm):
    volume = add_chest()
    lungs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    lungs.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    hu = slicer.util.arrayFromVolume(volume)
    mask = np.zeros(hu.shape, np.uint8)
    mask[:, :, :32] = (hu < -500)[:, :, :32] & (slicer.util.arrayFromVolume(volume) > -950)[:, :, :32]
    body = np.zeros_like(mask)
    body[6:18, 18:42, 12:26] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        body, lungs, lungs.GetSegmentation().AddEmptySegment("half"), volume
    )
    node = logic.segment(volume, lungs=lungs, lungsSegmentID="half", settings=QUICK)
    inside = sum(
        slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(i), volume)
        for i in range(7)
    )
    assert np.array_equal(inside > 0, body > 0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda volume: {"preset": "quick"}, "bad-setting"),
        (lambda volume: {"device": "tpu"}, "bad-setting"),
        (lambda volume: {"settings": {"colour": 1}}, "unknown-setting"),
        (lambda volume: {"bundle": "/nowhere/at/all"}, "no-bundle"),
    ],
)
def test_wrong_requests_get_one_sentence(logic, change, code):
    volume = add_chest()
    before = node_ids()
    with pytest.raises(DiffSegLungError) as caught:
        logic.segment(volume, **change(volume))
    assert caught.value.code == code
    assert caught.value.message.endswith(".")
    assert nothing_left(before)


def test_no_volume_and_an_empty_volume_are_refused(logic):
    with pytest.raises(InputError, match="No CT is chosen"):
        logic.segment(None)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError):
        logic.segment(empty)


def test_a_second_run_is_refused_while_one_is_running(logic):
    volume = add_chest()
    started(logic, volume)
    with pytest.raises(DiffSegLungError, match="working already"):
        logic.segment(volume, settings=QUICK, waitForCompletion=False)


def test_a_cancelled_run_leaves_nothing(logic):
    volume = add_chest()
    before = node_ids()
    task = started(logic, volume)
    begin = time.monotonic()
    task.cancel()
    spin_until(lambda: not task.isRunning)
    assert time.monotonic() - begin < 5
    assert task.wasCancelled
    assert nothing_left(before)


def test_stopping_kills_the_worker_at_once(logic):
    volume = add_chest()
    before = node_ids()
    started(logic, volume)
    begin = time.monotonic()
    logic.stop()
    assert time.monotonic() - begin < 5
    assert nothing_left(before)


@pytest.mark.parametrize("which", ["input", "output"])
def test_a_node_that_is_deleted_meanwhile_stops_the_run(logic, which):
    volume = add_chest()
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "output")
    task = started(logic, volume, outputSegmentation=output)
    slicer.mrmlScene.RemoveNode(volume if which == "input" else output)
    spin_until(lambda: not task.isRunning)
    assert task.error.code == "node-deleted"
    assert leftovers() == []
    assert workers() == []


def test_a_killed_worker_is_reported(logic):
    volume = add_chest()
    before = node_ids()
    task = started(logic, volume)
    for process in workers():
        os.kill(process.pid, signal.SIGKILL)
    spin_until(lambda: not task.isRunning)
    assert task.error.code == "worker-died"
    assert "signal 9" in task.error.message
    assert nothing_left(before)


def test_an_edited_output_is_replaced_only_when_allowed(logic, remembered):
    volume = add_chest()
    node = logic.segment(volume, settings=QUICK)
    mine = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    mine[10:14, 20:30, 16:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mine, node, "Segment_consolidation", volume)
    with pytest.raises(InputError, match="edited by hand"):
        logic.segment(volume, outputSegmentation=node, settings=QUICK)
    kept = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Segment_consolidation", volume)
    assert np.array_equal(kept, mine)
    again = logic.segment(volume, outputSegmentation=node, settings=QUICK, replaceEdited=True)
    assert again is node
    redone = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Segment_consolidation", volume)
    assert not np.array_equal(redone, mine)


def test_an_output_edited_during_the_run_is_kept_and_the_result_goes_elsewhere(logic, remembered):
    volume = add_chest()
    node = logic.segment(volume, settings=QUICK)
    remembered.undo()  # the run during which it is edited takes its time
    task = started(logic, volume, outputSegmentation=node)
    mine = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    mine[10:14, 20:30, 16:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mine, node, "Segment_consolidation", volume)
    log = []
    task.logged.connect(log.append)
    other = task.wait()
    assert other is not node
    kept = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Segment_consolidation", volume)
    assert np.array_equal(kept, mine)
    assert "edited meanwhile" in "".join(log)


def test_volumes_fail_one_by_one(logic, remembered):
    good = add_chest("good")
    not_ct = add_chest("not a CT", hu=np.full((24, 64, 64), 7, np.int16))
    another = add_chest("another")
    stages = []
    task = logic.segmentVolumes([good, not_ct, another], settings=QUICK, waitForCompletion=False)
    task.progressed.connect(lambda progress: stages.append(progress.stage))
    outcomes = task.wait()
    assert [outcome.volume for outcome in outcomes] == [good, not_ct, another]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert outcomes[1].segmentation is None
    assert outcomes[1].error.message.startswith("not a CT "), "the user knows no file named ct.mhd"
    assert outcomes[0].segmentation.GetSegmentation().GetNumberOfSegments() == 7
    assert any(stage.startswith("CT 3 of 3") for stage in stages)


def test_no_volumes_are_refused(logic):
    with pytest.raises(InputError):
        logic.segmentVolumes([])


def test_the_device_test_says_what_it_ran_on(logic, warm):
    assert "cpu" in logic.testDevice("cpu").lower()


def test_estimates_learn_from_runs(logic, remembered):
    volume = add_chest()
    first = logic.estimate(volume, "balanced", "cpu")
    assert first.seconds > 0
    logic.segment(volume, settings=QUICK)
    assert logic.estimate(volume, "balanced", "cpu").seconds != first.seconds
