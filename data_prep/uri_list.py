"""A CSV, JSONL or Parquet file of picture addresses with captions or labels. May import pyarrow, lsr.store, lsr.core.

Columns: `uri`, and if wanted `caption` and `label`; others are not read. An address is a path, relative to the list's
folder or absolute, `file:///path`, `s3://bucket/key`, or where they are asked for `https://...` and `http://...`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from data_prep.fetch import SCHEMES
from data_prep.fetched import PIN
from data_prep.items import ABSENT, Item, place_of, remote
from lsr.core.errors import InputError, NotFoundError

FORMATS = ("csv", "jsonl", "parquet")
COLUMNS = ("uri", "caption", "label")
_LOOKERS, _ROWS = 16, 4096


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list. number: counted from 1."""

    number: int
    uri: str
    caption: str | None
    label: str | None


def root_of(place: str) -> str:
    """The folder or prefix that relative addresses of the list at `place` are below.

    Raises NotFoundError when there is no such local file, InputError for another format.
    """
    if place.rpartition(".")[2].lower() not in FORMATS:
        raise InputError(f"A list of addresses is a .csv, .jsonl or .parquet file, found {place}.")
    if place.startswith("s3://"):
        return place.rpartition("/")[0]
    if not os.path.isfile(place):
        raise NotFoundError(f"The source list:{place} names no file; give an existing .csv, .jsonl or .parquet file.")
    return os.path.dirname(os.path.abspath(place))


def list_rows(place: str, fetch: str = "") -> tuple[list[Item], int]:
    """The items of the list, in its order and each address once, and how many rows repeat an address.

    fetch: name of the fetch, without which web addresses are refused; nothing is fetched here. A file that is not there
    is an item all the same, with the pin ABSENT. Raises InputError naming the row that holds no address or one of an
    unknown kind.
    """
    root, seen, repeated = root_of(place), set[str](), 0
    found: list[Item] = []
    rows = _rows(place)
    with ThreadPoolExecutor(_LOOKERS) as pool:
        while part := list(islice(rows, _ROWS)):
            fresh = []
            for row in part:
                repeated += row.uri in seen
                if row.uri not in seen:
                    seen.add(row.uri)
                    fresh.append(row)
            found += pool.map(lambda row: _item(root, row, place, fetch), fresh)
    return found, repeated


def _item(root: str, row: Row, place: str, fetch: str) -> Item:
    if row.uri.partition("://")[0].lower() in SCHEMES:
        _check_web(row, place, fetch)
        return Item(row.uri, 0, f"{PIN}{fetch}", row.uri, None, row.caption, row.label)
    path = _path(row, place)
    item = Item(row.uri, 0, ABSENT, path, None, row.caption, row.label)
    base, inside = place_of(root, path)
    if base.startswith("s3://"):
        try:
            about = remote(base).head(unquote_to_bytes(inside).decode())
        except InputError as error:
            raise InputError(f"Row {row.number} of {place}: {error}") from error
        return item if about is None else replace(item, size=about.size, pin=f"etag:{about.etag}")
    file = os.path.join(os.fsencode(base), unquote_to_bytes(inside))
    if not os.path.isfile(file):
        return item
    status = os.stat(file)
    return replace(item, size=status.st_size, pin=f"mtime_ns:{status.st_mtime_ns}")


def _path(row: Row, place: str) -> str:
    scheme, mark, rest = row.uri.partition("://")
    if not mark:
        return quote(row.uri)
    if scheme == "s3" and re.fullmatch(r"[^/]+/.+", rest, re.DOTALL):
        return f"s3://{quote(rest)}"
    if scheme == "file" and rest.startswith("/"):
        return quote(rest)
    raise InputError(
        f"Row {row.number} of {place} has the address {row.uri!r}; an address is a path, file:///path, "
        "s3://bucket/key or https://host/path. Fetch what lies elsewhere first."
    )


def _check_web(row: Row, place: str, fetch: str) -> None:
    if not fetch:
        raise InputError(
            f"Row {row.number} of {place} has the web address {row.uri!r}, and those are read only where source.fetch "
            "names the fetch: set it, to the date for example, or fetch the files first."
        )
    try:
        parts = urlsplit(row.uri)
        named = parts.hostname is not None and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise InputError(f"Row {row.number} of {place} has the address {row.uri!r}, which names no host; mend the row.")
    if "@" in parts.netloc:
        raise InputError(
            f"Row {row.number} of {place} has an address with a user's name in it, and manifests keep addresses; fetch "
            "what needs a password first."
        )


def _rows(place: str) -> Iterator[Row]:
    for number, plain in enumerate(_plain_rows(place), start=1):
        uri, caption, label = (plain.get(name) for name in COLUMNS)
        if not isinstance(uri, str) or not uri:
            raise InputError(f"Row {number} of {place} holds no text in its column uri, found {uri!r}.")
        yield Row(number, uri, _text(caption), _text(label))


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _plain_rows(place: str) -> Iterator[dict[str, Any]]:
    kind = place.rpartition(".")[2].lower()
    data = _bytes(place)
    try:
        if kind == "parquet":
            yield from _parquet(data, place)
        elif kind == "csv":
            yield from _csv(data, place)
        else:
            for line in data.splitlines():
                if line.strip():
                    plain = json.loads(line)
                    yield plain if isinstance(plain, dict) else {}
    except (ValueError, csv.Error) as error:
        raise InputError(f"The list {place} is not a readable .{kind} file: {error}.") from error


def _bytes(place: str) -> bytes:
    if not place.startswith("s3://"):
        return Path(place).read_bytes()
    root, _, name = place.rpartition("/")
    return remote(root).read(name)


def _csv(data: bytes, place: str) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    _require_uri(reader.fieldnames or (), place)
    yield from reader


def _parquet(data: bytes, place: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
        _require_uri(file.schema_arrow.names, place)
        columns = [name for name in COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"The list {place} is not a readable .parquet file: {error}.") from error


def _require_uri(names: Any, place: str) -> None:
    if "uri" not in names:
        raise InputError(f"The list {place} must have a column uri, found {', '.join(map(str, names)) or 'none'}.")
