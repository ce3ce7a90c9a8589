"""Fit the tissue network and a model's tissue head anew: ``fit_tissues.py ../shared/data/ct``.

Real, near-healthy lungs are shown as they are, and made ill by the generator (``lesions/diseases.py``), never
by the families that measure; some of them first breathe less, many are then taken by another scanner. Half
cells of all of these become the sample; several networks of one hidden layer, which differ by their seeds,
become one: from their statistics alone (``DiffSegLungLib/segmentation/tissues.json``), and from these and
the features of the diffusion network's decoder (into the model's bundle). With ``--without acrin`` no CT
whose name holds that word takes part: what leaving one patient out needs.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

import DiffSegLungLib
from DiffSegLungLib.classes import CAVITY
from DiffSegLungLib.config import Config
from DiffSegLungLib.evaluation.disease import own_disease
from DiffSegLungLib.evaluation.known_truth import full_chest_paths
from DiffSegLungLib.grid.canonical import SPACING_ZYX, Canonical
from DiffSegLungLib.grid.cells import HALF_CELL, Cells, cell_of
from DiffSegLungLib.io.ct import CT
from DiffSegLungLib.lesions.acquisition import acquire, random_acquisition
from DiffSegLungLib.lesions.diseases import sicken
from DiffSegLungLib.lesions.lesions import KINDS
from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.hidden_layer import HiddenLayer
from DiffSegLungLib.model.library import load_model
from DiffSegLungLib.segmentation.diffusion_features import network_features
from DiffSegLungLib.segmentation.preparation import Parenchyma, prepare
from DiffSegLungLib.segmentation.tissues import MEASURES, TISSUES, measures


@dataclass(frozen=True)
class Fate:
    """What may become of a lung.

    Attributes:
        breathing_less: probability that it first holds less air.
        ill: probability of a disease or of lesions.
        retaken: probability of another scanner.
    """

    breathing_less: float
    ill: float
    retaken: float


FATES = (*(Fate(0.3, 1.0, 0.4),) * 7, *(Fate(0.4, 0.8, 0.75),) * 8)
"""Of the rounds after the first, in which every CT is seen as it is."""

FURTHER = (
    "cptac-pda_c3l-00189_lung",
    "lidc-idri_0003_standard",
    "lung-fused-ct-path_0001_b31f",
    "rider-pilot_0117_standard",
)
"""CT without much disease, beside those that lesions are inserted into."""

DECODER_TIMESTEPS = (10, 60)

LONELY = ("cavity", "part_solid")
"""Kinds that come with others only."""

MOST_CELLS, MOST_HEALTHY = 2000, 4000
"""Half cells of a round, of disease and of healthy lung each, and of healthy lung as it is."""

STATISTICS_ROUNDS = 8
"""The network over statistics alone is shown the first rounds: with all it names less fibrosis, and
calls even ground glass in noise something else."""


@dataclass(frozen=True)
class Form:
    """How many networks of how many hidden units are fitted, and how often they see a cell."""

    hidden: int
    networks: int
    epochs: int


OVER_STATISTICS, OVER_DECODER = Form(24, 5, 3), Form(48, 3, 4)
BATCH = 1024
LEARNING_RATE, WEIGHT_DECAY, JITTER = 3e-3, 1e-2, 0.1


@dataclass(frozen=True)
class Sample:
    """Half cells of a CT: measures (n, d), decoder's features (n, d'), shares of :data:`TISSUES` (n, 5)."""

    name: str
    measured: NDArray[np.float32]
    decoder: NDArray[np.float16]
    shares: NDArray[np.float32]


def main() -> None:
    """Sample, fit, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", type=Path, help="folder with the near-healthy CT")
    folder = Path(DiffSegLungLib.__file__).parent
    parser.add_argument("-o", "--output", type=Path, default=folder / "segmentation" / "tissues.json")
    parser.add_argument("--bundle", type=Path, default=folder / "weights", help="model that gets the head")
    parser.add_argument("--without", default="", metavar="WORD", help="leave out CT with this in their names")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (%(default)s)")
    options = parser.parse_args()

    paths = [*full_chest_paths(options.ct), *(options.ct / f"{stem}.nii.gz" for stem in FURTHER)]
    paths = [path for path in paths if not options.without or options.without not in path.name]
    with ProcessPoolExecutor(options.jobs) as pool:
        first, samples = [], []
        for found in pool.map(partial(sampled, bundle=options.bundle), paths):
            first += found[:STATISTICS_ROUNDS]
            samples += found
            print(found[0].name, sum(len(s.measured) for s in found), flush=True)
    entries = {name: np.round(a, 5).tolist() for name, a in vars(fitted(first, OVER_STATISTICS)).items()}
    options.output.write_text(json.dumps(entries) + "\n", encoding="utf-8")
    head = fitted(samples, OVER_DECODER)
    give_head(load_model(options.bundle), head, len(paths), len(samples)).save(options.bundle)


def give_head(bundle: Bundle, head: HiddenLayer, volumes: int, times: int) -> Bundle:
    """The bundle with a tissue head."""
    tissues = {
        "timesteps": list(DECODER_TIMESTEPS),
        "statistics": list(MEASURES),
        "fitted_to": (
            f"{volumes} volumes seen {times} times in all, healthy or made ill by the generator; "
            "no annotation"
        ),
    }
    return replace(bundle, card=bundle.card | {"tissues": tissues}, tissues=dict(vars(head)))


def sampled(path: Path, bundle: Path) -> list[Sample]:
    """Half cells of a CT as it is, and of the same lungs made ill."""
    torch.set_num_threads(1)
    model = load_model(bundle)
    canonical = prepare(CT.read(path), None, Config()).parenchyma.canonical
    ill = own_disease(path.name.removesuffix(".nii.gz"), canonical.geometry)
    fates = (None, *FATES)
    return [_round(path.name, n, fate, canonical, ill, bundle=model) for n, fate in enumerate(fates)]


def _round(
    name: str, number: int, fate: Fate | None, canonical: Canonical, ill: NDArray[np.bool_], *, bundle: Bundle
) -> Sample:
    rng = np.random.default_rng([number, zlib.crc32(name.encode())])
    hu, truth = canonical.hu, np.zeros(canonical.hu.shape, np.uint8)
    slice_mm = canonical.slice_mm
    if fate is not None:
        hu = _breathing_less(hu, canonical.lungs, rng) if rng.random() < fate.breathing_less else hu
        if rng.random() < fate.ill:
            kinds = [kind for kind in KINDS if kind not in LONELY]
            disease = str(rng.choice(kinds)) if rng.random() < 0.6 else None
            made = sicken(hu, canonical.lungs, SPACING_ZYX, rng, disease=disease, slice_mm=slice_mm)
            hu, truth = made.hu, made.truth
        if rng.random() < fate.retaken:
            taken = random_acquisition(rng)
            hu, slice_mm = acquire(hu, SPACING_ZYX, taken, rng), max(slice_mm, taken.gap_mm)
    lungs = Parenchyma.of(replace(canonical, hu=hu, slice_mm=slice_mm))
    half = lungs.half
    known = (_share(ill, half) == 0) & (_share(truth == CAVITY, half) == 0)
    shares = np.stack([_share(truth == tissue, half) for tissue in TISSUES], axis=1)
    shares[:, 0] = 1 - shares[:, 1:].sum(axis=1).clip(0, 1)
    sick = shares[:, 0] < 0.8
    most = MOST_HEALTHY if fate is None else MOST_CELLS
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(known & group))[:most] for group in (sick, ~sick)]
    )
    features = network_features(
        lungs.canonical,
        lungs.cells,
        half,
        bundle,
        timesteps=DECODER_TIMESTEPS[:1],
        decoder_timesteps=DECODER_TIMESTEPS,
        overlap=0.0,
        device="cpu",
    )
    return Sample(
        name,
        measures(half.features[chosen]),
        features.decoder[chosen].astype(np.float16),
        shares[chosen].astype(np.float32),
    )


def _breathing_less(
    hu: NDArray[np.float32], lungs: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """The same lungs with less air in them, and less still lower down."""
    below = np.linspace(-1, 1, hu.shape[1], dtype=np.float32)[None, :, None]
    more = 1 + rng.uniform(-0.1, 0.5) + rng.uniform(0, 0.35) * below
    denser = np.clip((hu + 1000) * more - 1000, -1020, -450)
    return np.where(lungs & (hu < -600), denser, hu).astype(np.float32)


def _share(mask: NDArray[np.bool_], half: Cells) -> NDArray[np.float64]:
    """Share of the lung of every half cell that a mask of voxels takes."""
    owner = cell_of(np.flatnonzero(mask), mask.shape, half.shape)
    count = np.bincount(owner, minlength=int(np.prod(half.shape)))[half.index]
    return count / np.prod(HALF_CELL) / half.fraction


def fitted(samples: list[Sample], form: Form) -> HiddenLayer:
    """The mean of several networks as one: their hidden layers side by side, their scores averaged."""
    measured = np.concatenate([sample.measured for sample in samples])
    if form is OVER_DECODER:
        further = np.concatenate([sample.decoder for sample in samples])
        measured = np.concatenate([measured, further.astype(np.float32)], axis=1)
    shares = np.concatenate([sample.shares for sample in samples])
    # Two kernels of one scan count no more than one; the last part of a name tells them.
    patients = [sample.name.rpartition("_")[0] for sample in samples]
    weights = np.concatenate(
        [np.full(len(s.measured), 1 / patients.count(p)) for s, p in zip(samples, patients, strict=True)]
    )
    mean, sd = measured.mean(axis=0), measured.std(axis=0) + 1e-3
    x = torch.from_numpy(((measured - mean) / sd).clip(-5, 5).astype(np.float32))
    y, w = torch.from_numpy(shares), torch.from_numpy(weights.astype(np.float32))
    single = [_trained(x, y, w, form, seed) for seed in range(form.networks)]
    first, second = ([net[i] for net in single] for i in (0, 2))

    def array(tensors: list[torch.Tensor]) -> NDArray[np.float32]:
        return torch.cat(tensors).detach().numpy().astype(np.float32)

    return HiddenLayer(
        mean=mean.astype(np.float32),
        sd=sd.astype(np.float32),
        hidden_weight=array([layer.weight for layer in first]).T,
        hidden_bias=array([layer.bias for layer in first]),
        weight=array([layer.weight.T / form.networks for layer in second]),
        bias=np.mean([layer.bias.detach().numpy() for layer in second], axis=0),
    )


def _trained(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, form: Form, seed: int) -> nn.Sequential:
    """One network, fitted to shares of tissues by cross entropy."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(x.shape[1], form.hidden), nn.SiLU(), nn.Linear(form.hidden, y.shape[1]))
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    steps = form.epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1)
    for batch in _batches(len(x), form.epochs):
        scores = network(x[batch] + JITTER * torch.randn_like(x[batch]))
        loss = -(y[batch] * F.log_softmax(scores, dim=1)).sum(dim=1)
        loss = (loss * w[batch]).sum() / w[batch].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


def _batches(count: int, epochs: int) -> Iterator[torch.Tensor]:
    for _ in range(epochs):
        order = torch.randperm(count)
        for i in range(count // BATCH):
            yield order[i * BATCH : (i + 1) * BATCH]


if __name__ == "__main__":
    main()
