"""Recipes at the published sizes (System A, method.md 1.2, 1.4 and 2).

`NAME` is ours at the published architecture, for GPU clusters; `NAME-published` trains and evaluates it as System A's
released code and paper do, on one GPU. Step counts were not published, so the ones here are ours, and so is the U-Net
of tower-x16 (that of faces, whose latents have the same shape) and of generate-256 (LDM's for FFHQ, the same latents).
"""

from __future__ import annotations

from dataclasses import replace

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.data.config import DegradationConfig
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.config import EvaluateConfig, GateConfig, Rule
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.recipes.generation import GENERATION_AGAINST_CHAMPION, GENERATION_FLOOR
from lsr.recipes.schema import AutoencoderStage, DecoderStage, DenoiseStage, JointStage, Recipe
from lsr.training.config import AutoencoderLoss, DecoderLoss, ImageTerms, JointLoss, TrainConfig

FLOOR = (
    Rule(metric="psnr", reference="bicubic", above=-1.0, scope="in-range"),
    Rule(metric="lpips", reference="bicubic", above=0.0, scope="all"),
    Rule(metric="lr_psnr", reference="none", above=35.0, scope="all"),
)
AGAINST_CHAMPION = (
    Rule(metric="lpips", reference="champion", above=0.0, scope="all"),
    Rule(metric="psnr", reference="champion", above=-0.1, scope="all"),
)
SAMPLER = SamplerConfig(steps=50, seed=1234)
FACES_UNET = UNetConfig(channels=256, multipliers=(1, 2, 4, 4), attention_factors=(4, 2, 1))


def _train(steps: int, batch: int, lr: float) -> TrainConfig:
    return TrainConfig(images=steps * batch, batch=batch, lr=lr, warmup=1000 * batch, ema=0.9999, precision="bf16")


def div2k_x4() -> Recipe:
    """DIV2K 48 -> 192 (System A 1.2 and 1.4). Point `source.uri` at a folder or prefix of photos."""
    return Recipe(
        name="div2k-x4",
        task="super-resolution",
        model="lsr-div2k-x4",
        seed=1,
        source=SourceConfig(uri="./DIV2K_train_HR", name="div2k"),
        shard=ShardConfig(holdout=0.1),
        tile=TileConfig(size=192, stride=96, flips=True),
        autoencoder=AutoencoderStage(model=AutoencoderConfig(), train=_train(300_000, 8, 5e-5)),
        decoder=DecoderStage(
            renderer=RendererConfig(), train=_train(300_000, 8, 5e-5), loss=DecoderLoss(scales=(0.25, 1.0))
        ),
        latents=LatentsConfig(degradations=(DegradationConfig(factor=4),)),
        denoise=DenoiseStage(
            unet=UNetConfig(channels=160, multipliers=(1, 2, 2, 4), attention_factors=(8,)),
            diffusion=DiffusionConfig(),
            train=_train(500_000, 32, 1e-4),
        ),
        joint=JointStage(train=_train(50_000, 32, 1e-5)),
        evaluate=EvaluateConfig(lr_side=48, scales=(2.0, 3.3, 4.0, 8.0, 12.0), photos=100, crops=1, sampler=SAMPLER),
        gate=GateConfig(floor=FLOOR, against_champion=AGAINST_CHAMPION),
        infer=None,
    )


def faces_x8() -> Recipe:
    """Faces 16 -> 128 with the Gaussian bottleneck (System A 1.2 and 1.4)."""
    return Recipe(
        name="faces-x8",
        task="super-resolution",
        model="lsr-faces-x8",
        seed=1,
        source=SourceConfig(uri="./faces", name="faces"),
        shard=ShardConfig(holdout=0.1),
        tile=TileConfig(size=128, stride=128),
        autoencoder=AutoencoderStage(
            model=AutoencoderConfig(latent_channels=32, bottleneck="kl"),
            train=_train(300_000, 8, 5e-5),
            loss=AutoencoderLoss(kl_weight=1e-6),
        ),
        decoder=DecoderStage(
            renderer=RendererConfig(), train=_train(300_000, 8, 5e-5), loss=DecoderLoss(scales=(0.25, 1.0))
        ),
        latents=LatentsConfig(degradations=(DegradationConfig(factor=8),)),
        denoise=DenoiseStage(
            unet=FACES_UNET,
            diffusion=DiffusionConfig(beta_start=1e-4, beta_end=0.015),
            train=_train(500_000, 32, 1e-4),
        ),
        joint=JointStage(train=_train(50_000, 32, 1e-5)),
        evaluate=EvaluateConfig(
            lr_side=16, scales=(5.3, 7.0, 10.0, 10.7, 12.0), trained=(1.0, 8.0), photos=100, crops=1, sampler=SAMPLER
        ),
        gate=GateConfig(floor=FLOOR, against_champion=AGAINST_CHAMPION),
        infer=None,
    )


def tower_x16() -> Recipe:
    """LSUN Tower 16 -> 256: f = 8, four levels (System A 1.2)."""
    base = faces_x8()
    return replace(
        base,
        name="tower-x16",
        model="lsr-tower-x16",
        source=SourceConfig(uri="./tower", name="tower"),
        tile=TileConfig(size=256, stride=256),
        autoencoder=replace(
            base.autoencoder,
            model=AutoencoderConfig(multipliers=(1, 2, 4, 4), latent_channels=32, bottleneck="kl"),
        ),
        decoder=replace(base.decoder, loss=DecoderLoss(scales=(0.125, 1.0))),
        latents=LatentsConfig(degradations=(DegradationConfig(factor=16),)),
        joint=replace(base.joint, loss=JointLoss(scales=(0.125, 1.0))),
        evaluate=replace(base.evaluate, scales=(4.0, 8.0, 16.0, 24.0), trained=(1.0, 16.0)),
    )


def generate_256() -> Recipe:
    """Generation at 256 pixels from 64 x 64 x 3 latents (System A 1.2)."""
    base = div2k_x4()
    return replace(
        base,
        name="generate-256",
        task="generation",
        model="lsr-generate-256",
        source=SourceConfig(uri="./ffhq", name="ffhq"),
        tile=TileConfig(size=256, stride=256),
        latents=LatentsConfig(),
        denoise=replace(
            base.denoise,
            unet=UNetConfig(channels=224, multipliers=(1, 2, 3, 4), attention_factors=(8, 4, 2)),
            diffusion=DiffusionConfig(beta_end=0.0195),
        ),
        evaluate=replace(base.evaluate, samples=64, sizes=(128, 160, 192, 256)),
        gate=GateConfig(floor=GENERATION_FLOOR, against_champion=GENERATION_AGAINST_CHAMPION),
    )


def _as_published(recipe: Recipe, first_stage: int, denoise: int, lr: float) -> Recipe:
    """`recipe` as System A trains and samples: method 2.1-2.3 and 1.6. first_stage, denoise: batches. lr: of the U-Net.

    L1 without KL, one deviation for all latents, uniform noise prediction, then alignment by L2 at the tile's own size
    with the weight abar / (1 - abar) as it is; no warm-up, no clipping; 200 DDIM steps with eta 1.
    """

    def train(steps: int, batch: int, rate: float) -> TrainConfig:
        return TrainConfig(images=steps * batch, batch=batch, lr=rate, clip=0.0, ema=0.9999, precision="fp32")

    joint = JointLoss(cap=None, scales=(1.0, 1.0), image=ImageTerms(l1=0.0, l2=1.0))
    return replace(
        recipe,
        name=f"{recipe.name}-published",
        model=f"{recipe.model}-published",
        autoencoder=replace(
            recipe.autoencoder, train=train(300_000, first_stage, 5e-5), loss=AutoencoderLoss(kl_weight=0.0)
        ),
        decoder=replace(recipe.decoder, train=train(300_000, first_stage, 5e-5)),
        latents=replace(recipe.latents, whitening="std"),
        denoise=replace(recipe.denoise, train=train(500_000, denoise, lr)),
        joint=replace(recipe.joint, train=train(50_000, 8, 1e-6), loss=joint),
        evaluate=replace(recipe.evaluate, sampler=replace(SAMPLER, steps=200, eta=1.0)),
    )


def div2k_x4_published() -> Recipe:
    """`div2k-x4` as published."""
    return _as_published(div2k_x4(), 8, 8, 1e-4)


def faces_x8_published() -> Recipe:
    """`faces-x8` as published."""
    return _as_published(faces_x8(), 8, 8, 1e-6)


def tower_x16_published() -> Recipe:
    """`tower-x16` as published."""
    return _as_published(tower_x16(), 6, 8, 1e-6)


def generate_256_published() -> Recipe:
    """`generate-256` as published; the denoising stage as LDM's for FFHQ."""
    return _as_published(generate_256(), 4, 42, 2e-6)
