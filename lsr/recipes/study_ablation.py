"""Which change moves our system: `study-2core`'s, one thing changed in each row, the budget of tiles seen kept.

Exploratory: rows are held against ours on the photos of the study itself, so the best of them is flattered by
having been picked; a claim for it needs photos that no choice was made on. Records of `study-2core` are reused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from lsr.models.config import DiscriminatorConfig, RendererConfig
from lsr.recipes.schema import Recipe
from lsr.recipes.study import LatentParts, StudyConfig, Variant
from lsr.recipes.study_2core import study as base
from lsr.training.config import ImageTerms

MOVED = 100
CRITIC = DiscriminatorConfig(channels=16, layers=2)


def study() -> StudyConfig:
    """Our system, nine variants, EDSR and ESRGAN beside them; the first seed of `study-2core`."""
    whole = base()
    return replace(
        whole,
        name="study-ablation",
        liif=None,
        sr3=None,
        idm=None,
        realesrgan=False,
        seeds=whole.seeds[:1],
        variants=tuple(Variant(name=name, parts=parts) for name, parts in _variants(whole.ours).items()),
    )


def parts_of(recipe: Recipe) -> LatentParts:
    """The training of `recipe`, to change one thing in."""
    return LatentParts(
        autoencoder=recipe.autoencoder,
        decoder=recipe.decoder,
        latents=recipe.latents,
        denoise=recipe.denoise,
        joint=recipe.joint,
    )


def _variants(ours: Recipe) -> dict[str, LatentParts]:
    parts = parts_of(ours)
    terms = ours.joint.loss.image
    strong = replace(terms, perceptual=1.0)
    long = moved(parts, "joint")
    return {
        "no-perceptual": _joint_terms(parts, replace(terms, perceptual=0.0)),
        "perceptual-1": _joint_terms(parts, strong),
        "long-joint": long,
        "long-joint-perceptual-1": _joint_terms(long, strong),
        "long-joint-adversarial": _joint_terms(
            long, replace(strong, adversarial=0.05, start=800, discriminator=CRITIC)
        ),
        "perceptual-decoder": replace(
            parts,
            decoder=replace(
                parts.decoder, loss=replace(parts.decoder.loss, scales=ours.joint.loss.scales, image=terms)
            ),
        ),
        "no-residual": replace(parts, decoder=replace(parts.decoder, residual=None)),
        "long-decoder": moved(parts, "decoder"),
        "conv-renderer": replace(
            parts, decoder=replace(parts.decoder, renderer=RendererConfig(kind="conv", channels=64))
        ),
    }


def moved(parts: LatentParts, stage: Literal["decoder", "joint"]) -> LatentParts:
    """3,200 of the 5,280 tiles that *denoise* sees are given to `stage`."""
    old, train = parts.denoise.train, getattr(parts, stage).train
    fewer = replace(parts.denoise, train=replace(old, images=old.images - MOVED * old.batch))
    more = replace(train, images=train.images + MOVED * old.batch)
    return replace(parts, **{"denoise": fewer, stage: replace(getattr(parts, stage), train=more)})


def _joint_terms(parts: LatentParts, terms: ImageTerms) -> LatentParts:
    return replace(parts, joint=replace(parts.joint, loss=replace(parts.joint.loss, image=terms)))
