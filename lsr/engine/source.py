"""The beginning of the pipeline: what a source holds now, and the model that training starts from."""

from __future__ import annotations

from data_prep.config import SourceConfig
from data_prep.sources import list_source
from lsr.core.canonical import action_key
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.table import START
from lsr.recipes.schema import Recipe
from lsr.store.actions import commit
from lsr.store.content import put_blob
from lsr.store.roots import Record


def begin(recipe: Recipe, ctx: Context) -> dict[str, Ref]:
    """What a pipeline starts with: its source's snapshot and, for a warm start, the model."""
    refs = {"snapshot": snapshot(recipe.source, ctx)}
    return {**refs, START: start(recipe.start, ctx)} if recipe.start else refs


def start(name: str, ctx: Context) -> Ref:
    """The model that `name` stands for now, recorded in the store under its content; see `Recipe.start`.

    Raises what `resolve_named` and `model_file` raise.
    """
    from lsr.registry.load import model_bytes

    config, weights = model_bytes(ctx.settings, name)
    blobs = {"config": put_blob(ctx.store, config, "json"), "weights": put_blob(ctx.store, weights, "safetensors")}
    record = Record(kind="system", parents={}, blobs=blobs, made_by={"stage": START})
    return commit(ctx.store, action_key(START, 1, {}, {name: blob.path for name, blob in blobs.items()}), record)


def snapshot(source: SourceConfig, ctx: Context) -> Ref:
    """List the source and pin what was found (key, size, etag or mtime); an unchanged source writes nothing.

    Raises InputError for a source without images, NotFoundError for one that does not exist.
    """
    return list_source(source, ctx.settings.cache).save(ctx.store, source.name)
