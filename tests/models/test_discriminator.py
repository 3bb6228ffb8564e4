"""The patch discriminator: size, receptive field, independence of samples, and gradients to the image only."""

from __future__ import annotations

import pytest
import torch

from lsr.core.config import check
from lsr.core.errors import ConfigError, InputError
from lsr.models.config import DiscriminatorConfig
from lsr.models.discriminator import Discriminator


def test_it_has_the_size_of_the_published_network() -> None:
    """Isola et al.'s 70 x 70 PatchGAN on RGB: the sum over its layers, counted by hand."""
    layers = [3 * 64 * 16 + 64, 64 * 128 * 16 + 256, 128 * 256 * 16 + 512, 256 * 512 * 16 + 1024, 512 * 16 + 1]
    with torch.device("meta"):
        found = Discriminator(DiscriminatorConfig())
    assert sum(p.numel() for p in found.parameters()) == sum(layers)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_verdict_sees_its_patch(layers: int, field: int) -> None:
    """Gradients reach `field` pixels; the norms, which see the whole image, are taken out."""
    torch.manual_seed(0)
    net = Discriminator(DiscriminatorConfig(channels=4, layers=layers)).double()
    for i, layer in enumerate(net.layers):
        if isinstance(layer, torch.nn.GroupNorm):
            net.layers[i] = torch.nn.Identity()
    x = torch.randn(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    verdicts = net(x)
    verdicts[0, 0, verdicts.shape[2] // 2, verdicts.shape[3] // 2].backward()
    assert x.grad is not None
    for axis in (2, 3):
        seen = x.grad.abs().sum(dim=[d for d in range(4) if d != axis]).nonzero().flatten()
        assert int(seen.max() - seen.min()) + 1 == field


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_smallest_image_has_one_verdict_and_a_smaller_one_is_rejected(layers: int) -> None:
    config = DiscriminatorConfig(channels=4, layers=layers)
    net = Discriminator(config)
    assert net(torch.zeros(2, 3, config.min_side, config.min_side)).shape == (2, 1, 1, 1)
    with pytest.raises(InputError, match=f"at least {config.min_side} x {config.min_side} pixels, found"):
        net(torch.zeros(1, 3, config.min_side, config.min_side - 1))


def test_a_verdict_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    net, x = Discriminator(DiscriminatorConfig(channels=8, layers=2)), torch.randn(3, 3, 24, 20)
    together = net(x)
    for i in range(3):
        torch.testing.assert_close(net(x[i : i + 1])[0], together[i])


def test_a_frozen_judge_gives_gradients_to_the_image_only() -> None:
    torch.manual_seed(0)
    net = Discriminator(DiscriminatorConfig(channels=8, layers=1))
    x = torch.randn(1, 3, 16, 16, requires_grad=True)
    assert torch.equal(net.judge_frozen(x), net(x))
    net.judge_frozen(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("changes", [{"channels": 6}, {"channels": 0}, {"layers": 0}, {"layers": 7}])
def test_impossible_discriminators_are_rejected(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        check(DiscriminatorConfig(**changes))
