"""Configs of the training loop and of each objective; no torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lsr.core.config import BelowOne, Config, Count, Fraction, NonNegative, Positive, PositiveFloat
from lsr.models.config import DiscriminatorConfig

_IMPORTABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Config):
    """One training stage: how long, in which batches, by which optimiser. Time is counted in images seen."""

    images: Count
    """Duration in images seen. One step is one global batch; the last one is whole."""
    batch: Positive = 16
    """Images per global batch, over all workers."""
    lr: PositiveFloat = 1e-4
    """AdamW's learning rate after the warm-up."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """AdamW's decay rates of the gradient's mean and of its square's."""
    weight_decay: NonNegative = 0.0
    """AdamW's decoupled weight decay."""
    warmup: Count = 0
    """Images over which the learning rate rises linearly from 0."""
    schedule: Literal["constant", "cosine", "wsd"] = "constant"
    """Learning rate after the warm-up: constant, half a cosine to 0 at the end of `images`, or warm-up-stable-decay:
    constant, then linear to 0 over the last `cooldown` images. A longer run can resume from a shorter one under
    `constant` and `wsd`; under `cosine` every rate depends on the duration."""
    cooldown: Count = 0
    """Of `wsd`: images over which the learning rate falls to 0 at the end."""
    clip: NonNegative = 1.0
    """Limit of the gradient's norm, 0 for none."""
    ema: BelowOne = 0.999
    """Decay per step of the weights' exponential moving average."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of autocast."""
    window: Positive = 8
    """Shards that are shuffled together."""
    objective: str | None = None
    """`package.module:callable` of yours that takes the stage's objective and returns what to train with
    (lsr/training/own.py). Its name is part of what is asked, its code is not: rename it when its loss changes."""

    @property
    def steps(self) -> int:
        """Global batches, the last one whole."""
        return -(-self.images // self.batch)

    @property
    def common_steps(self) -> int:
        """The first so many steps are those of every longer run, too: a checkpoint among them can be resumed."""
        if self.schedule == "constant":
            return self.steps
        return (self.images - self.cooldown) // self.batch if self.schedule == "wsd" else 0

    def faults(self) -> list[str]:
        out = []
        if self.objective is not None and not _IMPORTABLE.fullmatch(self.objective):
            out.append(f"objective must be package.module:callable, or null for none, found {self.objective!r}.")
        if self.cooldown and self.schedule != "wsd":
            out.append(f"cooldown is for schedule wsd, found {self.cooldown} with {self.schedule}.")
        if self.schedule == "wsd" and not 0 < self.cooldown <= self.images:
            out.append(f"cooldown of schedule wsd must lie in 1 .. images {self.images}, found {self.cooldown}.")
        if self.images and self.warmup + self.cooldown > self.images:
            out.append(
                f"warmup and cooldown must fit into images {self.images}, found {self.warmup} and {self.cooldown}."
            )
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Cadence(Config):
    """How often a run does what changes nothing of its result, in steps."""

    log: Positive = 20
    """Between two entries of the metrics."""
    image: Count = 0
    """Between two images for people; 0 for none."""
    checkpoint: Positive = 500
    """Between two checkpoints."""


_PERCEPTUAL_SIDE = 32

Scales = tuple[PositiveFloat, PositiveFloat]


def _range_faults(name: str, limits: tuple[float, float]) -> list[str]:
    return [] if limits[0] <= limits[1] else [f"{name} must satisfy min <= max, found {limits}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTerms(Config):
    """How an image is compared with the truth, both in [-1, 1]; the published first stage is L1 alone (method 2.1)."""

    l1: NonNegative = 1.0
    """Weight of the mean absolute error."""
    l2: NonNegative = 0.0
    """Weight of the mean squared error."""
    perceptual: NonNegative = 0.0
    """Weight of LPIPS with `network`; its weights come by `lsr data get lpips`."""
    network: Literal["alex", "vgg"] = "vgg"
    """Of LPIPS."""
    adversarial: NonNegative = 0.0
    """Weight of the patch-adversarial hinge loss; 0 builds no discriminator."""
    adaptive: bool = True
    """Multiply the adversarial weight by the gradients' ratio at the last layer (VQGAN)."""
    start: Count = 0
    """Images seen before the discriminator trains and counts."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    """Its architecture."""

    @property
    def min_side(self) -> int:
        """Side in pixels of the smallest image that every term in use can compare."""
        sides = [1]
        if self.perceptual > 0:
            sides.append(_PERCEPTUAL_SIDE)
        if self.adversarial > 0:
            sides.append(self.discriminator.min_side)
        return max(sides)

    def faults(self) -> list[str]:
        if max(self.l1, self.l2, self.perceptual) <= 0:
            return ["one of l1, l2 and perceptual must be above 0: an adversarial loss alone knows no truth."]
        return []


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderLoss(Config):
    """Stage *autoencoder*: the terms of `image` between image and reconstruction + kl_weight * KL."""

    kl_weight: NonNegative = 1e-6
    """Of the divergence from a standard normal; only for bottleneck `kl`."""
    image: ImageTerms = ImageTerms()
    """How the reconstruction is compared with the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderLoss(Config):
    """Stage *decoder*: the terms of `image` between the render and the antialiased resize of the tile at a random
    scale, one per global batch.
    """

    scales: Scales = (0.25, 1.0)
    """(min, max) of output side / tile side, drawn uniformly."""
    freeze_encoder: bool = False
    """Keep E fixed."""
    image: ImageTerms = ImageTerms()
    """How the render is compared with the truth."""
    lr_share: Fraction = 0.0
    """Share of the samples whose latent is the LR condition's instead of the tile's, for a residual decoder: it then
    renders well from what the U-Net is given, too, and not only from what it is to predict; 0 as published."""

    def faults(self) -> list[str]:
        return _range_faults("scales", self.scales)


@dataclass(frozen=True, kw_only=True, slots=True)
class DenoiseLoss(Config):
    """Stage *denoise*: the denoising loss L_dm (Eq 4)."""

    norm: Literal["l1", "l2"] = "l2"
    """Of the error."""
    weighting: Literal["uniform", "min-snr"] = "uniform"
    """Of the timesteps."""
    gamma: PositiveFloat = 5.0
    """Of `min-snr`."""
    dream: NonNegative | None = None
    """The power p of DREAM's rectification, which costs one more forward per step; null for none, 1 as published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JointLoss(Config):
    """Stage *joint*: denoise_weight * L_dm + image_weight * L_recon (Eq 7-9), the image error back-propagated through
    the fixed neural decoder to the U-Net.
    """

    denoise_weight: NonNegative = 1.0
    """Of L_dm."""
    image_weight: NonNegative = 1.0
    """Of L_recon."""
    cap: PositiveFloat | None = 5.0
    """Largest abar/(1-abar) of the image term (the published weight reaches 1e4 at t=0, method.md 2.3); null is the
    published weight."""
    scales: Scales = (0.25, 1.0)
    """(min, max) of output side / tile side, one random draw per global batch; (1, 1) as published."""
    image: ImageTerms = ImageTerms()
    """The terms of the image error; published is L2."""

    def faults(self) -> list[str]:
        return _range_faults("scales", self.scales)
