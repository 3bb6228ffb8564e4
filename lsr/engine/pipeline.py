"""One stage from the command line: its inputs are found in the store, or made first when asked."""

from __future__ import annotations

from lsr.core.errors import NotFoundError
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.launch import Outcome, launch
from lsr.engine.reuse import reusable
from lsr.engine.source import begin
from lsr.engine.table import PIPELINE, inputs_of, key_of, request_of, stage_named
from lsr.recipes.schema import Recipe


def _needed(stage: str) -> list[str]:
    """The stages that `stage` depends on, in the order of the pipeline."""
    wanted: set[str] = set()
    queue = list(stage_named(stage).inputs)
    while queue:
        name = queue.pop()
        if name in PIPELINE and name not in wanted:
            wanted.add(name)
            queue.extend(PIPELINE[name].inputs)
    return [name for name in PIPELINE if name in wanted]


def _upstream(stage: str, recipe: Recipe, ctx: Context, *, make: bool) -> dict[str, Ref]:
    refs = begin(recipe, ctx)
    for name in _needed(stage):
        inputs = inputs_of(PIPELINE[name], recipe, refs)
        found = reusable(ctx.store, key_of(PIPELINE[name], recipe, inputs))
        if found is None and not make:
            raise NotFoundError(
                f"Stage {stage} needs the result of stage {name}, which {ctx.store.uri} does not have for recipe "
                f"{recipe.name}; run `lsr {name} --recipe {recipe.name}` first, or add --upstream."
            )
        refs[name] = found or launch(request_of(PIPELINE[name], recipe, ctx.run, inputs), ctx).ref
    return refs


def run_stage(stage: str, recipe: Recipe, ctx: Context, *, upstream: bool = False) -> Outcome:
    """Run `stage` alone. Raises NotFoundError for a missing input unless `upstream` asks to make it."""
    refs = _upstream(stage, recipe, ctx, make=upstream)
    chosen = stage_named(stage)
    return launch(request_of(chosen, recipe, ctx.run, inputs_of(chosen, recipe, refs)), ctx)


def finished_inputs(recipe: Recipe, ctx: Context) -> dict[str, Ref]:
    """Every result up to *evaluate*. Raises NotFoundError naming the first that is missing."""
    refs = _upstream("evaluate", recipe, ctx, make=False)
    found = reusable(ctx.store, key_of(PIPELINE["evaluate"], recipe, inputs_of(PIPELINE["evaluate"], recipe, refs)))
    if found is None:
        raise NotFoundError(f"Recipe {recipe.name} is not evaluated yet; run `lsr evaluate --recipe {recipe.name}`.")
    return {**refs, "evaluate": found}
