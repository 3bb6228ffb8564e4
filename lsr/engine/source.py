"""The beginning of the pipeline: what a source holds now."""

from __future__ import annotations

from data_prep.config import SourceConfig
from data_prep.sources import list_source
from lsr.core.refs import Ref
from lsr.engine.context import Context


def snapshot(source: SourceConfig, ctx: Context) -> Ref:
    """List the source and pin what was found (key, size, etag or mtime); an unchanged source writes nothing.

    Raises InputError for a source without images, NotFoundError for one that does not exist.
    """
    return list_source(source, ctx.settings.cache).save(ctx.store, source.name)
