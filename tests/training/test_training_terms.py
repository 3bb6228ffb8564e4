"""Loss terms against formulas written out in float64, and the two parts of the adversarial game against each alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lsr.core.config import check
from lsr.core.errors import ConfigError
from lsr.metrics.lpips import Lpips
from lsr.models.config import DISCRIMINATOR, DiscriminatorConfig
from lsr.recipes import load_recipe
from lsr.stages.trained import Trained, weights_of
from lsr.store import open_store
from lsr.store.content import put_blob
from lsr.training.config import ImageTerms
from lsr.training.terms import Compared, ImageLoss, perceptual_for

SMALL = DiscriminatorConfig(channels=8, layers=1)
GAME = ImageTerms(adversarial=0.75, discriminator=SMALL)


def pair(side: int = 12, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 3, side, side)
    return tuple(torch.rand(shape, generator=generator) * 2 - 1 for _ in range(2))  # type: ignore[return-value]


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """A stand-in for a perceptual distance, of images in [0, 1]."""
    assert min(a.min(), b.min()) >= 0
    assert max(a.max(), b.max()) <= 1
    return (a - b).square().mean(dim=(1, 2, 3))


def compare(config: ImageTerms, made: Tensor, truth: Tensor, **changes: Any) -> Compared:
    loss = ImageLoss(config, mean_square)
    return loss(made, truth, **{"seen": 0, "last": torch.zeros(1), **changes})


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        ImageTerms(),
        ImageTerms(l1=0.0, l2=1.0),
        ImageTerms(l1=0.3, l2=0.2, perceptual=0.7),
        ImageTerms(l1=0.0, perceptual=1.0),
    ],
)
def test_the_point_terms_are_their_formulas(config: ImageTerms, weighted: bool) -> None:
    made, truth = pair()
    weight = torch.tensor([0.5, 4.0, 0.0], dtype=torch.float64) if weighted else None
    found = compare(config, made, truth, weight=weight)
    error = made.double() - truth.double()
    per_sample = torch.stack(
        [config.l1 * e.abs().mean() + (config.l2 + config.perceptual / 4) * (e**2).mean() for e in error]
    )
    wanted = (per_sample * (1 if weight is None else weight)).mean()
    assert found.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert found.point.item() == found.total.item()
    assert set(found.terms) == ({"perceptual"} if config.perceptual else set())


def test_the_default_is_the_published_l1_to_the_last_bit() -> None:
    made, truth = pair()
    assert torch.equal(compare(ImageTerms(), made, truth).total, (made - truth).abs().mean())


def test_lpips_passes_gradients_to_the_image_only() -> None:
    torch.manual_seed(0)
    lpips = Lpips("alex")
    for head in lpips.lin:
        nn.init.ones_(head.weight)  # type: ignore[arg-type]
    made, truth = pair(side=32, count=1)
    made.requires_grad_(True)
    loss = ImageLoss(ImageTerms(l1=0.0, perceptual=2.0), lpips)
    found = loss(made, truth, seen=0, last=made)
    assert found.total.item() == pytest.approx(2 * lpips((made + 1) / 2, (truth + 1) / 2).item(), rel=1e-6)
    found.total.backward()
    assert made.grad is not None
    assert made.grad.abs().max() > 0
    assert all(p.grad is None for p in lpips.parameters())


class Painter(nn.Module):
    """A generator of two layers, and the discriminator that joins it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.tanh(self.first(x)))
        return out


def game(config: ImageTerms) -> tuple[Painter, ImageLoss]:
    torch.manual_seed(2)
    painter, loss = Painter(), ImageLoss(config, mean_square)
    loss.join(painter)
    with torch.no_grad():
        for p in painter.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return painter, loss


def exact_gradients(
    painter: Painter, loss: ImageLoss, source: Tensor, truth: Tensor, weight: Tensor | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients of the generator and of the discriminator in float64, each from a loss of its own on copies."""
    assert loss.discriminator is not None
    exact, judge = copy.deepcopy(painter).double(), copy.deepcopy(loss.discriminator).double()
    w = torch.ones(len(source), dtype=torch.float64) if weight is None else weight
    truth = truth.double()

    def mean(values: Tensor) -> Tensor:
        return (w * values.flatten(1).mean(dim=1)).mean()

    made = exact(source.double())
    point = mean((made - truth).abs())
    against = mean(-judge(made))
    last = exact.last.weight
    factor = loss.config.adversarial
    if loss.config.adaptive:
        norms = [torch.autograd.grad(one, last, retain_graph=True)[0].norm().item() for one in (point, against)]
        factor *= norms[0] / (norms[1] + 1e-4)
    own = {n: p for n, p in exact.named_parameters() if not n.startswith(DISCRIMINATOR)}
    ours = torch.autograd.grad(point + factor * against, list(own.values()))
    fooled, fair = judge(made.detach()), judge(truth)
    hinge = 0.5 * (mean((1 - fair).clamp(min=0)) + mean((1 + fooled).clamp(min=0)))
    named = dict(judge.named_parameters())
    theirs = torch.autograd.grad(hinge, list(named.values()))
    return dict(zip(own, ours)), dict(zip(named, theirs))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("adaptive", [False, True])
def test_one_loss_gives_each_part_the_gradient_of_its_own(adaptive: bool, weighted: bool) -> None:
    painter, loss = game(replace(GAME, adaptive=adaptive))
    source, truth = pair()
    weight = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64) if weighted else None
    found = loss(painter(source), truth, seen=0, last=painter.last.weight, weight=weight)
    found.total.backward()
    generator, discriminator = exact_gradients(painter, loss, source, truth, weight)
    for name, parameter in painter.named_parameters():
        inner = name.removeprefix(f"{DISCRIMINATOR}.")
        wanted = generator[name] if name in generator else discriminator[inner]
        assert parameter.grad is not None
        assert wanted.abs().max() > 0, name
        scale = float(wanted.abs().max())
        torch.testing.assert_close(parameter.grad.double(), wanted, rtol=1e-3, atol=1e-4 * scale, msg=name)
    assert set(found.terms) == {"generator", "discriminator", "adversarial_weight"}


def test_before_its_start_the_discriminator_neither_trains_nor_counts() -> None:
    painter, loss = game(replace(GAME, start=5))
    source, truth = pair()
    early = loss(painter(source), truth, seen=4, last=painter.last.weight)
    early.total.backward()
    assert torch.equal(early.total, early.point)
    assert all(p.grad is None for n, p in painter.named_parameters() if n.startswith(DISCRIMINATOR))
    late = loss(painter(source), truth, seen=5, last=painter.last.weight)
    assert late.terms.keys() == early.terms.keys()
    assert late.total.item() != late.point.item()


def test_the_discriminator_learns_to_tell_and_the_generator_to_fool() -> None:
    """Plain descent on one loss: alone the discriminator's hinge falls; with the other fixed the verdicts rise."""
    painter, loss = game(replace(GAME, adaptive=False, adversarial=1.0, l1=1e-6))
    source, truth = pair(count=4)

    def steps(prefix: bool, count: int = 60) -> Compared:
        chosen = [p for n, p in painter.named_parameters() if n.startswith(DISCRIMINATOR) is prefix]
        optimiser = torch.optim.Adam(chosen, 3e-3)
        for _ in range(count):
            painter.zero_grad()
            found = loss(painter(source), truth, seen=0, last=painter.last.weight)
            found.total.backward()
            optimiser.step()
        return loss(painter(source), truth, seen=0, last=painter.last.weight)

    first = loss(painter(source), truth, seen=0, last=painter.last.weight)
    trained = steps(prefix=True)
    assert trained.terms["discriminator"] < 0.5 * first.terms["discriminator"]
    fooled = steps(prefix=False)
    assert fooled.terms["generator"] < trained.terms["generator"] - 0.5


def test_missing_perceptual_weights_are_named_with_the_way_out(tmp_path: Path) -> None:
    assert perceptual_for(ImageTerms(), tmp_path) is None
    with pytest.raises(ConfigError, match=r"needs the weights of LPIPS-vgg, .*run `lsr data get lpips`"):
        perceptual_for(ImageTerms(perceptual=1.0), tmp_path)
    with pytest.raises(ConfigError, match=r"weight of 0\.5 needs a perceptual distance, found none"):
        ImageLoss(ImageTerms(perceptual=0.5))


def test_perceptual_weights_come_from_the_cache(tmp_path: Path) -> None:
    made = Lpips("alex")
    path = tmp_path / "sets" / "lpips" / "lpips-alex.safetensors"
    path.parent.mkdir(parents=True)
    safetensors.torch.save_file(made.state_dict(), path, metadata={"net": "alex"})
    found = perceptual_for(ImageTerms(perceptual=1.0, network="alex"), tmp_path)
    assert found is not None
    assert torch.equal(found.conv[0].weight, made.conv[0].weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"l1": -1.0}, "l1 must be greater than or equal to 0, found -1"),
        ({"l1": 0.0, "adversarial": 1.0}, "knows no truth"),
    ],
)
def test_impossible_terms_are_rejected(changes: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check(ImageTerms(**changes))  # type: ignore[arg-type]


def test_a_recipe_with_images_too_small_for_its_terms_is_rejected() -> None:
    assert (ImageTerms().min_side, ImageTerms(perceptual=1.0).min_side, GAME.min_side) == (1, 32, 6)
    load_recipe("demo-generate", {"autoencoder.loss.image.perceptual": "0.1"})
    with pytest.raises(ConfigError, match=r"decoder\.loss\.image compares images of at least 32 pixels, found 12"):
        load_recipe("demo-generate", {"decoder.loss.image.perceptual": "0.1"})


def test_the_next_stage_loads_the_product_without_the_discriminator(tmp_path: Path) -> None:
    painter, _ = game(GAME)
    store = open_store(tmp_path.as_uri())
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(painter.state_dict(), path)
    blob = put_blob(store, path, "safetensors")
    trained = Trained(
        kind="autoencoder",
        parents={},
        config={},
        system={},
        weights={"ema": blob},
        steps=1,
        images_seen=1,
        metrics={},
    )
    assert any(name.startswith(DISCRIMINATOR) for name in painter.state_dict())
    Painter().load_state_dict(weights_of(store, trained))
