"""Distances between sets: against scipy's matrix root, torchmetrics' kernel distance, and examples done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from lsr.core.errors import InputError
from lsr.metrics.distribution import distances, frechet_distance, halves, kernel_distance, precision_recall

Floats = np.ndarray


def features(n: int, d: int, seed: int, shift: float = 0.0) -> Floats:
    """Correlated ones, as networks give them."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mixing + shift


def textbook_frechet(a: Floats, b: Floats) -> float:
    """Heusel et al. 2017, equation 6, with scipy's root of the product of the covariances."""
    root = sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    trace = np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * np.real(root))
    return float(np.square(a.mean(0) - b.mean(0)).sum() + trace)


@pytest.mark.parametrize(("n", "m"), [(200, 150), (40, 500), (9, 9)])
def test_frechet_distance_agrees_with_scipy_and_torchmetrics(n: int, m: int) -> None:
    a, b = features(n, 8, 0), 1.3 * features(m, 8, 1, shift=0.5)
    found = frechet_distance(a, b)
    assert found == pytest.approx(textbook_frechet(a, b), rel=1e-6)
    statistics = [torch.from_numpy(v) for x in (a, b) for v in (x.mean(0), np.cov(x, rowvar=False))]
    assert found == pytest.approx(float(_compute_fid(*statistics)), rel=1e-6)


def test_frechet_distance_needs_no_full_rank() -> None:
    """Fewer images than features: the root of the small, non-zero eigenvalues of the product, taken one by one."""
    a, b = features(6, 20, 0), features(11, 20, 1)
    product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
    root = np.sqrt(np.abs(np.sort(np.abs(np.linalg.eigvals(product)))[-5:])).sum()
    trace = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False)) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(np.square(a.mean(0) - b.mean(0)).sum() + trace, rel=1e-9)


def test_frechet_distance_of_known_gaussians() -> None:
    """Standard normal against mean 2, deviation 3 in each of 4 dimensions: 4 (2^2 + (3 - 1)^2) = 32."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((200_000, 4)), 2 + 3 * rng.standard_normal((200_000, 4))
    assert frechet_distance(a, b) == pytest.approx(32, rel=0.01)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(30, 50), (2, 3)])
def test_kernel_distance_agrees_with_torchmetrics(n: int, m: int) -> None:
    """Which estimates from sets of equal size: the larger one is cut for it, and for us."""
    a, b = features(n, 16, 0), features(m, 16, 1, shift=0.3)[:n]
    expected = poly_mmd(torch.from_numpy(a), torch.from_numpy(b))
    assert kernel_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_kernel_distance_is_the_unbiased_mmd() -> None:
    """The sum over all pairs of different images, written out."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 5)), rng.standard_normal((9, 5)) + 0.5

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    def within(rows: np.ndarray) -> float:
        return float(np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]))

    between = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(within(a) + within(b) - 2 * between)


def test_kernel_distance_is_unbiased() -> None:
    """Over many pairs of samples of one distribution its mean is 0 within three standard errors, its sign mixed."""
    rng = np.random.default_rng(0)
    values = [kernel_distance(rng.standard_normal((12, 6)), rng.standard_normal((9, 6))) for _ in range(2000)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert 0.2 < np.mean(np.array(values) < 0) < 0.8


def test_precision_and_recall_by_hand() -> None:
    """k = 1 on a line. Real 0, 1, 10, 12 have radii 1, 1, 2, 2; made 2, 30, 31 have radii 28, 1, 1.

    Of the made ones only 2 lies in a real ball (that of 1); of the real ones all lie in the ball of 2.
    """
    real, made = np.array([[0.0], [1], [10], [12]]), np.array([[2.0], [30], [31]])
    assert precision_recall(real, made, k=1) == (pytest.approx(1 / 3), pytest.approx(1))
    assert precision_recall(made, real, k=1) == (pytest.approx(1), pytest.approx(1 / 3))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), n=st.integers(4, 12), m=st.integers(4, 12), k=st.integers(1, 3))
def test_precision_and_recall_agree_with_the_loops_of_the_paper(seed: int, n: int, m: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    real, made = rng.standard_normal((n, 3)), rng.standard_normal((m, 3)) * 1.5

    def share(points: Floats, by: Floats) -> float:
        inside = 0
        for point in points:
            for centre in by:
                radius = sorted(np.linalg.norm(centre - other) for other in by)[k]
                if np.linalg.norm(point - centre) <= radius:
                    inside += 1
                    break
        return inside / len(points)

    assert precision_recall(real, made, k) == (pytest.approx(share(made, real)), pytest.approx(share(real, made)))


def test_what_the_three_say_of_lost_variety_and_of_junk() -> None:
    real = features(300, 8, 0)
    few, junk = features(300, 8, 1) * 0.2, features(300, 8, 2, shift=40.0)
    good = distances(real, features(300, 8, 3), "toy")
    lost, broken = distances(real, few, "toy"), distances(real, junk, "toy")
    assert set(good) == {"kid_toy", "fd_toy", "precision_toy", "recall_toy"}
    assert good["precision_toy"] > 0.6 < good["recall_toy"]
    assert lost["precision_toy"] > 0.9
    assert lost["recall_toy"] < 0.1
    assert broken["precision_toy"] == broken["recall_toy"] == 0
    assert good["fd_toy"] < lost["fd_toy"] < broken["fd_toy"]
    assert good["kid_toy"] < min(lost["kid_toy"], broken["kid_toy"])


def test_halves_keep_photos_whole() -> None:
    groups = [f"photo{i // 3}" for i in range(31)]
    one, two = halves(groups)
    assert sorted([*one, *two]) == list(range(31))
    assert not {groups[i] for i in one} & {groups[i] for i in two}
    assert abs(len(one) - len(two)) <= 3
    assert not np.array_equal(one, halves(groups, seed=1)[0])
    with pytest.raises(InputError, match="at least 2 photos, found 1"):
        halves(["a", "a"])


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, precision_recall])
def test_sets_that_cannot_be_compared_are_rejected(distance: object) -> None:
    good = features(8, 3, 0)
    with pytest.raises(InputError, match=r"\[n, d\] and \[m, d\] with at least"):
        distance(good, features(8, 4, 0))
    with pytest.raises(InputError, match="with at least"):
        distance(good, good[:1])
    with pytest.raises(InputError, match="must be finite"):
        distance(good, np.where(np.eye(8, 3) > 0, np.nan, good))
