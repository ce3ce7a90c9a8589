"""The one path a CT takes: read, prepare, decide (method.md 1, 5, 6)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..io.ct import CT, read_mask
from ..io.fingerprint import fingerprint
from ..talk import SILENT, Talk
from .decision import check_fit, decide, needs_bundle
from .preparation import prepare
from .result import Result

if TYPE_CHECKING:
    from ..model.bundle import Bundle

__all__ = ["Result", "Segmenter"]


class Segmenter:
    """Segmenter of one CT after another, with one model and one set of settings.

    Args:
        bundle: the model, or as :func:`.model.library.load_model` takes it. It is loaded when first
            needed, and never when the settings do without (``statistics`` with ``per-volume``).
        config: the settings.
    """

    def __init__(self, bundle: Bundle | str | Path = "default", config: Config | None = None) -> None:
        self.config = config or Config()
        self._bundle = bundle

    def run(
        self,
        ct: CT | str | Path,
        *,
        lungs: NDArray[np.bool_] | str | Path | None = None,
        series: str | None = None,
        name: str = "",
        talk: Talk = SILENT,
    ) -> Result:
        """Segment a CT.

        Args:
            ct: a CT, or a path that :meth:`CT.read` takes.
            lungs: a lung mask that replaces the built-in one: bool (z, y, x) on the CT's grid, or a file.
            series: which series of a DICOM folder.
            name: what to call the CT in messages and the report, as :meth:`CT.read` takes it.
            talk: progress of every stage, the request to stop.

        Raises:
            InputError: the CT, the mask or the model cannot be used.
            Cancelled: asked to stop.
        """
        config = self.config
        seconds: dict[str, float] = {}
        with _beside() as beside:
            # A CT by its header: a wrong file is refused before torch and the model load.
            begun = partial(beside.submit, _import_beside, with_model=needs_bundle(config))
            with talk.enter("read", seconds):
                volume = ct if isinstance(ct, CT) else CT.read(ct, series=series, name=name, begun=begun)
                # Where the CT has a name of its own, its file is a copy, and so is that of the mask.
                called = "The lung mask" if name else ""
                mask = read_mask(lungs, volume.geometry, called) if isinstance(lungs, (str, Path)) else lungs
                if needs_bundle(config) and not isinstance(self._bundle, (str, Path)):
                    self.load_bundle()  # it is there: settings that it cannot serve are refused at once

            # The model loads and the file is hashed while the lungs are found.
            loading = beside.submit(self.load_bundle) if needs_bundle(config) else None
            hashing = None
            if isinstance(ct, (str, Path)) and not isinstance(lungs, np.ndarray):
                drawn = None if lungs is None else Path(lungs)
                hashing = beside.submit(fingerprint, Path(ct), lungs=drawn, series=series)
            prepared = prepare(volume, mask, config, _while_loading(talk, loading))
            prepared = replace(prepared, seconds=seconds | prepared.seconds)
            result = decide(prepared, None if loading is None else loading.result(), config, talk)
            if hashing is not None:
                result.provenance["input"] = hashing.result()
        return result

    def load_bundle(self) -> Bundle:
        """The model, loaded once.

        Raises:
            InputError: there is none, it is broken, or it cannot serve the settings.
        """
        from ..model.bundle import Bundle
        from ..model.library import load_model

        if not isinstance(self._bundle, Bundle):
            self._bundle = load_model(self._bundle)
        check_fit(self.config, self._bundle)
        return self._bundle


def _import_beside(*, with_model: bool) -> None:
    """Import what a run needs later; who needs it says what is wrong with it."""
    import scipy.ndimage  # noqa: F401

    if with_model:
        from ..model import bundle  # noqa: F401


@contextmanager
def _beside() -> Iterator[ThreadPoolExecutor]:
    """Two threads beside the run. A run that ends early does not wait for them: an import takes seconds."""
    pool = ThreadPoolExecutor(2)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _while_loading(talk: Talk, loading: Future[Bundle] | None) -> Talk:
    """The same talk, which ends the work as soon as the model turns out to be of no use."""

    def going_on() -> bool:
        if loading is not None and loading.done():
            loading.result()
        return talk.cancelled()

    return replace(talk, cancelled=going_on)
