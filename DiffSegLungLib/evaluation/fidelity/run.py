"""The command ``fidelity``: real patches of two groups of patients, samples, baselines, and the report."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import Cancelled, InputError, require_within
from ...generation.samples import require_walk
from ...grid.canonical import SPACING_ZYX, resample_mask, working_geometry
from ...io.ct import resample
from ...io.padding import AIR
from ...running.output_folder import OutputFolder
from ...talk import Talk
from ...training.dataset import PatchDataset, PatchSettings, split_by_patient
from ...training.store import PreparedVolume, prepare_store
from ..metrics import require_monai
from .distances import Distances, Patches, Reference, similarity, tissue_ranges
from .report import MARKDOWN, NUMBERS, PICTURE, Fidelity, Reconstruction, write_report

if TYPE_CHECKING:
    import torch

    from ...generation.sampling import Sampling
    from ...model.bundle import Bundle
    from ...running.session import Session

FLOOR, SAME, DRAWN, PURE = (
    "real, other patients",
    "real, same patients",
    "drawn",
    "drawn from pure noise",
)
_NOISE_SHARES = (0.04, 0.2, 0.4, 0.6)
_MOST_REBUILT = 16
_BLUR_MM = 2.0
_GAUSSIANS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_PHANTOMS = 2
_LEAST = 4


@dataclass(frozen=True)
class FidelityRequest:
    """What to compare, and where the report goes.

    Attributes:
        sources: CT, or folders that are searched for them; of two patients at least.
        output: folder of the report.
        count: patches of each kind, at least 4; covariances of 34 features want more than 34.
        store: keeps the prepared CT, or None.
        bundle: the model: folder, zip or ``"default"``.
        steps: most evaluations of the network a sample.
        start: where samples begin, as for :class:`~..model.sampling.Sampling`.
        seed: of patches and noise.
        device: as :func:`~..model.network.pick_device` takes it.
        overwrite: replace an earlier report.

    Raises:
        InputError: a number outside its range.
    """

    sources: tuple[Path, ...]
    output: Path
    count: int = 64
    store: Path | None = None
    bundle: str = "default"
    steps: int = 25
    start: float = 0.6
    seed: int = 0
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_within("number of patches", self.count, _LEAST, 100_000)
        require_walk(self.steps, self.start, self.seed)


def measure(request: FidelityRequest, session: Session) -> None:
    """Measure a model's samples beside real patches and baselines, and write the report.

    Raises:
        InputError: fewer than two usable patients, MONAI missing, model or output cannot be used.
        Cancelled: the session was asked to stop; nothing is left but the store that was named.
    """
    session.plan({"prepare": 3.0, "patches": 0.6, "sample": 2.0, "reconstruct": 1.0, "measure": 0.3})
    session.check("prepare")
    require_monai()
    names = (MARKDOWN, NUMBERS, PICTURE)
    session.output = OutputFolder(request.output, names, overwrite=request.overwrite)
    aside = session.output.path / "aside"

    from ...generation.sampling import Sampling, first_timestep, flat_ct, sample_patches
    from ...model.library import load_model
    from ...model.network import pick_device

    bundle, place = load_model(request.bundle), pick_device(request.device)
    if request.store is not None:
        session.kept = f"Nothing was written but the CT prepared by now, which are kept in {request.store}."
    volumes, _ = prepare_store(
        list(request.sources),
        request.store or aside,
        looked_at=lambda seen: session.display.note(seen[-1].told),
        talk=session.talk.at("prepare"),
    )
    theirs, ours = split_by_patient(volumes, 0.5, request.seed)
    if not ours:
        raise InputError(
            "too-few-patients",
            "The CT given come from fewer than two patients that can be used.",
            "Real patches are compared with those of other patients: give CT of at least two.",
        )
    session.check("patches")
    size, count, seed = bundle.patch, request.count, request.seed
    reference = _draw(theirs, size, range(count), seed)
    again = _draw(theirs, size, range(count, 2 * count), seed)
    real = _draw(ours, size, range(count), seed)
    session.check("patches")
    chests = _draw(_phantoms(aside / "phantoms", seed), size, range(count), seed)

    how = Sampling(steps=request.steps, start=request.start, seed=seed)

    def draw(start: float, talk: Talk) -> Patches:
        chosen = replace(how, start=start, talk=talk)
        return Patches(sample_patches(bundle, real.lungs, chosen, device=place), real.lungs)

    session.check("sample")
    sampling = session.talk.at("sample")
    drawn, pure = draw(request.start, sampling.part(0.0, 0.5)), draw(1.0, sampling.part(0.5, 1.0))
    kinds = {
        FLOOR: real,
        SAME: again,
        DRAWN: drawn,
        PURE: pure,
        f"real, blurred ({_BLUR_MM:g} mm)": Patches(_blurred(real.hu), real.lungs),
        "generated chests": chests,
        "Gaussian noise, same mean and spread": _gaussian(reference, real.lungs, seed),
        "flat CT": Patches(flat_ct(real.lungs, seed), real.lungs),
    }
    session.check("reconstruct")
    some = min(count, _MOST_REBUILT)
    few = Patches(real.hu[:some], real.lungs[:some])
    rebuilt = _reconstructions(bundle, few, how, place, session.talk.at("reconstruct"))
    session.check("measure")
    known = set(bundle.card.get("data", {}).get("training_fingerprints", ()))
    found = Fidelity(
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        count=count,
        rebuilt=some,
        steps=request.steps,
        first_timestep=first_timestep(bundle, how),
        timesteps=bundle.schedule.timesteps,
        seed=seed,
        patients=(len({v.patient for v in theirs}), len({v.patient for v in ours})),
        trained_on=(sum(v.fingerprint in known for v in volumes), len(volumes)),
        distances=_distances(Reference(reference), kinds, session),
        tissues=tissue_ranges(_joined(reference, real), drawn),
        reconstructions=rebuilt,
    )
    shutil.rmtree(aside, ignore_errors=True)
    write_report(found, real, drawn, session.output.path)
    if session.cancelled() or not session.output.commit():
        raise Cancelled("output")
    report = session.output.target / MARKDOWN
    session.display.result(str(report), f"Report: {report}")


def _distances(reference: Reference, kinds: dict[str, Patches], session: Session) -> dict[str, Distances]:
    found = {}
    for number, (kind, patches) in enumerate(kinds.items()):
        if session.cancelled():
            raise Cancelled("measure")
        found[kind] = reference.distances(patches)
        session.progress("measure", (number + 1) / len(kinds))
    return found


def _reconstructions(
    bundle: Bundle,
    real: Patches,
    how: Sampling,
    place: torch.device,
    talk: Talk,
) -> list[Reconstruction]:
    """Real patches taken back from noise: by the model, by the best Gaussian, and left as they are."""
    from scipy.ndimage import gaussian_filter

    from ...generation.sampling import noise_field, reconstruct_patches
    from ...grid.canonical import denormalise, normalise

    truth, found = real.hu.clip(-1000, 400), []
    noise = np.stack([noise_field(truth.shape[1:], how.seed, i) for i in range(len(truth))])
    for number, share in enumerate(_NOISE_SHARES):
        t = round(share * bundle.schedule.timesteps)
        part = talk.part(number / len(_NOISE_SHARES), (number + 1) / len(_NOISE_SHARES))
        chosen = replace(how, talk=part)
        back = reconstruct_patches(bundle, real.hu, real.lungs, t, chosen, device=place)
        signal = float(bundle.schedule.alpha_bar[t])
        # What was noised and divided by what is left of the signal has the right level everywhere.
        noisy = denormalise(normalise(truth) + np.float32(((1 - signal) / signal) ** 0.5) * noise)
        smooth = [similarity(gaussian_filter(noisy, (0, s / 2, s, s)), truth) for s in _GAUSSIANS]
        for method, scores in (
            ("model", similarity(back, truth)),
            ("best Gaussian", max(smooth, key=lambda pair: pair[1])),
            ("nobody", similarity(noisy, truth)),
        ):
            found.append(Reconstruction(t, method, *scores))
    return found


def _draw(volumes: list[PreparedVolume], size: tuple[int, int, int], numbers: range, seed: int) -> Patches:
    """Patches as in training, but as the CT holds them: without lesions, shift or added noise."""
    plain = PatchSettings(patch=size, lesion_probability=0.0, hu_jitter=0.0, noise_hu=0.0, seed=seed)
    dataset = PatchDataset(volumes, plain)
    items = [dataset[i] for i in numbers]
    hu, lungs = (np.stack([item[name].numpy() for item in items]) for name in ("hu", "lungs"))
    return Patches(hu.astype(np.float32), lungs)


def _phantoms(folder: Path, seed: int) -> list[PreparedVolume]:
    """Generated chests with lesions, prepared like CT."""
    from ...phantom.phantom import generate_phantom

    made = []
    for number in range(seed, seed + _PHANTOMS):
        phantom = generate_phantom(number, "standard")
        geometry = phantom.ct.geometry
        grid = working_geometry(phantom.lungs, geometry)
        home = folder / str(number)
        home.mkdir(parents=True)
        hu = resample(phantom.ct.hu, geometry, grid, order="linear", fill=AIR)
        np.save(home / "hu.npy", np.rint(hu).astype(np.int16))
        np.save(home / "lungs.npy", resample_mask(phantom.lungs, geometry, grid))
        made.append(PreparedVolume(home, "", str(number), f"phantom {number}"))
    return made


def _blurred(hu: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    sigma = (0.0, *(_BLUR_MM / s for s in SPACING_ZYX))
    return np.asarray(gaussian_filter(hu, sigma), np.float32)


def _gaussian(reference: Patches, lungs: np.ndarray, seed: int) -> Patches:
    values = reference.hu[reference.lungs].clip(-1000, 400)
    rng = np.random.default_rng([seed, 1])
    noise = rng.standard_normal(lungs.shape, dtype=np.float32) * values.std() + values.mean()
    return Patches(noise.astype(np.float32), lungs)


def _joined(*some: Patches) -> Patches:
    return Patches(np.concatenate([p.hu for p in some]), np.concatenate([p.lungs for p in some]))
