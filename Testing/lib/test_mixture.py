"""The mixture against blobs of known place, against scikit-learn, and MAP adaptation against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from DiffSegLungLib.grid.cells import DIFFUSION, STATISTICS, Cells
from DiffSegLungLib.model.mixture import Mixture, Projection

CENTRES = np.array([[0.0, 0.0, 0.0], [8.0, 0.0, 0.0], [0.0, 8.0, 4.0]])


def cells_of(features, kinds=None):
    n, d = features.shape
    return Cells(
        shape=(n, 1, 1),
        index=np.arange(n),
        fraction=np.ones(n, np.float32),
        features=features.astype(np.float32),
        kinds=kinds or (STATISTICS,) * d,
        names=tuple(f"f{i}" for i in range(d)),
    )


def blobs(sizes=(600, 300, 100), seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), sizes)
    return cells_of(CENTRES[truth] + shift + rng.normal(size=(sum(sizes), 3))), truth


def test_blobs_are_recovered():
    cells, truth = blobs()
    mixture = Mixture.fit(cells, (STATISTICS,), 3)
    posterior = mixture.predict_proba(cells)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, atol=1e-5)
    found = posterior.argmax(axis=1)
    majority = [np.bincount(found[truth == t], minlength=3).argmax() for t in range(3)]
    assert sorted(majority) == [0, 1, 2]
    assert np.mean(np.array(majority)[truth] == found) > 0.99
    np.testing.assert_allclose(mixture.weights[majority], [0.6, 0.3, 0.1], atol=0.01)


def test_bic_finds_a_number_near_the_truth():
    cells, _ = blobs()
    assert 3 <= Mixture.fit(cells, (STATISTICS,), 0).components <= 4


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_posterior_equals_scikit_learn(covariance):
    from sklearn.mixture import GaussianMixture

    cells, _ = blobs(seed=1)
    mixture = Mixture.fit(cells, (STATISTICS,), 3, covariance=covariance, seed=3)
    reference = GaussianMixture(
        3, covariance_type=covariance, reg_covar=1e-2, tol=1e-3, max_iter=100, random_state=3
    ).fit(mixture.project(cells))
    np.testing.assert_allclose(
        mixture.predict_proba(cells), reference.predict_proba(mixture.project(cells)), atol=1e-5
    )


def test_same_seed_same_mixture():
    cells, _ = blobs(seed=2)
    a, b = (Mixture.fit(cells, (STATISTICS,), 6, seed=9) for _ in range(2))
    np.testing.assert_array_equal(a.means, b.means)


def test_arrays_there_and_back():
    rng = np.random.default_rng(0)
    cells = cells_of(rng.normal(size=(500, 6)), kinds=(STATISTICS,) * 3 + (DIFFUSION,) * 3)
    mixture = Mixture.fit(cells, (STATISTICS, DIFFUSION), 4)
    back = Mixture.from_arrays(mixture.to_arrays())
    np.testing.assert_array_equal(back.predict_proba(cells), mixture.predict_proba(cells))


def test_projection_standardises_and_orders_by_variance():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2000, 1))
    features = np.concatenate([1000 + 50 * base, -2 * base, rng.normal(size=(2000, 1))], axis=1)
    projected = Projection.fit(features, STATISTICS, 3).transform(features)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-9)
    # Two columns of three are the same number: the first axis holds variance 2 of 3, the last none.
    np.testing.assert_allclose(projected.var(axis=0), [1.0, 0.5, 0.0], atol=0.02)


def test_adaptation_with_infinite_relevance_changes_nothing():
    population, _ = blobs()
    mixture = Mixture.fit(population, (STATISTICS,), 3)
    volume, _ = blobs(sizes=(100, 100, 300), seed=5, shift=0.7)
    adapted = mixture.adapt(volume, relevance=np.inf)
    np.testing.assert_allclose(adapted.means, mixture.means, atol=1e-9)
    np.testing.assert_allclose(adapted.weights, mixture.weights, atol=1e-9)


def test_one_round_of_adaptation_follows_the_formula():
    population, _ = blobs()
    mixture = Mixture.fit(population, (STATISTICS,), 3)
    volume, _ = blobs(sizes=(100, 100, 300), seed=5, shift=0.7)
    adapted = mixture.adapt(volume, relevance=50.0, iterations=1)
    x, r = mixture.project(volume), mixture.predict_proba(volume).astype(np.float64)
    for k in range(3):
        n = r[:, k].sum()
        expected = (r[:, k] @ x + 50.0 * mixture.means[k]) / (n + 50.0)
        np.testing.assert_allclose(adapted.means[k], expected, atol=1e-5)


def test_adaptation_follows_a_shifted_patient():
    population, _ = blobs()
    mixture = Mixture.fit(population, (STATISTICS,), 3)
    volume, truth = blobs(sizes=(400, 300, 300), seed=6, shift=1.5)
    adapted = mixture.adapt(volume, relevance=20.0)
    x = mixture.project(volume)
    for t in range(3):
        centre = x[truth == t].mean(axis=0)
        before = np.linalg.norm(mixture.means - centre, axis=1).min()
        after = np.linalg.norm(adapted.means - centre, axis=1).min()
        assert after < 0.3 * before
