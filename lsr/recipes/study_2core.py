"""The study for 2 cores without a GPU, about an hour: small systems of the published shapes, a small budget.

Sizes were chosen so that a seed of one system trains in a minute or two; nothing here says what these systems reach
with the budgets of their papers.
"""

from __future__ import annotations

from dataclasses import replace

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.data.config import DegradationConfig
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.config import EvaluateConfig
from lsr.models.baselines.config import EdsrConfig, EsrganConfig, IdmConfig, LiifConfig, PixelUNetConfig, Sr3Config
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.recipes.demo import demo
from lsr.recipes.schema import AutoencoderStage, BaselineStage, DecoderStage, DenoiseStage, JointStage, Recipe
from lsr.recipes.study import LatentParts, StudyConfig
from lsr.training.baselines import EsrganLoss
from lsr.training.config import DecoderLoss, ImageTerms, JointLoss, TrainConfig

SEEN = 11_200
LR = DegradationConfig(factor=4)
SCALES = (2.0, 2.7, 4.0, 5.5, 8.0)


def _train(*, steps: int, batch: int, lr: float) -> TrainConfig:
    return TrainConfig(
        images=steps * batch,
        batch=batch,
        lr=lr,
        warmup=20 * batch,
        schedule="cosine",
        ema=0.98,
    )


def _autoencoder() -> AutoencoderStage:
    model = AutoencoderConfig(channels=24, multipliers=(1, 2, 2), blocks=1, latent_channels=8, mid_attention=False)
    return AutoencoderStage(model=model, train=_train(steps=160, batch=8, lr=2e-3))


def _unet() -> UNetConfig:
    return UNetConfig(channels=48, multipliers=(1, 2, 2), blocks=1, attention_factors=(4,))


def _published() -> LatentParts:
    """System A as its code trains it: whole images, noise prediction, alignment at the tile's own size, uncapped."""
    return LatentParts(
        autoencoder=_autoencoder(),
        decoder=DecoderStage(
            renderer=RendererConfig(hidden=(64, 64, 64, 64)),
            train=_train(steps=480, batch=8, lr=2e-3),
            loss=DecoderLoss(scales=(0.25, 1.0)),
        ),
        latents=LatentsConfig(degradations=(LR,)),
        denoise=DenoiseStage(unet=_unet(), diffusion=DiffusionConfig(), train=_train(steps=165, batch=32, lr=1e-3)),
        joint=JointStage(
            train=_train(steps=100, batch=8, lr=3e-4),
            loss=JointLoss(cap=None, scales=(1.0, 1.0), image=ImageTerms(l1=0.0, l2=1.0)),
        ),
    )


def ours() -> Recipe:
    """Our system at the size of the study."""
    published = _published()
    return replace(
        published.of(demo()),
        name="study-ours",
        model="lsr-study",
        source=SourceConfig(uri="set:web-photos", name="web-photos"),
        shard=ShardConfig(holdout=0.25),
        tile=TileConfig(size=48, stride=48, shrink=2, min_detail=4.0, max_per_image=40, flips=True),
        decoder=replace(published.decoder, residual=LR),
        denoise=replace(published.denoise, diffusion=DiffusionConfig(prediction="x0")),
        joint=replace(
            published.joint,
            loss=JointLoss(scales=(0.67, 1.0), image=ImageTerms(l1=1.0, perceptual=0.2, network="alex")),
        ),
        evaluate=EVALUATE,
        infer=None,
    )


EVALUATE = EvaluateConfig(
    scales=SCALES,
    trained=(1.0, 4.0),
    lr_side=16,
    photos=8,
    crops=1,
    sampler=SamplerConfig(steps=25, seed=1234),
    metrics=("dists",),
)


def study() -> StudyConfig:
    """Every system on `web-photos`."""
    whole = _train(steps=SEEN // 16, batch=16, lr=1e-3)
    small = PixelUNetConfig(channels=16, multipliers=(1, 2, 2), blocks=1, attention_factors=())
    return StudyConfig(
        name="study-2core",
        ours=ours(),
        published=_published(),
        edsr=BaselineStage(model=EdsrConfig(channels=32, blocks=6), degradation=LR, train=whole),
        liif=BaselineStage(
            model=LiifConfig(channels=32, blocks=6, renderer=RendererConfig(hidden=(64, 64, 64, 64))),
            degradation=LR,
            train=whole,
        ),
        esrgan=BaselineStage(
            model=EsrganConfig(channels=24, blocks=2, growth=12, critic_channels=16, critic_stages=3),
            degradation=LR,
            train=whole,
            loss=EsrganLoss(pixel_weight=1.0, perceptual_weight=0.2, adversarial_weight=0.005, pretrain=SEEN // 2),
            network="alex",
        ),
        sr3=BaselineStage(model=Sr3Config(unet=small), degradation=LR, train=whole),
        idm=BaselineStage(
            model=IdmConfig(unet=small, largest=4.0, encoder_channels=32, encoder_blocks=4, hidden=64),
            degradation=LR,
            train=whole,
        ),
        realesrgan=True,
        evaluate=EVALUATE,
        images_seen=SEEN,
    )
