"""Files beside the store that show results: images and pages below the output folder, and cached shards."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lsr.data.cache import shards_in
from lsr.registry.images import SUFFIXES
from lsr.store.roots import digest_in

SHORT = 12
"""Digits of a result's digest that the names of its files begin with."""


def made_from(output: Path, digests: Collection[str], studies: Collection[str]) -> list[Path]:
    """Images and pages below `output` of the results `digests` and of the studies of these names."""
    short = {digest[:SHORT] for digest in digests}
    # A study's files carry no digest; they lie in the folder of its name.
    folders = {output / name for name in studies}
    return [path for path in _images_below(output) if _result(path) in short or path.parent in folders]


def of_unknown_origin(output: Path, roots: Collection[str]) -> list[str]:
    """A sentence about the images below `output` that are of none of the results `roots`, if there are any."""
    known = {digest_in(path)[:SHORT] for path in roots}
    found = [path for path in _images_below(output) if _result(path) not in known]
    if not found:
        return []
    return [f"{len(found)} files below {output} do not say which result they show, e.g. {found[0]}; inspect them."]


def cached_without(cache: Path, blobs: Collection[str]) -> list[Path]:
    """Cached shards that are none of `blobs`: also those whose blob a killed takedown has deleted."""
    return [path for path in sorted(shards_in(cache).glob("*.tar")) if f"blobs/{path.name}" not in blobs]


def _result(path: Path) -> str:
    return path.name.partition("-")[0]


def _images_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
