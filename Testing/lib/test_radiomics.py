"""The 34 radiomic numbers against pyradiomics, scikit-image, scipy and arithmetic done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import radiomics_reference as reference
import torch
from scipy import stats

from DiffSegLungLib.radiomics import NAMES, describe

PATCHES = 50
FAMILIES = {"first order": slice(0, 5), "GLCM": slice(5, 11), "LBP": slice(11, 21), "Gabor": slice(21, 34)}
Pair = tuple[reference.Floats, reference.Floats]


def described(hu: reference.Volume, lungs: reference.Mask) -> dict[str, float]:
    """The descriptor of one item by name."""
    values = describe(torch.from_numpy(hu)[None], torch.from_numpy(lungs)[None])[0]
    return dict(zip(NAMES, values.tolist(), strict=True))


def both(patches: list[tuple[reference.Volume, reference.Mask]]) -> Pair:
    """Our descriptors of the patches in one batch, and the reference's one by one; (n, 34) each."""
    pytest.importorskip("radiomics", reason="pyradiomics 3.0.1 is the reference; it installs on Python 3.11")
    hu = torch.from_numpy(np.stack([p[0] for p in patches]))
    lungs = torch.from_numpy(np.stack([p[1] for p in patches]))
    theirs = [reference.describe(*patch, gabor=reference.gabor_by_fft) for patch in patches]
    return describe(hu, lungs).double().numpy(), np.stack(theirs)


@pytest.fixture(scope="module")
def made_up() -> Pair:
    return both([reference.random_patch(seed, (8, 24, 24), whole_hu=True) for seed in range(PATCHES)])


@pytest.fixture(scope="module")
def real(real_data: Path) -> Pair:
    ct = real_data / "ct"
    return both(
        reference.real_patches(ct / "acrin-flt-breast_001_soft.nii.gz", PATCHES // 2, (8, 24, 24))
        + reference.real_patches(ct / "lung-pet-ct-dx_a0002_b70f.nii.gz", PATCHES // 2, (8, 24, 24))
    )


def test_names_are_the_34_of_the_method_in_order() -> None:
    assert len(NAMES) == len(set(NAMES)) == 34
    assert [NAMES[family][0] for family in FAMILIES.values()] == [
        "hu_mean",
        "glcm_contrast",
        "lbp_0",
        "gabor_0.10_0",
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_made_up_patches_agree_with_the_reference(made_up: Pair, family: str) -> None:
    ours, theirs = (values[:, FAMILIES[family]] for values in made_up)
    assert reference.relative_error(ours, theirs).max() < 1e-3


@pytest.mark.realct
@pytest.mark.parametrize("family", FAMILIES)
def test_real_patches_agree_with_the_reference(real: Pair, family: str) -> None:
    ours, theirs = (values[:, FAMILIES[family]] for values in real)
    assert reference.relative_error(ours, theirs).max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_the_references_convolution_by_fft_is_scikit_images_own(seed: int) -> None:
    patch = reference.random_patch(seed, (8, 24, 24), whole_hu=True)
    by_fft, direct = reference.gabor_by_fft(*patch), reference.gabor(*patch)
    assert reference.relative_error(by_fft, direct).max() < 1e-9


def test_lbp_of_fractional_hu_differs_in_rounding_ties_only() -> None:
    """Without whole HU a diagonal point may tie with its centre within rounding: a few codes in a million."""
    different = total = 0.0
    for seed in range(PATCHES):
        hu, lungs = reference.random_patch(1000 + seed, (8, 24, 24), whole_hu=False)
        values = described(hu, lungs)
        ours = np.array([values[name] for name in NAMES[FAMILIES["LBP"]]])
        codes = 3 * lungs.sum()
        different += np.abs(ours - reference.lbp(hu, lungs)).sum() / 2 * codes
        total += codes
    assert different < 5e-6 * total


def test_first_order_agrees_with_scipy() -> None:
    hu, lungs = reference.random_patch(7, (8, 24, 24), whole_hu=False)
    inside = hu[lungs].astype(np.float64)
    counts = np.histogram(inside, bins=50, range=(-1000, 400))[0]
    expected = [
        inside.mean(),
        inside.std(),
        stats.skew(inside),
        stats.kurtosis(inside, fisher=False),
        stats.entropy(counts, base=2),
    ]
    values = described(hu, lungs)
    np.testing.assert_allclose([values[name] for name in NAMES[:5]], expected, rtol=1e-4)


def test_glcm_of_one_slice_agrees_with_scikit_image() -> None:
    """In a slice that is all lung, four of the 13 directions remain: scikit-image's four angles."""
    from skimage.feature import graycomatrix, graycoprops

    hu = reference.random_patch(8, (1, 48, 48), whole_hu=False)[0]
    levels = np.floor((hu[0].astype(np.float64) + 1000) / (1400 / 64)).astype(np.uint8)
    angles = np.deg2rad([0, 45, 90, 135])
    pairs = graycomatrix(levels, [1], angles, levels=64, symmetric=True).sum(3, keepdims=True)
    values = described(hu, np.ones(hu.shape, dtype=bool))
    for name in ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM"):
        assert values[f"glcm_{name.lower()}"] == pytest.approx(graycoprops(pairs, name).item(), rel=1e-4)


def test_two_voxels_by_hand() -> None:
    """-1000 and -970 HU side by side: levels 0 and 1, one pair, so p(0,1) = p(1,0) = 1/2."""
    hu = np.full((3, 4, 5), 30.0, dtype=np.float32)
    lungs = np.zeros(hu.shape, dtype=bool)
    hu[1, 2, 2:4] = (-1000.0, -970.0)
    lungs[1, 2, 2:4] = True
    values = list(described(hu, lungs).values())
    np.testing.assert_allclose(values[:5], [-985.0, 15.0, 0.0, 1.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(values[5:11], [1.0, 1.0, 0.5, np.sqrt(0.5), -1.0, 0.5], atol=1e-6)
    # All else has the mean -985: round the lower voxel nothing is below it (8 ones), nothing but its darker
    # neighbour and the mean is round the higher one, all below it (0 ones). In three planes each.
    assert values[11:21] == pytest.approx([0.5, 0, 0, 0, 0, 0, 0, 0, 0.5, 0])


def test_gabor_finds_a_wave_of_known_energy() -> None:
    """A wave of amplitude A has half of it at +f: energy A²/4, at its own frequency and angle only."""
    rows = np.arange(256)[:, None] + np.zeros((256, 256))
    hu = (-800 + 80 * np.cos(2 * np.pi * 0.25 * rows)).astype(np.float32)[None]
    energy = {
        name: value
        for name, value in described(hu, np.ones(hu.shape, dtype=bool)).items()
        if name.startswith("gabor") and name != "gabor_mean"
    }
    assert max(energy, key=energy.__getitem__) == "gabor_0.25_90"
    assert energy["gabor_0.25_90"] == pytest.approx(80**2 / 4, rel=0.03)  # less where the array ends
    assert energy["gabor_0.25_0"] < 0.01 * energy["gabor_0.25_90"]


def test_lbp_of_a_ramp_by_hand() -> None:
    """Along x, E, NE, SE are above and N, S level: 5 ones in two planes; the third is constant: 8 ones."""
    size = 20
    hu = np.broadcast_to(np.linspace(-900, -500, size, dtype=np.float32), (size, size, size)).copy()
    values = described(hu, np.ones(hu.shape, dtype=bool))
    undisturbed = ((size - 2) / size) ** 3
    assert values["lbp_5"] >= 2 / 3 * undisturbed
    assert values["lbp_8"] >= 1 / 3 * undisturbed


def test_what_is_outside_the_lungs_does_not_matter() -> None:
    hu, lungs = reference.random_patch(3, (8, 16, 16), whole_hu=False)
    elsewhere = np.where(lungs, hu, np.nan).astype(np.float32)
    assert described(hu, lungs) == described(elsewhere, lungs)


def test_hu_beyond_the_range_count_as_its_ends() -> None:
    hu, lungs = reference.random_patch(4, (8, 16, 16), whole_hu=False)
    wide = 4 * (hu + 300)
    assert described(wide, lungs) == described(wide.clip(-1000, 400), lungs)


@pytest.mark.parametrize("shape", [(8, 16, 16), (32, 96, 96)])
def test_an_item_is_described_alike_alone_and_in_a_batch(shape: tuple[int, int, int]) -> None:
    hu, lungs = (
        torch.from_numpy(np.stack(arrays))
        for arrays in zip(
            *(reference.random_patch(seed, shape, whole_hu=False) for seed in range(3)), strict=True
        )
    )
    alone = torch.cat([describe(hu[i : i + 1], lungs[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(describe(hu, lungs), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 16, 16), (1, 1, 1), (1, 3, 9), (2, 40, 3)])
def test_degenerate_items_have_the_documented_values(shape: tuple[int, int, int]) -> None:
    hu = torch.full((4, *shape), -870.3)
    hu[0] = torch.nan
    hu[3] = 1000.0 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    lungs = torch.zeros(hu.shape, dtype=torch.bool)
    lungs[1, 0, 0, 0] = True
    lungs[2:] = True
    empty, voxel, constant, noise = describe(hu, lungs)
    uniform = torch.zeros(len(NAMES))
    uniform[NAMES.index("hu_mean")] = -870.3
    for name in ("glcm_homogeneity", "glcm_energy", "glcm_correlation", "glcm_asm", "lbp_8"):
        uniform[NAMES.index(name)] = 1.0
    assert torch.equal(empty, torch.zeros(len(NAMES)))
    assert torch.equal(voxel, uniform)
    assert torch.equal(constant, uniform)
    assert noise.isfinite().all()


def test_no_item_gives_no_descriptor() -> None:
    assert describe(torch.zeros(0, 8, 16, 16), torch.zeros(0, 8, 16, 16, dtype=torch.bool)).shape == (0, 34)


def test_autocast_and_inference_mode_change_nothing() -> None:
    hu, lungs = (torch.from_numpy(a)[None] for a in reference.random_patch(5, (8, 16, 16), whole_hu=False))
    expected = describe(hu.clone().requires_grad_(), lungs)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = describe(hu, lungs)
    assert found.dtype == torch.float32
    assert not expected.requires_grad
    assert torch.equal(found, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu() -> None:
    hu, lungs = (torch.from_numpy(a)[None] for a in reference.random_patch(6, (16, 48, 48), whole_hu=True))
    torch.testing.assert_close(
        describe(hu.cuda(), lungs.cuda()).cpu(), describe(hu, lungs), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("hu", "lungs"),
    [
        (torch.zeros(8, 16, 16), torch.ones(8, 16, 16, dtype=torch.bool)),
        (torch.zeros(1, 8, 16, 16), torch.ones(1, 8, 16, 8, dtype=torch.bool)),
        (torch.zeros(1, 8, 16, 16, dtype=torch.int16), torch.ones(1, 8, 16, 16, dtype=torch.bool)),
        (torch.zeros(1, 8, 16, 16), torch.ones(1, 8, 16, 16)),
    ],
)
def test_wrong_tensors_are_refused(hu: torch.Tensor, lungs: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must be"):
        describe(hu, lungs)
