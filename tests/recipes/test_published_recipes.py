"""Recipes at the published sizes: layer shapes and counts as method.md prints them, built without memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lsr.models.autoencoder import Autoencoder
from lsr.models.config import SystemConfig, UNetConfig
from lsr.models.system import LatentSystem
from lsr.models.unet import UNet
from lsr.recipes import BUILT_IN, load_recipe
from lsr.recipes.schema import Recipe
from lsr.training.config import ImageTerms

PUBLISHED = ("div2k-x4", "faces-x8", "tower-x16", "generate-256")


def build(recipe: Recipe) -> LatentSystem:
    degradations = recipe.latents.degradations
    config = SystemConfig(
        autoencoder=recipe.autoencoder.model,
        renderer=recipe.decoder.renderer,
        unet=recipe.denoise.unet,
        diffusion=recipe.denoise.diffusion,
        conditional=recipe.task == "super-resolution",
        base_scale=degradations[0].factor if degradations else 1,
        latent_side=recipe.tile.size // recipe.autoencoder.model.factor,
    )
    with torch.device("meta"):
        return LatentSystem(config)


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize("suffix", ["", "-published"])
@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "unet", "latent"),
    [
        ("div2k-x4", "22.3", "30.0", "113.6", (3, 48, 48)),
        ("faces-x8", "22.6", "30.1", "411", (32, 32, 32)),
        ("tower-x16", "34.4", "44.3", "411", (32, 32, 32)),
        ("generate-256", "22.3", "30.0", "274", (3, 64, 64)),
    ],
)
def test_a_published_system(
    name: str, suffix: str, encoder: str, decoder: str, unet: str, latent: tuple[int, int, int]
) -> None:
    """To the printed digits: method 1.2 and 1.4."""
    recipe = load_recipe(name + suffix)
    system = build(recipe)
    parts = {
        encoder: system.encoder,
        decoder: system.decoder.trunk,
        unet: system.unet,
        "0.232": system.decoder.renderer,
    }
    for printed, part in parts.items():
        assert f"{millions(part):.{len(printed.partition('.')[2])}f}" == printed
    size = recipe.tile.size
    z = system.encoder(torch.empty(1, 3, size, size, device="meta")).mean
    assert z.shape[1:] == latent
    cond = z if recipe.task == "super-resolution" else None
    assert system.unet(z, torch.zeros(1, dtype=torch.int64, device="meta"), cond).shape == z.shape
    assert system.unet.conv_in.in_channels == latent[0] * (1 if cond is None else 2)
    assert system.decoder.features(z).shape[1:] == (128, *latent[1:])
    assert (system.encoder.gaussian, recipe.denoise.unet.head_channels) == (latent[0] == 32, 32)


def test_the_df2k_network_attends_in_its_middle_only() -> None:
    """Published as factors (12, 6), which its code never reaches; 105.4 M parameters."""
    with torch.device("meta"):
        unet = UNet(UNetConfig(channels=160, multipliers=(1, 2, 2, 4), attention_factors=()), 6, 3)
    assert f"{millions(unet):.1f}" == "105.4"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_behaviour_differs_from_ours_in_nothing_but_named_options(name: str) -> None:
    ours, theirs = load_recipe(name), load_recipe(f"{name}-published")
    assert theirs.autoencoder.model == ours.autoencoder.model
    assert theirs.decoder.renderer == ours.decoder.renderer
    assert (theirs.denoise.unet, theirs.denoise.diffusion) == (ours.denoise.unet, ours.denoise.diffusion)
    assert theirs.denoise.diffusion.prediction == "eps"
    assert theirs.autoencoder.loss.kl_weight == 0
    assert theirs.autoencoder.loss.image == theirs.decoder.loss.image == ImageTerms()
    assert theirs.latents == replace(ours.latents, whitening="std")
    assert all(one.upsample == "nearest" for one in theirs.latents.degradations)
    joint = theirs.joint.loss
    assert (joint.cap, joint.scales, joint.image) == (None, (1.0, 1.0), ImageTerms(l1=0.0, l2=1.0))
    assert (joint.denoise_weight, joint.image_weight) == (1.0, 1.0)
    sampler = theirs.evaluate.sampler
    assert (sampler.steps, sampler.eta, sampler.name) == (200, 1.0, "ddim")
    assert ours.joint.loss.cap == 5.0


@pytest.mark.parametrize("name", [f"{name}-mid" for name in PUBLISHED])
def test_a_middle_sized_system_is_of_at_most_30_million_parameters(name: str) -> None:
    recipe = load_recipe(name)
    big = load_recipe(name.removesuffix("-mid"))
    system = build(recipe)
    assert 10 < millions(system) < 30
    with torch.device("meta"):
        assert millions(Autoencoder(recipe.autoencoder.model)) < 30
    assert recipe.autoencoder.model.factor == big.autoencoder.model.factor
    assert (recipe.tile, recipe.evaluate, recipe.latents) == (big.tile, big.evaluate, big.latents)


def test_every_published_task_has_its_three_recipes() -> None:
    assert {f"{name}{suffix}" for name in PUBLISHED for suffix in ("", "-published", "-mid")} <= set(BUILT_IN)
