"""A data set: a typed view of its root record, with one row per shard.

In the record shard i is the blobs `<i>.tar` and `<i>.parquet` with i in eight digits, and `extra` holds the set's
`name` and how many `samples` each shard has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lsr.core.errors import IntegrityError
from lsr.store import Store
from lsr.store.content import Blob
from lsr.store.roots import Record, read_root

DATASETS = "datasets/"
NAME, SAMPLES, SKIPPED = "name", "samples", "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRow:
    """One shard. path: its tar blob. sha256, bytes: of the tar. samples: how many it holds. index, index_bytes: blob
    path and size of its Parquet index (`lsr.data.index`).
    """

    path: str
    sha256: str
    bytes: int
    samples: int
    index: str
    index_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One data set.

    kind: `images`, `tiles`, `latents` or `outputs`. name: what the set is called in the store. parents: content digest
    by name. made_by: stage, version and config. counts: at least `samples`. skipped: the blob that says what was
    rejected and why, if anything was. extra: facts of the kind, e.g. `encoder` and `whitening` of latents.
    """

    kind: str
    name: str
    parents: Mapping[str, str]
    made_by: Mapping[str, Any]
    shards: tuple[ShardRow, ...]
    counts: Mapping[str, int]
    skipped: Blob | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> Record:
        """The root record; `Manifest.of` reads it back."""
        blobs = {SKIPPED: self.skipped} if self.skipped is not None else {}
        for number, row in enumerate(self.shards):
            tar, index = _names(number)
            blobs[tar] = Blob(path=row.path, sha256=row.sha256, bytes=row.bytes)
            blobs[index] = Blob(path=row.index, sha256=_digest_in(row.index), bytes=row.index_bytes)
        return Record(
            kind=self.kind,
            parents=self.parents,
            blobs=blobs,
            made_by=self.made_by,
            counts=self.counts,
            extra={**self.extra, NAME: self.name, SAMPLES: [row.samples for row in self.shards]},
        )

    def to_bytes(self) -> bytes:
        """The bytes of the root record."""
        return self.record().to_bytes()

    @property
    def digest(self) -> str:
        """The content digest: sha256 of `to_bytes()`."""
        return self.record().digest

    @property
    def directory(self) -> str:
        """Folder in the store that manifests of this name live in."""
        return self.record().directory

    @property
    def path(self) -> str:
        """The manifest's key in the store."""
        return self.record().path

    @property
    def samples(self) -> int:
        """Samples over all shards."""
        return sum(row.samples for row in self.shards)

    @staticmethod
    def of(record: Record, where: str) -> Manifest:
        """The data set of a root record; `where` names it in errors.

        Raises IntegrityError for the record of something else, or one that contradicts itself.
        """
        extra = dict(record.extra)
        name, samples = extra.pop(NAME, None), extra.pop(SAMPLES, None)
        if not isinstance(name, str) or not isinstance(samples, list) or not _counted(samples):
            raise IntegrityError(
                f"{where} is the record of {record.kind!r}, not of a data set with a name and the samples of each "
                "shard; name the record of a data set, or make this one again."
            )
        blobs = dict(record.blobs)
        skipped = blobs.pop(SKIPPED, None)
        shards = tuple(_row(blobs, number, count, where) for number, count in enumerate(samples))
        if blobs:
            raise IntegrityError(f"{where} names the blobs {sorted(blobs)}, which no shard of a data set has.")
        if record.counts.get("samples") != sum(samples):
            raise IntegrityError(
                f"{where} counts {record.counts.get('samples')} samples, but its shards hold {sum(samples)}."
            )
        return Manifest(
            kind=record.kind,
            name=name,
            parents=record.parents,
            made_by=record.made_by,
            shards=shards,
            counts=record.counts,
            skipped=skipped,
            extra=extra,
        )

    @staticmethod
    def from_bytes(data: bytes, where: str) -> Manifest:
        """Read what `to_bytes` wrote. Raises what `Record.from_bytes` and `of` raise."""
        return Manifest.of(Record.from_bytes(data, where), where)


def _names(number: int) -> tuple[str, str]:
    return f"{number:08d}.tar", f"{number:08d}.parquet"


def _digest_in(path: str) -> str:
    return path.removeprefix("blobs/").partition(".")[0]


def _counted(samples: list[Any]) -> bool:
    return all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in samples)


def _row(blobs: dict[str, Blob], number: int, samples: int, where: str) -> ShardRow:
    tar, index = (blobs.pop(name, None) for name in _names(number))
    if tar is None or index is None or not tar.path.endswith(".tar"):
        raise IntegrityError(f"{where} must name a tar and an index of shard {number}; make the data set again.")
    return ShardRow(
        path=tar.path,
        sha256=tar.sha256,
        bytes=tar.bytes,
        samples=samples,
        index=index.path,
        index_bytes=index.bytes,
    )


def load_manifest(store: Store, path: str) -> Manifest:
    """The data set whose root record is at key `path`. Raises what `read_root` and `Manifest.of` raise."""
    return Manifest.of(read_root(store, path), f"{store.uri}/{path}")


def urls(store: Store, manifest: Manifest) -> list[str]:
    """Plain addresses of the tars, in order, for any WebDataset reader: local paths or `s3://` addresses."""
    base = store.uri.removeprefix("file://")
    return [f"{base}/{row.path}" for row in manifest.shards]
