"""What a run was, in plain values: enough to repeat it, nothing about the patient."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:
    from ..io.geometry import Geometry
    from ..model.bundle import Bundle

_PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "scikit-learn")


def describe_grid(geometry: Geometry) -> str:
    """A grid as a person reads it: voxels and spacing in mm along x, y, z."""
    size = " × ".join(str(n) for n in geometry.size)
    spacing = " × ".join(f"{s:.2f}" for s in geometry.spacing)
    return f"{size} voxels of {spacing} mm"


def describe_model(bundle: Bundle | None) -> dict[str, Any]:
    """Name, fingerprint and training of the model; empty when none took part."""
    if bundle is None:
        return {}
    card = {k: v for k, v in bundle.card.items() if k not in {"sha256", "id", "version", "format"}}
    return {"name": bundle.name, "sha256": bundle.sha256, **card}


def describe_software(device: str, seconds: float) -> dict[str, Any]:
    """Versions, device, duration and peak memory of this process so far."""
    return {
        "diffseglung": __version__,
        "device": device,
        "seconds": round(seconds, 1),
        "peak_memory_gb": round(peak_memory_gb(), 2),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version_of(name) for name in _PACKAGES},
    }


def now() -> str:
    """The present moment, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, GB (10^9 bytes)."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 1e9)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a build without package metadata, as some application bundles have
        return "unknown"
