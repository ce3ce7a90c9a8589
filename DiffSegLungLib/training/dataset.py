"""Lung patches for training, each one a pure function of (seed, number): exact order, exact resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from ..grid.canonical import CELL, SPACING_ZYX
from ..lesions.acquisition import acquire, random_acquisition
from ..lesions.diseases import fall_ill
from .store import PreparedVolume

_LEAST_LUNG = 0.25
_TRIES = 8


@dataclass(frozen=True)
class PatchSettings:
    """How patches are drawn.

    Attributes:
        patch: (z, y, x) canonical voxels, multiples of the cell.
        lesion_probability: share of patches with synthetic disease, 0..1; its labels are dropped.
        acquisition_probability: share of patches that read as if the CT had been taken otherwise (gaps,
            motion, kernel, noise), 0..1; none unless it is shown to help.
        hu_jitter: standard deviation of a shift of the whole patch, HU: inspiration and calibration differ.
        noise_hu: largest standard deviation of added white noise, HU: doses differ.
        seed: seed of every random choice.
        hu_preserving: False gives HU z-scored over the lungs of each CT (:func:`z_scored`); for ablations.

    Raises:
        InputError: the patch does not hold whole blocks of two cells.
    """

    patch: tuple[int, int, int] = (32, 96, 96)
    lesion_probability: float = 0.5
    acquisition_probability: float = 0.0
    hu_jitter: float = 15.0
    noise_hu: float = 25.0
    seed: int = 0
    hu_preserving: bool = True

    def __post_init__(self) -> None:
        if any(n < 1 or n % (2 * c) for n, c in zip(self.patch, CELL, strict=True)):
            raise InputError(
                "bad-patch",
                f"The patch size {self.patch} does not hold whole 16 mm blocks.",
                "It must be a multiple of (8, 16, 16) voxels (z, y, x).",
            )


class PatchDataset(Dataset[dict[str, Tensor]]):
    """Random lung patches: item ``i`` is always the same patch, whichever process asks for it, and when.

    Items are dictionaries of ``hu`` (D, H, W) float32 in HU and ``lungs`` (D, H, W) bool.
    """

    def __init__(self, volumes: list[PreparedVolume], settings: PatchSettings) -> None:
        if not volumes:
            raise InputError(
                "no-volumes", "There is no CT to take patches from.", "At least one usable CT is needed."
            )
        self.settings = settings
        self.volumes = volumes
        self._open: dict[int, tuple[NDArray[np.int16], NDArray[np.bool_]]] = {}
        self._centres: dict[int, NDArray[np.int64]] = {}
        self._scales: dict[int, tuple[float, float]] = {}
        sizes = np.sqrt([float(np.prod(v.open()[0].shape)) for v in volumes])
        self._shares = sizes / sizes.sum()

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.settings.seed, number])
        # The square root keeps large lungs from drowning the small ones.
        volume = int(rng.choice(len(self.volumes), p=self._shares))
        hu, lungs = self._crop(volume, rng)
        hu, _ = fall_ill(hu, lungs, SPACING_ZYX, rng, probability=self.settings.lesion_probability)
        if rng.random() < self.settings.acquisition_probability:
            hu = acquire(hu, SPACING_ZYX, random_acquisition(rng), rng)
        for axis in range(3):
            if rng.random() < 0.5:
                hu, lungs = np.flip(hu, axis), np.flip(lungs, axis)
        hu = hu + np.float32(rng.normal(0.0, self.settings.hu_jitter))
        hu = hu + rng.standard_normal(hu.shape, dtype=np.float32) * np.float32(
            rng.uniform(0, self.settings.noise_hu)
        )
        if not self.settings.hu_preserving:
            hu = z_scored(hu, *self._level_and_spread(volume))
        return {
            "hu": torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32)),
            "lungs": torch.from_numpy(np.ascontiguousarray(lungs)),
        }

    def _crop(self, volume: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A patch with enough lung in it; the fullest of a few tries where the lung is scarce."""
        best: tuple[float, Any, Any] = (-1.0, None, None)
        hu, lungs = self._arrays(volume)
        for _ in range(_TRIES):
            centre = self._centres[volume][rng.integers(len(self._centres[volume]))]
            corner = centre + np.asarray(CELL) // 2 - np.asarray(self.settings.patch) // 2
            corner = corner + np.array([rng.integers(-c, c + 1) for c in CELL])
            mask = _cut(lungs, corner, self.settings.patch, False)
            share = float(mask.mean())
            if share > best[0]:
                best = (share, corner, mask)
            if share >= _LEAST_LUNG:
                break
        _, corner, mask = best
        return _cut(hu, corner, self.settings.patch, -1000).astype(np.float32), mask

    def _arrays(self, volume: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        if volume not in self._open:
            self._open[volume] = self.volumes[volume].open()
            z, y, x = CELL
            coarse = self._open[volume][1][::z, ::y, ::x]
            self._centres[volume] = np.argwhere(coarse) * np.asarray(CELL)
        return self._open[volume]

    def _level_and_spread(self, volume: int) -> tuple[float, float]:
        if volume not in self._scales:
            self._scales[volume] = level_and_spread(*self._arrays(volume))
        return self._scales[volume]


def level_and_spread(hu: NDArray[Any], lungs: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean and standard deviation of HU within the lungs, of a CT cut to [-1000, 400] HU."""
    values = np.clip(hu[lungs], -1000, 400).astype(np.float64)
    return float(values.mean()), float(values.std())


def z_scored(hu: NDArray[np.float32], mean: float, sd: float) -> NDArray[np.float32]:
    """HU as a method sees them that is not HU-preserving: each CT brought to one lung mean and spread.

    Written in the units of a typical lung (mean -800, standard deviation 150), so that whatever expects HU
    can read it.

    Args:
        hu: any shape, HU.
        mean: of the CT's lungs, see :func:`level_and_spread`.
        sd: of the CT's lungs.
    """
    return np.asarray(-800.0 + 150.0 * (hu - mean) / max(sd, 1.0), np.float32)


def _cut(
    array: NDArray[Any], corner: NDArray[np.int64], size: tuple[int, int, int], fill: float
) -> NDArray[Any]:
    """The box of ``size`` at ``corner``, filled where it leaves the array."""
    low = np.maximum(corner, 0)
    high = np.minimum(corner + size, array.shape)
    inside = array[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    if inside.shape == size:
        return np.array(inside)
    out = np.full(size, fill, dtype=array.dtype)
    out[tuple(slice(int(a - c), int(b - c)) for a, b, c in zip(low, high, corner, strict=True))] = inside
    return out


def split_by_patient(
    volumes: list[PreparedVolume], share: float, seed: int
) -> tuple[list[PreparedVolume], list[PreparedVolume]]:
    """Training and validation volumes, no patient on both sides; no validation for a single patient.

    At least one patient is held out, unless the share is 0, and at least one is left to learn from.
    """
    patients = sorted({v.patient for v in volumes})
    if len(patients) < 2 or share <= 0.0:
        return volumes, []
    shuffled = np.random.default_rng(seed).permutation(len(patients))
    count = min(max(1, round(share * len(patients))), len(patients) - 1)
    held_out = {patients[i] for i in shuffled[:count]}
    return [v for v in volumes if v.patient not in held_out], [v for v in volumes if v.patient in held_out]
