"""The model card of a recipe's result: every sentence follows from the recipe, or from the measured rows."""

from __future__ import annotations

from lsr.data.config import DegradationConfig
from lsr.evaluation.rows import Evaluation, photos_of
from lsr.recipes.schema import Recipe
from lsr.registry.card import Card, Source
from lsr.report.tables import bicubic_ahead, markdown

FEW_PHOTOS = 20
"""Fewer photos than this and the card says that intervals are wide."""

UNKNOWN = "unknown"
"""The licence of a source whose owner has not told LSR."""


def model_card(name: str, recipe: Recipe, evaluation: Evaluation, licence: str) -> str:
    """The card as markdown. name: the registered model's. licence: of the recipe's source."""
    return Card(
        name=name,
        task=recipe.task,
        facts=_facts(recipe),
        sources=[Source(name=recipe.source.name, licence=licence, origin=recipe.source.uri)],
        domain=_domain(recipe),
        limits=[*_limits(recipe, licence), *_measured(recipe, evaluation)],
        report=markdown(evaluation),
    ).markdown()


def _facts(recipe: Recipe) -> dict[str, str]:
    trains = {name: getattr(recipe, name).train for name in ("autoencoder", "decoder", "denoise", "joint")}
    seen = ", ".join(f"{train.steps * train.batch} ({stage})" for stage, train in trains.items())
    shrink = f" of photos reduced by {recipe.tile.shrink}" if recipe.tile.shrink > 1 else ""
    return {
        "recipe": recipe.name,
        "seed": str(recipe.seed),
        "training tiles": f"{recipe.tile.size} x {recipe.tile.size} px{shrink}",
        "images seen": seen,
        "decoder renders": "what is added to the bicubic enlargement" if recipe.decoder.residual else "whole images",
    }


def _condition(recipe: Recipe) -> DegradationConfig | None:
    return recipe.latents.degradations[0] if recipe.latents.degradations else None


def _domain(recipe: Recipe) -> list[str]:
    """What the model is made for."""
    condition = _condition(recipe)
    low, high = recipe.decoder.loss.scales
    if condition is None:
        sides = f"{round(recipe.tile.size * low)} to {round(recipe.tile.size * high)}"
        return [
            f"Draws images from noise that resemble tiles of the source {recipe.source.name}; it takes no prompt.",
            f"Trained output sides: {sides} px.",
        ]
    span = f"x{low * condition.factor:g}" + (f" to x{high * condition.factor:g}" if high > low else "")
    return [
        f"Trained on {_seen(condition)}.",
        f"Trained output scale{'s' if high > low else ''}: {span} of the LR image's side.",
    ]


def _seen(condition: DegradationConfig) -> str:
    """The LR images of training, as a phrase."""
    reduction = f"antialiased {condition.kind} reduction by {condition.factor}"
    if not condition.sampled:
        return f"clean LR images: {reduction} of photos, with nothing added"
    steps = [reduction]
    if condition.blur[1] > 0:
        steps.insert(0, f"Gaussian blur of deviation {condition.blur[0]:g} to {condition.blur[1]:g} px of the photo")
    if condition.noise[1] > 0:
        steps.append(f"white noise of deviation {condition.noise[0]:g} to {condition.noise[1]:g} grey levels")
    if condition.jpeg is not None:
        steps.append(f"JPEG of quality {condition.jpeg[0]} to {condition.jpeg[1]}")
    return f"degraded LR images, each in its own way: {', then '.join(steps)}"


def _limits(recipe: Recipe, licence: str) -> list[str]:
    """What follows from the recipe alone."""
    out = []
    condition = _condition(recipe)
    if condition is not None:
        seen = {"blur": condition.blur[1] > 0, "noise": condition.noise[1] > 0, "JPEG artefacts": bool(condition.jpeg)}
        if unseen := [name for name, known in seen.items() if not known]:
            out.append(f"Never seen in training, so out of its domain: LR images with {_listed(unseen)}.")
        if known := [name for name in seen if name not in unseen]:
            out.append(f"Stronger {_listed(known)} than above: out of its domain.")
        lacking = "area" if condition.kind == "bicubic" else "bicubic"
        out.append(f"LR images made by another reduction ({lacking}, a camera's own) were not seen.")
    if licence == UNKNOWN:
        out.append(
            f"The licence of {recipe.source.name} is not known to LSR: ask its owner before you share the weights."
        )
    return out


def _measured(recipe: Recipe, evaluation: Evaluation) -> list[str]:
    """What the measured rows say against it."""
    count = len(photos_of(evaluation.rows))
    if recipe.task == "generation":
        return [f"Measured on {count} samples against tiles of the same source, not against other images."]
    few = ": too few for narrow intervals" if count < FEW_PHOTOS else ""
    out = [f"Measured on {count} held-out photo{'' if count == 1 else 's'} of the same source{few}."]
    low, high = evaluation.facts["trained"]
    if outside := [f"x{scale:g}" for scale in evaluation.facts["scales"] if not low <= scale <= high]:
        out.append(f"Measured, but out of the trained range: {_listed(outside)}.")
    ahead = bicubic_ahead(evaluation)
    out += [f"Bicubic has the better {metric} at {_listed(scales)}." for metric, scales in ahead.items() if scales]
    return out


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
