"""Recipes at the published sizes (System A), for GPU clusters. Written from the released configs (method.md 1.2, 1.4);
step counts were not published, so the ones here are ours.
"""

from __future__ import annotations

from data_prep.config import DegradationConfig, LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.evaluation.config import EvaluateConfig, GateConfig, Rule
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.recipes.schema import AutoencoderStage, ComputeConfig, DecoderStage, DenoiseStage, JointStage, Recipe
from lsr.training.config import AutoencoderLoss, DecoderLoss, TrainConfig

FLOOR = (
    Rule(metric="psnr", reference="bicubic", above=-1.0, scope="in-range"),
    Rule(metric="lpips", reference="bicubic", above=0.0, scope="all"),
    Rule(metric="lr_psnr", reference="none", above=35.0, scope="all"),
)
AGAINST_CHAMPION = (
    Rule(metric="lpips", reference="champion", above=0.0, scope="all"),
    Rule(metric="psnr", reference="champion", above=-0.1, scope="all"),
)


def _train(steps: int, batch: int, lr: float) -> TrainConfig:
    return TrainConfig(
        steps=steps, batch=batch, lanes=8, lr=lr, warmup=1000, ema=0.9999, precision="bf16", checkpoint_every=2000
    )


def div2k_x4() -> Recipe:
    """DIV2K 48 -> 192 (System A 1.2 and 1.4). Point `source.uri` at a folder or prefix of photographs."""
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
        evaluate=EvaluateConfig(lr_side=48, scales=(2.0, 3.3, 4.0, 8.0, 12.0), photos=100, crops=1, steps=50),
        gate=GateConfig(floor=FLOOR, against_champion=AGAINST_CHAMPION),
        infer=None,
        compute=ComputeConfig(workers=8, cpus_per_worker=8, gpus_per_worker=1, tasks=16),
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
            unet=UNetConfig(channels=256, multipliers=(1, 2, 4, 4), attention_factors=(4, 2, 1)),
            diffusion=DiffusionConfig(beta_start=1e-4, beta_end=0.015),
            train=_train(500_000, 32, 1e-4),
        ),
        joint=JointStage(train=_train(50_000, 32, 1e-5)),
        evaluate=EvaluateConfig(
            lr_side=16, scales=(5.3, 7.0, 10.0, 10.7, 12.0), trained=(1.0, 8.0), photos=100, crops=1, steps=50
        ),
        gate=GateConfig(floor=FLOOR, against_champion=AGAINST_CHAMPION),
        infer=None,
        compute=ComputeConfig(workers=8, cpus_per_worker=8, gpus_per_worker=1, tasks=16),
    )
