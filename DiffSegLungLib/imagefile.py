"""Image files through SimpleITK: read without its C++ noise, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .geometry import Geometry, to_image

if TYPE_CHECKING:
    import SimpleITK as sitk


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name in the folder of ``path`` to write to; it becomes ``path`` when the block ends well.

    A block that raises leaves neither the file nor a part of it, and an older ``path`` stays as it was.
    The temporary name keeps every suffix of ``path``, since writers choose their format by it.
    """
    aside = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield aside
        os.replace(aside, path)  # noqa: PTH105  (Path.replace does the same; os.replace is the documented atomic one)
    finally:
        aside.unlink(missing_ok=True)


def write_image(path: Path, array: NDArray[Any], geometry: Geometry) -> None:
    """Write an array (z, y, x) as ``.nii.gz``, ``.nrrd`` or ``.mha``, compressed, whole or not at all."""
    save(path, to_image(array, geometry))


def save(path: Path, image: sitk.Image) -> None:
    """Write a SimpleITK image, whole or not at all."""
    import SimpleITK as sitk

    path = Path(path)
    with replacing(path) as aside:
        sitk.WriteImage(image, str(aside), useCompression=True)
