"""What DiffSegLung and its rivals share of one CT: calibrated, resampled, cut into cells, once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...anatomy.air_offset import air_offset
from ...anatomy.lungs import lungs_from_mask, segment_lungs
from ...anatomy.vessels import vessel_mask
from ...config import Config
from ...grid.canonical import SPACING_ZYX, Canonical, working_volume
from ...io.ct import Geometry, resample
from ...segmentation.diffusion_features import diffusion_features
from ...segmentation.statistics import smoothed, statistics_features

if TYPE_CHECKING:
    from ...anatomy.lungs import Lungs
    from ...grid.cells import Cells
    from ...io.ct import CT
    from ...model.bundle import Bundle
    from ...segmentation.aeration import Aeration

T = TypeVar("T")
_DEFAULT = Config()


@dataclass(frozen=True)
class Prepared:
    """One CT as every method gets it.

    Attributes:
        geometry: the CT's own grid.
        lungs: lungs on that grid.
        shift_hu: air-offset correction that was added, HU.
        canonical: the CT on the working grid.
        smooth: :func:`features.smoothed` of it.
        vessels: (z, y, x) bool, vessels and airway walls.
        cells: the lung cells with their local statistics.
        aeration: the patient's healthy level.
    """

    geometry: Geometry
    lungs: Lungs
    shift_hu: float
    canonical: Canonical
    smooth: NDArray[np.float32]
    vessels: NDArray[np.bool_]
    cells: Cells
    aeration: Aeration
    _kept: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, ct: CT, lungs: NDArray[np.bool_] | None = None, *, correct_air: bool = True) -> Prepared:
        """Prepare a CT as :class:`pipeline.Segmenter` does.

        Args:
            ct: the scan.
            lungs: (z, y, x) bool on its grid; None finds them.
            correct_air: whether to shift HU so that air reads -1000.

        Raises:
            InputError: no lungs, or a mask on another grid.
        """
        chest = segment_lungs(ct) if lungs is None else lungs_from_mask(ct, lungs)
        shift_hu = air_offset(ct, chest).shift_hu if correct_air else 0.0
        return cls.on(working_volume(ct, chest, shift_hu=shift_hu), ct.geometry, chest, shift_hu)

    @classmethod
    def on(cls, canonical: Canonical, geometry: Geometry, lungs: Lungs, shift_hu: float) -> Prepared:
        """Prepare what is on the working grid already."""
        smooth = smoothed(canonical.hu)
        vessels = vessel_mask(canonical.hu, canonical.lungs, SPACING_ZYX)
        cells, aeration = statistics_features(canonical, smooth, vessels)
        return cls(geometry, lungs, shift_hu, canonical, smooth, vessels, cells, aeration)

    def student(
        self,
        bundle: Bundle,
        timesteps: tuple[int, ...] = _DEFAULT.timesteps,
        *,
        overlap: float = _DEFAULT.overlap,
        seed: int = _DEFAULT.seed,
    ) -> NDArray[np.float32]:
        """Embeddings of a bundle's student, (n, 128 · timesteps) float32; each timestep is computed once."""

        def embed(timestep: int) -> tuple[Bundle, NDArray[np.float32]]:
            features = diffusion_features(
                self.canonical,
                self.cells,
                bundle,
                timesteps=(timestep,),
                overlap=overlap,
                seed=seed,
                device="cpu",
            )
            # The bundle is kept beside its features: no other may get its id.
            return bundle, features

        blocks = [
            self.once(("student", id(bundle), t, overlap, seed), partial(embed, t))[1] for t in timesteps
        ]
        return np.concatenate(blocks, axis=1)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, computed at the first call with this key and kept."""
        if key not in self._kept:
            self._kept[key] = make()
        value: T = self._kept[key]
        return value

    def onto_ct(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Carry canonical labels to the CT's own grid, nearest voxel, 0 outside the lungs."""
        carried = resample(labels, self.canonical.geometry, self.geometry, order="nearest", fill=0)
        return np.where(self.lungs.mask, carried, 0).astype(np.uint8)
