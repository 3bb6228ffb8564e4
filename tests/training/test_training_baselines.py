"""What each comparator minimises, written out again; that it resumes, learns, and moves the weights it should."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lsr.core.errors import ConfigError
from lsr.data.config import DegradationConfig
from lsr.data.degrade import degrade
from lsr.diffusion.schedule import Schedule
from lsr.models.baselines.build import build
from lsr.models.baselines.config import EdsrConfig, IdmConfig, Sr3Config
from lsr.models.baselines.idm import Idm
from lsr.models.baselines.liif import Liif
from lsr.models.baselines.rrdb import Adversaries
from lsr.models.baselines.sr3 import Sr3
from lsr.nn.units import from_levels
from lsr.training.baselines import BaselineLoss, EsrganLoss, PixelDiffusionLoss, RegressionLoss
from lsr.training.config import Cadence, TrainConfig
from lsr.training.loop import TrainResult
from lsr.training.objectives.adversarial import EsrganObjective, relativistic
from lsr.training.objectives.baseline import baseline_objective
from lsr.training.objectives.pixel_diffusion import draw_levels
from lsr.training.protocols import Batch, Draws, Objective
from tests.models.baselines.kit import TINY
from tests.training.kit import RecordingTracker, digests

Fit = Callable[..., TrainResult]
DRAWS = Draws(seed=5, stage="test", step=3, first=2)
BY_TWO = DegradationConfig(factor=2)
PLAIN = EsrganLoss(pixel_weight=1.0, perceptual_weight=0.0, adversarial_weight=0.1)
KINDS = tuple(TINY)


def tiles(first: int = 0, count: int = 2, side: int = 16) -> dict[str, Tensor]:
    """Images of smooth waves, a function of the position."""
    at = torch.linspace(0, 2 * math.pi, side)
    images = []
    for position in range(first, first + count):
        turns = torch.rand(3, 3, generator=torch.Generator().manual_seed(position % 8)) * 2
        waves = [torch.sin(a * at[:, None] + b * at + 3 * c) for a, b, c in turns.tolist()]
        images.append(((torch.stack(waves) + 1) * 127.5).round().to(torch.uint8))
    return {"position": torch.arange(first, first + count), "tile": torch.stack(images)}


class Tiles:
    """`tiles` as a source."""

    def batch(self, start: int, stop: int) -> Batch:
        return tiles(start, stop - start)

    def verify(self) -> None: ...

    def close(self) -> None: ...


def made(kind: str, loss: BaselineLoss | None = None) -> Objective:
    torch.manual_seed(2)
    model = build(TINY[kind])
    default = PLAIN if kind == "esrgan" else None
    return baseline_objective(model, TINY[kind], BY_TWO, loss or default)


def pillow(image: Tensor, size: tuple[int, int]) -> Tensor:
    """[3, H, W] float by Pillow's bicubic, within [-1, 1]."""
    planes = [Image.fromarray(p.numpy()).resize((size[1], size[0]), Image.Resampling.BICUBIC) for p in image]
    return torch.from_numpy(np.stack([np.asarray(p) for p in planes])).clamp(-1, 1)


def all_pillow(x: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.stack([pillow(one, size) for one in x])


# Regression


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_edsr_is_compared_with_the_tile(norm: Any) -> None:
    objective, batch = made("edsr", RegressionLoss(norm=norm)), tiles()
    loss, terms = objective.loss(batch, DRAWS)
    x = batch["tile"].float() / 127.5 - 1
    with torch.no_grad():
        error = objective.model(all_pillow(x, (8, 8))).double() - x
    expected = error.abs().mean() if norm == "l1" else error.square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms == {}


def test_liif_is_compared_with_the_antialiased_tile_at_the_drawn_scale() -> None:
    objective, batch = made("liif", RegressionLoss(scales=(0.5, 1.0))), tiles()
    loss, terms = objective.loss(batch, DRAWS)
    side = round(16 * DRAWS.scale(0.5, 1.0))
    assert side not in (8, 16), "a drawn scale that is no scale shows nothing"
    x = batch["tile"].float() / 127.5 - 1
    with torch.no_grad():
        image = cast(Liif, objective.model)(all_pillow(x, (8, 8)), (side, side))
    assert loss.item() == pytest.approx((image - all_pillow(x, (side, side))).abs().mean().item(), rel=1e-4)
    assert terms["scale"].item() == pytest.approx(DRAWS.scale(0.5, 1.0))


def test_liif_renders_a_drawn_band_of_rows_when_queries_are_limited() -> None:
    whole, band = (made("liif", RegressionLoss(scales=(1.0, 1.0), queries=q)) for q in (None, 50))
    batch, x = tiles(), from_levels(tiles()["tile"])
    with torch.no_grad():
        image = cast(Liif, whole.model)(degrade(BY_TWO, x), (16, 16))
    bands = [(image - x).abs()[:, :, i : i + 3].mean().item() for i in range(14)]
    found = [band.loss(batch, replace(DRAWS, step=s))[0].item() for s in range(60)]
    places = [min(range(14), key=lambda i, value=value: abs(bands[i] - value)) for value in found]
    assert found == pytest.approx([bands[place] for place in places], rel=1e-5)
    assert {0, 13} <= set(places), "every row can be drawn"
    losses = {band.loss(batch, replace(DRAWS, first=first))[0].item() for first in range(3)}
    assert len(losses) == 1, "one band per global batch"


# Pixel diffusion


def test_levels_are_uniform_between_neighbouring_steps() -> None:
    schedule = Schedule("linear", 4, 0.1, 0.4)
    position = torch.arange(4000)
    levels = draw_levels(schedule, position, DRAWS)
    bounds = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alphas_cumprod]).sqrt()
    t = DRAWS.timesteps(position, 4)
    assert levels.dtype == torch.float64
    share = (levels - bounds[t]) / (bounds[t + 1] - bounds[t])
    assert 0 <= share.min() < 0.01
    assert 0.99 < share.max() < 1
    assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(draw_levels(schedule, position[5:7], DRAWS), levels[5:7])


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("kind", ["sr3", "idm"])
def test_pixel_diffusion_is_the_formula(kind: str, prediction: Any, norm: Any) -> None:
    config = cast(Sr3Config | IdmConfig, TINY[kind])
    config = replace(config, diffusion=replace(config.diffusion, prediction=prediction))
    torch.manual_seed(2)
    model = cast(Sr3 | Idm, build(config))
    batch = tiles(count=3)
    loss, _ = baseline_objective(model, config, BY_TWO, PixelDiffusionLoss(norm=norm)).loss(batch, DRAWS)
    x = batch["tile"].float() / 127.5 - 1
    lr = all_pillow(x, (8, 8))
    p = DRAWS.scale(0, 1)
    side = 16 if kind == "sr3" else round(8 + 8 * p)
    x = all_pillow(x, (side, side))
    level = draw_levels(model.schedule, batch["position"], DRAWS)
    a, s = (v.float()[:, None, None, None] for v in (level, (1 - level * level).sqrt()))
    noise = DRAWS.noise(batch["position"], x)
    with torch.no_grad():
        steer = model.guide(lr, (side, side), p) if isinstance(model, Idm) else all_pillow(lr, (16, 16))
        output = model(a * x + s * noise, level, steer)
    error = output - {"eps": noise, "x0": x, "v": a * noise - s * x}[prediction]
    expected = error.abs().mean() if norm == "l1" else error.square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)


def test_idm_trains_from_the_side_of_lr_to_the_side_of_the_tile() -> None:
    for positions, scale in (((0.0, 0.0), 1.0), ((1.0, 1.0), 2.0), ((0.5, 0.5), 1.5)):
        objective = made("idm", PixelDiffusionLoss(positions=positions))
        assert objective.loss(tiles(), DRAWS)[1]["scale"].item() == scale


# ESRGAN


def test_the_relativistic_loss_is_the_formula() -> None:
    real, fake = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64).unbind()
    sigmoid = lambda x: 1 / (1 + (-x).exp())  # noqa: E731
    d_real, d_fake = sigmoid(real - fake.mean()), sigmoid(fake - real.mean())
    discriminator = -(d_real.log().mean() + (1 - d_fake).log().mean()) / 2
    generator = -((1 - d_real).log().mean() + d_fake.log().mean()) / 2
    torch.testing.assert_close(relativistic(real, fake), discriminator)
    torch.testing.assert_close(relativistic(fake, real), generator)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_each_player_gets_the_gradient_of_its_own_loss() -> None:
    """Against two separate backward passes, as alternating training does them."""
    objective, batch = cast(EsrganObjective, made("esrgan")), tiles(count=3)
    alone = cast(Adversaries, copy.deepcopy(objective.model))
    loss, terms = objective.loss(batch, DRAWS)
    loss.backward()
    real = from_levels(batch["tile"])
    fake = alone.generator(degrade(BY_TWO, real))
    discriminator = relativistic(alone.discriminator(real), alone.discriminator(fake.detach()))
    discriminator.backward()
    expected_d = gradients(alone.discriminator)
    pixel = (fake - real).abs().mean()
    adversarial = relativistic(alone.discriminator(fake), alone.discriminator(real))
    (pixel + 0.1 * adversarial).backward()
    expected_g = gradients(alone.generator)
    for player, wanted in ((objective.model.generator, expected_g), (objective.model.discriminator, expected_d)):
        found = gradients(player)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)
    values = {name: value.item() for name, value in terms.items()}
    assert values == pytest.approx(
        {
            "pixel": pixel.item(),
            "perceptual": 0,
            "adversarial": adversarial.item(),
            "discriminator": discriminator.item(),
        }
    )
    assert loss.item() == pytest.approx(pixel.item() + 0.1 * adversarial.item() + discriminator.item())


def test_over_the_first_images_only_the_generator_moves_by_l1() -> None:
    objective = made("esrgan", replace(PLAIN, pretrain=4))
    loss, terms = objective.loss(tiles(), DRAWS)
    loss.backward()
    assert loss.item() == terms["pixel"].item()
    both = cast(Adversaries, objective.model)
    assert gradients(both.generator)
    assert not gradients(both.discriminator)
    assert objective.loss(tiles(), replace(DRAWS, seen=4))[1]["discriminator"].item() > 0


def test_a_perceptual_distance_is_weighed_in_on_images_in_zero_to_one() -> None:
    torch.manual_seed(2)
    model, seen = build(TINY["esrgan"]), []

    def perceptual(a: Tensor, b: Tensor) -> Tensor:
        seen.append((a, b))
        return (a - b).square().mean(dim=(1, 2, 3))

    weights = EsrganLoss(pixel_weight=0.0, perceptual_weight=2.0, adversarial_weight=0.0)
    objective = baseline_objective(model, TINY["esrgan"], BY_TWO, weights, perceptual=perceptual)
    batch = tiles()
    loss, terms = objective.loss(batch, DRAWS)
    torch.testing.assert_close(seen[0][1], batch["tile"].float() / 255, rtol=0, atol=1e-6)
    assert (loss - terms["discriminator"]).item() == pytest.approx(2 * terms["perceptual"].item(), rel=1e-5)
    with pytest.raises(ConfigError, match=r"perceptual_weight must be 0 where no perceptual distance is given"):
        baseline_objective(model, TINY["esrgan"], BY_TWO)


# All


def test_a_loss_or_a_factor_that_does_not_fit_is_rejected() -> None:
    with pytest.raises(ConfigError, match="The loss of edsr must be a RegressionLoss, found PixelDiffusionLoss"):
        made("edsr", PixelDiffusionLoss())
    with pytest.raises(ConfigError, match="edsr: factor must be the degradation's factor, found 4 and 2"):
        baseline_objective(build(TINY["edsr"]), EdsrConfig(), BY_TWO)
    with pytest.raises(ConfigError, match="idm: largest must be the degradation's factor, found 8 and 2"):
        baseline_objective(build(TINY["idm"]), IdmConfig(), BY_TWO)
    with pytest.raises(ConfigError, match="scales must satisfy"):
        made("liif", RegressionLoss(scales=(1.0, 0.5)))
    with pytest.raises(ConfigError, match=r"positions\[1\] must be less than or equal to 1, found 1.5"):
        made("idm", PixelDiffusionLoss(positions=(0.5, 1.5)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sampled_degradation_is_drawn_by_position(kind: str) -> None:
    """The same tiles at other positions get other noise; the same positions the same, however a batch is cut."""
    torch.manual_seed(2)
    objective = baseline_objective(
        build(TINY[kind]), TINY[kind], replace(BY_TWO, noise=(20.0, 20.0)), PLAIN if kind == "esrgan" else None
    )
    x, position = from_levels(tiles()["tile"]), torch.tensor([3, 8])
    lr = objective.degrade(x, position, DRAWS)  # type: ignore[attr-defined]
    clean = degrade(BY_TWO, x)
    assert (lr - clean).std().item() == pytest.approx(20 / 127.5, rel=0.15)
    assert torch.equal(objective.degrade(x, position, replace(DRAWS, first=0)), lr)  # type: ignore[attr-defined]
    assert not torch.equal(objective.degrade(x, position + 1, DRAWS), lr)  # type: ignore[attr-defined]
    assert objective.loss(tiles(), DRAWS)[0].isfinite()
    assert objective.preview(tiles()) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_takes_part(kind: str) -> None:
    objective = made(kind)
    objective.loss(tiles(count=3), DRAWS)[0].backward()
    idle = [n for n, p in objective.model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not idle


@pytest.mark.parametrize("kind", KINDS)
def test_each_resumes_bit_for_bit_and_draws_an_image(fit: Fit, kind: str) -> None:
    how = {
        "source": Tiles(),
        "config": TrainConfig(images=16, batch=4),
        "cadence": Cadence(log=20, image=2, checkpoint=2),
    }
    tracker = RecordingTracker()
    whole = fit(made(kind), key="whole", tracker=tracker, **how)
    calls = iter(range(99))
    with pytest.raises(ZeroDivisionError):
        fit(made(kind), key="cut", **how, stop_requested=lambda: 1 // (3 - next(calls)) > 9)
    assert digests(fit(made(kind), key="cut", fencing=2, **how)) == digests(whole)
    for image in tracker.images.values():
        assert image.dtype == np.uint8
        assert image.shape[0] == 2 * 16


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss(fit: Fit, kind: str) -> None:
    objective, batch = made(kind), tiles(count=8)

    def measured() -> float:
        """What is to fall: the loss, of ESRGAN the pixel term, over a few draws."""
        with torch.no_grad():
            each = [objective.loss(batch, replace(DRAWS, step=s, seed=s)) for s in range(4)]
        values = [terms["pixel"] if kind == "esrgan" else loss for loss, terms in each]
        return float(torch.stack(values).mean())

    before = measured()
    fit(objective, source=Tiles(), config=TrainConfig(images=480, batch=8, lr=3e-3), cadence=Cadence(checkpoint=60))
    assert measured() < 0.7 * before
