"""What a data set or a raw source holds: counts, sizes, formats, splits, skipped files, and a sheet of its images."""

from __future__ import annotations

import io
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.config import ShardConfig, SourceConfig
from data_prep.inspection import Inspected, inspect_item
from data_prep.items import Item, read_item
from data_prep.sources import list_source, source_root
from lsr.core.errors import InputError
from lsr.core.pixels import decode_reduced
from lsr.core.progress import Progress
from lsr.core.settings import Settings
from lsr.data.cache import shards_in
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.pixels import image_of
from lsr.data.shards import SampleReader, index_rows
from lsr.store import Store, open_store
from lsr.store.content import get_blob

if TYPE_CHECKING:
    from lsr.evaluation.protocol import Image

SHEET, THUMBNAIL = 48, 128
NAME = "shown"


def describe(settings: Settings, what: str, sheet: Path | None, progress: Progress) -> dict[str, Any]:
    """Statistics of `what`, a manifest path in the store or a source as a recipe names it, as plain data.

    sheet: where to write at most SHEET of its images, spread evenly, as one image, each within THUMBNAIL pixels.
    Every image of a raw source is decoded and held against the rules of stage *shard*; of a manifest only indices are
    read. Raises NotFoundError for what is not there, InputError for a sheet of something without images.
    """
    if what.endswith(".json"):
        store = open_store(settings.store)
        manifest = load_manifest(store, what)
        facts = _of_manifest(store, manifest, what)
        images = _stored(store, manifest, shards_in(settings.cache)) if sheet else iter(())
    else:
        root = source_root(what, settings.cache)
        listed = list_source(SourceConfig(uri=what, name=NAME), settings.cache)
        found = list(_inspected(root, listed.items, progress))
        facts = _of_source(what, found, listed.ignored)
        images = _raw(root, found) if sheet else iter(())
    if sheet is not None:
        facts["sheet"] = _write_sheet(list(images), what, sheet)
    return facts


def _of_manifest(store: Store, manifest: Manifest, path: str) -> dict[str, Any]:
    rows = list(index_rows(store, manifest))
    members = [(ext, size) for row in rows for ext, (_, size) in row.members.items() if ext != "json"]
    return {
        "what": path,
        "kind": manifest.kind,
        "name": manifest.name,
        "counts": dict(manifest.counts),
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "formats": _by_format(members),
        "splits": dict(sorted(Counter(row.split for row in rows).items())),
        "sides": _sides([(row.width, row.height) for row in rows]),
        "skipped": _grouped(_skipped(store, manifest)),
        "ignored": {},
    }


def _of_source(uri: str, found: Sequence[Inspected], ignored: dict[str, int]) -> dict[str, Any]:
    sound = [one for one in found if one.reason is None]
    rejected = [("rejected", one.reason) for one in found if one.reason is not None]
    copies = len(sound) - len({one.content for one in sound})
    return {
        "what": uri,
        "kind": "source",
        "name": "",
        "counts": {"files": len(found), "sound": len(sound), "rejected": len(rejected), "duplicates": copies},
        "shards": 0,
        "bytes": sum(one.item.size for one in found),
        "formats": _by_format([(_suffix(one.item), one.item.size) for one in found]),
        "splits": {},
        "sides": _sides([(one.width, one.height) for one in sound]),
        "skipped": _grouped(rejected),
        "ignored": ignored,
    }


def _inspected(root: str, items: Sequence[Item], progress: Progress) -> Iterator[Inspected]:
    config = ShardConfig()
    with progress.task("inspect", len(items), "files") as task:
        for item in items:
            yield inspect_item(root, item, config)
            task.advance(note=item.key)


def _suffix(item: Item) -> str:
    return item.key.rpartition(".")[2].lower()


def _by_format(sizes: Sequence[tuple[str, int]]) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for name, size in sizes:
        entry = out.setdefault(name, {"files": 0, "bytes": 0})
        entry["files"] += 1
        entry["bytes"] += size
    return dict(sorted(out.items()))


def _sides(sizes: Sequence[tuple[int, int]]) -> dict[str, dict[str, float]]:
    """Smallest, median and largest width and height in pixels; empty where there is no image."""
    if not sizes:
        return {}
    by_name = {"width": [width for width, _ in sizes], "height": [height for _, height in sizes]}
    return {
        name: {"min": min(values), "median": statistics.median(values), "max": max(values)}
        for name, values in by_name.items()
    }


def _skipped(store: Store, manifest: Manifest) -> list[tuple[str, str]]:
    """(kind, reason) of every file that the manifest says it skipped."""
    if manifest.skipped is None:
        return []
    data = get_blob(store, manifest.skipped.path)
    if manifest.skipped.path.endswith(".json"):
        return [("failed", str(row["reason"])) for row in json.loads(data)]
    import pyarrow.parquet as pq

    return [(row["kind"], row["reason"]) for row in pq.read_table(io.BytesIO(data)).to_pylist()]


def _grouped(skipped: Sequence[tuple[str, str | None]]) -> list[dict[str, Any]]:
    counted = Counter(skipped).most_common()
    return [{"kind": kind, "reason": reason, "count": count} for (kind, reason), count in counted]


def _spread(count: int) -> list[int]:
    """At most SHEET of the numbers 0 to count - 1, evenly spread."""
    return sorted({i * count // SHEET for i in range(SHEET)}) if count > SHEET else list(range(count))


def _stored(store: Store, manifest: Manifest, cache: Path) -> Iterator[Image]:
    if manifest.kind == "latents":
        raise InputError(f"Latents hold no images; show the tiles {manifest.parents.get('tiles', '')[:12]} instead.")
    reader = SampleReader(store, manifest, cache)
    for index in _spread(len(reader)):
        where = reader.describe(index)
        yield decode_reduced(image_of(reader.read(index), where), where, THUMBNAIL)
    reader.close()


def _raw(root: str, found: Sequence[Inspected]) -> Iterator[Image]:
    sound = [one.item for one in found if one.reason is None]
    for index in _spread(len(sound)):
        item = sound[index]
        yield decode_reduced(read_item(root, item), f"{item.key} in {root}", THUMBNAIL)


def _write_sheet(images: Sequence[Image], what: str, path: Path) -> str:
    from lsr.inference.images import save_image
    from lsr.report.sheet import thumbnails

    if not images:
        raise InputError(f"{what} holds no sound image, so there is no sheet of it.")
    save_image(thumbnails(images, side=THUMBNAIL), path)
    return str(path)
