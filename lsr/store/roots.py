"""The root record: one JSON layout for every result, be it an image set, a trained model or a measurement.

A root names all blobs of its result with their sizes, and its parents by their content digests. Reuse, verification,
takedown, lineage and garbage collection walk these two and nothing else. A root is content only: no times, hosts or
code versions, so that equal results have equal digests everywhere. It lies under its own digest in one of ROOTS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.store.base import Store
from lsr.store.content import Blob, blob_named, sizes_of
from lsr.store.layout import FOLDERS
from lsr.store.records import WAY_OUT, json_object

FORMAT = 2
"""1 had another layout for each kind of result."""

MODELS = "models"
PLACES = {
    **dict.fromkeys(("images", "tiles", "latents", "outputs"), "datasets"),
    "evaluation": "evaluations",
    "measurement": "measurements",
}
"""Top folder by kind; every other kind is a trained model's and lies in MODELS."""

ROOTS = tuple(name for name, folder in FOLDERS.items() if folder.roots)
"""Every prefix of a store below which there are root records, and nothing else."""

PHOTOS = "photos"
"""Where `extra` lists keys of the photos whose pixels are in the blobs, for a result that has no index."""

_FIELDS = {"kind": str, "parents": dict, "blobs": dict, "made_by": dict, "counts": dict, "extra": dict}


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One result.

    kind: what it is (`images`, `decoder`, `evaluation`, ...). parents: content digest by name, of results and of
    what lies outside the store. blobs: every blob of the result by its name in the result, such as `ema` or `rows`.
    made_by: the stage and its config. counts: whole numbers for people. extra: facts of the kind; `name` is the data
    set's, PHOTOS as said there.
    """

    kind: str
    parents: Mapping[str, str]
    blobs: Mapping[str, Blob]
    made_by: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical JSON; `Record.from_bytes` reads it back."""
        blobs = {name: {"bytes": blob.bytes, "path": blob.path} for name, blob in self.blobs.items()}
        plain = {name: getattr(self, name) for name in _FIELDS}
        return canonical_json({**plain, "blobs": blobs, "format": FORMAT})

    @property
    def digest(self) -> str:
        """The content digest: sha256 of `to_bytes()`."""
        return sha256_hex(self.to_bytes())

    @property
    def directory(self) -> str:
        """Folder in the store that records of this kind and name lie in."""
        place = PLACES.get(self.kind, MODELS)
        return f"{place}/{self.extra['name']}" if place == "datasets" else directory_of(self.kind)

    @property
    def path(self) -> str:
        """The record's key in the store."""
        return f"{self.directory}/{self.digest}.json"

    @staticmethod
    def from_bytes(data: bytes, where: str) -> Record:
        """Read what `to_bytes` wrote; `where` names the record in errors.

        Raises VersionMismatchError for another format, IntegrityError for anything that is no root record.
        """
        plain = json_object(data, where)
        found = plain.pop("format", None)
        if found != FORMAT:
            raise VersionMismatchError(f"{where} has format {found!r}, this code reads {FORMAT}; {WAY_OUT}")
        wrong = [name for name, kind in _FIELDS.items() if not isinstance(plain.get(name), kind)]
        if wrong or plain.keys() != _FIELDS.keys():
            raise IntegrityError(f"{where} is no root record: {wrong or sorted(plain)}; delete it and make it again.")
        blobs = {name: _blob(entry, f"{where}, blob {name}") for name, entry in plain.pop("blobs").items()}
        return Record(**plain, blobs=blobs)


def directory_of(kind: str) -> str:
    """Folder in the store of the records of a kind without names."""
    return PLACES.get(kind, f"{MODELS}/{kind}")


def _blob(entry: Any, where: str) -> Blob:
    size = entry.get("bytes") if isinstance(entry, dict) else None
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not isinstance(path, str):
        raise IntegrityError(f"{where} must have a path and a size in bytes, found {entry!r}; make the result again.")
    return blob_named(path, size, where)


def digest_in(path: str) -> str:
    """The content digest that the key of a root record ends with."""
    return path.rsplit("/", 1)[-1].removesuffix(".json")


def is_root(path: str) -> bool:
    """Whether a key of the store is that of a root record."""
    return path.startswith(ROOTS) and path.endswith(".json")


def read_root(store: Store, path: str, kind: str | None = None) -> Record:
    """The root record at key `path`. kind: what it must be, None for any.

    Raises NotFoundError when it is absent, IntegrityError when its bytes do not have the digest in its name or it is
    of another kind, VersionMismatchError for another format.
    """
    where, data = f"{store.uri}/{path}", store.read(path)
    if sha256_hex(data) != digest_in(path):
        raise IntegrityError(
            f"{where} must have the sha256 in its name, found {sha256_hex(data)}; delete it and run the stage again."
        )
    record = Record.from_bytes(data, where)
    if kind is not None and record.kind != kind:
        raise IntegrityError(f"{where} is of kind {record.kind!r}, expected {kind!r}.")
    return record


def every_root(store: Store) -> Iterator[tuple[str, Record]]:
    """(key, record) of every root of the store; one that goes away in the meantime is passed over.

    Raises what `read_root` raises: a record that cannot be read may name anything.
    """
    for prefix in ROOTS:
        for info in store.list(prefix):
            try:
                yield info.key, read_root(store, info.key)
            except NotFoundError:
                continue


def lost_blobs(store: Store, record: Record) -> list[str]:
    """Paths of the record's blobs that are absent from the store or of another size; no byte is read."""
    wanted = {blob.path: blob.bytes for blob in record.blobs.values()}
    found = sizes_of(store, list(wanted))
    return [path for path, size in found.items() if size != wanted[path]]
