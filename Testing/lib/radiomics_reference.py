"""The 34 radiomic numbers once more, item by item, with pyradiomics, scikit-image and numpy alone.

Nothing here comes from DiffSegLungLib, so that an error cannot be on both sides. The public functions are
given HU within [-1000, 400) and bridge the conventions: HU + 1000 goes to pyradiomics, whose bin
edges are multiples of the bin width; both LBP and Gabor see the lung mean outside the lungs and round the
array.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage, signal

Floats = NDArray[np.float64]
Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


def first_order(hu: Volume, lungs: Mask) -> Floats:
    """Mean, standard deviation, skewness, kurtosis and entropy (28 HU bins) by pyradiomics."""
    from radiomics.firstorder import RadiomicsFirstOrder

    wanted = ("Mean", "StandardDeviation", "Skewness", "Kurtosis", "Entropy")
    values = _pyradiomics(RadiomicsFirstOrder, hu, lungs, wanted, binWidth=28.0)
    values[0] -= 1000.0
    return values


def glcm(hu: Volume, lungs: Mask) -> Floats:
    """The six GLCM features by pyradiomics' GLCM of bins of 21.875 HU, all directions merged."""
    from radiomics.glcm import RadiomicsGLCM

    wanted = ("Contrast", "DifferenceAverage", "Idm", "JointEnergy", "Correlation")
    contrast, dissimilarity, homogeneity, asm, correlation = _pyradiomics(
        RadiomicsGLCM, hu, lungs, wanted, binWidth=1400.0 / 64, weightingNorm="no_weighting"
    )
    return np.array([contrast, dissimilarity, homogeneity, np.sqrt(asm), correlation, asm])


def lbp(hu: Volume, lungs: Mask) -> Floats:
    """Histogram of uniform LBP codes by scikit-image, mean over the three planes."""
    from skimage.feature import local_binary_pattern

    filled = _filled(hu, lungs)
    histograms = []
    for axis in range(3):
        # HU + 1000 makes the plateau of clipped air exactly 0, where scikit-image's interpolation does not
        # round.
        padded = np.pad(filled + 1000.0, 1, constant_values=hu[lungs].mean(dtype=np.float64) + 1000.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            codes = np.stack(
                [local_binary_pattern(plane, 8, 1, "uniform") for plane in np.moveaxis(padded, axis, 0)], axis
            )
        inner = codes[1:-1, 1:-1, 1:-1]
        histograms.append(np.bincount(inner[lungs].astype(np.int64), minlength=10) / lungs.sum())
    return np.mean(histograms, axis=0)


def gabor(hu: Volume, lungs: Mask) -> Floats:
    """Mean squared magnitude of ``skimage.filters.gabor`` over the lungs, twelve kernels and their mean."""
    from skimage.filters import gabor as gabor_filter

    centred = _filled(hu, lungs) - hu[lungs].mean(dtype=np.float64)
    energies = []
    for frequency in (0.10, 0.25, 0.40):
        for angle in (0, 45, 90, 135):
            total = 0.0
            for plane, inside in zip(centred, lungs, strict=True):
                real, imaginary = gabor_filter(plane, frequency, np.deg2rad(angle), mode="constant", cval=0.0)
                total += float((real**2 + imaginary**2)[inside].sum())
            energies.append(total / lungs.sum())
    return np.array([*energies, np.mean(energies)])


def gabor_by_fft(hu: Volume, lungs: Mask) -> Floats:
    """As :func:`gabor`, with scikit-image's kernels and scipy's convolution by FFT: fifty times as fast."""
    from skimage.filters import gabor_kernel

    centred = _filled(hu, lungs) - hu[lungs].mean(dtype=np.float64)
    energies = []
    for frequency in (0.10, 0.25, 0.40):
        for angle in (0, 45, 90, 135):
            kernel = gabor_kernel(frequency, np.deg2rad(angle))
            response = signal.fftconvolve(centred, kernel[None], mode="same", axes=(1, 2))
            energies.append(float((np.abs(response) ** 2)[lungs].mean()))
    return np.array([*energies, np.mean(energies)])


def describe(hu: Volume, lungs: Mask, gabor: Callable[[Volume, Mask], Floats] = gabor) -> Floats:
    """All 34 numbers of one item, in the order of ``DiffSegLungLib.radiomics.NAMES``."""
    return np.concatenate([first_order(hu, lungs), glcm(hu, lungs), lbp(hu, lungs), gabor(hu, lungs)])


def relative_error(ours: Floats, reference: Floats) -> Floats:
    """|ours - reference| / max(|reference|, 1e-6), element by element; the floor only keeps 0/0 at 0."""
    return np.abs(ours - reference) / np.maximum(np.abs(reference), 1e-6)


def random_patch(seed: int, shape: tuple[int, int, int], *, whole_hu: bool) -> tuple[Volume, Mask]:
    """A made-up piece of CT: correlated texture of random scale and contrast in a blob-shaped mask.

    HU are within [-1000, 399], with plateaus at -1000 where the lung is emptiest; ``whole_hu`` rounds them as
    a scanner does, otherwise they are fractional as after resampling.
    """
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.5, 3.0)
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), (scale / 2, scale, scale))
    texture /= texture.std()
    noise = rng.standard_normal(shape)
    hu = rng.uniform(-950, 0) + rng.uniform(20, 200) * texture + rng.uniform(5, 40) * noise
    blobs = ndimage.gaussian_filter(rng.standard_normal(shape), (2, 4, 4))
    lungs = blobs > np.quantile(blobs, rng.uniform(0.1, 0.8))
    hu = np.clip(hu, -1000, 399)
    return (hu.round() if whole_hu else hu).astype(np.float32), lungs


def real_patches(path: Path, count: int, shape: tuple[int, int, int]) -> list[tuple[Volume, Mask]]:
    """Random pieces of a real CT, at least 30 % of them lung, on its own grid; whole HU in [-1000, 399]."""
    volume = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    rng = np.random.default_rng(0)
    patches: list[tuple[Volume, Mask]] = []
    while len(patches) < count:
        start = [int(rng.integers(0, n - s)) for n, s in zip(volume.shape, shape, strict=True)]
        piece = volume[tuple(slice(a, a + s) for a, s in zip(start, shape, strict=True))]
        hu = np.clip(piece, -1000, 399).astype(np.float32)
        smooth = ndimage.gaussian_filter(hu, 1.5)
        lungs = (smooth < -500) & (smooth > -960)
        if lungs.mean() > 0.3:
            patches.append((hu, lungs))
    return patches


def _filled(hu: Volume, lungs: Mask) -> Floats:
    return np.where(lungs, hu.astype(np.float64), hu[lungs].mean(dtype=np.float64))


def _pyradiomics(
    feature_class: type, hu: Volume, lungs: Mask, wanted: tuple[str, ...], **settings: object
) -> Floats:
    # pyradiomics refuses a mask that is 1 everywhere: one voxel of background goes round it.
    image = sitk.GetImageFromArray(np.pad(hu.astype(np.float64) + 1000.0, 1))
    mask = sitk.GetImageFromArray(np.pad(lungs, 1).astype(np.uint8))
    features = feature_class(image, mask, **settings)
    features.logger.setLevel(logging.ERROR)  # StandardDeviation is "deprecated" since Variance holds the same
    features.disableAllFeatures()
    for name in wanted:
        features.enableFeatureByName(name)
    values = features.execute()
    return np.array([float(values[name]) for name in wanted])
