"""Configs of the training loop and of each objective; no torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lsr.models.config import DiscriminatorConfig

_IMPORTABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training stage. Time is counted in steps of one global batch.

    batch: global batch. lanes: micro-batches a global batch is cut into; any world size up to it sees the same
    batches. lr, betas, weight_decay: AdamW. warmup: steps of linear warm-up. decay: learning-rate shape after it.
    clip: gradient norm limit, 0 for none. ema: decay of the exponential moving average. precision: autocast type.
    checkpoint_every, log_every, picture_every: in steps; picture_every 0 logs none. window: shards shuffled together.
    objective: `package.module:callable` of yours that takes the stage's objective and returns what to train with
    (lsr/training/own.py). Its name is part of what is asked, its code is not: rename it when its loss changes.
    """

    steps: int
    batch: int = 16
    lanes: int = 4
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every: int = 500
    log_every: int = 20
    picture_every: int = 0
    window: int = 8
    objective: str | None = None

    def faults(self) -> list[str]:
        out = []
        if self.objective is not None and not _IMPORTABLE.fullmatch(self.objective):
            out.append(f"objective must be package.module:callable, or null for none, found {self.objective!r}.")
        if self.steps < 0:
            out.append(f"steps must be at least 0, found {self.steps}.")
        if self.lanes < 1 or self.batch % self.lanes:
            out.append(f"batch must be a multiple of lanes, found batch {self.batch} and lanes {self.lanes}.")
        if not 0 <= self.ema < 1:
            out.append(f"ema must lie in [0, 1), found {self.ema}.")
        if self.lr <= 0:
            out.append(f"lr must be positive, found {self.lr}.")
        out += [
            f"{n} must be at least 1, found {getattr(self, n)}."
            for n in ("checkpoint_every", "log_every", "window")
            if getattr(self, n) < 1
        ]
        out += [
            f"{n} must not be negative, found {getattr(self, n)}."
            for n in ("warmup", "clip", "picture_every", "weight_decay")
            if getattr(self, n) < 0
        ]
        if not all(0 <= beta < 1 for beta in self.betas):
            out.append(f"betas must lie in [0, 1), found {self.betas}.")
        return out


_PERCEPTUAL_SIDE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureTerms:
    """How a picture is compared with the truth, both in [-1, 1]; the published first stage is L1 alone (method 2.1).

    l1, l2: weights of the mean absolute and the mean squared error. perceptual: weight of LPIPS with `network`; its
    weights come by `lsr data get lpips`. adversarial: weight of the patch-adversarial hinge loss; 0 builds no
    discriminator. adaptive: multiply that by the gradients' ratio at the last layer (VQGAN). start: first step at which
    the discriminator trains and counts.
    """

    l1: float = 1.0
    l2: float = 0.0
    perceptual: float = 0.0
    network: Literal["alex", "vgg"] = "vgg"
    adversarial: float = 0.0
    adaptive: bool = True
    start: int = 0
    discriminator: DiscriminatorConfig = DiscriminatorConfig()

    @property
    def min_side(self) -> int:
        """Side in pixels of the smallest picture that every term in use can compare."""
        sides = [1]
        if self.perceptual > 0:
            sides.append(_PERCEPTUAL_SIDE)
        if self.adversarial > 0:
            sides.append(self.discriminator.min_side)
        return max(sides)

    def faults(self) -> list[str]:
        names = ("l1", "l2", "perceptual", "adversarial", "start")
        out = [f"{n} must not be negative, found {getattr(self, n)}." for n in names if getattr(self, n) < 0]
        if max(self.l1, self.l2, self.perceptual) <= 0:
            out.append("one of l1, l2 and perceptual must be above 0: an adversarial loss alone knows no truth.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderLoss:
    """Stage *autoencoder*: the terms of `picture` between image and reconstruction + kl_weight * KL (only for
    bottleneck `kl`).
    """

    kl_weight: float = 1e-6
    picture: PictureTerms = PictureTerms()

    def faults(self) -> list[str]:
        return [f"kl_weight must not be negative, found {self.kl_weight}."] if self.kl_weight < 0 else []


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderLoss:
    """Stage *decoder*: the terms of `picture` between the render and the antialiased resize of the tile at a random
    scale, one a global batch. scales: (min, max) of output side / tile side, drawn uniformly. freeze_encoder: keep E
    fixed. lr_share: share of the samples whose latent is the LR condition's instead of the tile's, for a residual
    decoder: it then renders well from what the U-Net is given, too, and not only from what it is to predict; 0 as
    published.
    """

    scales: tuple[float, float] = (0.25, 1.0)
    freeze_encoder: bool = False
    picture: PictureTerms = PictureTerms()
    lr_share: float = 0.0

    def faults(self) -> list[str]:
        low, high = self.scales
        out = [] if 0 < low <= high else [f"scales must satisfy 0 < min <= max, found {self.scales}."]
        if not 0 <= self.lr_share <= 1:
            out.append(f"lr_share must lie in [0, 1], found {self.lr_share}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class DenoiseLoss:
    """Stage *denoise*: the denoising loss L_dm (Eq 4). norm: l1 or l2. weighting: `uniform` or `min-snr` with gamma.
    dream: the power p of DREAM's rectification, which costs one more forward a step; None for none, 1 as published.
    """

    norm: Literal["l1", "l2"] = "l2"
    weighting: Literal["uniform", "min-snr"] = "uniform"
    gamma: float = 5.0
    dream: float | None = None

    def faults(self) -> list[str]:
        out = []
        if self.gamma <= 0:
            out.append(f"gamma must be positive, found {self.gamma}.")
        if self.dream is not None and self.dream < 0:
            out.append(f"dream must not be negative, or null for none, found {self.dream}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class JointLoss:
    """Stage *joint*: denoise_weight * L_dm + image_weight * L_recon (Eq 7-9), the image error back-propagated through
    the fixed neural decoder to the U-Net. cap: largest abar/(1-abar) of the image term (the published weight reaches
    1e4 at t=0, method.md 2.3); None is the published weight. scales: output side / tile side, one random draw a global
    batch; (1, 1) as published. picture: the terms of the image error; published is L2.
    """

    denoise_weight: float = 1.0
    image_weight: float = 1.0
    cap: float | None = 5.0
    scales: tuple[float, float] = (0.25, 1.0)
    picture: PictureTerms = PictureTerms()

    def faults(self) -> list[str]:
        low, high = self.scales
        out = [] if 0 < low <= high else [f"scales must satisfy 0 < min <= max, found {self.scales}."]
        if self.denoise_weight < 0 or self.image_weight < 0 or (self.cap is not None and self.cap <= 0):
            out.append(
                "denoise_weight and image_weight must not be negative, and cap must be positive or null for none."
            )
        return out
