"""Recipes for generation on two CPU cores: textures drawn from noise, decoded at any size, in minutes."""

from __future__ import annotations

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.config import EvaluateConfig, GateConfig, Rule
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.recipes.schema import AutoencoderStage, DecoderStage, DenoiseStage, JointStage, Recipe
from lsr.recipes.small import few_steps, train
from lsr.training.config import DecoderLoss, JointLoss

# Statistics of real tiles lie near 1 and those of noise far above; samples must differ from each other.
GENERATION_FLOOR = (
    Rule(metric="tile_distance", reference="none", above=-5.0),
    Rule(metric="self_ssim", reference="none", above=0.8),
    Rule(metric="diversity", reference="none", above=0.2),
)
GENERATION_AGAINST_CHAMPION = (Rule(metric="tile_distance", reference="champion", above=-0.5),)
SHORT_GENERATION_FLOOR = (Rule(metric="self_ssim", reference="none", above=0.3),)


def demo_generate() -> Recipe:
    """Generation from noise on the bundled photos: 64-px textures, small networks of the published shapes."""
    return Recipe(
        name="demo-generate",
        task="generation",
        model="lsr-demo-generate",
        seed=7,
        source=SourceConfig(uri="set:photos", name="photos"),
        shard=ShardConfig(holdout=0.25),
        tile=TileConfig(size=48, stride=48, shrink=2, min_detail=4.0, max_per_image=40, flips=True),
        autoencoder=AutoencoderStage(
            model=AutoencoderConfig(
                channels=24, multipliers=(1, 2, 2), blocks=1, latent_channels=8, mid_attention=False
            ),
            train=train(images=1_600, batch=8, lr=2e-3),
        ),
        decoder=DecoderStage(
            renderer=RendererConfig(hidden=(64, 64, 64)),
            train=train(images=11_200, batch=8, lr=2e-3),
            loss=DecoderLoss(scales=(0.25, 1.0)),
        ),
        latents=LatentsConfig(),
        denoise=DenoiseStage(
            unet=UNetConfig(channels=48, multipliers=(1, 2, 2), blocks=1, attention_factors=(4,)),
            diffusion=DiffusionConfig(prediction="v"),
            train=train(images=11_200, batch=32, lr=1e-3),
        ),
        joint=JointStage(train=train(images=640, batch=8, lr=3e-4), loss=JointLoss(scales=(0.25, 1.0))),
        evaluate=EvaluateConfig(sampler=SamplerConfig(steps=50, seed=1234)),
        gate=GateConfig(floor=GENERATION_FLOOR, against_champion=GENERATION_AGAINST_CHAMPION),
        infer=None,
    )


def short_generate() -> Recipe:
    """`demo-generate` with a handful of steps a stage."""
    return few_steps(demo_generate(), "short-generate", SHORT_GENERATION_FLOOR)
