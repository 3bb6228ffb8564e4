"""Recipes for two CPU cores: the bundled photos, the whole pipeline, minutes.

Small models with the shape of the published ones. `short` is the same line with a handful of steps a stage: it
proves that every part works, not that the model is good, so its gate's floor only asks for finite images.
"""

from __future__ import annotations

from dataclasses import replace

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.data.config import DegradationConfig
from lsr.evaluation.config import EvaluateConfig, GateConfig, Rule
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.recipes.schema import (
    AutoencoderStage,
    DecoderStage,
    DenoiseStage,
    InferConfig,
    JointStage,
    Recipe,
)
from lsr.training.config import DecoderLoss, JointLoss, TrainConfig

# A residual system starts at bicubic, so the floor asks for more than not being far below it: a version must stay
# within one decibel of bicubic inside the trained range and agree with the LR image better than bicubic does.
DEMO_FLOOR = (
    Rule(metric="psnr", reference="bicubic", above=-1.0, scope="in-range"),
    Rule(metric="lr_psnr", reference="bicubic", above=1.0, scope="in-range"),
)
AGAINST_CHAMPION = (
    Rule(metric="psnr", reference="champion", above=-0.2),
    Rule(metric="lr_psnr", reference="champion", above=-0.5),
)
# Statistics of real tiles lie near 1 and those of noise far above; samples must differ from each other.
GENERATION_FLOOR = (
    Rule(metric="tile_distance", reference="none", above=-5.0),
    Rule(metric="self_ssim", reference="none", above=0.8),
    Rule(metric="diversity", reference="none", above=0.2),
)
GENERATION_AGAINST_CHAMPION = (Rule(metric="tile_distance", reference="champion", above=-0.5),)
# What 20 steps a stage can promise: an image not far from bicubic, which darkened noise is. The preflight proves that
# even this rejects.
SHORT_FLOOR = (Rule(metric="psnr", reference="bicubic", above=-6.0),)
SHORT_GENERATION_FLOOR = (Rule(metric="self_ssim", reference="none", above=0.3),)


LR = DegradationConfig(factor=4)


def _train(*, steps: int, batch: int, lr: float) -> TrainConfig:
    return TrainConfig(
        images=steps * batch,
        batch=batch,
        lr=lr,
        warmup=10 * batch,
        schedule="cosine",
        ema=0.98,
    )


def demo() -> Recipe:
    """Super-resolution on the bundled photos, sized for 2 cores without a GPU."""
    return Recipe(
        name="demo",
        task="super-resolution",
        model="lsr-demo",
        seed=7,
        source=SourceConfig(uri="set:photos", name="photos"),
        shard=ShardConfig(holdout=0.25),
        tile=TileConfig(size=48, stride=48, shrink=2, min_detail=4.0, max_per_image=40, flips=True),
        autoencoder=AutoencoderStage(
            model=AutoencoderConfig(
                channels=24, multipliers=(1, 2, 2), blocks=1, latent_channels=8, mid_attention=False
            ),
            train=_train(steps=200, batch=8, lr=2e-3),
        ),
        decoder=DecoderStage(
            renderer=RendererConfig(hidden=(64, 64, 64)),
            train=_train(steps=1400, batch=8, lr=2e-3),
            loss=DecoderLoss(scales=(0.25, 1.0)),
            residual=LR,
        ),
        latents=LatentsConfig(degradations=(LR,)),
        denoise=DenoiseStage(
            unet=UNetConfig(channels=48, multipliers=(1, 2, 2), blocks=1, attention_factors=(4,)),
            diffusion=DiffusionConfig(prediction="x0"),
            train=_train(steps=350, batch=32, lr=1e-3),
        ),
        joint=JointStage(train=_train(steps=80, batch=8, lr=3e-4), loss=JointLoss(scales=(0.25, 1.0))),
        evaluate=EvaluateConfig(),
        gate=GateConfig(floor=DEMO_FLOOR, against_champion=AGAINST_CHAMPION),
        infer=InferConfig(source=SourceConfig(uri="set:thumbnails", name="thumbnails"), scale=4.0),
    )


def demo_generate() -> Recipe:
    """Generation from noise on the same photos: 64-px textures, decoded at any size."""
    base = demo()
    return replace(
        base,
        name="demo-generate",
        task="generation",
        model="lsr-demo-generate",
        decoder=replace(base.decoder, residual=None),
        latents=LatentsConfig(),
        denoise=replace(base.denoise, diffusion=DiffusionConfig(prediction="v")),
        evaluate=replace(base.evaluate, sampler=replace(base.evaluate.sampler, steps=50)),
        gate=GateConfig(floor=GENERATION_FLOOR, against_champion=GENERATION_AGAINST_CHAMPION),
        infer=None,
    )


def short() -> Recipe:
    """`demo` with a handful of steps a stage."""
    return _few_steps(demo(), "short")


def short_generate() -> Recipe:
    """`demo-generate` with a handful of steps a stage."""
    return _few_steps(demo_generate(), "short-generate")


def _few_steps(recipe: Recipe, name: str) -> Recipe:
    def cut(train: TrainConfig) -> TrainConfig:
        return replace(train, images=160, batch=8, warmup=0)

    floor = SHORT_FLOOR if recipe.task == "super-resolution" else SHORT_GENERATION_FLOOR
    return replace(
        recipe,
        name=name,
        model=f"lsr-{name}",
        tile=replace(recipe.tile, max_per_image=6, flips=False),
        autoencoder=replace(recipe.autoencoder, train=cut(recipe.autoencoder.train)),
        decoder=replace(recipe.decoder, train=cut(recipe.decoder.train)),
        denoise=replace(recipe.denoise, train=cut(recipe.denoise.train)),
        joint=replace(recipe.joint, train=cut(recipe.joint.train)),
        evaluate=replace(
            recipe.evaluate,
            photos=2,
            crops=1,
            sampler=replace(recipe.evaluate.sampler, steps=2),
            scales=(2.0, 2.7, 5.5),
            samples=4,
            sizes=(48, 64),
        ),
        gate=replace(recipe.gate, floor=floor, against_champion=()),
    )
