"""How alike items are, from the log and the catalogue alone: a likeness that every model can use."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recommenders.base import Float32, Float64, Int32, Interactions
from recommenders.sequences import is_positive

_GRID = 2.0**20


def consumption_vectors(log: Interactions, n_items: int, dim: int, shrinkage: float, seed: int) -> Float64:
    """Unit vectors of items, close where the same users dwelt on both long or liked both.

    With B the users' positive items as 0 and 1 and c the items' counts, the vectors are the rows of V S, where U S V'
    is the truncated singular value decomposition of B diag((c + shrinkage) ** -0.5): their products approximate the
    cosines of co-consumption, shrunk, before they are scaled to length 1.

    Coordinates are multiples of 2**-20. So the product of two vectors is exact in float64, in whatever order it is
    summed, and no similarity depends on the shape of the product that it was computed in.

    Args:
        log: only positive feedback is read.
        n_items: rows of the result.
        dim: at most this many coordinates; fewer where there are fewer items or users.
        shrinkage: added to the counts, so that rare coincidences count little.
        seed: of the random start of the decomposition.

    Returns:
        float64[n_items, d], d <= dim; zeros for an item without positive feedback.

    Source: Halko, Martinsson & Tropp 2011, SIAM Review (randomised subspace iteration); the shrinkage is ours.
    """
    rows = is_positive(log.feedback, except_disliked=False)
    user, item = np.unique(log.user[rows], return_inverse=True)[1], log.item[rows]
    shape = (int(user.max()) + 1 if len(user) else 0, n_items)
    consumed = sparse.coo_array((np.ones(len(user)), (user, item)), shape=shape).tocsr()
    consumed.sum_duplicates()
    consumed.data[:] = 1
    count = np.asarray(consumed.sum(0), np.float64).reshape(-1)
    scaled = consumed * (1 / np.sqrt(np.maximum(count + shrinkage, 1)))
    vector = _top_directions(sparse.csr_array(scaled), min(dim, *shape), np.random.default_rng(seed))
    length = np.sqrt((vector**2).sum(1, keepdims=True))
    unit = np.divide(vector, length, out=np.zeros_like(vector), where=(length > 0) & (count > 0)[:, None])
    rounded: Float64 = np.round(unit * _GRID) / _GRID
    return rounded


def _top_directions(matrix: sparse.csr_array, dim: int, rng: np.random.Generator) -> Float64:
    """V S of the largest `dim` singular values: float64[columns, dim]."""
    if dim == 0:
        return np.zeros((matrix.shape[1], 0))
    spare = min(dim + 8, *matrix.shape)
    basis = rng.normal(size=(matrix.shape[1], spare))
    for _ in range(8):
        basis = np.linalg.qr(matrix.T @ (matrix @ basis))[0]
    _, singular, right = np.linalg.svd(matrix @ basis, full_matrices=False)
    directions: Float64 = (basis @ right.T)[:, :dim] * singular[:dim]
    return directions


def similarity(vector: Float64, groups: tuple[Int32, ...], weights: tuple[float, ...], item: Int32) -> Float32:
    """Weighted mean of the cosine of co-consumption and of belonging to the same groups.

    Args:
        vector: float64[n_items, d], from `consumption_vectors`.
        groups: int32[n_items] each, the creator and the topic.
        weights: of the cosine, then of each group; not all 0.
        item: int32[m].

    Returns:
        float32[m, n_items], in [-1, 1] up to rounding; each row depends on its item alone.
    """
    whole = sum(weights)
    total: Float32 = (vector[item] @ vector.T).astype(np.float32)
    total *= np.float32(weights[0] / whole)
    for group, weight in zip(groups, weights[1:], strict=True):
        np.add(total, np.float32(weight / whole), out=total, where=group[item][:, None] == group)
    return total
