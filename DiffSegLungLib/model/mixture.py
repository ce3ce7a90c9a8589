"""Stage 5b: a Gaussian mixture over the cells of a lung, alone or adapted from a population (method.md 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..grid.cells import DIFFUSION, STATISTICS, Cells
from ..threads import small_products

Array = NDArray[np.float64]
Covariance = Literal["full", "tied", "diag"]

KINDS = {"statistics": (STATISTICS,), "diffusion": (DIFFUSION,), "hybrid": (STATISTICS, DIFFUSION)}
"""Which kinds of features each descriptor gives to the mixture."""

PRINCIPAL = {STATISTICS: 10, DIFFUSION: 20}
"""Principal components kept of each kind of feature."""

BIC_RANGE = (2, 4, 6, 8, 12, 16, 20, 24, 28, 32)
_REGULARISATION = 1e-2


@dataclass(frozen=True)
class Projection:
    """Standardisation and PCA of one kind of feature.

    Attributes:
        kind: which columns of the cells.
        mean: (d,) subtracted first.
        sd: (d,) divided by next.
        axes: (p, d) principal axes, rows of unit length.
        scale: divides the projections, so that every kind's first axis has unit variance.
    """

    kind: str
    mean: Array
    sd: Array
    axes: Array
    scale: float

    @classmethod
    def fit(cls, features: NDArray[np.float32], kind: str, principal: int) -> Projection:
        """Fit to features (n, d), n > 1; keeps at most min(d, n, principal) axes."""
        from sklearn.decomposition import PCA

        x = features.astype(np.float64)
        mean, sd = x.mean(axis=0), x.std(axis=0)
        sd = np.where(sd > 1e-6, sd, 1.0)
        pca = PCA(n_components=min(principal, *x.shape), svd_solver="full").fit((x - mean) / sd)
        # The sign of an axis is arbitrary; fix it so that platforms agree.
        axes = (
            pca.components_
            * np.sign(pca.components_[np.arange(len(pca.components_)), np.abs(pca.components_).argmax(1)])[
                :, None
            ]
        )
        return cls(kind, mean, sd, axes, float(np.sqrt(max(pca.explained_variance_[0], 1e-12))))

    def transform(self, features: NDArray[np.float32]) -> Array:
        """Project features (n, d) to (n, p)."""
        return np.asarray(((features - self.mean) / self.sd) @ self.axes.T / self.scale)


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture in the joint principal space of the chosen kinds of features.

    Attributes:
        projections: one for each kind of feature, in order.
        weights: (k,) component weights, sum 1.
        means: (k, p).
        covariances: (k, p, p).
    """

    projections: tuple[Projection, ...]
    weights: Array
    means: Array
    covariances: Array

    @property
    def components(self) -> int:
        """Number of components."""
        return len(self.weights)

    @classmethod
    def fit(
        cls,
        cells: Cells,
        kinds: tuple[str, ...],
        components: int,
        *,
        covariance: Covariance = "full",
        seed: int = 0,
        principal: dict[str, int] | None = None,
    ) -> Mixture:
        """Fit a mixture by EM.

        Args:
            cells: the cells of one volume, or of a population (concatenated).
            kinds: which features take part.
            components: number of Gaussians; 0 takes the number in 2..32 with the least Bayesian information
                criterion.
            covariance: form of the covariances; all are stored full.
            seed: of the k-means start.
            principal: axes kept of each kind, :data:`PRINCIPAL` by default.
        """
        principal = principal or PRINCIPAL
        projections = tuple(Projection.fit(cells.of_kind(k), k, principal[k]) for k in kinds)
        x = np.concatenate([p.transform(cells.of_kind(p.kind)) for p in projections], axis=1)
        if components:
            model = _expectation_maximisation(x, components, covariance, seed)
        else:
            tried = (
                _expectation_maximisation(x, k, covariance, seed)
                for k in BIC_RANGE
                if k < len(x) / 4 or k == 2
            )
            model = min(tried, key=lambda m: float(m.bic(x)))
        return cls(projections, model.weights_, model.means_, _full(model))

    def project(self, cells: Cells) -> Array:
        """The cells in the principal space, (n, p)."""
        return np.concatenate([p.transform(cells.of_kind(p.kind)) for p in self.projections], axis=1)

    def predict_proba(self, cells: Cells) -> NDArray[np.float32]:
        """Posterior probability of every component for every cell, (n, k) float32, rows sum to 1."""
        with small_products():
            distances = _Distances(self.project(cells), self.covariances)
            return distances.posterior(self.weights, self.means).astype(np.float32)

    def adapt(self, cells: Cells, *, relevance: float = 200.0, iterations: int = 8) -> Mixture:
        """Adapt means and weights to one volume by MAP-EM (Reynolds 2000, Digital Signal Processing 10).

        Every component's mean becomes a·(its cells' mean) + (1 - a)·(population mean) with
        a = n/(n + relevance), n being the cells it explains; weights likewise. Covariances stay: they say how
        far a tissue varies.

        Args:
            cells: the volume's cells.
            relevance: number of cells at which data and population count alike; infinity keeps the
                population.
            iterations: rounds of EM.
        """
        with small_products():
            return self._adapted(self.project(cells), relevance, iterations)

    def _adapted(self, x: Array, relevance: float, iterations: int) -> Mixture:
        distances = _Distances(x, self.covariances)
        adapted = self
        for _ in range(iterations):
            posterior = distances.posterior(adapted.weights, adapted.means)
            count = posterior.sum(axis=0)
            share = count / (count + relevance)
            seen = posterior.T @ x / np.maximum(count, 1e-9)[:, None]
            means = share[:, None] * seen + (1 - share[:, None]) * self.means
            weights = share * count / len(x) + (1 - share) * self.weights
            adapted = replace(adapted, means=means, weights=weights / weights.sum())
        return adapted

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as named arrays, for safetensors."""
        arrays: dict[str, NDArray[Any]] = {
            "weights": self.weights,
            "means": self.means,
            "covariances": self.covariances,
        }
        for p in self.projections:
            arrays |= {f"{p.kind}.mean": p.mean, f"{p.kind}.sd": p.sd, f"{p.kind}.axes": p.axes}
            arrays[f"{p.kind}.scale"] = np.array([p.scale])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Mixture:
        """The mixture that :meth:`to_arrays` wrote."""
        projections = tuple(
            Projection(
                kind=kind,
                mean=arrays[f"{kind}.mean"].astype(np.float64),
                sd=arrays[f"{kind}.sd"].astype(np.float64),
                axes=arrays[f"{kind}.axes"].astype(np.float64),
                scale=float(arrays[f"{kind}.scale"][0]),
            )
            for kind in (STATISTICS, DIFFUSION)
            if f"{kind}.mean" in arrays
        )
        weights, means, covariances = (
            arrays[k].astype(np.float64) for k in ("weights", "means", "covariances")
        )
        return cls(projections, weights, means, covariances)


class _Distances:
    """Mahalanobis distances of points (n, p) from any means: what hangs on the covariances is found once."""

    def __init__(self, x: Array, covariances: Array) -> None:
        roots = np.linalg.cholesky(covariances)
        whitening = np.linalg.inv(roots)
        self._x = x
        self._precisions = whitening.transpose(0, 2, 1) @ whitening
        self._log_root = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        self._square = np.stack([((x @ w.T) ** 2).sum(axis=1) for w in whitening], axis=1)

    def posterior(self, weights: Array, means: Array) -> Array:
        """Posterior of the components (n, k); rows sum to 1."""
        towards = np.einsum("kpq,kq->kp", self._precisions, means)
        # |x - m|² = |x|² - 2 x·m + |m|² in every component's own metric.
        distance = self._square - 2 * (self._x @ towards.T) + (towards * means).sum(axis=1)
        log = np.log(weights + 1e-300) - self._log_root - 0.5 * distance
        log -= log.max(axis=1, keepdims=True)
        posterior = np.exp(log, out=log)
        return np.asarray(posterior / posterior.sum(axis=1, keepdims=True))


def _expectation_maximisation(x: Array, components: int, covariance: Covariance, seed: int) -> Any:
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(
        n_components=min(components, len(x)),
        covariance_type=covariance,
        reg_covar=_REGULARISATION,
        max_iter=100,
        tol=1e-3,
        random_state=seed,
    ).fit(x)


def _full(model: Any) -> Array:
    k, p = model.means_.shape
    if model.covariance_type == "full":
        return np.asarray(model.covariances_)
    if model.covariance_type == "tied":
        return np.broadcast_to(model.covariances_, (k, p, p)).copy()
    return np.asarray(np.einsum("kp,pq->kpq", model.covariances_, np.eye(p)))
