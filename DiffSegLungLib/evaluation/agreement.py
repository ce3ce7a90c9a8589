"""What is counted of one label map on one case: every lesion for itself, so that lesions can be resampled.

Definitions:

- *False positives* of a class belong to the nearest lesion of that class in the case. So the pooled Dice
  2 TP / (2 TP + FP + FN) counts every voxel once, and a lesion brings its own errors along. In a case without
  a lesion of the class they form a unit of their own with TP = FN = 0.
- *Matched*: the 26-connected components of the predicted class that touch a lesion cover at least a quarter
  of it. HD95 is measured between such a lesion and the whole of those components.
- *False pathology*: share of the scored lung without a lesion that got the label of any pathology.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID, HEALTHY, PATHOLOGY, VESSEL
from ..io.geometry import Geometry, bounding_box
from .known_truth import LabelledCase, classes_of
from .metrics import doubt_histogram, error_auroc, hausdorff95_mm, score

MATCHED_SHARE = 0.25

_TERRITORY_MM = 3.0


@dataclass(frozen=True)
class Unit:
    """What the bootstrap draws: one lesion, or one class of a case that has no numbered lesion of it.

    Attributes:
        class_key: its true class.
        lesion: number in the case; 0 stands for the whole class.
        kind: of the lesion; empty for a whole class.
        volume_ml: true volume.
        tp_ml: found.
        fp_ml: called so in error, nearest to this lesion.
        fn_ml: missed.
        hd95_mm: NaN where not matched.
    """

    class_key: str
    lesion: int
    kind: str
    volume_ml: float
    tp_ml: float
    fp_ml: float
    fn_ml: float
    hd95_mm: float


class Truth:
    """The truth of a case, cropped to what is scored, with what every method's comparison needs.

    Attributes:
        box: the part of the CT's grid that is compared.
        geometry: of that part.
    """

    def __init__(self, case: LabelledCase) -> None:
        inside = case.scored if case.lungs is None else case.scored | case.lungs
        self.box = bounding_box(inside)
        self.geometry: Geometry = case.ct.geometry.crop(self.box)
        self._truth = case.truth[self.box]
        self._scored = case.scored[self.box]
        self._owner = None if case.owner is None else case.owner[self.box]
        self._lesions = case.lesions
        self._known = classes_of(case)
        self._compared = sorted({*self._known, *PATHOLOGY})

    def measure(
        self, labels: NDArray[np.uint8], entropy: NDArray[np.floating] | None = None
    ) -> dict[str, Any]:
        """All numbers of a label map (z, y, x) on :attr:`geometry`, as plain values.

        Returns:
            ``classes`` (Dice and volumes a class key), ``units`` (see :class:`Unit`),
            ``false_pathology_percent``, and with an entropy ``auroc``, ``right`` and ``wrong``
            (:func:`~.metrics.doubt_histogram`).
        """
        spacing = self.geometry.spacing_zyx
        found = score(self._truth, labels, spacing, within=self._scored, classes=self._compared)
        healthy = self._scored & (self._truth == HEALTHY)
        called = np.bincount(labels[healthy], minlength=VESSEL + 1)
        measured: dict[str, Any] = {
            "classes": {BY_ID[c].key: asdict(s) for c, s in found.items()},
            "units": [asdict(unit) for unit in self._units(labels, found)],
            "false_pathology_percent": 100 * float(called[list(PATHOLOGY)].sum() / max(called.sum(), 1)),
        }
        if entropy is not None:
            inside = self._scored & (self._truth > 0) & (labels > 0)
            doubt, wrong = entropy[inside], labels[inside] != self._truth[inside]
            right, errors = doubt_histogram(doubt, wrong)
            measured |= {"auroc": error_auroc(doubt, wrong), "right": right, "wrong": errors}
        return measured

    def _units(self, labels: NDArray[np.uint8], found: dict[int, Any]) -> list[Unit]:
        units = []
        for class_id, whole in found.items():
            numbers = self._numbers(class_id)
            if numbers:
                units += self._lesion_units(labels, class_id, numbers)
                continue
            hd95_mm = float("nan")
            if class_id in self._known and class_id in PATHOLOGY:
                truth, predicted = ((m == class_id) & self._scored for m in (self._truth, labels))
                hd95_mm = hausdorff95_mm(truth, predicted, self.geometry.spacing_zyx)
            common = whole.common_ml
            units.append(
                Unit(
                    BY_ID[class_id].key,
                    0,
                    "",
                    whole.truth_ml,
                    common,
                    whole.predicted_ml - common,
                    whole.truth_ml - common,
                    hd95_mm,
                )
            )
        return units

    def _lesion_units(self, labels: NDArray[np.uint8], class_id: int, numbers: list[int]) -> list[Unit]:
        from scipy import ndimage

        assert self._owner is not None
        predicted = (labels == class_id) & self._scored
        components, _ = ndimage.label(predicted, np.ones((3, 3, 3), bool))
        boxes = ndimage.find_objects(components)
        astray = self._nearest(class_id, predicted & (self._truth != class_id))
        units = []
        for number in numbers:
            where = self._voxels[number]
            touched = components.ravel()[where]
            tp = int(np.count_nonzero(touched))
            hd95_mm = float("nan")
            if tp >= MATCHED_SHARE * len(where) > 0:
                hd95_mm = self._border(number, components, boxes, np.unique(touched[touched > 0]))
            volumes = (len(where), tp, int(astray[number]), len(where) - tp)
            size, tp_ml, fp_ml, fn_ml = (voxels * self.geometry.voxel_ml for voxels in volumes)
            kind = self._lesions[number - 1].kind
            units.append(Unit(BY_ID[class_id].key, number, kind, size, tp_ml, fp_ml, fn_ml, hd95_mm))
        return units

    def _border(
        self, number: int, components: NDArray[np.integer], boxes: list[Any], chosen: NDArray[np.integer]
    ) -> float:
        """HD95 between a lesion and the components that touch it, in the box that holds all of them."""
        lesion = np.unravel_index(self._voxels[number], components.shape)
        corners = [boxes[component - 1] for component in chosen]
        box = tuple(
            slice(
                min(int(at.min()), *(c[axis].start for c in corners)),
                max(int(at.max()) + 1, *(c[axis].stop for c in corners)),
            )
            for axis, at in enumerate(lesion)
        )
        truth = np.zeros(tuple(s.stop - s.start for s in box), bool)
        truth[tuple(at - s.start for at, s in zip(lesion, box, strict=True))] = True
        touching = np.isin(components[box], chosen)
        return hausdorff95_mm(truth, touching, self.geometry.spacing_zyx)

    def _numbers(self, class_id: int) -> list[int]:
        """Lesions of a class that have a scored voxel left."""
        if self._owner is None:
            return []
        return [x.number for x in self._lesions if x.class_id == class_id and len(self._voxels[x.number])]

    @cached_property
    def _voxels(self) -> dict[int, NDArray[np.int64]]:
        """Flat indices of the scored voxels of every lesion that show its class."""
        assert self._owner is not None
        shown = np.flatnonzero((self._owner > 0) & self._scored)
        owner, truth = self._owner.ravel()[shown], self._truth.ravel()[shown]
        return {x.number: shown[(owner == x.number) & (truth == x.class_id)] for x in self._lesions}

    def _nearest(self, class_id: int, wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many of the wrong voxels lie nearest to each lesion of a class: counts by lesion number."""
        territory, step = self._territories[class_id]
        places = tuple(at // s for at, s in zip(np.nonzero(wrong), step, strict=True))
        return np.bincount(territory[places], minlength=len(self._lesions) + 1)

    @cached_property
    def _territories(self) -> dict[int, tuple[NDArray[np.uint16], tuple[int, ...]]]:
        """For every class the number of its nearest lesion, on every n-th voxel (about 3 mm apart)."""
        from scipy import ndimage

        assert self._owner is not None
        step = tuple(max(1, int(_TERRITORY_MM / s)) for s in self.geometry.spacing_zyx)
        shape = tuple(-(-n // s) for n, s in zip(self._owner.shape, step, strict=True))
        sampling = tuple(n * s for n, s in zip(step, self.geometry.spacing_zyx, strict=True))
        territories = {}
        for class_id in {x.class_id for x in self._lesions}:
            coarse = np.zeros(shape, np.uint16)
            for number in self._numbers(class_id):
                at = np.unravel_index(self._voxels[number], self._owner.shape)
                coarse[tuple(a // s for a, s in zip(at, step, strict=True))] = number
            if coarse.any():
                nearest = ndimage.distance_transform_edt(
                    coarse == 0, sampling=sampling, return_distances=False, return_indices=True
                )
                coarse = coarse[tuple(nearest)]
            territories[class_id] = (coarse, step)
        return territories
