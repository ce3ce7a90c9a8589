"""The 34 radiomic numbers of a masked piece of CT, for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from . import first_order as statistics
from . import gabor, glcm, lbp

NAMES: tuple[str, ...] = (*statistics.NAMES, *glcm.NAMES, *lbp.NAMES, *gabor.NAMES)
HU_MIN = -1000.0
HU_MAX = 400.0

# Voxels and items worked on at a time: few enough for the processor's cache, many enough to keep a GPU busy.
# An item costs 64 KiB for its co-occurrence matrix.
_CHUNK_CPU = (1 << 18, 256)
_CHUNK_GPU = (1 << 25, 4096)


@torch.no_grad()
def describe(hu: Tensor, lungs: Tensor) -> Tensor:
    """Radiomic descriptor of each item of a batch: 5 HU statistics, 6 GLCM, 10 LBP and 13 Gabor numbers.

    HU are clipped to [-1000, 400], the range the network sees. Only lung voxels are described; where an
    operator needs a neighbour outside the lungs or outside the array it finds the lung mean, so that neither
    border makes texture. The formulas are in :mod:`.statistics`, :mod:`.glcm`, :mod:`.lbp` and
    :mod:`.gabor`. Values are raw (HU, HU², bits, shares): whoever compares them standardises them by the
    cohort's mean and deviation.

    Computed in float32 whatever autocast says, without gradient.

    Args:
        hu: float32 (B, D, H, W), HU, axes (batch, z, y, x), any size. Finite inside the lungs.
        lungs: bool (B, D, H, W).

    Returns:
        float32 (B, 34) in the order of :data:`NAMES`, always finite. A single voxel or a constant region has
        its HU as mean, 0 for the other statistics, contrast, dissimilarity and Gabor energies, 1 for the
        other GLCM features and for ``lbp_8``. An item without a lung voxel has 34 zeros.

    Raises:
        ValueError: if the two tensors are not 4D, float32 and bool, of one shape and on one device.
    """
    if hu.ndim != 4 or hu.shape != lungs.shape or hu.device != lungs.device:
        raise ValueError(
            f"hu {tuple(hu.shape)} on {hu.device} and lungs {tuple(lungs.shape)} on {lungs.device} differ; "
            "both must be (B, D, H, W) on one device"
        )
    if hu.dtype != torch.float32 or lungs.dtype != torch.bool:
        raise ValueError(f"hu is {hu.dtype} and lungs {lungs.dtype}; they must be float32 and bool")
    if hu.numel() == 0:
        return torch.zeros(len(hu), len(NAMES), device=hu.device)
    voxels, most = _CHUNK_CPU if hu.device.type == "cpu" else _CHUNK_GPU
    items = min(most, max(1, voxels // hu[0].numel()))
    with torch.autocast(hu.device.type, enabled=False):
        starts = range(0, len(hu), items)
        parts = [_describe(hu[i : i + items], lungs[i : i + items]) for i in starts]
    return torch.cat(parts)


def _describe(hu: Tensor, lungs: Tensor) -> Tensor:
    hu = hu.clamp(HU_MIN, HU_MAX)
    first_order = statistics.hu_statistics(hu, lungs, hu_min=HU_MIN, hu_max=HU_MAX)
    mean = first_order[:, 0]
    centred = torch.where(lungs, hu - mean.view(-1, 1, 1, 1), 0.0)
    return torch.cat(
        (
            first_order,
            glcm.glcm_features(hu, lungs, hu_min=HU_MIN, hu_max=HU_MAX),
            lbp.lbp_histogram(hu, lungs, mean),
            gabor.gabor_energies(centred, lungs),
        ),
        dim=1,
    )
