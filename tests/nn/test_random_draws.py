"""Draws are pure functions of a sample's seed: neither batch size nor order enters."""

from __future__ import annotations

import torch

from lsr.nn.random import normal, uniform


def test_a_sample_does_not_depend_on_its_batch() -> None:
    together = normal([3, 5, 2**63 - 1], (4, 6, 7))
    assert together.shape == (3, 4, 6, 7)
    for i, seed in enumerate([3, 5, 2**63 - 1]):
        assert torch.equal(together[i], normal([seed], (4, 6, 7))[0])


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = normal([1], (8,))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(normal([1], (8,)), first)


def test_draws_are_standard_normal_and_differ_by_seed() -> None:
    draws = normal(range(8), (50_000,))
    assert draws.mean(dim=1).abs().max() < 0.02
    assert (draws.std(dim=1) - 1).abs().max() < 0.02
    assert torch.corrcoef(draws).fill_diagonal_(0).abs().max() < 0.02


def test_uniform_draws_fill_the_unit_interval() -> None:
    draws = torch.tensor([uniform(seed) for seed in range(4000)], dtype=torch.float64)
    assert uniform(11) == uniform(11)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.allclose(torch.histc(draws, 4, 0, 1) / 4000, torch.tensor(0.25, dtype=torch.float64), atol=0.03)


def test_values_are_frozen() -> None:
    """Resumed runs rely on these streams; a change here needs new stage versions."""
    torch.testing.assert_close(normal([7], (3,))[0], torch.tensor([-0.1468, 0.7861, 0.9468]), atol=1e-4, rtol=0)
    assert abs(uniform(7) - 0.32383276483316237) < 1e-15
