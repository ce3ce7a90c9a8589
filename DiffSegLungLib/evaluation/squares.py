"""The product on slices that were read square by square: what it says of every square."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..classes import PATHOLOGY
from ..io.ct import CT
from .readings import CODES, ReadCT

if TYPE_CHECKING:
    from ..config import Config

Labels = NDArray[np.uint8]
Field = NDArray[np.float32]
LabelsAt = Callable[[float], Labels]

LEAST_LABELLED = 0.10
"""A square of which less is labelled lies outside the lungs that the product found."""

LEAST_DISEASE = 0.25
"""A square is sick if all diseases together fill so much of its labelled voxels."""

OUTSIDE = "-"
"""What is said of a square outside the lungs that the product found."""

SENSITIVITIES = tuple(n / 20 for n in range(21))
"""The points of the ROC, beside the operating point."""

_CODE_OF = {class_id: code for code, class_id in CODES.items()}


def measure_regions(read: ReadCT, bundle: str, config: Config, *, picture: Path) -> dict[str, Any]:
    """Segment a CT and say what came out in every square, as plain values.

    Args:
        read: the CT and its readings.
        bundle: the model.
        config: the settings.
        picture: where readings and labels go; a patient is recognisable in it.

    Raises:
        InputError: the CT cannot be read, or has no such slice or square.
    """
    from ..segmentation.evidence import disease_probability
    from ..segmentation.pipeline import Segmenter
    from .square_picture import write_squares

    ct = CT.read(read.volume)
    read.require_within(ct.hu.shape)
    begin = time.monotonic()
    result = Segmenter(bundle, config).run(ct)
    taken = time.monotonic() - begin

    write_squares(picture, read, ct, result.labels)
    points = sorted({*SENSITIVITIES, config.sensitivity})

    def labels_at(sensitivity: float) -> Labels:
        return result.redrawn(sensitivity).labels

    def probability(number: int) -> Field:
        return disease_probability(result.evidence[number])

    return {
        "seconds": taken,
        "sensitivity": config.sensitivity,
        "sensitivities": points,
        "slices": said_of_squares(read, labels_at, points, config.sensitivity, probability),
    }


def said_of_squares(
    read: ReadCT,
    labels_at: LabelsAt,
    sensitivities: Sequence[float],
    operating_point: float,
    probability: Callable[[int], Field],
) -> dict[str, list[dict[str, Any]]]:
    """What the labels say of every square at every sensitivity.

    Args:
        read: the readings.
        labels_at: takes a sensitivity in 0..1 to labels (z, y, x) of class ids, 0 outside the lungs.
        sensitivities: the points of the curve, ``operating_point`` among them.
        operating_point: where ``labelled`` and ``disease`` are measured.
        probability: takes the number of a slice to the probability of disease (y, x) of its voxels.

    Returns:
        Of every slice its squares, those that are not scored too: ``box`` (y0, y1, x0, x1), ``code`` as it
        was read, ``said``, one letter a sensitivity (:func:`said_of`), ``labelled``, the share of the square
        in the lungs, ``disease``, the share of all diseases among its labelled voxels (0 without any), and
        ``p``, the mean probability of disease of these.
    """
    entries: dict[str, list[dict[str, Any]]] = {
        str(number): [
            {"box": [*square.rows, *square.columns], "code": square.code, "said": ""} for square in squares
        ]
        for number, squares in read.slices.items()
    }
    for sensitivity in sensitivities:
        labels = labels_at(sensitivity)
        for number, squares in read.slices.items():
            for square, entry in zip(squares, entries[str(number)], strict=True):
                part = labels[number][square.where]
                entry["said"] += said_of(part)
                if sensitivity == operating_point:
                    labelled = int(np.count_nonzero(part))
                    sick = int(np.count_nonzero(np.isin(part, PATHOLOGY)))
                    entry["labelled"] = round(labelled / part.size, 4)
                    entry["disease"] = round(sick / max(labelled, 1), 4)
                    own = probability(number)[square.where][part > 0]
                    entry["p"] = round(float(own.mean()), 4) if labelled else 0.0
    return entries


def said_of(labels: Labels) -> str:
    """The code of a square.

    Args:
        labels: (y, x) class ids of the square, 0 outside the lungs.

    Returns:
        :data:`OUTSIDE` where less than a tenth is labelled; the disease with the largest share where all
        diseases fill a quarter of what is labelled; else ``H``.
    """
    count = np.bincount(labels.ravel(), minlength=256)
    labelled = labels.size - int(count[0])
    if labelled < LEAST_LABELLED * labels.size:
        return OUTSIDE
    sick = count[list(PATHOLOGY)]
    if sick.sum() < LEAST_DISEASE * labelled:
        return "H"
    return _CODE_OF[PATHOLOGY[int(np.argmax(sick))]]
