"""Recipes for two CPU cores: the bundled photos, the whole pipeline, minutes.

Every network works at the LR image's own resolution, as in recipe `photo`, and the U-Net is called once. `short` is the
same pipeline with a handful of steps per stage: it proves that every part works, not that the model is good.
"""

from __future__ import annotations

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.config import EvaluateConfig, GateConfig, Rule
from lsr.models.config import AutoencoderConfig, BodyConfig, RendererConfig
from lsr.recipes.photo import DECODER_LOSS, JOINT_LOSS, LR, SHIFT, UNET
from lsr.recipes.schema import (
    AutoencoderStage,
    DecoderStage,
    DenoiseStage,
    InferConfig,
    JointStage,
    Recipe,
)
from lsr.recipes.small import few_steps, train

# A residual system starts at bicubic, so the floor asks for more: a version must be better than bicubic inside the
# trained range, and agree with the LR image far better.
DEMO_FLOOR = (
    Rule(metric="psnr", reference="bicubic", above=0.2, scope="in-range"),
    Rule(metric="lr_psnr", reference="bicubic", above=3.0, scope="in-range"),
)
AGAINST_CHAMPION = (
    Rule(metric="psnr", reference="champion", above=-0.2),
    Rule(metric="lr_psnr", reference="champion", above=-0.5),
)
# What 20 steps a stage can promise: an image not far from bicubic, which darkened noise is. The preflight proves that
# even this rejects.
SHORT_FLOOR = (Rule(metric="psnr", reference="bicubic", above=-6.0),)


def demo() -> Recipe:
    """Super-resolution on the bundled photos, sized for 2 cores without a GPU."""
    one_call = SamplerConfig(steps=1, fidelity=0.5, seed=1234)
    return Recipe(
        name="demo",
        task="super-resolution",
        model="lsr-demo",
        seed=7,
        source=SourceConfig(uri="set:photos", name="photos"),
        shard=ShardConfig(holdout=0.25),
        tile=TileConfig(size=96, stride=48, shrink=2, min_detail=2.0, max_per_image=60, flips=True),
        autoencoder=AutoencoderStage(
            model=AutoencoderConfig(
                patch=4, channels=24, multipliers=(1,), blocks=1, latent_channels=8, mid_attention=False
            ),
            train=train(images=4_000, batch=16, lr=2e-3),
        ),
        decoder=DecoderStage(
            renderer=RendererConfig(kind="shuffle"),
            body=BodyConfig(channels=24, blocks=6),
            residual=LR,
            train=train(images=16_000, batch=16, lr=2e-3),
            loss=DECODER_LOSS,
        ),
        latents=LatentsConfig(degradations=(LR,)),
        denoise=DenoiseStage(
            unet=UNET,
            diffusion=SHIFT,
            train=train(images=4_800, batch=16, lr=1e-3),
        ),
        joint=JointStage(
            train=train(images=2_400, batch=16, lr=3e-4),
            loss=JOINT_LOSS,
        ),
        evaluate=EvaluateConfig(sampler=one_call),
        gate=GateConfig(floor=DEMO_FLOOR, against_champion=AGAINST_CHAMPION),
        infer=InferConfig(source=SourceConfig(uri="set:thumbnails", name="thumbnails"), scale=4.0, sampler=one_call),
    )


def short() -> Recipe:
    """`demo` with a handful of steps a stage."""
    return few_steps(demo(), "short", SHORT_FLOOR)
