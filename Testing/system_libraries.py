"""Makes sure that the system has what Qt and off-screen rendering need; run by `make test` before the tests.

Looks for each library by loading it. Missing ones are installed as Debian packages where this user may;
otherwise the run ends with one sentence that names them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARIES = {
    "libegl1": "libEGL.so.1",
    "libgl1": "libGL.so.1",
    "libx11-6": "libX11.so.6",
    "libxkbcommon0": "libxkbcommon.so.0",
    "libdbus-1-3": "libdbus-1.so.3",
    "libfontconfig1": "libfontconfig.so.1",
    "libfreetype6": "libfreetype.so.6",
    "libglib2.0-0": "libglib-2.0.so.0",
    "libosmesa6": "libOSMesa.so.8",
}
FONTS = {"fonts-dejavu-core": Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")}


def missing() -> list[str]:
    """The Debian packages of which something is not there."""
    return [package for package, library in LIBRARIES.items() if not _loads(library)] + [
        package for package, file in FONTS.items() if not file.exists()
    ]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def install(packages: list[str]) -> bool:
    """Installs Debian packages as root or by a sudo that does not ask; False where neither works."""
    if shutil.which("apt-get") is None:
        return False
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if sudo and shutil.which("sudo") is None:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    commands = (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages])
    return all(
        subprocess.run([*sudo, "apt-get", *command], check=False, env=environment).returncode == 0
        for command in commands
    )


def main() -> None:
    """Ends with a sentence and exit code 1 where the tests cannot run."""
    if not sys.platform.startswith("linux"):
        return
    packages = missing()
    if packages and not (install(packages) and not missing()):
        sys.exit(f"The module's tests need these Debian packages, please install them: {' '.join(packages)}")


if __name__ == "__main__":
    main()
