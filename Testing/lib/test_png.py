"""PNG without an imaging library, against ITK's reader; and the heat colours against matplotlib's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib import colormaps

from DiffSegLungLib.io.geometry import Geometry
from DiffSegLungLib.report.pictures import draw_panels
from DiffSegLungLib.report.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1, 3), (37, 53, 3), (200, 1, 3)])
def test_every_pixel_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "picture.png").write_bytes(encode_png(picture))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "picture.png"))), picture)


def test_what_is_no_rgb_picture_is_refused() -> None:
    for wrong in (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="RGB"):
            encode_png(wrong)


def test_uncertainty_has_the_colours_of_inferno() -> None:
    entropy = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32)[:, None, None], (40, 20, 20))
    geometry = Geometry((20, 20, 40), (1.4, 1.4, 1.4))
    zeros, ones = np.zeros(entropy.shape, np.int16), np.ones(entropy.shape, bool)
    _axial, coronal, _sagittal = draw_panels(zeros, zeros.astype(np.uint8), entropy, ones, geometry)
    column = coronal.uncertainty[::-1, 20].astype(float)
    expected = colormaps["inferno"](np.linspace(0, 1, len(column)))[:, :3] * 255
    assert np.abs(column - expected).max() < 12


def test_without_uncertainty_there_is_no_picture_of_it() -> None:
    zeros, ones = np.zeros((20, 20, 20), np.int16), np.ones((20, 20, 20), bool)
    panels = draw_panels(zeros, zeros.astype(np.uint8), None, ones, Geometry((20, 20, 20), (1, 1, 1)))
    assert [panel.uncertainty for panel in panels] == [None] * 3
