"""The study for one rented GPU, small enough to move by hand (docs/study.md): every system has at most 30 M parameters,
the tiles and the measured photos fit into one file of 30 MiB, and the whole is meant for commands of 10 minutes.

The budget is an ESTIMATE for one H200-class GPU and was never run on one: about 1,500 tiles a second in training and 15
ms a network call of a sampler make 7 minutes a seed, most of it sampling, and 24 in all. Diffusion systems sample with
the 200 DDIM steps that System A publishes; SR3's and IDM's own 2000 ancestral steps would take hours.
"""

from __future__ import annotations

from dataclasses import replace

from data_prep.config import LatentsConfig
from lsr.data.config import DegradationConfig
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.config import EvaluateConfig
from lsr.models.baselines.config import EdsrConfig, EsrganConfig, IdmConfig, LiifConfig, PixelUNetConfig, Sr3Config
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.recipes.schema import AutoencoderStage, BaselineStage, DecoderStage, DenoiseStage, JointStage, Recipe
from lsr.recipes.study import LatentParts, StudyConfig
from lsr.recipes.study_2core import ours as small
from lsr.training.baselines import EsrganLoss
from lsr.training.config import DecoderLoss, ImageTerms, JointLoss, TrainConfig

SEEN = 32_000
LR = DegradationConfig(factor=4)
EVALUATE = EvaluateConfig(
    scales=(2.7, 4.0, 8.0),
    trained=(1.0, 4.0),
    lr_side=24,
    photos=8,
    crops=1,
    sampler=SamplerConfig(steps=200, seed=1234),
)


def _train(*, steps: int, batch: int, lr: float) -> TrainConfig:
    return TrainConfig(
        images=steps * batch,
        batch=batch,
        lr=lr,
        warmup=20 * batch,
        schedule="cosine",
        ema=0.99,
        precision="bf16",
    )


def _published() -> LatentParts:
    """System A as its code trains it: whole images, noise prediction, alignment at the tile's own size, uncapped."""
    model = AutoencoderConfig(channels=64, multipliers=(1, 2, 2), latent_channels=8)
    return LatentParts(
        autoencoder=AutoencoderStage(model=model, train=_train(steps=160, batch=32, lr=1e-3)),
        decoder=DecoderStage(
            renderer=RendererConfig(),
            train=_train(steps=380, batch=32, lr=1e-3),
            loss=DecoderLoss(scales=(0.25, 1.0)),
        ),
        latents=LatentsConfig(degradations=(LR,)),
        denoise=DenoiseStage(
            unet=UNetConfig(channels=112, multipliers=(1, 2, 2), attention_factors=(4, 2)),
            diffusion=DiffusionConfig(),
            train=_train(steps=190, batch=64, lr=5e-4),
        ),
        joint=JointStage(
            train=_train(steps=80, batch=32, lr=2e-4),
            loss=JointLoss(cap=None, scales=(1.0, 1.0), image=ImageTerms(l1=0.0, l2=1.0)),
        ),
    )


def ours() -> Recipe:
    """Our system at the size of the study. Tiles are not mirrored: a mirror takes as much of the file as a new tile."""
    base, published = small(), _published()
    return replace(
        published.of(base),
        name="study-gpu-ours",
        model="lsr-study-gpu",
        tile=replace(base.tile, flips=False, max_per_image=36),
        decoder=replace(published.decoder, residual=LR),
        denoise=replace(published.denoise, diffusion=DiffusionConfig(prediction="x0")),
        joint=replace(
            published.joint,
            loss=JointLoss(scales=(0.67, 1.0), image=ImageTerms(l1=1.0, perceptual=0.2, network="alex")),
        ),
        evaluate=EVALUATE,
    )


def study() -> StudyConfig:
    """Every system on `web-photos`; EDSR, LIIF and ESRGAN at their published sizes. Without RealESRGAN's weights and
    without DISTS, whose files would not fit beside the tiles.
    """
    whole = _train(steps=SEEN // 64, batch=64, lr=4e-4)
    unet = PixelUNetConfig(multipliers=(1, 2, 4, 4))
    return StudyConfig(
        name="study-gpu",
        ours=ours(),
        published=_published(),
        edsr=BaselineStage(model=EdsrConfig(), degradation=LR, train=whole),
        liif=BaselineStage(model=LiifConfig(), degradation=LR, train=whole),
        esrgan=BaselineStage(
            model=EsrganConfig(critic_stages=3),
            degradation=LR,
            train=whole,
            loss=EsrganLoss(pixel_weight=1.0, perceptual_weight=0.2, adversarial_weight=0.005, pretrain=SEEN // 2),
            network="alex",
        ),
        sr3=BaselineStage(model=Sr3Config(unet=unet), degradation=LR, train=whole),
        idm=BaselineStage(model=IdmConfig(unet=unet, largest=4.0), degradation=LR, train=whole),
        realesrgan=False,
        evaluate=EVALUATE,
        images_seen=SEEN,
    )
