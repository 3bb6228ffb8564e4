"""Data sets of the store: listed, verified, and their addresses."""

from __future__ import annotations

from typing import Any

from lsr.core.progress import Progress, Quiet
from lsr.core.settings import Settings
from lsr.data.manifest import load_manifest, urls
from lsr.store import open_store


def manifests(settings: Settings) -> list[dict[str, Any]]:
    """Every data set manifest of the store, sorted by path."""
    store = open_store(settings.store)
    rows = []
    for info in store.list("datasets/"):
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
    """One sentence for every object that does not agree with the manifest at `path`.

    threads: shards read at a time. resume: leave out what an interrupted verification found whole, if it still has the
    same etag.
    """
    from lsr.data.verify import Journal, verify

    store = open_store(settings.store)
    manifest = load_manifest(store, path)
    journal = Journal(settings.cache / "verify" / f"{manifest.digest}.jsonl", resume)
    with (progress or Quiet()).task("verify", len(manifest.shards), "shards") as task:
        faults = verify(store, manifest, threads=threads, journal=journal, advance=lambda: task.advance())
    journal.finish()
    return [str(fault) for fault in faults]


def manifest_urls(settings: Settings, path: str) -> list[str]:
    """Plain tar addresses of the data set at `path`."""
    store = open_store(settings.store)
    return urls(store, load_manifest(store, path))
