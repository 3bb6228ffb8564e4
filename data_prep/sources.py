"""Listing raw images into a snapshot.

A snapshot pins what was there: key, size, and etag or mtime_ns (sha256 for a packaged set, so that its snapshot is
the same on every machine). What changed since then is rejected when it is read. Web addresses of a list are not looked
at here: `data_prep.fetched` pins them when they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from data_prep.config import SourceConfig
from data_prep.items import ITEM, Item, file_item, local_file, remote
from data_prep.ranged import open_ranged
from data_prep.spool import Spool
from data_prep.tar_source import list_tar
from data_prep.uri_list import list_rows, root_of
from lsr.core.canonical import canonical_json
from lsr.core.errors import ConfigError, InputError, IntegrityError, NotFoundError, VersionMismatchError
from lsr.core.files import file_sha256
from lsr.core.refs import Ref
from lsr.data.pixels import IMAGE_SUFFIXES
from lsr.store import Store
from lsr.store.content import freshen
from lsr.store.files import temporary_folder

FORMAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a source held when it was listed. ignored: files skipped for their suffix or a hidden name, by suffix.

    Stored as lines of canonical JSON, a head and one an item, so that millions are written and read one at a time.
    """

    uri: str
    items: Sequence[Item]
    ignored: dict[str, int]

    def lines(self) -> Iterator[bytes]:
        """`from_lines` reads them back."""
        head = {"format": FORMAT, "ignored": self.ignored, "items": len(self.items), "uri": self.uri}
        yield canonical_json(head) + b"\n"
        for item in self.items:
            yield canonical_json(item.plain()) + b"\n"

    @property
    def digest(self) -> str:
        """sha256 of all lines: the pin of the raw source in action keys."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line)
        return digest.hexdigest()

    def save(self, store: Store, name: str) -> Ref:
        """Put it under `snapshots/<name>/<digest>.jsonl`, if it is not there."""
        pin = self.digest
        ref = Ref(kind="snapshot", key=pin, digest=pin, path=f"snapshots/{name}/{pin}.jsonl")
        found = store.head(ref.path)
        if found is not None:
            freshen(store, found)
        else:
            with temporary_folder("snapshot") as folder:
                file = folder / "snapshot.jsonl"
                with open(file, "wb") as out:
                    out.writelines(self.lines())
                store.write_file(ref.path, file)
        return ref

    @staticmethod
    def load(store: Store, key: str) -> Snapshot:
        """What `save` put. Raises IntegrityError when it is not what its key says, and what `from_lines` raises."""
        where, about, digest = f"{store.uri}/{key}", store.head(key), hashlib.sha256()
        if about is None:
            raise NotFoundError(f"{where} does not exist; list the source again.")

        def lines() -> Iterator[bytes]:
            with open_ranged(store, key, about.size) as file:
                for line in file:
                    digest.update(line)
                    yield line

        found = Snapshot.from_lines(lines(), where)
        if digest.hexdigest() != PurePosixPath(key).stem:
            raise IntegrityError(f"{where} does not have the digest in its name; list the source again.")
        return found

    @staticmethod
    def from_lines(lines: Iterable[bytes], where: str) -> Snapshot:
        """Raises VersionMismatchError for another format, IntegrityError for anything else than a snapshot."""
        rows = iter(lines)
        try:
            head = json.loads(next(rows, b""))
            if head.get("format") != FORMAT:
                raise VersionMismatchError(f"{where} is no snapshot of format {FORMAT}; list the source again.")
            items = Spool((Item(**json.loads(row)) for row in rows), ITEM)
            if len(items) != head["items"]:
                raise ValueError(f"it holds {len(items)} items and announces {head['items']}")
            return Snapshot(uri=head["uri"], items=items, ignored=head["ignored"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{where} is not a snapshot of a source: {error}; list the source again.") from error


def source_root(uri: str, cache: Path) -> str:
    """Where the files of source `uri` are: a local folder or `s3://bucket/prefix`. A named set is bundled or was put
    into `cache` by `lsr data get`; nothing is fetched here.

    Raises NotFoundError for a folder that does not exist, an unknown set, or one that is not on this machine yet.
    """
    if uri.startswith("set:"):
        from lsr.assets import resolve

        return str(resolve(uri.removeprefix("set:"), cache))
    if uri.startswith("list:"):
        return root_of(uri.removeprefix("list:").removeprefix("file://"))
    place = uri.removeprefix("tar:").removeprefix("file://")
    if place.startswith("s3://"):
        return place.rstrip("/")
    if not os.path.isdir(place):
        raise NotFoundError(f"The source {uri} names no folder; give an existing folder, s3://, tar: or set: source.")
    return os.path.abspath(place)


def list_source(config: SourceConfig, cache: Path) -> Snapshot:
    """The images of a source, ordered by key.

    Files are images by suffix; other and hidden files are counted and ignored. Of a `tar:` source, those members of
    each WebDataset sample that are `<key>.<image suffix>`, or any image where a sample has none of that form. A
    `list:` source holds what the list names, whatever its suffix.
    Raises InputError when there is no image, NotFoundError when the source does not exist, ConfigError for a name
    that cannot be a folder of the store.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        raise ConfigError(f"A data set's name may hold letters, digits, '.', '_' and '-', found {config.name!r}.")
    root = source_root(config.uri, cache)
    if config.uri.startswith("list:"):
        return _listed(config)
    suffixes, tars = Counter[str](), config.uri.startswith("tar:")
    wanted = ("tar",) if tars else IMAGE_SUFFIXES

    def chosen() -> Iterator[Item]:
        for item in _list_s3(root) if root.startswith("s3://") else _list_folder(root):
            suffix = _suffix(item.key)
            if suffix in wanted:
                yield _pinned_by_content(root, item) if config.uri.startswith("set:") else item
            else:
                suffixes[suffix or "none"] += 1

    # The paths, because names that are not UTF-8 may be spelled alike.
    items = Spool(chosen(), ITEM, by=lambda item: (item.key, item.path))
    if tars:
        items = Spool((member for tar in items for member in list_tar(root, tar)), ITEM)
    ignored = dict(sorted(suffixes.items()))
    if not items:
        raise InputError(_nothing_found(config.uri, ignored))
    return Snapshot(uri=config.uri, items=items, ignored=ignored)


def _suffix(key: str) -> str:
    name = key.rsplit("/", 1)[-1]
    return "hidden" if name.startswith(".") else name.rpartition(".")[2].lower() if "." in name else ""


def _nothing_found(uri: str, ignored: dict[str, int]) -> str:
    found = ", ".join(f"{count} of suffix {suffix}" for suffix, count in ignored.items())
    wanted = "tars" if uri.startswith("tar:") else f"images ({', '.join(IMAGE_SUFFIXES)})"
    wanted = "rows" if uri.startswith("list:") else wanted
    return f"The source {uri} holds no {wanted}; found {found or 'no files at all'}. Name a folder with images."


def _list_folder(root: str) -> Iterator[Item]:
    base, seen = os.fsencode(root), set()

    def unreadable(error: OSError) -> None:
        raise InputError(f"The folder {error.filename!r} cannot be listed: {error.strerror}; fix its permissions.")

    for folder, folders, names in os.walk(base, onerror=unreadable, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(b".")]
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield file_item(path, os.path.relpath(path, base))


def _list_s3(root: str) -> Iterator[Item]:
    for found in remote(root).list(""):
        if not found.key.endswith("/"):
            yield Item(found.key, found.size, f"etag:{found.etag}", quote(found.key))


def _pinned_by_content(root: str, item: Item) -> Item:
    return replace(item, pin=f"sha256:{file_sha256(local_file(root, item))}")


def _listed(config: SourceConfig) -> Snapshot:
    items, repeated = list_rows(config.uri.removeprefix("list:").removeprefix("file://"), config.fetch)
    if not items:
        raise InputError(_nothing_found(config.uri, {}))
    return Snapshot(uri=config.uri, items=items, ignored={"repeated": repeated} if repeated else {})
