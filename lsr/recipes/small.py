"""What the recipes for two CPU cores share: how a stage trains for a minute, and how a recipe is cut to seconds."""

from __future__ import annotations

from dataclasses import replace

from lsr.evaluation.config import Rule
from lsr.recipes.schema import Recipe
from lsr.training.config import TrainConfig


def train(*, images: int, batch: int, lr: float) -> TrainConfig:
    """Training of one stage: ten steps of warm-up, then a cosine to zero."""
    return TrainConfig(images=images, batch=batch, lr=lr, warmup=10 * batch, schedule="cosine", ema=0.98)


def few_steps(recipe: Recipe, name: str, floor: tuple[Rule, ...]) -> Recipe:
    """The recipe with 20 steps of 8 images per stage, fewer tiles, no perceptual term, whose weights need a download,
    and a smaller evaluation.
    """

    def cut(config: TrainConfig) -> TrainConfig:
        return replace(config, images=160, batch=8, warmup=0)

    return replace(
        recipe,
        name=name,
        model=f"lsr-{name}",
        tile=replace(recipe.tile, max_per_image=6, flips=False),
        autoencoder=replace(recipe.autoencoder, train=cut(recipe.autoencoder.train)),
        decoder=replace(recipe.decoder, train=cut(recipe.decoder.train)),
        denoise=replace(recipe.denoise, train=cut(recipe.denoise.train)),
        joint=replace(
            recipe.joint,
            train=cut(recipe.joint.train),
            loss=replace(recipe.joint.loss, image=replace(recipe.joint.loss.image, perceptual=0.0)),
        ),
        evaluate=replace(
            recipe.evaluate,
            photos=2,
            crops=1,
            sampler=replace(recipe.evaluate.sampler, steps=min(2, recipe.evaluate.sampler.steps)),
            scales=(2.0, 2.7, 5.5),
            samples=4,
            sizes=(48, 64),
        ),
        gate=replace(recipe.gate, floor=floor, against_champion=()),
    )
