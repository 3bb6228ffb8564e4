"""A plan laid over an earlier image set: its shards stay where their images do.

What comes of it is a function of the plan and the earlier set: shards of the earlier set in its order, those that lost
or changed an image made again without it, then shards of what is new. Many small growths leave many small shards; a
set without base is packed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.config import SHARD_VERSION, ShardConfig
from data_prep.planning import Plan, Planned, key_number, pack_images
from data_prep.spool import Part
from lsr.core.errors import InputError
from lsr.data.index import IndexRow
from lsr.data.manifest import ShardRow, load_manifest
from lsr.data.shards import index_of
from lsr.store import Store

Base = Iterable[tuple[ShardRow, Sequence[IndexRow]]]
"""The shards of an earlier set, each with its index."""


def load_base(store: Store, config: ShardConfig) -> Base:
    """The set that `config.base` names, empty for none; indices are read one at a time.

    Raises NotFoundError when it is not there, InputError when it holds no image shards of this version.
    """
    if not config.base:
        return ()
    manifest = load_manifest(store, config.base)
    version = manifest.made_by.get("version")
    if manifest.kind != "images" or version != SHARD_VERSION:
        raise InputError(
            f"shard.base must name image shards of version {SHARD_VERSION}, {config.base} holds {manifest.kind} of "
            f"version {version}; leave it empty to shard anew."
        )
    return ((row, index_of(store, row)) for row in manifest.shards)


def grow(plan: Plan, base: Base, config: ShardConfig) -> list[ShardRow | Sequence[Planned]]:
    """The shards of the grown set: rows of `base` that hold exactly what the plan wants, and images of shards that
    must be built. Without a base, the plan's own shards.
    """
    images, wanted = plan.images, np.ones(len(plan.images), dtype=bool)
    order = np.argsort(images.keys)
    keys = images.keys[order]
    grown: list[ShardRow | Sequence[Planned]] = []
    for row, index in base:
        asked = np.array([key_number(found.key) for found in index], dtype=np.uint64)
        near = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        # A set holds a key once, so that no image is taken twice.
        there = np.flatnonzero(keys[near] == asked)
        places = order[near[there]]
        wanted[places] = False
        here = Part(images, places)
        whole = len(here) == len(index) and all(map(_is, index, here))
        if here:
            grown.append(row if whole else here)
    if not grown:
        return list(plan.shards)
    return [*grown, *pack_images(Part(images, np.flatnonzero(wanted)), config)]


def _is(found: IndexRow, image: Planned) -> bool:
    """Whether a stored sample is this image, said to be the same; its key already says that the pixels are."""
    about = (found.source, found.split, found.width, found.height)
    sizes = {ext: size for ext, (_, size) in found.members.items()}
    return sizes == image.sizes and about == (
        image.found.item.key,
        image.split,
        image.found.width,
        image.found.height,
    )
