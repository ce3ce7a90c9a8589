"""Nodes changed or deleted at the worst moment, odd volumes, and scenes whose attributes somebody spoilt."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import numpy as np
import psutil
import pytest
import slicer
import slicer.util
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.places import trainingsFolder
from DiffSegLungPanel.scene import exchange, results
from DiffSegLungPanel.scene.segmentation import isEdited
from DiffSegLungPanel.steps.request import Request
from DiffSegLungPanel.steps.segmentation_steps import requireNodes
from DiffSegLungPanel.work.tasks import Task
from DiffSegLungPanel.work.temporary import temporaryFolder
from headless_slicer.views import Views
from mrml_scenes import add_ct, finish, lung_hu, lung_labels, put_under, write_worker_output
from small_volume import QUICK, add_chest

from DiffSegLungLib.errors import Cancelled, DiffSegLungError, InputError


@pytest.fixture
def ct(scene) -> slicer.vtkMRMLScalarVolumeNode:
    return add_ct(scene, lung_hu(lung_labels()))


@pytest.fixture
def folder(ct, tmp_path: Path) -> Path:
    return write_worker_output(tmp_path / "worker", ct, lung_labels())


@pytest.fixture
def node(scene, ct, folder) -> slicer.vtkMRMLSegmentationNode:
    return finish(results.importResults(scene, ct, folder))


def node_ids() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


def segmentations(before: set[str]) -> list[slicer.vtkMRMLSegmentationNode]:
    found = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in found if node.GetID() not in before]


HARM = {
    "ct deleted": (lambda ct, _made: slicer.mrmlScene.RemoveNode(ct), "node-deleted"),
    "result deleted": (lambda _ct, made: slicer.mrmlScene.RemoveNode(made), "node-deleted"),
    "voxels gone": (lambda ct, _made: ct.SetAndObserveImageData(None), "no-voxels"),
    "other voxels": (
        lambda ct, _made: slicer.util.updateVolumeFromArray(ct, np.zeros((3, 4, 5), np.int16)),
        "geometry-differs",
    ),
    "made flat": (
        lambda ct, _made: put_under(slicer.mrmlScene, ct, np.diag([0.0, 1.0, 1.0, 1.0])),
        "flat-transform",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_while_nodes_are_made_is_said_and_leaves_none_of_them(
    scene, ct, folder: Path, harm: str
) -> None:
    act, code = HARM[harm]
    begun = node_ids()
    task = Task(results.importResults(scene, ct, folder, check=lambda: requireNodes(scene, Request(ct))))
    while not segmentations(begun):
        task._advance()
    act(ct, segmentations(begun)[0])
    with pytest.raises(DiffSegLungError) as refused:
        task.wait()
    assert refused.value.code == code
    left = [scene.GetNodeByID(i).GetName() for i in node_ids() - begun]
    assert left == (["Moved"] if harm == "made flat" else [])


def test_a_run_that_is_aborted_over_a_cleared_scene_ends(scene, ct, folder: Path) -> None:
    begun = node_ids()
    task = Task(results.importResults(scene, ct, folder))
    while not segmentations(begun):
        task._advance()
    scene.Clear(False)
    task.abort()
    assert not task.isRunning
    assert isinstance(task.error, Cancelled)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "float64"])
def test_a_ct_that_is_stored_otherwise_afterwards_is_measured(scene, ct, node, dtype: str) -> None:
    bounds = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    values = slicer.util.arrayFromVolume(ct).astype(float).clip(bounds.min, bounds.max)
    slicer.util.updateVolumeFromArray(ct, values.astype(dtype))
    lungs = values[lung_labels() > 0]
    assert finish(results.refreshResults(scene, node)).lungs.density.mean_hu == pytest.approx(lungs.mean())


def test_a_ct_with_nan_is_refused_not_measured(scene, ct, node) -> None:
    values = slicer.util.arrayFromVolume(ct).astype(np.float32)
    values[10] = np.nan
    slicer.util.updateVolumeFromArray(ct, values)
    with pytest.raises(InputError) as refused:
        finish(results.refreshResults(scene, node))
    assert refused.value.code == "not-finite"


@pytest.mark.parametrize(
    ("matrix", "code"),
    [
        (np.diag([0.0, -4, 4, 1]), "bad-geometry"),
        (np.diag([np.nan, -4, 4, 1]), "bad-geometry"),
        (np.array([[-4.0, 0, 0, 0], [0, -4, -4, 0], [0, 0, 0, 0], [0, 0, 0, 1]]), "bad-geometry"),
    ],
)
def test_voxels_without_a_volume_are_refused(scene, matrix: np.ndarray, code: str) -> None:
    with pytest.raises(InputError) as refused:
        Request(add_chest(ijk_to_ras=matrix)).check()
    assert refused.value.code == code


SPOILT = ["{", "[1]", '"x"', "7", "[" * 100_000]


@pytest.mark.parametrize("text", SPOILT)
def test_a_spoilt_checksum_counts_as_edited(scene, node, text: str) -> None:
    node.SetAttribute("DiffSegLung.checksum", text)
    assert isEdited(node)
    finish(results.refreshResults(scene, node))


@pytest.mark.parametrize(
    "text", [*SPOILT, '[{"index": [1]}]', '[{"index": [1, 2, 3], "volume_ml": "x"}]', "[5]"]
)
def test_spoilt_places_to_review_are_none(ct, node, text: str) -> None:
    node.SetAttribute("DiffSegLung.uncertainRegions", text)
    assert results.uncertainRegions(node, ct) == []


@pytest.mark.parametrize("text", [*SPOILT, '{"a": 1}', '{"source": 1, "grid": 2, "created": 3, "notes": 4}'])
def test_a_spoilt_provenance_is_said(scene, node, tmp_path: Path, text: str) -> None:
    node.SetAttribute("DiffSegLung.provenance", text)
    with pytest.raises(DiffSegLungError) as refused:
        finish(results.exportReport(scene, node, tmp_path / "report.html"))
    assert refused.value.code == "damaged-result"
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize("text", ["x", "nan", "1e400", "-5000"])
def test_no_number_is_shown_with_a_spoilt_air_correction(scene, node, text: str) -> None:
    node.SetAttribute("DiffSegLung.airShiftHU", text)
    with pytest.raises(DiffSegLungError) as refused:
        finish(results.refreshResults(scene, node))
    assert refused.value.code == "damaged-result"


def test_a_reference_to_another_kind_of_node_is_as_good_as_none(scene, ct, node, folder: Path) -> None:
    for role in ("classTable", "uncertainty"):
        node.SetNodeReferenceID(f"DiffSegLung.{role}", ct.GetID())
    voxels = slicer.util.arrayFromVolume(ct).copy()
    finish(results.refreshResults(scene, node))
    finish(results.importResults(scene, ct, folder, target=node))
    assert results.resultsOf(node).classTable.GetNumberOfRows() > 0
    assert results.resultsOf(node).uncertainty is not ct
    assert np.array_equal(slicer.util.arrayFromVolume(ct), voxels)
    node.SetNodeReferenceID("DiffSegLung.uncertainty", ct.GetID())
    results.removeResults(scene, node)
    assert scene.IsNodePresent(ct)


@pytest.fixture
def own_views(host, monkeypatch) -> None:
    """Views of the test's own, where what it does leaves them of no use to any other."""
    monkeypatch.setattr(host, "views", Views(host.real))


@pytest.mark.usefixtures("own_views")
def test_display_nodes_that_were_deleted_are_made_anew(host, scene, ct, node, folder: Path) -> None:
    """With views open: Slicer's own keep the address of a display node that was deleted, and follow it."""
    host.render_3d(folder / "view.png")
    host.render_slice("Red", folder / "slice.png")
    for shown in (node, results.resultsOf(node).regions):
        scene.RemoveNode(shown.GetDisplayNode())
    gc.collect()
    others = [slicer.vtkMRMLSegmentationDisplayNode() for _ in range(300)]  # where the deleted ones were
    del others
    finish(results.importResults(scene, ct, folder, target=node))
    assert node.GetDisplayNode() is not None
    assert not results.resultsOf(node).regions.GetDisplayNode().GetVisibility()


def test_a_temporary_folder_that_cannot_be_made_is_said(host, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path / "file" / "below"), raising=False)
    with pytest.raises(InputError) as refused:
        DiffSegLungLogic().segment(add_chest(), settings=QUICK)
    assert refused.value.code == "not-written"


def test_a_refusal_names_the_folder_that_is_full(scene, ct, tmp_path: Path) -> None:
    """Whatever was to be written there: a CT for a training does not lie in Slicer's temporary folder."""
    temporary = Path(slicer.app.temporaryPath)
    for home, place, way_out in (
        (temporary, "Slicer's temporary folder", "Application Settings"),
        (trainingsFolder(), "The folder of trainings", "DIFFSEGLUNG_MODELS"),
        (tmp_path, "ct.mhd", "Free some space"),
    ):
        with pytest.raises(InputError) as refused:
            finish(exchange.exportVolume(ct, home / "gone" / "ct.mhd"))
        assert refused.value.message == f"{place} cannot be written (No such file or directory)."
        assert way_out in refused.value.hint


def test_stale_folders_go_even_where_their_number_was_given_again(host) -> None:
    home = Path(slicer.app.temporaryPath)
    reused, living = (home / f"DiffSegLung-{os.getpid()}-{name}" for name in ("old", "now"))
    for folder in (reused, living):
        folder.mkdir(parents=True)
    week_ago = psutil.Process().create_time() - 7 * 86_400
    os.utime(reused, (week_ago, week_ago))
    with temporaryFolder():
        assert not reused.exists()
        assert living.exists()
    living.rmdir()


def test_a_defect_at_one_volume_does_not_stop_the_others(host, remembered, monkeypatch) -> None:
    check = Request.check

    def failing(request: Request) -> None:
        if request.inputVolume.GetName() == "odd":
            raise ValueError("no one foresaw this")
        check(request)

    monkeypatch.setattr(Request, "check", failing)
    outcomes = DiffSegLungLogic().segmentVolumes([add_chest("odd"), add_chest("good")], settings=QUICK)
    assert [outcome.error and outcome.error.code for outcome in outcomes] == ["unexpected", None]


def test_a_bundle_or_a_folder_may_be_called_like_an_option(host, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-o").mkdir()
    logic = DiffSegLungLogic()
    with pytest.raises(InputError) as refused:
        logic.segmentFolder("-o", "out", settings=QUICK)
    assert refused.value.code == "no-cases"
    with pytest.raises(DiffSegLungError) as refused:
        logic.segment(add_chest(), bundle="-x")
    assert refused.value.code not in ("bad-arguments", "unexpected", "worker-died")


def test_a_damaged_result_file_is_said(scene, ct, folder: Path) -> None:
    for text in ("{", "[]x", "5", json.dumps([1])):
        (folder / "result.json").write_text(text)
        with pytest.raises(DiffSegLungError) as refused:
            finish(results.importResults(scene, ct, folder))
        assert refused.value.code == "damaged-result"


def test_a_result_is_not_shown_on_voxels_that_it_was_not_made_from(warm, host) -> None:
    volume = add_chest()
    begun = node_ids()
    task = DiffSegLungLogic().segment(volume, settings=QUICK, waitForCompletion=False)
    while task.progress.fraction < 0.05:
        task._advance()
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume)[::-1].copy())
    with pytest.raises(DiffSegLungError) as refused:
        task.wait()
    assert refused.value.code == "ct-changed"
    assert node_ids() == begun
