"""Blobs that no root record names, searched for a photo: killed stages and killed takedowns leave them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from lsr.core.errors import IntegrityError, NotFoundError
from lsr.data.index import read_index
from lsr.report.exhibits import INDEX
from lsr.store import Store
from lsr.store.content import get_blob
from lsr.store.roots import Record
from lsr.tools.holdings import photo_of

IMAGES = frozenset({"png", "webp", "jpg", "html"})


@dataclass(frozen=True, slots=True)
class Orphan:
    """path: of the blob. photos: keys that it holds, with the names of their sources where it says them; None where
    it cannot be told.
    """

    path: str
    photos: dict[str, str] | None


def orphans(store: Store, roots: Collection[Record]) -> Iterator[Orphan]:
    """Every blob that none of the root records names, with the photos in it; others than shards, indices and images
    hold none.
    """
    named = {blob.path for record in roots for blob in record.blobs.values()}
    for info in list(store.list("blobs/")):
        if info.key not in named:
            try:
                yield Orphan(info.key, _photos(info.key.rpartition(".")[2], get_blob(store, info.key)))
            except NotFoundError:
                continue
            except (IntegrityError, tarfile.TarError, zipfile.BadZipFile, ValueError, KeyError):
                yield Orphan(info.key, None)


def _photos(suffix: str, data: bytes) -> dict[str, str] | None:
    if suffix == "parquet":
        return {photo_of(row.key): row.source for row in read_index(data)} if _is_index(data) else {}
    if suffix == "tar":
        return _in_tar(data)
    if suffix == "zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {entry["photo"]: "" for entry in json.loads(archive.read(INDEX))["exhibits"]}
    return None if suffix in IMAGES else {}


def _is_index(data: bytes) -> bool:
    import pyarrow.parquet as pq

    return "members" in pq.read_schema(io.BytesIO(data)).names


def _in_tar(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            found.setdefault(photo_of(key), "")
            described = tar.extractfile(member) if suffix == "json" else None
            if described is not None:
                found[photo_of(key)] = str(json.load(described).get("source", ""))
    return found
