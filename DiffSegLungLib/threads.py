"""Threads over slabs of a volume: numpy, scipy and zlib work without Python's lock, on one core each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Made = TypeVar("Made")

_MOST, _PLANES = 8, 8


def cores() -> int:
    """How many threads to use: ``OMP_NUM_THREADS`` if set, else the cores given to the process; 8 at most.

    The variable is the one that torch obeys and with which ``batch`` shares out the cores.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return min(int(asked), _MOST)
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, _MOST)


def in_threads(
    work: Callable[[Item], Made],
    items: Iterable[Item],
    done: Callable[[int], None] = lambda count: None,
) -> list[Made]:
    """The results of some work on every item, in order; the first error is raised, and nothing more begins.

    Args:
        work: what does not touch what the work on another item writes.
        items: e.g. the slices of :func:`slabs`.
        done: called in the caller's thread with the number of results so far; what it raises ends the work.
    """
    items = list(items)
    workers = min(cores(), len(items))
    results: list[Made] = []
    pool = ThreadPoolExecutor(workers) if workers > 1 else None
    try:
        for result in map(work, items) if pool is None else pool.map(work, items):
            results.append(result)
            done(len(results))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return results


@contextmanager
def small_products() -> Iterator[None]:
    """Matrix products on one core each: of small matrices, BLAS's own threads mostly wait for each other."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with threadpool_limits(1, "blas"):
        yield


def slabs(start: int, stop: int, planes: int = _PLANES) -> list[slice]:
    """Slices of so many planes that cover ``start`` to ``stop``."""
    return [slice(low, min(low + planes, stop)) for low in range(start, stop, planes)]


def shares(length: int) -> list[slice]:
    """One slice of about equal length for each core."""
    ends = np.linspace(0, length, min(cores(), length) + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(ends)]


def filtered(
    array: NDArray[Any], work: Callable[[NDArray[Any]], NDArray[Any]], reach: int, dtype: Any = None
) -> NDArray[Any]:
    """A filter over a volume, slab by slab in threads: what it gives over the whole volume.

    Args:
        array: (z, y, x).
        work: filters a few planes; a plane of its result depends on those near it.
        reach: how many planes to either side that are, at most.
        dtype: of the result; the array's own by default.
    """
    result = np.empty(array.shape, dtype or array.dtype)

    def one(slab: slice) -> None:
        low = max(0, slab.start - reach)
        part = work(array[low : slab.stop + reach])
        result[slab] = part[slab.start - low : slab.stop - low]

    in_threads(one, slabs(0, len(array), max(_PLANES, 6 * reach)))
    return result
