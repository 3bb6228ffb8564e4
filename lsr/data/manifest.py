"""The root manifest of a data set: what it is, what it was made from, one row a shard.

A manifest is content only: no times, hosts or code versions, so that equal data has equal digests everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.store import Store

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRow:
    """One shard. path: its tar blob. sha256, bytes: of the tar. samples: how many it holds. index: blob path of its
    Parquet index (`lsr.data.index`)."""

    path: str
    sha256: str
    bytes: int
    samples: int
    index: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One data set.

    kind: `images`, `tiles` or `latents`. name: what the set is called in the store. parents: content digest by
    name. made_by: stage, version and config. counts: at least `samples`. refusals: blob path of what was left out
    and why, if anything was. extra: facts of the kind, e.g. `encoder` and `whitening` of latents.
    """

    kind: str
    name: str
    parents: Mapping[str, str]
    made_by: Mapping[str, Any]
    shards: tuple[ShardRow, ...]
    counts: Mapping[str, int]
    refusals: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical JSON with `"format": 1`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return canonical_json({**plain, "format": FORMAT, "shards": [asdict(row) for row in self.shards]})

    @property
    def digest(self) -> str:
        """The content digest: sha256 of `to_bytes()`."""
        return sha256_hex(self.to_bytes())

    @property
    def directory(self) -> str:
        """Folder in the store that manifests of this name live in."""
        return f"datasets/{self.name}"

    @property
    def samples(self) -> int:
        """Samples over all shards."""
        return sum(row.samples for row in self.shards)

    @staticmethod
    def from_bytes(data: bytes, where: str) -> Manifest:
        """Read what `to_bytes` wrote; `where` names the manifest in errors.

        Raises VersionMismatchError for another format version, IntegrityError for anything that is no manifest or
        that contradicts itself.
        """
        plain = _json_object(data, where)
        if plain.pop("format", None) != FORMAT:
            found = json.loads(data).get("format")
            raise VersionMismatchError(
                f"{where} has manifest format {found!r}, this code reads format {FORMAT}; use the LSR that wrote it."
            )
        try:
            shards = tuple(ShardRow(**row) for row in plain.pop("shards"))
            manifest = Manifest(**plain, shards=shards)
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"{where} is not a data set manifest of format {FORMAT} ({error}); delete it and run the stage again."
            ) from error
        _check(manifest, where)
        return manifest


def _json_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        plain = json.loads(data)
    except ValueError as error:
        raise IntegrityError(f"{where} is not JSON ({error}); restore it or make the data set again.") from error
    if not isinstance(plain, dict):
        raise IntegrityError(f"{where} must be a JSON object, found {type(plain).__name__}.")
    return plain


def _check(manifest: Manifest, where: str) -> None:
    counted = manifest.counts.get("samples")
    if counted != manifest.samples:
        raise IntegrityError(f"{where} counts {counted} samples, but its shards hold {manifest.samples}.")
    for row in manifest.shards:
        if row.path != f"blobs/{row.sha256}.tar":
            raise IntegrityError(f"{where} names shard {row.path}, whose name must be its digest {row.sha256}.")


def load_manifest(store: Store, path: str) -> Manifest:
    """The manifest at key `path` of `store`; its file name is its digest.

    Raises NotFoundError when it is absent, IntegrityError when its bytes do not have that digest,
    VersionMismatchError when it speaks another format version.
    """
    where = f"{store.uri}/{path}"
    data = store.read(path)
    named = path.rsplit("/", 1)[-1].removesuffix(".json")
    if sha256_hex(data) != named:
        raise IntegrityError(
            f"{where} must have the sha256 in its name, found {sha256_hex(data)}; delete it and run the stage again."
        )
    return Manifest.from_bytes(data, where)


def urls(store: Store, manifest: Manifest) -> list[str]:
    """Plain addresses of the tars, in order, for any WebDataset reader: local paths or `s3://` addresses."""
    base = store.uri.removeprefix("file://")
    return [f"{base}/{row.path}" for row in manifest.shards]
