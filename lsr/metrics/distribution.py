"""Distances between two sets of images, as pure functions of their features [n, d]. numpy and lsr.core only.

None of them is FID: that name belongs to the Frechet distance over one Inception network at one size. Name the
extractor beside every value, and the number of images: both distances depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lsr.core.errors import InputError

Floats = npt.NDArray[np.float64]
NEIGHBOURS = 3
"""k of precision and recall, as published."""


def _checked(a: Floats, b: Floats, least: int) -> tuple[Floats, Floats]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < least:
        raise InputError(
            f"Two sets of features must be [n, d] and [m, d] with at least {least} images each, found "
            f"{list(a.shape)} and {list(b.shape)}."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("Features must be finite; the extractor's weights or the images are broken.")
    return a.astype(np.float64), b.astype(np.float64)


def _factor(x: Floats) -> Floats:
    """R [r, d], r <= d, with R'R = cov(x): what is left of the centred features when only products matter."""
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(x) > x.shape[1] else centred


def frechet_distance(a: Floats, b: Floats) -> float:
    """Squared Frechet distance of the Gaussians fitted to features [n, d] and [m, d] (Heusel et al. 2017, eq. 6).

    |ma - mb|^2 + tr(A + B - 2 (AB)^1/2) with unbiased covariances. tr (AB)^1/2 is the sum of the singular values of
    Ra Rb' for A = Ra'Ra, B = Rb'Rb, so that covariances of low rank (n <= d) need no correction. Biased upwards for
    few images: compare equal numbers, and with the distance between two halves of the real ones.
    """
    a, b = _checked(a, b, 2)
    ra, rb = _factor(a), _factor(b)
    overlap = np.linalg.svd(ra @ rb.T, compute_uv=False).sum()
    between = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(between + np.square(ra).sum() + np.square(rb).sum() - 2 * overlap)


def kernel_distance(a: Floats, b: Floats) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 (KID, Binkowski et al. 2018) of [n, d] and [m, d].

    n, m >= 2.     0 on average for two samples of one distribution, and so below 0 half of the time.
    """
    a, b = _checked(a, b, 2)
    n, m, d = len(a), len(b), a.shape[1]
    aa, bb, ab = (a @ a.T / d + 1) ** 3, (b @ b.T / d + 1) ** 3, (a @ b.T / d + 1) ** 3
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0))


def _covered(points: Floats, by: Floats, k: int) -> float:
    """Share of `points` that lie in the ball of at least one of `by`, which reaches to its k-th nearest neighbour."""
    among = _squared_distances(by, by)
    np.fill_diagonal(among, 0)
    radii = np.partition(among, k, axis=1)[:, k]
    return float((_squared_distances(points, by) <= radii[None, :]).any(axis=1).mean())


def precision_recall(real: Floats, made: Floats, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, eqs. 1 and 2) of features [n, d] and [m, d]; n, m > k.

    Precision: the share of `made` within the real images' k-nearest-neighbour balls (are they like real ones);
    recall: the share of `real` within the balls of `made` (is everything there). Both in [0, 1].
    """
    real, made = _checked(real, made, k + 1)
    return _covered(made, real, k), _covered(real, made, k)


def distances(real: Floats, made: Floats, extractor: str) -> dict[str, float]:
    """`kid_NAME`, `fd_NAME`, `precision_NAME` and `recall_NAME` of one extractor's features."""
    precision, recall = precision_recall(real, made)
    return {
        f"kid_{extractor}": kernel_distance(real, made),
        f"fd_{extractor}": frechet_distance(real, made),
        f"precision_{extractor}": precision,
        f"recall_{extractor}": recall,
    }


def halves(groups: Sequence[str], seed: int = 0) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Two lists of indices of about equal length, whole groups on one side: real images for the real-vs-real floor.

    groups: the photo of each image. Raises InputError for fewer than two photos.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        raise InputError(f"A real-vs-real floor needs at least 2 photos, found {len(names)}.")
    rng = np.random.Generator(np.random.Philox(seed))
    members = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
    sides: tuple[list[int], list[int]] = ([], [])
    for name in rng.permutation(names):
        shorter = sides[0] if len(sides[0]) <= len(sides[1]) else sides[1]
        shorter.extend(members[str(name)])
    one, two = (np.array(sorted(side), dtype=np.intp) for side in sides)
    return one, two
