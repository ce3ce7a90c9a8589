"""Names of the files that this library writes, passed over when CT are looked for."""

from __future__ import annotations

import re

OUTPUT_FILES = (
    "labels.seg.nrrd",
    "labels.nii.gz",
    "regions.nii.gz",
    "entropy.nii.gz",
    "report.html",
    "table.csv",
    "result.json",
)


PHANTOM_FILES = ("phantom.nii.gz", "truth.seg.nrrd")

CARD = "samples.json"

SAMPLE = re.compile(r"sample-\d{3}\.nii\.gz")
"""Names of samples."""
