"""The report's pictures lie the right way round and its numbers are those of the tables."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from smallchest import image

from DiffSegLungLib.classes import CLASSES, EMPHYSEMA, HEALTHY
from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.evaluation.overview import write_overview
from DiffSegLungLib.io.geometry import Geometry
from DiffSegLungLib.report.page import summary_text, write_report
from DiffSegLungLib.report.pictures import draw_montage, draw_panels, patient_axes
from DiffSegLungLib.report.quantify import Tally

DIRECTIONS = [
    (1, 0, 0, 0, 1, 0, 0, 0, 1),
    (-1, 0, 0, 0, -1, 0, 0, 0, 1),  # RAS storage, as most NIfTI files
    (0, 0, 1, 1, 0, 0, 0, -1, 0),  # sagittal slices
    (0, 1, 0, 0, 0, -1, 1, 0, 0),
]


def marked() -> sitk.Image:
    """Aerated block with one bright corner: superior, anterior, and on the patient's right."""
    hu = np.full((30, 40, 50), -850, np.int16)
    hu[20:30, 0:12, 0:15] = 100
    return image(hu, spacing=(1.0, 1.0, 2.0))


def stored(direction: tuple[int, ...]) -> tuple[np.ndarray, Geometry]:
    """The same block stored along other axes."""
    target = sitk.Image(marked())
    wanted = np.asarray(direction, float).reshape(3, 3)
    order = [int(np.argmax(np.abs(wanted[:, axis]))) for axis in range(3)]
    flips = [bool(wanted[order[axis], axis] < 0) for axis in range(3)]
    target = sitk.Flip(sitk.PermuteAxes(target, order), flips)
    assert target.GetDirection() == pytest.approx(direction)
    return sitk.GetArrayFromImage(target), Geometry.of(target)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pictures_are_radiological_however_the_ct_is_stored(direction: tuple[int, ...]) -> None:
    hu, geometry = stored(direction)
    lungs = np.ones(hu.shape, bool)
    labels = np.where(hu > 0, np.uint8(EMPHYSEMA), np.uint8(HEALTHY))
    axial, coronal, sagittal = draw_panels(hu, labels, np.zeros(hu.shape, np.float16), lungs, geometry)

    def brightest_quarter(picture: np.ndarray) -> tuple[str, str]:
        rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
        grey = picture.mean(axis=2)
        quarters = {
            ("top", "left"): grey[:rows, :columns].mean(),
            ("top", "right"): grey[:rows, columns:].mean(),
            ("bottom", "left"): grey[rows:, :columns].mean(),
            ("bottom", "right"): grey[rows:, columns:].mean(),
        }
        return max(quarters, key=lambda place: quarters[place])

    assert brightest_quarter(axial.ct) == ("top", "left")  # anterior up, the patient's right on the left
    assert brightest_quarter(coronal.ct) == ("top", "left")  # head up
    assert brightest_quarter(sagittal.ct) == ("top", "left")  # anterior on the left


def test_pictures_keep_the_shape_of_anisotropic_voxels() -> None:
    hu, geometry = stored(DIRECTIONS[0])  # 50 mm wide, 40 mm deep, 60 mm high
    lungs = np.ones(hu.shape, bool)
    labels = np.ones(hu.shape, np.uint8)
    panels = draw_panels(hu, labels, np.zeros(hu.shape, np.float16), lungs, geometry)
    aspect = [panel.ct.shape[1] / panel.ct.shape[0] for panel in panels]
    assert aspect == pytest.approx([50 / 40, 50 / 60, 40 / 60], rel=0.03)


def test_the_nearest_axes_are_taken_for_an_oblique_grid() -> None:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.radians(30), np.radians(30), 0.0)
    assert patient_axes(Geometry((9, 9, 9), (1, 1, 1), (0, 0, 0), turn.GetMatrix())) == (
        (0, 1, 2),
        (False, False, False),
    )


def test_the_report_says_what_the_tables_say(tmp_path: Path) -> None:
    hu, geometry = stored(DIRECTIONS[0])
    labels = np.where(hu > 0, np.uint8(EMPHYSEMA), np.uint8(HEALTHY))
    ones = np.ones(hu.shape, np.uint8)
    tally = Tally(geometry.voxel_ml)
    tally.add(hu, labels, ones, ones)
    tables = tally.result()
    panels = draw_panels(hu, labels, np.zeros(hu.shape, np.float16), ones > 0, geometry)
    montage = draw_montage(hu, labels, ones > 0, geometry, 3)
    provenance = {
        "source": "<b>chest & co</b>.nii.gz",
        "grid": "50 × 40 × 30 voxels",
        "created": "2026-01-01 00:00:00 UTC",
        "notes": ["A note with <tags>."],
        "air": {},
        "model": {
            "name": "model 1",
            "sha256": "ab" * 32,
            "training": {"steps": 20000, "settings": {"seed": 0}},
        },
        "config": {"preset": "fast", "timesteps": (50, 100)},
        "run": {"device": "cpu"},
    }
    write_report(tmp_path / "report.html", tables, panels, montage, provenance)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>chest" not in text
    assert "&lt;b&gt;chest &amp; co" in text
    assert "A note with &lt;tags&gt;." in text
    assert f"{100 * (labels == HEALTHY).mean():.1f}" in text
    assert len(re.findall("<img ", text)) == 9 + len(montage)
    assert "20000" in text
    assert "{" not in text.split("</style>")[1]  # nothing of a nested card was printed raw
    for tissue in CLASSES:
        assert tissue.name in text
    assert "Emphysema" in summary_text(tables)
    write_overview(tmp_path / "overview.png", panels, tables)
    picture = sitk.ReadImage(str(tmp_path / "overview.png"))
    assert min(picture.GetSize()) > 600


def test_a_report_without_its_template_engine_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    ones = np.ones((4, 4, 4), np.uint8)
    tally = Tally(0.001)
    tally.add(np.full(ones.shape, -850, np.int16), ones, ones, ones)
    with pytest.raises(DiffSegLungError, match="Jinja2"):
        write_report(tmp_path / "report.html", tally.result(), [], [], {})
    assert not list(tmp_path.iterdir())
