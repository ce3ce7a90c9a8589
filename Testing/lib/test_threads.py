"""Threads over slabs: the same as the work in one piece, errors that surface, cores as the user asked."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, sobel

from DiffSegLungLib.segmentation.edge_diffusion import diffuse
from DiffSegLungLib.threads import cores, filtered, in_threads, shares, slabs


@pytest.mark.parametrize("depth", [1, 2, 7, 8, 9, 40])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_filter_over_slabs_equals_the_filter_over_all(monkeypatch, depth, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    volume = np.random.default_rng(depth).random((depth, 13, 11)).astype(np.float32)
    blurred = filtered(volume, lambda part: gaussian_filter(part, 2.0, truncate=2.5), reach=5)
    np.testing.assert_array_equal(blurred, gaussian_filter(volume, 2.0, truncate=2.5))
    edges = filtered(volume, lambda part: np.abs(sobel(part, axis=0)) > 1, reach=1, dtype=bool)
    np.testing.assert_array_equal(edges, np.abs(sobel(volume, axis=0)) > 1)


@pytest.mark.parametrize("depth", [1, 2, 4, 5, 30])
def test_diffusion_over_slabs_equals_the_equation_over_all(monkeypatch, depth):
    rng = np.random.default_rng(depth)
    field, conductance = rng.random((2, depth, 9, 10), np.float32)
    conductance[rng.random(conductance.shape) < 0.2] = 0
    expected = field.astype(np.float64)
    for _ in range(3):
        before = expected.copy()
        for axis, mm in enumerate((2.0, 1.0, 1.0)):
            a, b = (np.moveaxis(conductance, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
            g = np.where((a > 0) & (b > 0), (a + b) / 2, 0)
            flux = np.diff(np.moveaxis(before, axis, 0), axis=0) * g / 6 / mm**2
            np.moveaxis(expected, axis, 0)[:-1] += flux
            np.moveaxis(expected, axis, 0)[1:] -= flux
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(field.copy())
        diffuse(results[-1], conductance, 1 / 6, 3)
        np.testing.assert_allclose(results[-1], expected, atol=1e-6)
    assert all((result == results[0]).all() for result in results)


def test_results_come_in_order_and_from_several_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    meeting = threading.Barrier(2, timeout=20)

    def work(number: int) -> int:
        meeting.wait()  # passes only if two work at the same time
        return number**2

    assert in_threads(work, range(6)) == [0, 1, 4, 9, 16, 25]


def test_one_core_takes_no_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert in_threads(lambda _: threading.current_thread(), [0, 1]) == [threading.current_thread()] * 2


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 // n, [1, 0, 1])


@pytest.mark.parametrize(("asked", "number"), [("1", 1), ("3", 3), ("2,1", 2), ("64", 8)])
def test_the_number_of_cores_is_the_one_asked_for(monkeypatch, asked, number):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cores() == number


def test_without_being_asked_the_cores_of_the_process_count(monkeypatch):
    for nonsense in ("", "0", "all"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert 1 <= cores() <= 8


@pytest.mark.parametrize("length", [0, 1, 5, 16, 33])
def test_slabs_and_shares_cover_everything_once(monkeypatch, length):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for parts in (slabs(0, length, 4), shares(length)):
        covered = [i for part in parts for i in range(part.start, part.stop)]
        assert covered == list(range(length))
