"""CT samples for a lung mask, as files: read the mask, draw, carry the result to the mask's grid, write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import Cancelled, InputError, require_within
from ..grid.canonical import resample_mask, working_geometry
from ..io.ct import CT, Geometry, read_mask, resample, write_image
from ..io.image_file import opened_or_refused, read_volume
from ..io.own_files import CARD
from ..io.padding import AIR
from ..io.whole_file import writing
from ..running.output_folder import OutputFolder

if TYPE_CHECKING:
    from ..running.session import Session


_LEAST_ML, _MOST_ML = 100.0, 15_000.0
_MOST_SAMPLES, _MOST_STEPS = 999, 250


@dataclass(frozen=True)
class GenerationRequest:
    """What to draw and where to write it.

    Attributes:
        lungs: mask file; every label above 0 counts.
        output: folder of the samples.
        count: number of samples, 1..999.
        ct: a CT that holds outside the lungs, or None for air there.
        bundle: the model: folder, zip or ``"default"``.
        steps: most evaluations of the network a sample, 1..250.
        start: where the walk begins, share of T in 0..1, see :class:`model.sampling.Sampling`.
        overlap: share of a tile that its neighbour also sees, 0..0.5.
        seed: of the noise, not negative.
        device: as :func:`model.network.pick_device` takes it.
        raw: samples as plain voxels with a header (:mod:`DiffSegLungLib.io.raw_image`), not as NIfTI.
        overwrite: replace earlier samples of the same names.

    Raises:
        InputError: a number outside its range.
    """

    lungs: Path
    output: Path
    count: int = 1
    ct: Path | None = None
    bundle: str = "default"
    steps: int = 25
    start: float = 0.6
    overlap: float = 0.25
    seed: int = 0
    device: str = "auto"
    raw: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_within("number of samples", self.count, 1, _MOST_SAMPLES)
        require_within("overlap", self.overlap, 0.0, 0.5)
        require_walk(self.steps, self.start, self.seed)

    @property
    def names(self) -> tuple[str, ...]:
        """File names of the samples, in order."""
        suffix = ".mhd" if self.raw else ".nii.gz"
        return tuple(f"sample-{i + 1:03d}{suffix}" for i in range(self.count))


def require_walk(steps: int, start: float, seed: int) -> None:
    """Refuse what no sample can be drawn with; ranges as in :class:`GenerationRequest`.

    Raises:
        InputError: a number outside its range.
    """
    require_within("number of steps", steps, 1, _MOST_STEPS)
    require_within("start", start, 0.05, 1.0)
    require_within("seed", seed, 0, 2**63 - 1)


def generate(request: GenerationRequest, session: Session) -> None:
    """Draw the samples of a request into its folder, which appears whole or not at all.

    Every sample is int16 HU on the grid of the mask: in [-1000, 400] within the lungs; the given CT, or air
    of -1024 HU, outside them.

    Raises:
        InputError: mask, CT, model, device or output folder cannot be used.
        Cancelled: the session was asked to stop; nothing is left.
    """
    session.plan({"start": 0.02, "sample": 1.0, "output": 0.01})
    session.check("start")
    session.output = OutputFolder(request.output, (*request.names, CARD), overwrite=request.overwrite)
    folder = session.output.path
    mask, geometry = read_lungs(request.lungs)
    ct = None if request.ct is None else _matching_ct(request.ct, geometry)
    grid = working_geometry(mask, geometry)
    lungs = resample_mask(mask, geometry, grid)
    around = None if ct is None else resample(ct.hu, geometry, grid, order="linear", fill=AIR)

    from ..model.library import load_model
    from ..model.network import pick_device
    from .sampling import Sampling, first_timestep, sample_lungs

    bundle, place = load_model(request.bundle), pick_device(request.device)
    session.check("sample")

    def draw(number: int) -> NDArray[np.float32]:
        how = Sampling(
            steps=request.steps,
            start=request.start,
            overlap=request.overlap,
            seed=request.seed,
            talk=session.talk.at("sample").part(number / request.count, (number + 1) / request.count),
        )
        return sample_lungs(bundle, lungs, how, number=number, around=around, device=place)

    for number, name in enumerate(request.names):
        write_image(folder / name, on_grid(draw(number), grid, mask, geometry, ct), geometry)
    session.check("output")
    card = {
        "what": "Drawn by a generative model; not a scan of anyone.",
        "library": __version__,
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "solver": "DPM-Solver++(2M)",
        "steps": request.steps,
        "first_timestep": first_timestep(bundle, Sampling(start=request.start)),
        "timesteps": bundle.schedule.timesteps,
        "overlap": request.overlap,
        "seed": request.seed,
        "device": place.type,
        "outside_the_lungs": "air" if ct is None else "the given CT",
        "samples": list(request.names),
    }
    with writing(folder / CARD) as aside:
        aside.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    if session.cancelled() or not session.output.commit():
        raise Cancelled("output")
    target = session.output.target
    plural = "s" if request.count > 1 else ""
    session.display.result(str(target), f"{request.count} sample{plural} of {bundle.name} in {target}")


def on_grid(
    hu: NDArray[np.float32],
    grid: Geometry,
    mask: NDArray[np.bool_],
    geometry: Geometry,
    ct: CT | None = None,
) -> NDArray[np.int16]:
    """A sample on the working grid, carried to the mask's: HU in the lungs, the CT or air elsewhere."""
    drawn = np.rint(resample(hu, grid, geometry, order="linear", fill=AIR)).astype(np.int16)
    outside: Any = AIR if ct is None else np.rint(ct.hu)
    return np.asarray(np.where(mask, drawn, outside), np.int16)


def read_lungs(path: Path) -> tuple[NDArray[np.bool_], Geometry]:
    """A lung mask on its own grid.

    Raises:
        InputError: not readable, empty, not a mask, or of a volume that lungs do not have.
    """
    with opened_or_refused(path):
        values, geometry, _ = read_volume(path)
    if values.min() < 0 or (values.dtype.kind == "f" and bool((values != np.rint(values)).any())):
        raise InputError(
            "not-a-mask",
            f"{path.name} is no mask: its values run from {values.min():g} to {values.max():g}.",
            "Give a label map of the lungs, with 0 outside them.",
        )
    mask = read_mask(path, geometry)
    volume = float(mask.sum()) * geometry.voxel_ml
    if not _LEAST_ML <= volume <= _MOST_ML:
        raise InputError(
            "not-lungs",
            f"The mask {path.name} marks {volume:.0f} ml, which no pair of lungs has.",
            f"Give a mask of the lungs, {_LEAST_ML:.0f}..{_MOST_ML:.0f} ml.",
        )
    return mask, geometry


def _matching_ct(path: Path, geometry: Geometry) -> CT:
    ct = CT.read(path)
    if not ct.geometry.same_grid(geometry):
        raise InputError(
            "mask-elsewhere",
            f"The CT {path.name} and the lung mask have different grids.",
            "Give the CT on which the mask was drawn.",
        )
    return ct
