"""The ceiling of a latent system: the truth's latent and the LR image's through the same decoder."""

from __future__ import annotations

import pytest
import torch

from benchmarks.latent_ceiling import figures
from lsr.nn.resize import resize
from tests.training.kit import tiny_system


def test_the_decoder_is_given_both_latents_of_an_image() -> None:
    system = tiny_system(residual=True).eval()
    truth = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    lr = resize(truth, (8, 8))
    found = figures(system, lr, truth)
    with torch.no_grad():
        best = system.whiten(system.encoder(truth).mode())
        image = system.decode(best, (32, 32), lr=lr).clamp(-1, 1)
    assert found["truth"] == pytest.approx(10 * torch.log10(4 / (image - truth).square().mean()).item(), abs=1e-4)
    assert found["distance"] == pytest.approx((best - system.condition(lr)).square().mean().item(), rel=1e-5)
    assert found["lr"] != found["truth"]


def test_a_smooth_image_has_nothing_that_its_lr_lacks() -> None:
    truth = torch.full((1, 3, 32, 32), 0.25)
    found = figures(tiny_system(residual=True).eval(), resize(truth, (8, 8)), truth)
    assert found["lr"] == pytest.approx(found["truth"], abs=1e-3)
    assert found["distance"] == pytest.approx(0, abs=1e-6)
