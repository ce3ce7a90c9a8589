"""The commands ``phantom`` and ``demo``: a generated chest CT, and what the product makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import Cancelled
from ..io.own_files import OUTPUT_FILES, PHANTOM_FILES, RAW_PHANTOM_FILES
from ..running.output_folder import OutputFolder
from .segment import STAGE_SHARES, segment_into

if TYPE_CHECKING:
    from ..running.session import Session, Work


def phantom(output: Path, seed: int, *, raw: bool = False, overwrite: bool = False) -> Work:
    """Generate a chest CT with lesions of every class, and save it beside its truth.

    With ``raw`` the CT is uncompressed: for a program that reads it at once.
    """
    files = RAW_PHANTOM_FILES if raw else PHANTOM_FILES

    def work(session: Session) -> None:
        session.plan({"phantom": 1.0})
        session.check("phantom")
        session.output = OutputFolder(output, files, overwrite=overwrite)
        _generate_into(session.output.path, seed, raw=raw)
        if session.cancelled() or not session.output.commit():
            raise Cancelled("phantom")
        ct, truth = (session.output.target / name for name in files[:2])
        session.display.result(str(ct), f"CT: {ct}\nTruth: {truth}")

    return work


def demo(output: Path, config: Config, *, bundle: str = "default", overwrite: bool = False) -> Work:
    """Generate a chest CT with lesions of every class, save it beside its truth, and segment it."""

    def work(session: Session) -> None:
        session.plan({"phantom": 15.0, **STAGE_SHARES})
        session.check("phantom")
        session.output = OutputFolder(output, (*PHANTOM_FILES, *OUTPUT_FILES), overwrite=overwrite)
        ct = _generate_into(session.output.path, config.seed)
        session.check("start")
        segment_into(session, session.output, ct, config, bundle=bundle)

    return work


def _generate_into(folder: Path, seed: int, *, raw: bool = False) -> Path:
    """Write a generated chest and its truth; the path of the CT."""
    from ..io.ct import write_image, write_segmentation
    from ..phantom.phantom import generate_phantom

    made = generate_phantom(seed, "standard")
    ct, truth = (folder / name for name in (RAW_PHANTOM_FILES if raw else PHANTOM_FILES)[:2])
    write_image(ct, made.ct.hu, made.ct.geometry)
    write_segmentation(truth, made.truth, made.ct.geometry)
    return ct
