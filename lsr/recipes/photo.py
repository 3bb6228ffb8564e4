"""Recipe for a model of real photos that upscales by any factor on two cores.

Every network works at the LR image's own resolution. The decoder sees the LR image's pixels and is trained with both
latents that it will be given: the condition's, from which it renders what is certain (fidelity 1), and the tile's,
which holds the detail that the U-Net draws in one call from the noised condition (fidelity 0).
"""

from __future__ import annotations

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.data.config import DegradationConfig
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.config import EvaluateConfig, GateConfig, Rule
from lsr.models.config import AutoencoderConfig, BodyConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.recipes.schema import AutoencoderStage, DecoderStage, DenoiseStage, InferConfig, JointStage, Recipe
from lsr.training.config import DecoderLoss, ImageTerms, JointLoss, TrainConfig

FLOOR = (
    Rule(metric="psnr", reference="bicubic", above=0.5, scope="in-range"),
    Rule(metric="lr_psnr", reference="bicubic", above=1.0, scope="in-range"),
)
AGAINST_CHAMPION = (Rule(metric="psnr", reference="champion", above=-0.1),)

LR = DegradationConfig(factor=4)
UNET = UNetConfig(channels=32, multipliers=(1, 2), blocks=1, attention_factors=())
SHIFT = DiffusionConfig(steps=8, schedule="linear", beta_start=0.0005, beta_end=0.004, prediction="x0", shift=True)
DECODER_LOSS = DecoderLoss(scales=(1.0, 1.0), lr_share=0.6)
JOINT_LOSS = JointLoss(scales=(0.5, 1.0), image=ImageTerms(perceptual=0.2, network="alex"))


def _train(images: int, lr: float, batch: int = 16) -> TrainConfig:
    return TrainConfig(
        images=images,
        batch=batch,
        lr=lr,
        warmup=min(1600, images // 10),
        schedule="wsd",
        cooldown=images // 4,
        ema=0.995,
    )


def photo() -> Recipe:
    """Photos of the packaged set, x4 tiles of 96 pixels, one network call."""
    # What is gated is what a request gets by default; less fidelity is asked for by name.
    one_call = SamplerConfig(steps=1, fidelity=1.0)
    return Recipe(
        name="photo",
        task="super-resolution",
        model="lsr-photo",
        seed=7,
        source=SourceConfig(uri="set:web-photos", name="web-photos"),
        shard=ShardConfig(holdout=0.1),
        tile=TileConfig(size=96, stride=72, shrink=2, min_detail=2.0, max_per_image=200, flips=True),
        autoencoder=AutoencoderStage(
            model=AutoencoderConfig(
                patch=4, channels=32, multipliers=(1,), blocks=1, latent_channels=8, mid_attention=False
            ),
            train=_train(16_000, 2e-3),
        ),
        decoder=DecoderStage(
            renderer=RendererConfig(kind="shuffle"),
            body=BodyConfig(),
            residual=LR,
            train=_train(80_000, 1e-3),
            loss=DECODER_LOSS,
        ),
        latents=LatentsConfig(degradations=(LR,)),
        denoise=DenoiseStage(
            unet=UNET,
            diffusion=SHIFT,
            train=_train(8_000, 1e-3),
        ),
        joint=JointStage(
            train=_train(4_000, 3e-4),
            loss=JOINT_LOSS,
        ),
        evaluate=EvaluateConfig(sampler=one_call),
        gate=GateConfig(floor=FLOOR, against_champion=AGAINST_CHAMPION),
        infer=InferConfig(source=SourceConfig(uri="set:thumbnails", name="thumbnails"), scale=4.0, sampler=one_call),
    )
