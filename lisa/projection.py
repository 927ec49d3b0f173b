"""Maps of features: one projection fitted to everything that is shown, so that panels and training steps compare."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from sklearn.decomposition import PCA

from lisa.errors import unknown_name

Array = np.ndarray
Key = TypeVar("Key", bound=Hashable)
METHODS = ("umap", "pca")
_BEFORE_UMAP = 50
_NEIGHBORS = 15
_EPOCHS = 200  # UMAP's own choice for large sets; small ones look the same and are drawn in less than half the time
# UMAP's numba threads abort the process when two calls overlap.
_ONE_AT_A_TIME = threading.Lock()
_warm = threading.Event()


def project(
    features: Mapping[Key, Array], method: str = "umap", dimensions: int = 2, seed: int = 0
) -> dict[Key, Array]:
    """Project several sets of rows with one joint fit.

    Args:
        features: name -> (N, D); all with the same D. N may differ.
        method: "umap" (McInnes et al. 2018) or "pca".
        dimensions: 2 or 3.
        seed: of the fit; the same seed gives the same picture.

    Returns:
        Name -> (N, dimensions) float32 in the same coordinates.
    """
    if method not in METHODS:
        raise unknown_name("projection", method, METHODS)
    rows = np.concatenate(list(features.values()))
    rows = (rows - rows.mean(0)) / max(float(rows.std()), 1e-12)
    count = min(dimensions if method == "pca" else _BEFORE_UMAP, *rows.shape)
    points = PCA(count, random_state=seed).fit_transform(rows)
    if method == "umap":
        points = _umap(points, dimensions, seed)
    ends = np.cumsum([len(each) for each in features.values()])[:-1]
    return dict(zip(features, np.split(points.astype(np.float32), ends), strict=True))


def _umap(points: Array, dimensions: int, seed: int) -> Array:
    with _ONE_AT_A_TIME:
        import umap

        neighbors = min(_NEIGHBORS, len(points) - 1)
        reducer = umap.UMAP(
            n_components=dimensions, n_neighbors=neighbors, n_epochs=_EPOCHS, random_state=seed, n_jobs=1
        )
        return reducer.fit_transform(points)


def warm_up() -> None:
    """Import and compile UMAP ahead of its first use in a process, which takes seconds."""
    if not _warm.is_set():
        _warm.set()
        project({0: np.random.default_rng(0).normal(size=(64, 4))})


def nearest(features: Array, point: Array, count: int = 8) -> tuple[Array, Array]:
    """The rows of features (N, D) nearest to a point (D,), nearest first: (count,) row numbers and their distances."""
    distances = np.linalg.norm(features - point, axis=1)
    rows = np.argsort(distances, kind="stable")[:count]
    return rows, distances[rows]
