"""Recipes for one GPU: the tasks of `published.py` with models of at most 30 M parameters."""

from __future__ import annotations

from dataclasses import replace

from lsr.models.config import AutoencoderConfig, UNetConfig
from lsr.recipes.published import div2k_x4, faces_x8, generate_256, tower_x16
from lsr.recipes.schema import Recipe
from lsr.training.config import TrainConfig


def _mid(recipe: Recipe, latent_channels: int, multipliers: tuple[int, ...] = (1, 2, 2)) -> Recipe:
    def train(steps: int, batch: int, lr: float) -> TrainConfig:
        return TrainConfig(
            images=steps * batch,
            batch=batch,
            lr=lr,
            warmup=200 * batch,
            schedule="cosine",
            ema=0.999,
            precision="bf16",
        )

    bottleneck = recipe.autoencoder.model.bottleneck
    return replace(
        recipe,
        name=f"{recipe.name}-mid",
        model=f"{recipe.model}-mid",
        autoencoder=replace(
            recipe.autoencoder,
            model=AutoencoderConfig(
                channels=64, multipliers=multipliers, latent_channels=latent_channels, bottleneck=bottleneck
            ),
            train=train(20_000, 16, 4e-4),
        ),
        decoder=replace(recipe.decoder, train=train(20_000, 16, 4e-4)),
        denoise=replace(
            recipe.denoise,
            unet=UNetConfig(channels=96, multipliers=(1, 2, 2, 2), attention_factors=(8, 4)),
            train=train(60_000, 64, 3e-4),
        ),
        joint=replace(recipe.joint, train=train(10_000, 16, 1e-4)),
    )


def div2k_x4_mid() -> Recipe:
    """DIV2K 48 -> 192."""
    return _mid(div2k_x4(), 4)


def faces_x8_mid() -> Recipe:
    """Faces 16 -> 128."""
    return _mid(faces_x8(), 8)


def tower_x16_mid() -> Recipe:
    """LSUN Tower 16 -> 256."""
    return _mid(tower_x16(), 16, (1, 2, 2, 2))


def generate_256_mid() -> Recipe:
    """Generation at 256 pixels."""
    return _mid(generate_256(), 4)
