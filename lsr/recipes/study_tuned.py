"""`study-2core` once more with every system tuned: first `tuning`, then `study` on photos that no choice was made on.

Each learned system has five variants in `tuning`, one seed, on the photos of `study-2core`: three, and when those
had been read a fourth that puts two things together, and then a fifth with that one's learning rate raised. Of a
system's own row and those five, the one with the lowest mean LPIPS over all scales is what `study` takes: CHOSEN. Ours
has had nine variants before (`study-ablation`), whose findings its five put together; no other system has had those.

After the five, ours had more in `tuning` (the first three, and the last two together, had been run and read before they
were written here), and ESRGAN, the strongest comparator, three more. The best rows of these two are in `study` as rows
of their own, FURTHER, so that equal tuning can be told from what more of it gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lsr.models.config import RendererConfig
from lsr.recipes.schema import BaselineStage
from lsr.recipes.study import BASELINES, LatentParts, StudyConfig, Variant
from lsr.recipes.study_2core import study as base
from lsr.recipes.study_ablation import moved, parts_of
from lsr.training.baselines import EsrganLoss
from lsr.training.config import TrainConfig

CHOSEN = {
    "edsr": "edsr-both",
    "liif": "liif-both-lr-four",
    "esrgan": "esrgan-both-lr-four",
    "sr3": "sr3-both-lr-four",
    "idm": "idm-both-lr-four",
    "published": "published-batch-half",
    "ours": "ours-perceptual-conv-joint",
}
"""The row of each system that `study` takes: the best of six."""

FURTHER = {"ours-further": "ours-share-narrow-perceptual-2", "esrgan-further": "esrgan-perceptual-2-no-pretrain"}
"""The best rows of the two systems that were tuned further, by the name they have in `study`."""

LATENT_STAGES = ("autoencoder", "decoder", "denoise", "joint")


def study() -> StudyConfig:
    """Every system as tuned, three seeds, 16 photos that no choice was made on, 50 sampler steps.

    A system more than 3 dB below bicubic has not converged: in `study-2core` IDM counted as converged by the LPIPS of
    images that are noise.
    """
    whole, variants = base(), {variant.name: variant for variant in tuning().variants}
    parts: dict[str, Any] = {system: variants[row].parts for system, row in CHOSEN.items()}
    evaluate = replace(
        whole.evaluate, skip=whole.evaluate.photos, photos=16, sampler=replace(whole.evaluate.sampler, steps=50)
    )
    parts["ours"] = replace(parts["ours"].of(whole.ours), evaluate=evaluate)
    further = tuple(replace(variants[row], name=name) for name, row in FURTHER.items())
    return replace(whole, name="study-tuned", evaluate=evaluate, floor_psnr=3.0, variants=further, **parts)


def tuning() -> StudyConfig:
    """Every system and five variants of each; one seed."""
    whole = base()
    variants = [*_of_baselines(whole), *_of_published(whole.published), *_of_ours(whole)]
    return replace(whole, name="study-tuning", realesrgan=False, seeds=whole.seeds[:1], variants=tuple(variants))


def _of_baselines(whole: StudyConfig) -> Iterator[Variant]:
    for name in BASELINES:
        stage: BaselineStage | None = getattr(whole, name)
        if stage is None:
            continue
        variants = {
            "lr-double": replace(stage, train=_times(stage.train, 2.0)),
            "lr-half": replace(stage, train=_times(stage.train, 0.5)),
            "batch-half": replace(stage, train=_halved(stage.train)),
            "both": replace(stage, train=_times(_halved(stage.train), 2.0)),
            "both-lr-four": replace(stage, train=_times(_halved(stage.train), 4.0)),
        }
        if isinstance(stage.loss, EsrganLoss):
            strong = replace(stage.loss, perceptual_weight=1.0)
            del variants["batch-half"]
            variants["perceptual-1"] = replace(stage, loss=strong)
            variants["both"] = replace(variants["lr-double"], loss=strong)
            variants["both-lr-four"] = replace(stage, train=_times(stage.train, 4.0), loss=strong)
            variants |= _more_of_esrgan(stage, stage.loss)
        yield from (Variant(name=f"{name}-{what}", parts=parts, of=name) for what, parts in variants.items())


def _more_of_esrgan(stage: BaselineStage, loss: EsrganLoss) -> dict[str, BaselineStage]:
    """After the fifth, for the strongest comparator: what was new in ours by then, as far as it applies."""
    four, two = _times(stage.train, 4.0), replace(loss, perceptual_weight=2.0)
    return {
        "perceptual-2-lr-four": replace(stage, train=four, loss=two),
        "perceptual-2-lr-eight": replace(stage, train=_times(stage.train, 8.0), loss=two),
        "perceptual-2-no-pretrain": replace(stage, train=four, loss=replace(two, pretrain=0)),
    }


def _of_published(parts: LatentParts) -> Iterator[Variant]:
    """A stays as published in all but its optimiser."""
    denoise = replace(parts.denoise, train=_halved(parts.denoise.train))
    smaller = replace(parts, denoise=denoise)
    variants = {
        "lr-double": _all_times(parts, 2.0),
        "lr-half": _all_times(parts, 0.5),
        "batch-half": smaller,
        "both": _all_times(smaller, 2.0),
        "both-lr-four": _all_times(smaller, 4.0),
    }
    yield from (Variant(name=f"published-{what}", parts=found, of="published") for what, found in variants.items())


def _of_ours(whole: StudyConfig) -> Iterator[Variant]:
    """LPIPS at weight 1 trains the decoder and the joint stage; then with more changes."""
    parts = parts_of(whole.ours)
    loss = parts.joint.loss
    terms = replace(loss.image, perceptual=1.0)
    decoder = replace(parts.decoder, loss=replace(parts.decoder.loss, scales=loss.scales, image=terms))
    perceptual = replace(parts, decoder=decoder, joint=replace(parts.joint, loss=replace(loss, image=terms)))
    conv = replace(perceptual, decoder=replace(decoder, renderer=RendererConfig(kind="conv", channels=64)))
    longer = moved(conv, "joint")
    yield Variant(name="ours-perceptual", parts=perceptual)
    yield Variant(name="ours-perceptual-conv", parts=conv)
    yield Variant(name="ours-perceptual-long", parts=moved(perceptual, "decoder"))
    yield Variant(name="ours-perceptual-conv-joint", parts=longer)
    faster = replace(longer.joint, train=_times(longer.joint.train, 4.0))
    yield Variant(name="ours-perceptual-conv-joint-lr-four", parts=replace(longer, joint=faster))
    yield from _shared(moved(conv, "decoder"))


def _shared(long: LatentParts) -> Iterator[Variant]:
    """After the fifth, for ours alone: the decoder also renders from the condition."""

    def decoder(share: float, factor: float = 1.0) -> LatentParts:
        stage = long.decoder
        loss = replace(stage.loss, lr_share=share)
        return replace(long, decoder=replace(stage, loss=loss, train=_times(stage.train, factor)))

    yield Variant(name="ours-share-half", parts=decoder(0.5))
    yield Variant(name="ours-share", parts=decoder(0.8))
    yield Variant(name="ours-share-lr-double", parts=decoder(0.8, 2.0))
    yield Variant(name="ours-share-narrow", parts=_near_its_side(decoder(0.8), perceptual=1.0))
    yield Variant(name="ours-share-narrow-perceptual-2", parts=_near_its_side(decoder(0.8), perceptual=2.0))


def _near_its_side(parts: LatentParts, *, perceptual: float) -> LatentParts:
    """Images are rendered and compared at 0.85 to 1 of the tile's side only: near x4."""
    image = replace(parts.joint.loss.image, perceptual=perceptual)
    near = (0.85, 1.0)
    return replace(
        parts,
        decoder=replace(parts.decoder, loss=replace(parts.decoder.loss, scales=near, image=image)),
        joint=replace(parts.joint, loss=replace(parts.joint.loss, scales=near, image=image)),
    )


def _all_times(parts: LatentParts, factor: float) -> LatentParts:
    stages = {name: getattr(parts, name) for name in LATENT_STAGES}
    return replace(parts, **{name: replace(stage, train=_times(stage.train, factor)) for name, stage in stages.items()})


def _times(train: TrainConfig, factor: float) -> TrainConfig:
    return replace(train, lr=train.lr * factor)


def _halved(train: TrainConfig) -> TrainConfig:
    """Twice as many steps of half the batch."""
    return replace(train, batch=train.batch // 2, warmup=train.warmup // 2)
