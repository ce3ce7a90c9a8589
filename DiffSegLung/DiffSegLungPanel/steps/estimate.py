"""How long a segmentation will take and how much memory it needs, before it is started.

The constants were fitted to the runs in docs/measurements.md (two cores of an AMD EPYC, 2 to 105 Mvoxel:
seconds within 25 %, memory within 15 %). The network works on the lungs, resampled to one fixed grid, so its
time hardly depends on the voxels of the CT; everything else does. How fast this very computer is, the caller
learns from finished runs and keeps: :func:`updatedScale`.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

OTHER_STAGES_S = 7.7
SECONDS_PER_MEGAVOXEL = 0.155
NETWORK_S = {"fast": 3.0, "balanced": 3.9, "best": 6.7}
"""Seconds of the network on two cores; the presets differ by the overlap of its tiles."""

GPU_START_S, GPU_SHARE = 3.0, 0.05
"""Guesses: no GPU was at hand. Starting one takes about as long as the network on two cores."""

BASE_GB, GB_PER_MEGAVOXEL, GPU_START_GB = 1.0, 0.016, 1.5

_MEASURED_CORES = 2
_MOST_USEFUL_CORES = 16


@dataclass(frozen=True)
class Estimate:
    """What one run needs.

    Attributes:
        seconds: wall time.
        gigabytes: peak main memory of its process, GB (10^9 bytes).
        availableGigabytes: memory that is free now; None where it cannot be told.
    """

    seconds: float
    gigabytes: float
    availableGigabytes: float | None = None

    @property
    def warning(self) -> str:
        """A sentence with advice where memory will not do; empty otherwise."""
        if self.availableGigabytes is None or self.gigabytes <= self.availableGigabytes:
            return ""
        return _(
            "This CT needs about {needed} GB of memory and only {free} GB are free. "
            "Close other programs, or crop the CT to the lungs."
        ).format(needed=f"{self.gigabytes:.1f}", free=f"{self.availableGigabytes:.1f}")


def estimate(
    voxels: int, preset: str, device: str, *, cores: int | None = None, scale: float = 1.0
) -> Estimate:
    """Estimate one segmentation on this computer.

    Args:
        voxels: of the CT.
        preset: ``"fast"``, ``"balanced"`` or ``"best"``.
        device: as in the settings; ``"auto"`` counts as a GPU where a driver for one is seen.
        cores: that it may use; those of this process by default.
        scale: how much slower this computer is than the measured one, see :func:`updatedScale`.
    """
    onGpu = (_likelyDevice() if device == "auto" else device) != "cpu"
    usable = min(max(cores or _cores(), 1), _MOST_USEFUL_CORES)
    megavoxels = voxels / 1e6
    network = NETWORK_S.get(preset, NETWORK_S["balanced"])
    network = GPU_START_S + GPU_SHARE * network if onGpu else network * _MEASURED_CORES / usable
    return Estimate(
        seconds=scale * (OTHER_STAGES_S + network + SECONDS_PER_MEGAVOXEL * megavoxels),
        gigabytes=BASE_GB + GB_PER_MEGAVOXEL * megavoxels + (GPU_START_GB if onGpu else 0.0),
        availableGigabytes=_availableGigabytes(),
    )


def updatedScale(old: float, estimatedS: float, measuredS: float) -> float:
    """The scale for the next estimate, after a run that was estimated with ``old`` took ``measuredS``.

    It moves half-way (geometrically) towards what was measured, so that one odd run does not spoil it.
    """
    if not (0 < estimatedS < math.inf and 0 < measuredS < math.inf and 0 < old < math.inf):
        return old if 0 < old < math.inf else 1.0
    ratio = min(max(measuredS / estimatedS, 0.1), 10.0)
    return min(max(old * math.sqrt(ratio), 0.05), 50.0)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _likelyDevice() -> str:
    """What ``auto`` will probably choose; only torch knows for certain, and it takes seconds to load."""
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else "cpu"
    if sys.platform == "win32":
        system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32"
        return "cuda" if (system / "nvcuda.dll").exists() else "cpu"
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"


def _availableGigabytes() -> float | None:
    try:
        import psutil
    except ImportError:  # comes with the library's requirements, which may not be installed yet
        return None
    return float(psutil.virtual_memory().available / 1e9)
