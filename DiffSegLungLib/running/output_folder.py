"""A folder of results that appears whole or not at all.

Everything is written into a hidden folder beside (or inside) the target and moved into place at the very end.
A run that fails or is cancelled removes its hidden folder; one that was killed leaves it, and the next run to
the same place removes it when the process named in it is dead.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError, not_written
from ..io.owners import abandoned, own_mark
from ..io.refusals import check_name

_PREFIX = ".diffseglung-partial-"


class OutputFolder:
    """Where one run writes; :meth:`commit` publishes it, :meth:`discard` leaves no trace.

    Args:
        target: the folder the user asked for; made if missing, with its parents.
        names: file names that the run will write; existing ones are refused unless ``overwrite``.
        overwrite: replace existing results; other files in the folder are never touched.

    Attributes:
        path: the hidden folder to write into.

    Raises:
        InputError: the target has an unreadable name, is a file, holds results, or cannot be written.
    """

    def __init__(self, target: Path, names: Iterable[str], *, overwrite: bool = False) -> None:
        self.target = target.expanduser().absolute()
        check_name(self.target)
        self.committed = False
        self._lock = threading.Lock()
        self._closed = False
        if self.target.exists() and not self.target.is_dir():
            raise InputError(
                "output-is-a-file",
                f"The output {target} is a file.",
                "A folder is needed; name another with -o.",
            )
        self._asked = target
        self._kept = () if overwrite else tuple(names)
        self._refuse_to_replace()
        self._made: list[Path] = []
        try:
            self._make_parents()
            home = self.target if self.target.exists() else self.target.parent
            remove_stale(home)
            self.path = home / f"{_PREFIX}{own_mark()}-{self.target.name}"
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir()
        except OSError as error:
            self._remove_made()
            raise not_written(f"The folder {target}", error) from error

    def commit(self) -> bool:
        """Move everything into place; False when the run was discarded meanwhile.

        A new folder appears with one rename. In an existing folder each file is replaced with one rename, the
        replaced ones being kept until all have moved, so that a failure puts them back.

        Raises:
            InputError: another run has put its results there meanwhile, and nobody said ``overwrite``.
        """
        with self._lock:
            if self._closed:
                return False
            if self.target.exists():
                self._refuse_to_replace()
                self._merge()
            else:
                self.path.rename(self.target)
            self._closed = self.committed = True
            return True

    def discard(self) -> None:
        """Remove everything written so far; does nothing after a commit."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for _ in range(20):  # an abandoned thread may still be writing its last file
                shutil.rmtree(self.path, ignore_errors=True)
                if not self.path.exists():
                    break
            self._remove_made()

    def _refuse_to_replace(self) -> None:
        existing = sorted(name for name in self._kept if (self.target / name).exists())
        if existing:
            raise InputError(
                "output-exists",
                f"The folder {self._asked} already holds results ({', '.join(existing[:3])}"
                f"{', …' if len(existing) > 3 else ''}).",
                "Choose another folder, or add --overwrite to replace them.",
            )

    def _merge(self) -> None:
        names = sorted(item.name for item in self.path.iterdir() if item.is_file())
        replaced = self.path / "replaced"
        replaced.mkdir(exist_ok=True)
        moved: list[str] = []
        try:
            for name in names:
                if (self.target / name).exists():
                    (self.target / name).rename(replaced / name)
                moved.append(name)
                (self.path / name).rename(self.target / name)
        except OSError:
            for name in moved:
                with contextlib.suppress(OSError):
                    (self.target / name).rename(self.path / name)
                if (replaced / name).exists():
                    (replaced / name).rename(self.target / name)
            raise
        shutil.rmtree(self.path, ignore_errors=True)

    def _make_parents(self) -> None:
        missing = [p for p in self.target.parents if not p.exists()]
        for parent in reversed(missing):
            parent.mkdir()
            self._made.append(parent)

    def _remove_made(self) -> None:
        for parent in reversed(self._made):
            with contextlib.suppress(OSError):  # something else lives there by now: leave it
                parent.rmdir()


def remove_stale(home: Path) -> None:
    """Remove what killed runs on this computer left in a folder."""
    for folder in abandoned(home, _PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def other_users(home: Path, name: str) -> list[Path]:
    """Hidden folders of unfinished runs into ``home / name``: of living ones, or of other computers."""
    if not home.is_dir():
        return []
    remove_stale(home)
    return sorted(
        found
        for found in home.glob(f"{_PREFIX}*-{name}")
        if found.name.removeprefix(_PREFIX).split("-", 2)[2:] == [name]
    )
