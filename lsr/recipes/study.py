"""Studies: several systems trained on the same tiles for the same number of images seen, measured under one protocol.

What a study compares, its seeds, budgets, margins and questions are all here, so that committing this file before the
first run fixes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from data_prep.config import LatentsConfig
from lsr.core.config import Config
from lsr.evaluation.config import EvaluateConfig
from lsr.recipes.loading import load
from lsr.recipes.schema import (
    AutoencoderStage,
    BaselineStage,
    DecoderStage,
    DenoiseStage,
    JointStage,
    Recipe,
)
from lsr.training.config import TrainConfig

BASELINES = ("edsr", "liif", "esrgan", "sr3", "idm")
BUILT_IN = {
    "study-2core": "lsr.recipes.study_2core:study",
    "study-gpu": "lsr.recipes.study_gpu:study",
    "study-ablation": "lsr.recipes.study_ablation:study",
    "study-tuning": "lsr.recipes.study_tuned:tuning",
    "study-tuned": "lsr.recipes.study_tuned:study",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentParts(Config):
    """The training of one latent system: what differs between System A as published and ours."""

    autoencoder: AutoencoderStage
    """Encoder and decoder, trained together."""
    decoder: DecoderStage
    """The implicit neural decoder."""
    latents: LatentsConfig
    """How the latents are cached and whitened."""
    denoise: DenoiseStage
    """The U-Net, denoising alone."""
    joint: JointStage
    """The U-Net, denoising and alignment."""

    def of(self, recipe: Recipe) -> Recipe:
        """`recipe` with these parts."""
        return replace(
            recipe,
            autoencoder=self.autoencoder,
            decoder=self.decoder,
            latents=self.latents,
            denoise=self.denoise,
            joint=self.joint,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant(Config):
    """A system with one thing changed: a row of its own, compared with that system."""

    name: str
    """What its row is called."""
    parts: LatentParts | BaselineStage
    """Its whole training; a comparator's where `of` is a comparator."""
    of: str = "ours"
    """The row that it is compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig(Config):
    """What is compared, fixed before anything runs.

    A learned comparator has converged when it beats bicubic at `own_scale`, on the mean over photos and seeds, by
    `margin_psnr` or by `margin_lpips`, and is not more than `floor_psnr` below it: noise can have a low LPIPS. No win
    over one that has not converged is claimed.

    Our system of the first seed is also sampled with `few_steps` and with `many_steps`. Few lose nothing against many
    when the interval of the difference (signed so that more is better) lies above -`lossless_psnr` and
    -`lossless_lpips`.
    """

    name: str
    """What its results and the folder of its output are called."""
    ours: Recipe
    """Our system; all systems share its source, shard and tile stages."""
    published: LatentParts
    """System A as published, at the size of ours."""
    edsr: BaselineStage | None
    """The comparator EDSR; null for none."""
    liif: BaselineStage | None
    """The comparator LIIF; null for none."""
    esrgan: BaselineStage | None
    """The comparator ESRGAN; null for none."""
    sr3: BaselineStage | None
    """The comparator SR3; null for none."""
    idm: BaselineStage | None
    """The comparator IDM; null for none."""
    realesrgan: bool
    """Also measure RealESRGAN's packaged weights, which were trained elsewhere on other images."""
    evaluate: EvaluateConfig
    """The protocol; its sampler is that of every diffusion system."""
    images_seen: int
    """Tiles that each system sees in training, over all its stages; the stages' durations must add up to it."""
    variants: tuple[Variant, ...] = ()
    """Systems with one thing changed in each."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Every system is trained once with each."""
    own_scale: float = 4.0
    """The scale at which convergence is judged; one of `evaluate.scales`."""
    margin_psnr: float = 0.1
    """A comparator has converged when its PSNR is better than bicubic's by this, in dB."""
    margin_lpips: float = 0.01
    """Or when its LPIPS is lower than bicubic's by this."""
    floor_psnr: float | None = None
    """dB below bicubic's PSNR from which a comparator has not converged, whatever its LPIPS; null for no floor."""
    few_steps: int = 10
    """Sampler steps of the fast row of ours; below `many_steps`, not those of `evaluate.sampler`."""
    many_steps: int = 200
    """Sampler steps of the slow row of ours."""
    lossless_psnr: float = 0.1
    """dB of PSNR that few steps may lose against many and still count as lossless."""
    lossless_lpips: float = 0.01
    """LPIPS that few steps may lose against many and still count as lossless."""
    confidence: float = 0.95
    """Of every bootstrap interval."""
    resamples: int = 4000
    """Bootstrap draws per interval."""

    def baselines(self) -> Iterator[tuple[str, BaselineStage]]:
        """Name and stage of each comparator that takes part, and of each variant of one."""
        for name in BASELINES:
            stage: BaselineStage | None = getattr(self, name)
            if stage is not None:
                yield name, stage
        for variant in self.variants:
            if isinstance(variant.parts, BaselineStage):
                yield variant.name, variant.parts

    def latent_systems(self) -> Iterator[tuple[str, Recipe]]:
        """Name and recipe of each latent system."""
        yield "published", self.published.of(self.ours)
        yield "ours", self.ours
        for variant in self.variants:
            if isinstance(variant.parts, LatentParts):
                yield variant.name, variant.parts.of(self.ours)

    def with_unaligned(self) -> list[str]:
        """Latent systems that are trained without alignment too; a variant is not."""
        return ["published", "ours"]

    def faults(self) -> list[str]:
        out = []
        if self.few_steps >= self.many_steps or self.few_steps == self.evaluate.sampler.steps:
            out.append(
                "few_steps must be below many_steps and differ from evaluate.sampler.steps, found "
                f"{self.few_steps}, {self.many_steps} and {self.evaluate.sampler.steps}."
            )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            out.append(f"seeds must be given and differ, found {self.seeds}.")
        if self.own_scale not in self.evaluate.scales:
            out.append(f"own_scale must be one of evaluate.scales {self.evaluate.scales}, found {self.own_scale:g}.")
        out += self._variant_faults()
        out += [
            f"{name}: {fault}" for name, recipe in self.latent_systems() if name != "ours" for fault in recipe.faults()
        ]
        seen = {name: _seen(stage.train) for name, stage in self.baselines()}
        for name, recipe in self.latent_systems():
            stages = (recipe.autoencoder, recipe.decoder, recipe.denoise, recipe.joint)
            seen[name] = sum(_seen(stage.train) for stage in stages)
        return out + [
            f"{name} sees {count} tiles in training; every system must see images_seen, {self.images_seen}."
            for name, count in seen.items()
            if count != self.images_seen
        ]

    def _variant_faults(self) -> list[str]:
        names = ["published", "ours", *BASELINES, *(variant.name for variant in self.variants)]
        out = [f"variant {name} has the name of another row." for name in names if names.count(name) > 1][:1]
        kinds: dict[str, type] = {"published": LatentParts, "ours": LatentParts}
        kinds |= {name: BaselineStage for name in BASELINES if getattr(self, name) is not None}
        for variant in self.variants:
            if variant.of not in kinds:
                out.append(f"variant {variant.name} is held against {variant.of!r}; rows are {', '.join(kinds)}.")
            elif not isinstance(variant.parts, kinds[variant.of]):
                out.append(
                    f"variant {variant.name} is of {variant.of} and needs parts of kind {kinds[variant.of].__name__}."
                )
        return out


def _seen(train: TrainConfig) -> int:
    return train.images


def load_study(name: str, overrides: Mapping[str, str] | None = None) -> StudyConfig:
    """The study called `name` (built in, or `package.module:function`), fields overridden by dotted name, checked."""
    return load("study", StudyConfig, BUILT_IN, name, overrides)
