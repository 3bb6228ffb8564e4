"""An object of a store as a file, read by ranges."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, cast

from lsr.store import Store

WINDOW, BUFFER = 8 << 20, 1 << 16


class RangedFile(io.RawIOBase):
    """An object of `size` bytes as a seekable file, read by ranges of WINDOW bytes of which one is held."""

    def __init__(self, store: Store, key: str, size: int, window: int | None = None) -> None:
        self._store, self._key, self._size, self._window = store, key, size, window or WINDOW
        self._at, self._start, self._held = 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if not self._start <= self._at < self._start + len(self._held):
            self._start = self._at
            left = max(self._size - self._at, 0)
            self._held = self._store.read(self._key, self._at, min(self._window, left)) if left else b""
        inside = self._at - self._start
        piece = self._held[inside : inside + len(view)]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def open_ranged(store: Store, key: str, size: int) -> BinaryIO:
    """The object buffered, for those who read a little at a time."""
    return cast(BinaryIO, io.BufferedReader(RangedFile(store, key, size), BUFFER))
