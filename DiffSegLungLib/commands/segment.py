"""What each command does, as work for a :class:`~DiffSegLungLib.session.Session`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Cancelled
from ..io.fingerprint import fingerprint
from ..io.own_files import OUTPUT_FILES, PHANTOM_FILES
from ..running.output_folder import OutputFolder
from ..running.session import Work

if TYPE_CHECKING:
    from ..config import Config
    from ..running.session import Session


STAGE_SHARES = {
    "start": 0.5,
    "read": 2.0,
    "lungs": 2.5,
    "grid": 0.6,
    "features": 3.6,
    "mixture": 0.8,
    "labels": 0.3,
    "fusion": 6.0,
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
    overwrite: bool = False,
) -> Work:
    """Segment one CT into a folder of results; see :class:`~DiffSegLungLib.pipeline.Segmenter`."""

    def work(session: Session) -> None:
        session.plan(STAGE_SHARES)
        session.check("start")
        session.output = OutputFolder(output, OUTPUT_FILES, overwrite=overwrite)
        _segment_into(
            session, session.output, ct, config, bundle=bundle, lungs=lungs, series=series, name=name
        )

    return work


def phantom(output: Path, seed: int, *, overwrite: bool = False) -> Work:
    """Generate a chest CT with lesions of every class, and save it beside its truth."""

    def work(session: Session) -> None:
        session.plan({"phantom": 1.0})
        session.check("phantom")
        session.output = OutputFolder(output, PHANTOM_FILES, overwrite=overwrite)
        _generate_into(session.output.path, seed)
        if session.cancelled() or not session.output.commit():
            raise Cancelled("phantom")
        ct = session.output.target / PHANTOM_FILES[0]
        session.display.result(str(ct), f"CT: {ct}\nTruth: {session.output.target / PHANTOM_FILES[1]}")

    return work


def device(name: str, bundle: str = "default") -> Work:
    """Run a model once on a device; the result is one sentence with the device's name and the seconds."""

    def work(session: Session) -> None:
        session.plan({"start": 5.0, "patch": 1.0})
        session.check("start")
        from ..model.bundle import Bundle
        from ..model.trial import try_device

        loaded = Bundle.load(bundle)
        session.check("patch")
        sentence = try_device(loaded, name)
        session.display.result(sentence, sentence)

    return work


def demo(output: Path, config: Config, *, bundle: str = "default", overwrite: bool = False) -> Work:
    """Generate a chest CT with lesions of every class, save it beside its truth, and segment it."""

    def work(session: Session) -> None:
        session.plan({"phantom": 15.0, **STAGE_SHARES})
        session.check("phantom")
        session.output = OutputFolder(output, (*PHANTOM_FILES, *OUTPUT_FILES), overwrite=overwrite)
        ct = _generate_into(session.output.path, config.seed)
        session.check("start")
        _segment_into(session, session.output, ct, config, bundle=bundle)

    return work


def card_text(card: Mapping[str, object], indent: str = "") -> str:
    """A card (nested mappings) as lines of text."""
    lines = []
    for key, value in card.items():
        name = indent + key.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{name}:", card_text(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{name}: {', '.join(str(item) for item in value)}")
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def _generate_into(folder: Path, seed: int) -> Path:
    """Write a generated chest and its truth; the path of the CT."""
    from ..io.ct import write_image, write_segmentation
    from ..phantom.phantom import generate_phantom

    made = generate_phantom(seed, "standard")
    ct, truth = (folder / name for name in PHANTOM_FILES)
    write_image(ct, made.ct.hu, made.ct.geometry)
    write_segmentation(truth, made.truth, made.ct.geometry)
    return ct


def _segment_into(
    session: Session,
    output: OutputFolder,
    ct: Path,
    config: Config,
    *,
    bundle: str,
    lungs: Path | None = None,
    series: str | None = None,
    name: str = "",
) -> None:
    from ..segmentation.pipeline import Segmenter  # numpy and SimpleITK load here, torch with the bundle

    segmenter = Segmenter(bundle, config)
    result = segmenter.run(
        ct, lungs=lungs, series=series, name=name, progress=session.progress, cancelled=session.cancelled
    )
    result.provenance["input"] = fingerprint(ct, lungs=lungs, series=series)
    result.save(output.path, progress=session.progress, cancelled=session.cancelled)
    if session.cancelled() or not output.commit():
        raise Cancelled("output")
    session.display.result(str(output.target), f"{result.summary()}\nReport: {output.target / 'report.html'}")
