"""Data sets of the store: listed and their addresses; every result verified."""

from __future__ import annotations

from typing import Any

from lsr.core.progress import Progress, Quiet
from lsr.core.settings import Settings
from lsr.data.manifest import DATASETS, Manifest, load_manifest, urls
from lsr.store import open_store
from lsr.store.roots import read_root


def manifests(settings: Settings) -> list[dict[str, Any]]:
    """Every data set manifest of the store, sorted by path."""
    store = open_store(settings.store)
    rows = []
    for info in store.list(DATASETS):
        manifest = load_manifest(store, info.key)
        rows.append(
            {
                "kind": manifest.kind,
                "name": manifest.name,
                "samples": manifest.samples,
                "shards": len(manifest.shards),
                "bytes": sum(row.bytes for row in manifest.shards),
                "path": info.key,
            }
        )
    return rows


def verify_manifest(
    settings: Settings, path: str, *, threads: int = 1, resume: bool = False, progress: Progress | None = None
) -> list[str]:
    """One sentence for every object that does not agree with the root record at `path`, a data set's or another one's.

    threads: shards read at a time. resume: leave out what an interrupted verification found whole, if it still has the
    same etag.
    """
    from lsr.data.verify import Journal, verify, verify_blobs

    store, shown = open_store(settings.store), progress or Quiet()
    record = read_root(store, path)
    if not path.startswith(DATASETS):
        with shown.task("verify", len(record.blobs), "blobs") as task:
            blobs = record.blobs.values()
            return [str(found) for found in verify_blobs(store, blobs, threads=threads, advance=lambda: task.advance())]
    manifest = Manifest.of(record, f"{store.uri}/{path}")
    journal = Journal(settings.cache / "verify" / f"{manifest.digest}.jsonl", resume)
    with shown.task("verify", len(manifest.shards), "shards") as task:
        faults = verify(store, manifest, threads=threads, journal=journal, advance=lambda: task.advance())
    journal.finish()
    return [str(fault) for fault in faults]


def manifest_urls(settings: Settings, path: str) -> list[str]:
    """Plain tar addresses of the data set at `path`."""
    store = open_store(settings.store)
    return urls(store, load_manifest(store, path))
