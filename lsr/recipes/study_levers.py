"""Which lever moves our system: `study-2core`'s, one thing changed in each row, the budget of tiles seen kept.

Exploratory: rows are held against ours on the photographs of the study itself, so the best of them is flattered by
having been picked; a claim for it needs photographs that were not looked at. Records of `study-2core` are reused.
"""

from __future__ import annotations

from dataclasses import replace

from lsr.models.config import DiscriminatorConfig, RendererConfig
from lsr.recipes.schema import Recipe
from lsr.recipes.study import LatentParts, Lever, StudyConfig
from lsr.recipes.study_2core import study as base
from lsr.training.config import PictureTerms

CRITIC = DiscriminatorConfig(channels=16, layers=2)


def study() -> StudyConfig:
    """Our system, eight levers, EDSR and ESRGAN beside them; the first seed of `study-2core`."""
    whole = base()
    return replace(
        whole,
        name="study-levers",
        liif=None,
        sr3=None,
        idm=None,
        realesrgan=False,
        seeds=whole.seeds[:1],
        levers=tuple(Lever(name=name, parts=parts) for name, parts in _levers(whole.ours).items()),
    )


def _levers(ours: Recipe) -> dict[str, LatentParts]:
    parts = LatentParts(
        autoencoder=ours.autoencoder,
        decoder=ours.decoder,
        latents=ours.latents,
        denoise=ours.denoise,
        joint=ours.joint,
    )
    terms = ours.joint.loss.picture
    strong = replace(terms, perceptual=1.0)
    long = _long_joint(parts)
    return {
        "no-perceptual": _joint_terms(parts, replace(terms, perceptual=0.0)),
        "perceptual-1": _joint_terms(parts, strong),
        "long-joint": long,
        "long-joint-perceptual-1": _joint_terms(long, strong),
        "long-joint-adversarial": _joint_terms(
            long, replace(strong, adversarial=0.05, start=100, discriminator=CRITIC)
        ),
        "perceptual-decoder": replace(
            parts,
            decoder=replace(
                parts.decoder, loss=replace(parts.decoder.loss, scales=ours.joint.loss.scales, picture=terms)
            ),
        ),
        "no-residual": replace(parts, decoder=replace(parts.decoder, residual=None)),
        "conv-renderer": replace(
            parts, decoder=replace(parts.decoder, renderer=RendererConfig(kind="conv", channels=64))
        ),
    }


def _long_joint(parts: LatentParts) -> LatentParts:
    """3,200 of the tiles that *denoise* sees are given to *joint*, which then sees five times as many."""
    denoise = replace(parts.denoise.train, steps=parts.denoise.train.steps - 100)
    joint = replace(parts.joint.train, steps=parts.joint.train.steps + 100 * denoise.batch // parts.joint.train.batch)
    return replace(parts, denoise=replace(parts.denoise, train=denoise), joint=replace(parts.joint, train=joint))


def _joint_terms(parts: LatentParts, terms: PictureTerms) -> LatentParts:
    return replace(parts, joint=replace(parts.joint, loss=replace(parts.joint.loss, picture=terms)))
