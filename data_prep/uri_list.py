"""A CSV, JSONL or Parquet file of image addresses with captions or labels.

Columns: `uri`, and if wanted `caption` and `label`; others are not read. An address is a path, relative to the list's
folder or absolute, `file:///path`, `s3://bucket/key`, or where they are asked for `https://...` and `http://...`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, BinaryIO
from urllib.parse import quote, unquote_to_bytes, urlsplit

from data_prep.fetch import SCHEMES
from data_prep.fetched import PIN
from data_prep.items import ABSENT, ITEM, Item, place_of, remote
from data_prep.ranged import open_ranged
from data_prep.spool import Spool, code_of
from lsr.core.errors import InputError, NotFoundError

FORMATS = ("csv", "jsonl", "parquet")
COLUMNS = ("uri", "caption", "label")
_THREADS, _ROWS = 16, 4096


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list. number: counted from 1."""

    number: int
    uri: str
    caption: str | None
    label: str | None


ROW = code_of(Row)


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


def list_rows(place: str, fetch: str = "") -> tuple[Sequence[Item], int]:
    """The items of the list, ordered by address and each address once, and how many rows repeat an address; the first
    one's caption and label stay.

    fetch: name of the fetch, without which web addresses are rejected; nothing is fetched here. A file that is not
    there is an item all the same, with the pin ABSENT. Raises InputError naming the row that holds no address or one
    of an unknown kind.
    """
    root, rows = root_of(place), Spool(_rows(place), ROW, by=lambda row: (row.uri,))
    found = Spool(_items(root, rows, place, fetch), ITEM)
    return found, len(rows) - len(found)


def _items(root: str, rows: Iterable[Row], place: str, fetch: str) -> Iterator[Item]:
    """Of rows that are ordered by address: what each different one names."""
    fresh = (next(same) for _, same in groupby(rows, key=lambda row: row.uri))
    with ThreadPoolExecutor(_THREADS) as pool:
        while part := list(islice(fresh, _ROWS)):
            yield from pool.map(lambda row: _item(root, row, place, fetch), part)


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
        raise InputError(f"Row {row.number} of {place} has the address {row.uri!r}, which names no host; fix the row.")
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
    try:
        with _opened(place) as file:
            if kind == "parquet":
                yield from _parquet(file, place)
            elif kind == "csv":
                yield from _csv(file, place)
            else:
                for line in io.TextIOWrapper(file, "utf-8-sig"):
                    if line.strip():
                        plain = json.loads(line)
                        yield plain if isinstance(plain, dict) else {}
    except (ValueError, csv.Error) as error:
        raise InputError(f"The list {place} is not a readable .{kind} file: {error}.") from error


@contextmanager
def _opened(place: str) -> Iterator[BinaryIO]:
    if not place.startswith("s3://"):
        with open(place, "rb") as file:
            yield file
        return
    root, _, name = place.rpartition("/")
    store = remote(root)
    about = store.head(name)
    if about is None:
        raise NotFoundError(f"The source list:{place} names no object; give an existing .csv, .jsonl or .parquet list.")
    with open_ranged(store, name, about.size) as file:
        yield file
    if store.head(name) != about:
        raise InputError(f"The list {place} changed while it was read; run the command again.")


def _csv(file: BinaryIO, place: str) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
    _require_uri(reader.fieldnames or (), place)
    yield from reader


def _parquet(file: BinaryIO, place: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        _require_uri(table.schema_arrow.names, place)
        columns = [name for name in COLUMNS if name in table.schema_arrow.names]
        for batch in table.iter_batches(batch_size=_ROWS, columns=columns):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"The list {place} is not a readable .parquet file: {error}.") from error


def _require_uri(names: Any, place: str) -> None:
    if "uri" not in names:
        raise InputError(f"The list {place} must have a column uri, found {', '.join(map(str, names)) or 'none'}.")
