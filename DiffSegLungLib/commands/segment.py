"""The command ``segment``, as work for a :class:`~DiffSegLungLib.running.session.Session`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Cancelled
from ..io.own_files import OUTPUT_FILES, RAW_FILES
from ..running.output_folder import OutputFolder
from ..running.session import Work

if TYPE_CHECKING:
    from ..config import Config
    from ..running.session import Session


STAGE_SHARES = {
    "start": 0.5,
    "read": 2.0,
    "lungs": 2.5,
    "grid": 0.9,
    "statistics": 2.0,
    "features": 1.5,
    "mixture": 1.0,
    "fusion": 5.0,
    "output": 1.5,
}
"""Seconds of each stage of a balanced run on two cores; only their ratios matter, for progress and ETA."""


def segment(
    ct: Path,
    output: Path,
    config: Config,
    *,
    bundle: str = "default",
    lungs: Path | None = None,
    series: str | None = None,
    name: str = "",
    raw: bool = False,
    overwrite: bool = False,
) -> Work:
    """Segment one CT into a folder of results; see :class:`~DiffSegLungLib.segmentation.pipeline.Segmenter`.

    With ``raw`` the results are :data:`RAW_FILES`: for a program that reads them at once.
    """

    def work(session: Session) -> None:
        session.plan(STAGE_SHARES)
        session.check("start")
        session.output = OutputFolder(output, RAW_FILES if raw else OUTPUT_FILES, overwrite=overwrite)
        segment_into(
            session, session.output, ct, config, bundle=bundle, lungs=lungs, series=series, name=name, raw=raw
        )

    return work


def segment_into(
    session: Session,
    output: OutputFolder,
    ct: Path,
    config: Config,
    *,
    bundle: str,
    lungs: Path | None = None,
    series: str | None = None,
    name: str = "",
    raw: bool = False,
) -> None:
    """Segment a CT into an output folder that is open, publish it, and say where it is."""
    from ..segmentation.pipeline import Segmenter  # numpy and SimpleITK load here, torch with the bundle

    segmenter = Segmenter(bundle, config)
    result = segmenter.run(ct, lungs=lungs, series=series, name=name, talk=session.talk)
    result.save(output.path, session.talk, raw=raw)
    if session.cancelled() or not output.commit():
        raise Cancelled("output")
    place = f"Files: {output.target}" if raw else f"Report: {output.target / 'report.html'}"
    session.display.result(str(output.target), f"{result.summary()}\n{place}")
