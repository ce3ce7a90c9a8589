"""The sentences about damaged files, shared by all readers."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError

THINNEST_MM, THICKEST_MM = 0.05, 20.0
"""Between these lies the spacing of every chest CT."""

APART_MM = 10.0
"""From this distance on, more of a lung lies between the slices than in them."""


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
    """A volume whose voxels have no size, or one that no scanner makes.

    Args:
        name: of the volume.
        stored: the spacing as the file gives it; empty where it gives none.
    """
    seen = f"has a voxel spacing of {stored} mm" if stored else "does not say how far apart its voxels are"
    return InputError(
        "bad-spacing",
        f"{name} {seen}.",
        f"Every spacing must lie between {THINNEST_MM:g} and {THICKEST_MM:g} mm, as in the scan's DICOM.",
    )


def distance_notes(slice_mm: float, name: str) -> tuple[str, ...]:
    """The note on slices so far apart that little of the lung was scanned.

    Raises:
        InputError: code ``bad-spacing``, they are farther apart than :data:`THICKEST_MM`.
    """
    if slice_mm > THICKEST_MM + 1e-3:  # a mean of rounded positions may come out a hair above
        raise bad_spacing(name, f"{slice_mm:g}")
    if slice_mm < APART_MM - 1e-3:
        return ()
    return (f"The slices of {name} lie {slice_mm:.3g} mm apart: the volumes are estimates.",)


def orientation_assumed(name: str) -> str:
    """The note on a volume that does not tell left from right."""
    return f"{name} does not say how it lies in the patient; its axes were taken as left, back and head."


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
