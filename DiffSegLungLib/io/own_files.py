"""Names of the files that this library writes, passed over when CT are looked for."""

from __future__ import annotations

import re

OUTPUT_FILES = (
    "labels.seg.nrrd",
    "labels.nii.gz",
    "regions.nii.gz",
    "entropy.nii.gz",
    "evidence.nii.gz",
    "report.html",
    "table.csv",
    "result.json",
)

RAW_FILES = (
    "labels.mhd",
    "labels.raw",
    "regions.mhd",
    "regions.raw",
    "entropy.mhd",
    "entropy.raw",
    "evidence.mhd",
    "evidence.raw",
    "result.json",
)
"""What ``segment --raw`` writes instead."""

PHANTOM_FILES = ("phantom.nii.gz", "truth.seg.nrrd")

RAW_PHANTOM_FILES = ("phantom.mhd", "truth.seg.nrrd", "phantom.raw")
"""What ``phantom --raw`` writes instead."""

CARD = "samples.json"

SAMPLE = re.compile(r"sample-\d{3}\.(nii\.gz|mhd)")
"""Names of samples."""
