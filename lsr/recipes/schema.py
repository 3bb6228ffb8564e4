"""The recipe: one complete, typed, frozen description of a line from raw photographs to batch inference.

A recipe is a Python function that returns a `Recipe`. A team's own is `--recipe package.module:function`.
Imports config classes only, so that reading a recipe loads neither torch nor a service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.data.config import DegradationConfig
from lsr.diffusion.request import Sampler, sampler_faults
from lsr.evaluation.config import EvaluateConfig, GateConfig
from lsr.models.baselines.config import BaselineConfig
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.training.baselines import BaselineLoss
from lsr.training.config import AutoencoderLoss, DecoderLoss, DenoiseLoss, JointLoss, TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderStage:
    """Stage *autoencoder*: what to build and how to train it."""

    model: AutoencoderConfig
    train: TrainConfig
    loss: AutoencoderLoss = AutoencoderLoss()


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderStage:
    """Stage *decoder*: the symmetric decoder without up-sampling, then the LIIF renderer.

    residual: the decoder renders what is to be added to the bicubic enlargement of the LR picture that this degradation
    makes; None renders the picture itself, as published. It must be the degradation whose latents are cached.
    """

    renderer: RendererConfig
    train: TrainConfig
    loss: DecoderLoss = DecoderLoss()
    residual: DegradationConfig | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DenoiseStage:
    """Stage *denoise*: the latent diffusion U-Net, denoising alone."""

    unet: UNetConfig
    diffusion: DiffusionConfig
    train: TrainConfig
    loss: DenoiseLoss = DenoiseLoss()


@dataclass(frozen=True, kw_only=True, slots=True)
class JointStage:
    """Stage *joint*: denoising + alignment through the fixed decoder."""

    train: TrainConfig
    loss: JointLoss = JointLoss()


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineStage:
    """Stage *baseline*: a comparator, trained by the same loop from the same tiles. degradation: how its LR pictures
    are made of them. loss: of the kind that fits the comparator, None for its own defaults. network: of the perceptual
    distance, where the loss has one.
    """

    model: BaselineConfig
    degradation: DegradationConfig
    train: TrainConfig
    loss: BaselineLoss | None = None
    network: Literal["alex", "vgg"] = "vgg"


@dataclass(frozen=True, kw_only=True, slots=True)
class InferConfig:
    """Stage *infer*: batch inference over shards or a prefix. source: images to upscale. scale: output / input side.
    steps, eta, sampler, seed: the request. alias: which version is used; resolved once to version + digest.
    limit: at most this many images, None for all.
    """

    source: SourceConfig
    scale: float = 4.0
    steps: int = 10
    eta: float = 0.0
    sampler: Sampler = "ddim"
    seed: int = 0
    alias: str = "champion"
    limit: int | None = None

    def faults(self) -> list[str]:
        found = []
        if not 0 < self.scale < float("inf"):
            found.append(f"scale must be a finite number above 0, found {self.scale}.")
        found += sampler_faults(self.sampler, self.eta)
        if self.limit is not None and self.limit < 1:
            found.append(f"limit must be at least 1, or null for all images, found {self.limit}.")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeConfig:
    """How work is spread; never part of an action key. workers: training processes. cpus_per_worker, gpus_per_worker:
    what Ray reserves for each. tasks: shard tasks at a time. max_failures: restarts of a training run.
    """

    workers: int = 2
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    tasks: int = 2
    max_failures: int = 2

    def faults(self) -> list[str]:
        out = [
            f"{n} must be at least 1, found {getattr(self, n)}." for n in ("workers", "tasks") if getattr(self, n) < 1
        ]
        if self.cpus_per_worker <= 0 or self.gpus_per_worker < 0 or self.max_failures < 0:
            out.append("cpus_per_worker must be positive; gpus_per_worker and max_failures must not be negative.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The whole line. model: the registered model's name. seed: of every draw in every stage."""

    name: str
    task: Literal["super-resolution", "generation"]
    model: str
    seed: int
    source: SourceConfig
    shard: ShardConfig
    tile: TileConfig
    autoencoder: AutoencoderStage
    decoder: DecoderStage
    latents: LatentsConfig
    denoise: DenoiseStage
    joint: JointStage
    evaluate: EvaluateConfig
    gate: GateConfig
    infer: InferConfig | None
    compute: ComputeConfig = ComputeConfig()

    def faults(self) -> list[str]:
        out = []
        f = self.autoencoder.model.factor
        if self.tile.size % f:
            out.append(f"tile.size must be a multiple of the autoencoder's factor {f}, found {self.tile.size}.")
        elif (self.tile.size // f) % self.denoise.unet.factor:
            out.append(
                f"tile.size / {f} must be a multiple of the U-Net's factor {self.denoise.unet.factor}, "
                f"found {self.tile.size // f}."
            )
        out += self._small_pictures()
        if self.task == "super-resolution" and len(self.latents.degradations) != 1:
            out.append("super-resolution needs exactly one latents.degradations entry.")
        if self.task == "generation" and self.latents.degradations:
            out.append("generation has no LR condition; latents.degradations must be empty.")
        if self.decoder.residual is not None and self.decoder.residual not in self.latents.degradations:
            out.append(
                "decoder.residual must be the degradation in latents.degradations, or null to render whole pictures, "
                f"found {self.decoder.residual}."
            )
        if self.decoder.loss.lr_share > 0 and self.decoder.residual is None:
            out.append(
                "decoder.loss.lr_share needs decoder.residual, whose degradation makes the LR pictures; set it, or "
                "leave the share at 0."
            )
        lanes = (self.autoencoder, self.decoder, self.denoise, self.joint)
        if any(stage.train.lanes < self.compute.workers for stage in lanes):
            out.append(f"every train.lanes must be at least compute.workers, found {self.compute.workers} workers.")
        return out

    def _small_pictures(self) -> list[str]:
        """Training pictures too small for the terms that compare them."""
        stages = {
            "autoencoder": (self.autoencoder.loss.picture, 1.0),
            "decoder": (self.decoder.loss.picture, self.decoder.loss.scales[0]),
            "joint": (self.joint.loss.picture, self.joint.loss.scales[0]),
        }
        return [
            f"{name}.loss.picture compares pictures of at least {terms.min_side} pixels, found "
            f"{round(self.tile.size * scale)} at the smallest scale."
            for name, (terms, scale) in stages.items()
            if round(self.tile.size * scale) < terms.min_side
        ]
