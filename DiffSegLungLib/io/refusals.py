"""The sentences about damaged files, shared by all readers."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError

THINNEST_MM, THICKEST_MM = 0.05, 20.0
"""Between these lies the spacing of every chest CT."""


def unreadable(name: str) -> InputError:
    """A file that is not what its name says, or no longer."""
    return InputError(
        "unreadable",
        f"{name} cannot be read: the file is damaged or of another kind than its name says.",
        "Copy or export it again.",
    )


def truncated(name: str) -> InputError:
    """A file that ends, or whose compression breaks off, before its last voxel."""
    return InputError(
        "truncated", f"{name} is cut off or damaged before its last voxel.", "Copy or export it again."
    )


def not_finite(count: int, name: str) -> InputError:
    """A volume with ``count`` voxels that are NaN or infinite."""
    return InputError(
        "not-finite",
        f"{name} holds NaN or infinity in {count} of its voxels.",
        "Replace them by -1024 HU where they are padding, or export the CT again.",
    )


def bad_direction(name: str) -> InputError:
    """A volume whose axes span no space, or whose place is not a number."""
    return InputError(
        "bad-direction",
        f"{name} has no usable orientation: its axes are parallel, sheared, zero or not numbers.",
        "Convert the scan from its DICOM again.",
    )


def bad_spacing(name: str, stored: str) -> InputError:
    """A volume whose voxels have no size, or one that no scanner makes; ``stored`` is what the file says."""
    return InputError(
        "bad-spacing",
        f"{name} has a voxel spacing of {stored} mm.",
        f"Every spacing must lie between {THINNEST_MM:g} and {THICKEST_MM:g} mm, as in the scan's DICOM.",
    )


def shown_name(path: Path) -> str:
    """A file's name for people, with question marks for bytes that are no UTF-8."""
    return path.name.encode(errors="replace").decode()


def check_name(path: Path) -> None:
    """Refuse a path with bytes that are no UTF-8: the libraries that read and write images end the program.

    Raises:
        InputError: code ``undecodable-name``.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            "undecodable-name",
            f"The path of {shown_name(path)} holds characters that cannot be read.",
            "Rename the file or its folder with ordinary letters and digits.",
        ) from None
