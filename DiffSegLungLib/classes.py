"""The one table of tissue classes: ids, names, colours and terminology."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A coded concept: scheme, value and meaning, as DICOM writes it."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class TissueClass:
    """One class of the label map.

    Attributes:
        id: label value, 1..7 (0 is background).
        key: lower-case identifier used in tables, file names and tags.
        name: what a radiologist reads.
        colour: RGB in 0..255.
        category: terminology category.
        type: terminology type.
    """

    id: int
    key: str
    name: str
    colour: tuple[int, int, int]
    category: Code
    type: Code

    @property
    def terminology(self) -> str:
        """Slicer's terminology entry: context, category, type, modifier and region, separated by ``~``."""

        def triple(code: Code) -> str:
            return f"{code.scheme}^{code.value}^{code.meaning}"

        empty = "^^"
        return "~".join(
            [
                "Segmentation category and type - DiffSegLung",
                triple(self.category),
                triple(self.type),
                empty,
                "Anatomic codes - DICOM master list",
                triple(LUNG),
                empty,
            ]
        )


LUNG = Code("SCT", "39607008", "Lung structure")

_TISSUE = Code("SCT", "85756007", "Tissue")
_ABNORMAL = Code("SCT", "49755003", "Morphologically Altered Structure")

HEALTHY = 1
EMPHYSEMA = 2
GROUND_GLASS = 3
FIBROSIS = 4
CONSOLIDATION = 5
CAVITY = 6
VESSEL = 7

CLASSES: tuple[TissueClass, ...] = (
    TissueClass(HEALTHY, "healthy", "Healthy lung", (120, 190, 130), _TISSUE, LUNG),
    TissueClass(
        EMPHYSEMA, "emphysema", "Emphysema", (65, 105, 225), _ABNORMAL,
        Code("SCT", "87433001", "Pulmonary emphysema"),
    ),
    TissueClass(
        GROUND_GLASS, "ground_glass", "Ground glass", (250, 200, 80), _ABNORMAL,
        Code("DCM", "112120", "Ground glass opacity"),
    ),
    TissueClass(
        FIBROSIS, "fibrosis", "Fibrosis", (190, 90, 200), _ABNORMAL,
        Code("SCT", "51615001", "Fibrosis of lung"),
    ),
    TissueClass(
        CONSOLIDATION, "consolidation", "Consolidation", (220, 70, 60), _ABNORMAL,
        Code("SCT", "95436008", "Lung consolidation"),
    ),
    TissueClass(
        CAVITY, "cavity", "Cavity", (60, 210, 220), _ABNORMAL,
        Code("99DIFFSEGLUNG", "cavity", "Cavitary lung lesion"),
    ),
    TissueClass(
        VESSEL, "vessel", "Vessels and airway walls", (150, 150, 150), _TISSUE,
        Code("SCT", "59820001", "Blood vessel"),
    ),
)  # fmt: skip

PATHOLOGY: tuple[int, ...] = (EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION, CAVITY)
BY_ID: dict[int, TissueClass] = {c.id: c for c in CLASSES}
BY_KEY: dict[str, TissueClass] = {c.key: c for c in CLASSES}
