"""The recipe: one complete, typed, frozen description of what is learned, from raw photos to batch inference.

A recipe is a Python function that returns a `Recipe`. A team's own is `--recipe package.module:function`.
How a recipe is carried out is a `Run` (lsr/recipes/run.py). Config classes only, so that reading a recipe loads neither
torch nor a service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from data_prep.config import LatentsConfig, ShardConfig, SourceConfig, TileConfig
from lsr.core.config import Config, Positive, PositiveFloat
from lsr.data.config import DegradationConfig
from lsr.diffusion.config import SamplerConfig, Seed
from lsr.evaluation.config import EvaluateConfig, GateConfig
from lsr.inference.config import Precision
from lsr.models.baselines.config import BaselineConfig
from lsr.models.config import AutoencoderConfig, BodyConfig, DiffusionConfig, RendererConfig, UNetConfig
from lsr.training.baselines import BaselineLoss
from lsr.training.config import AutoencoderLoss, DecoderLoss, DenoiseLoss, JointLoss, TrainConfig

SCHEMA = 1
"""Part of every key: raise it when a field's meaning changes, and every result is made anew."""

# What MLflow's registry, every store and the command line's `name@alias` take.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderStage(Config):
    """Stage *autoencoder*: what to build and how to train it."""

    model: AutoencoderConfig
    """Its architecture."""
    train: TrainConfig
    """Its training."""
    loss: AutoencoderLoss = AutoencoderLoss()
    """Its loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderStage(Config):
    """Stage *decoder*: the symmetric decoder without up-sampling, then the renderer."""

    renderer: RendererConfig
    """Its last part."""
    train: TrainConfig
    """Its training."""
    loss: DecoderLoss = DecoderLoss()
    """Its loss."""
    body: BodyConfig | None = None
    """The decoder sees the LR image's own pixels through it, for a residual decoder; null decodes the latent alone."""
    residual: DegradationConfig | None = None
    """The decoder renders what is to be added to the bicubic enlargement of the LR image that this degradation makes;
    null renders the image itself, as published. It must be the degradation whose latents are cached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenoiseStage(Config):
    """Stage *denoise*: the latent diffusion U-Net, denoising alone."""

    unet: UNetConfig
    """Its architecture."""
    diffusion: DiffusionConfig
    """The forward process."""
    train: TrainConfig
    """Its training."""
    loss: DenoiseLoss = DenoiseLoss()
    """Its loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JointStage(Config):
    """Stage *joint*: denoising + alignment through the fixed decoder."""

    train: TrainConfig
    """Its training."""
    loss: JointLoss = JointLoss()
    """Its loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineStage(Config):
    """Stage *baseline*: a comparator, trained by the same loop from the same tiles."""

    model: BaselineConfig
    """Which comparator, and its architecture."""
    degradation: DegradationConfig
    """How its LR images are made of the tiles."""
    train: TrainConfig
    """Its training."""
    loss: BaselineLoss | None = None
    """Of the kind that fits the comparator; null for its own defaults."""
    network: Literal["alex", "vgg"] = "vgg"
    """Of the perceptual distance, where the loss has one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferConfig(Config):
    """Stage *infer*: batch inference over shards or a prefix."""

    source: SourceConfig
    """Images to upscale."""
    scale: PositiveFloat = 4.0
    """Output side / input side."""
    sampler: SamplerConfig = SamplerConfig()
    """How each image is drawn."""
    precision: Precision = "fp32"
    """Of the networks."""
    alias: str = "champion"
    """Which version is used; resolved once to version + digest."""
    limit: Positive | None = None
    """At most this many images; null for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(Config):
    """What is learned. Its parts make every key; how it is carried out is in none."""

    name: str
    """Shown in logs, and the folder of its outputs."""
    task: Literal["super-resolution", "generation"]
    """Upscaling, or generation from noise."""
    model: str
    """The registered model's name."""
    seed: Seed
    """Of every draw in every stage."""
    source: SourceConfig
    """Raw images."""
    start: str = ""
    """Warm start: the model whose weights the networks start from instead of random ones: a shipped model (`photo`),
    `name@alias` or `name/version` of the registry, or a file of `lsr models export`. The networks must be its own. Its
    encoder stays as it is in stage *autoencoder*, which then trains the decoder half for it. Empty for none."""
    shard: ShardConfig
    """Stage *shard*."""
    tile: TileConfig
    """Stage *tile*."""
    autoencoder: AutoencoderStage
    """Stage *autoencoder*."""
    decoder: DecoderStage
    """Stage *decoder*."""
    latents: LatentsConfig
    """Stage *latents*."""
    denoise: DenoiseStage
    """Stage *denoise*."""
    joint: JointStage
    """Stage *joint*."""
    evaluate: EvaluateConfig
    """Stage *evaluate*."""
    gate: GateConfig
    """The promotion gate."""
    infer: InferConfig | None
    """Stage *infer*; null leaves it out."""

    def faults(self) -> list[str]:
        out = []
        if not _MODEL.fullmatch(self.model) or not _MODEL.fullmatch(self.name):
            out.append(
                "name and model must be 1 to 100 letters, digits, '.', '_' or '-' and start with a letter or digit, "
                f"found {self.name!r} and {self.model!r}."
            )
        f = self.autoencoder.model.factor
        if self.tile.size % f:
            out.append(f"tile.size must be a multiple of the autoencoder's factor {f}, found {self.tile.size}.")
        elif (self.tile.size // f) % self.denoise.unet.factor:
            out.append(
                f"tile.size / {f} must be a multiple of the U-Net's factor {self.denoise.unet.factor}, "
                f"found {self.tile.size // f}."
            )
        out += self._small_images()
        if self.task == "super-resolution" and len(self.latents.degradations) != 1:
            out.append("super-resolution needs exactly one latents.degradations entry.")
        if self.task == "generation" and self.latents.degradations:
            out.append("generation has no LR condition; latents.degradations must be empty.")
        if self.decoder.residual is not None and self.decoder.residual not in self.latents.degradations:
            out.append(
                "decoder.residual must be the degradation in latents.degradations, or null to render whole images, "
                f"found {self.decoder.residual}."
            )
        if self.decoder.loss.lr_share > 0 and self.decoder.residual is None:
            out.append(
                "decoder.loss.lr_share needs decoder.residual, whose degradation makes the LR images; set it, or "
                "leave the share at 0."
            )
        out += self._beside_the_lr_image()
        out += self._too_many_steps()
        return out

    def _small_images(self) -> list[str]:
        """Training images too small for the terms that compare them."""
        stages = {
            "autoencoder": (self.autoencoder.loss.image, 1.0),
            "decoder": (self.decoder.loss.image, self.decoder.loss.scales[0]),
            "joint": (self.joint.loss.image, self.joint.loss.scales[0]),
        }
        return [
            f"{name}.loss.image compares images of at least {terms.min_side} pixels, found "
            f"{round(self.tile.size * scale)} at the smallest scale."
            for name, (terms, scale) in stages.items()
            if round(self.tile.size * scale) < terms.min_side
        ]

    def _beside_the_lr_image(self) -> list[str]:
        """Options that need the LR image, in a recipe that does not give it."""
        out = []
        residual, factor = self.decoder.residual, self.autoencoder.model.factor
        if self.decoder.body is not None and (residual is None or residual.factor != factor):
            found = "null" if residual is None else f"factor {residual.factor}"
            out.append(
                "decoder.body sees one LR pixel per latent position: decoder.residual must be a degradation by the "
                f"autoencoder's factor {factor}, found {found}."
            )
        if self.denoise.diffusion.shift and self.task != "super-resolution":
            out.append("denoise.diffusion.shift starts from the LR image, which generation has not; set it to false.")
        samplers = {"evaluate": self.evaluate.sampler} | ({"infer": self.infer.sampler} if self.infer else {})
        for name, sampler in samplers.items():
            if self.denoise.diffusion.shift and (sampler.name != "ddim" or sampler.eta):
                out.append(
                    f"{name}.sampler must be ddim with eta 0 under denoise.diffusion.shift, found {sampler.name} "
                    f"with {sampler.eta:g}."
                )
            if sampler.fidelity and self.task != "super-resolution":
                out.append(f"{name}.sampler.fidelity needs an LR image, which generation has not; set it to 0.")
        return out

    def _too_many_steps(self) -> list[str]:
        """Samplers that ask for more steps than there are noise levels."""
        levels = self.denoise.diffusion.steps
        asked = {"evaluate": self.evaluate.sampler.steps, "infer": self.infer.sampler.steps if self.infer else 1}
        return [
            f"{name}.sampler.steps must be at most denoise.diffusion.steps {levels}, found {steps}."
            for name, steps in asked.items()
            if steps > levels
        ]
