"""Sequences that are not held in memory: what is listed, inspected and planned of millions of images."""

from __future__ import annotations

import json
import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from lsr.core.errors import StoreError

T = TypeVar("T")

CACHE_KIB = 4096
PAGE = 1024


class Lazy(Sequence[T]):
    """A sequence whose elements are made when they are asked for: equal to any sequence of equal ones, a part of it by
    slices without reading it, and a tuple in another process.
    """

    @abstractmethod
    def at(self, place: int) -> T:
        """The element at `place`, 0 .. len - 1."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Part[T]: ...
    def __getitem__(self, place: int | slice) -> T | Part[T]:
        found = range(len(self))[place]
        return Part(self, found) if isinstance(found, range) else self.at(found)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"({self[0]!r}{', ...' * (len(self) > 1)})" if self else "()"

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)


class Part(Lazy[T]):
    """Elements of another sequence. places: which, in this order."""

    def __init__(self, of: Sequence[T], places: Sequence[int] | NDArray[np.int64]) -> None:
        self._of, self._places = of, places

    def __len__(self) -> int:
        return len(self._places)

    def at(self, place: int) -> T:
        return self._of[int(self._places[place])]


@dataclass(frozen=True, slots=True)
class Code(Generic[T]):
    """A record as plain JSON data, and back."""

    pack: Callable[[T], Any]
    unpack: Callable[[Any], T]


def code_of(kind: type[T]) -> Code[T]:
    """The code of a dataclass whose fields are plain JSON data: their values in order."""
    names: tuple[str, ...] = kind.__match_args__  # type: ignore[attr-defined]
    return Code(attrgetter(*names), lambda row: kind(*row))


class Spool(Lazy[T]):
    """Records in a temporary file, in the order given, or ordered by the code points of the texts of `by` and then as
    given.

    Holds a few MiB in memory, whatever their number. The file has no name, so that none is left behind by a process
    that is killed; it lies where SQLite keeps temporary files: SQLITE_TMPDIR, TMPDIR, else /var/tmp. Raises StoreError
    when there is no room for it.
    """

    def __init__(self, records: Iterable[T], code: Code[T], by: Callable[[T], tuple[str, ...]] | None = None) -> None:
        self._code = code
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._execute(f"PRAGMA cache_size = -{CACHE_KIB}", "PRAGMA temp_store = FILE", "PRAGMA journal_mode = OFF")
        self._execute("CREATE TABLE record (place INTEGER PRIMARY KEY, text TEXT)", "BEGIN")
        if by is None:
            self._insert("INSERT INTO record (text) VALUES (?)", ((self._text(one),) for one in records))
        else:
            self._execute("CREATE TABLE given (name BLOB, text TEXT)")
            named = ((b"".join(map(_sortable, by(one))), self._text(one)) for one in records)
            self._insert("INSERT INTO given VALUES (?, ?)", named)
            self._execute("INSERT INTO record (text) SELECT text FROM given ORDER BY name, rowid", "DROP TABLE given")
        self._execute("COMMIT")
        with _explained():
            self._length: int = self._file.execute("SELECT count(*) FROM record").fetchone()[0]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for start in range(0, self._length, PAGE):
            yield from self._between(start, start + PAGE)

    def at(self, place: int) -> T:
        (found,) = self._between(place, place + 1)
        return found

    def _text(self, record: T) -> str:
        return json.dumps(self._code.pack(record))

    def _between(self, start: int, stop: int) -> list[T]:
        with _explained():
            query = "SELECT text FROM record WHERE place > ? AND place <= ? ORDER BY place"
            rows = self._file.execute(query, (start, stop)).fetchall()
        return [self._code.unpack(json.loads(text)) for (text,) in rows]

    def _execute(self, *statements: str) -> None:
        with _explained():
            for statement in statements:
                self._file.execute(statement)

    def _insert(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with _explained():
            self._file.executemany(statement, rows)


def _sortable(text: str) -> bytes:
    """Joined, the texts of a tuple have the tuple's order. Bytes, because SQLite takes no text that UTF-8 lacks."""
    return text.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff") + b"\0\0"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"The temporary file of a listing cannot be used: {error}; make room where SQLITE_TMPDIR or TMPDIR "
            "points (/var/tmp without them), or point one to where there is room."
        ) from error
