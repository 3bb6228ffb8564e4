"""Listing raw pictures into a snapshot, and reading them by it. May import lsr.data, lsr.store, lsr.core.

A snapshot pins what was there: key, size, and etag or mtime_ns (sha256 for a packaged set, so that its snapshot is
the same on every machine). What changed since then is refused when it is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from data_prep.config import SourceConfig
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import ConfigError, InputError, IntegrityError, NotFoundError, VersionMismatchError
from lsr.data.pixels import IMAGE_SUFFIXES
from lsr.data.shards import member_offsets
from lsr.store import open_store

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Item:
    """One picture file. key: its name for people, relative to the root. size: bytes. pin: what its content is known by,
    `etag:`, `mtime_ns:` or `sha256:`. path: percent-encoded path below the root of the file that holds it. offset:
    where it begins in that file, None if it is the file.
    """

    key: str
    size: int
    pin: str
    path: str
    offset: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a source held when it was listed. ignored: files left out for their suffix or a hidden name, by suffix."""

    uri: str
    items: tuple[Item, ...]
    ignored: dict[str, int]

    def to_bytes(self) -> bytes:
        """Canonical JSON; `from_bytes` reads it back."""
        return canonical_json({"format": FORMAT, **asdict(self)})

    @property
    def digest(self) -> str:
        """sha256 of `to_bytes()`: the pin of the raw source in action keys."""
        return sha256_hex(self.to_bytes())

    @staticmethod
    def from_bytes(data: bytes, where: str) -> Snapshot:
        """Raises VersionMismatchError for another format, IntegrityError for anything else than a snapshot."""
        try:
            plain = json.loads(data)
            if plain.pop("format", None) != FORMAT:
                raise VersionMismatchError(f"{where} is no snapshot of format {FORMAT}; list the source again.")
            items = tuple(Item(**item) for item in plain["items"])
            return Snapshot(uri=plain["uri"], items=items, ignored=plain["ignored"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{where} is not a snapshot of a source: {error}; list the source again.") from error


def source_root(uri: str, cache: Path) -> str:
    """Where the files of source `uri` are: a local folder or `s3://bucket/prefix`. A named set is bundled or was put
    into `cache` by `lsr data get`; nothing is fetched here.

    Raises NotFoundError for a folder that does not exist, an unknown set, or one that is not on this machine yet.
    """
    if uri.startswith("set:"):
        from data_prep.sets import resolve

        return str(resolve(uri.removeprefix("set:"), cache))
    place = uri.removeprefix("tar:").removeprefix("file://")
    if place.startswith("s3://"):
        return place.rstrip("/")
    if not os.path.isdir(place):
        raise NotFoundError(f"The source {uri} names no folder; give an existing folder, s3://, tar: or set: source.")
    return os.path.abspath(place)


def list_source(config: SourceConfig, cache: Path) -> Snapshot:
    """The pictures of a source, ordered by key.

    Files are pictures by suffix; other and hidden files are counted and ignored. Of a `tar:` source, those members of
    each WebDataset sample that are `<key>.<picture suffix>`, or any picture where a sample has none of that form.
    Raises InputError when there is no picture, NotFoundError when the source does not exist, ConfigError for a name
    that cannot be a folder of the store.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        raise ConfigError(f"A data set's name may hold letters, digits, '.', '_' and '-', found {config.name!r}.")
    root = source_root(config.uri, cache)
    files = sorted(_list_s3(root) if root.startswith("s3://") else _list_folder(root), key=lambda item: item.key)
    tars = config.uri.startswith("tar:")
    chosen = [item for item in files if _suffix(item.key) in (("tar",) if tars else IMAGE_SUFFIXES)]
    ignored = Counter(_suffix(item.key) or "none" for item in files)
    ignored.subtract(_suffix(item.key) for item in chosen)
    if tars:
        chosen = [member for tar in chosen for member in _list_tar(root, tar)]
    if config.uri.startswith("set:"):
        chosen = [_pinned_by_content(root, item) for item in chosen]
    left = {suffix: count for suffix, count in sorted(ignored.items()) if count}
    if not chosen:
        raise InputError(_nothing_found(config.uri, left))
    return Snapshot(uri=config.uri, items=tuple(chosen), ignored=left)


def read_item(root: str, item: Item) -> bytes:
    """The file's bytes. Raises InputError when it cannot be read or is not what the snapshot pinned."""
    name = unquote_to_bytes(item.path)
    try:
        data, pin = (_read_s3 if root.startswith("s3://") else _read_file)(root, name, item)
    except (OSError, NotFoundError) as error:
        raise InputError(f"{item.key} in {root} cannot be read any more: {error}; list the source again.") from error
    if item.pin.startswith("sha256:"):
        pin = f"sha256:{sha256_hex(data)}"
    if pin != item.pin or len(data) != item.size:
        raise InputError(
            f"{item.key} in {root} changed since it was listed: {item.size} bytes, {item.pin} then, "
            f"{len(data)} bytes, {pin} now; run the command again to take the new content."
        )
    return data


def _suffix(key: str) -> str:
    name = key.rsplit("/", 1)[-1]
    return "hidden" if name.startswith(".") else name.rpartition(".")[2].lower() if "." in name else ""


def _nothing_found(uri: str, ignored: dict[str, int]) -> str:
    found = ", ".join(f"{count} of suffix {suffix}" for suffix, count in ignored.items())
    wanted = "tars" if uri.startswith("tar:") else f"pictures ({', '.join(IMAGE_SUFFIXES)})"
    return f"The source {uri} holds no {wanted}; found {found or 'no files at all'}. Name a folder with pictures."


def _shown(path: bytes) -> str:
    # Names that are not UTF-8 exist on Linux; JSON and WebDataset have no spelling for them.
    return path.decode("utf-8", "backslashreplace")


def _list_folder(root: str) -> Iterator[Item]:
    base, seen = os.fsencode(root), set()

    def unreadable(error: OSError) -> None:
        raise InputError(f"The folder {error.filename!r} cannot be listed: {error.strerror}; mend its rights.")

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
                inside = os.path.relpath(path, base)
                about = os.stat(path)
                yield Item(_shown(inside), about.st_size, f"mtime_ns:{about.st_mtime_ns}", quote(inside))


def _list_s3(root: str) -> Iterator[Item]:
    for found in open_store(root).list(""):
        if not found.key.endswith("/"):
            yield Item(found.key, found.size, f"etag:{found.etag}", quote(found.key))


def _read_file(root: str, name: bytes, item: Item) -> tuple[bytes, str]:
    with open(os.path.join(os.fsencode(root), name), "rb") as file:
        file.seek(item.offset or 0)
        return file.read(
            item.size if item.offset is not None else -1
        ), f"mtime_ns:{os.fstat(file.fileno()).st_mtime_ns}"


def _read_s3(root: str, name: bytes, item: Item) -> tuple[bytes, str]:
    store, key = open_store(root), name.decode()
    about = store.head(key)
    data = store.read(key) if item.offset is None else store.read(key, item.offset, item.size)
    return data, f"etag:{about.etag if about else None}"


def _pinned_by_content(root: str, item: Item) -> Item:
    with open(os.path.join(os.fsencode(root), unquote_to_bytes(item.path)), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Item(item.key, item.size, f"sha256:{digest}", item.path)


def _list_tar(root: str, tar: Item) -> Iterator[Item]:
    where = f"{root}/{tar.key}"
    if root.startswith("s3://"):
        members = member_offsets(io.BytesIO(read_item(root, tar)), where)
    else:
        with open(os.path.join(os.fsencode(root), unquote_to_bytes(tar.path)), "rb") as file:
            members = member_offsets(file, where)
    samples: dict[str, list[str]] = {}
    for name in members:
        folder, _, base = name.rpartition("/")
        if _suffix(name) in IMAGE_SUFFIXES:
            samples.setdefault(f"{folder}/{base.partition('.')[0]}", []).append(name)
    for names in samples.values():
        for name in _plain_pictures(names):
            offset, size = members[name]
            shown = _shown(name.encode("utf-8", "surrogateescape"))
            yield Item(f"{tar.key}/{shown}", size, tar.pin, tar.path, offset)


def _plain_pictures(names: Sequence[str]) -> Sequence[str]:
    """Of one sample: the photograph itself rather than masks such as `<key>.seg.png`."""
    return [name for name in names if name.rsplit("/", 1)[-1].count(".") == 1] or names
