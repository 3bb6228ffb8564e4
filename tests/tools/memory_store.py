"""A store in memory whose objects have the ages that a test gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsr.core.canonical import sha256_hex
from lsr.core.errors import ConflictError, NotFoundError
from lsr.store import ObjectInfo

NOW = 1_000_000_000.0


class MemoryStore:
    """Implements `Store`. ages: seconds before NOW at which each object was last changed; 0 for what is written now."""

    uri = "memory://"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.ages: dict[str, float] = {}

    def put(self, key: str, data: bytes, age: float) -> str:
        self.objects[key], self.ages[key] = data, age
        return key

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if key not in self.objects:
            raise NotFoundError(key)
        return self.objects[key][start : None if length is None else start + length]

    def head(self, key: str) -> ObjectInfo | None:
        if key not in self.objects:
            return None
        data = self.objects[key]
        return ObjectInfo(key, len(data), sha256_hex(data), NOW - self.ages[key])

    def write(self, key: str, data: bytes) -> str:
        self.put(key, data, 0.0)
        return sha256_hex(data)

    def write_file(self, key: str, path: Path) -> None:
        self.write(key, path.read_bytes())

    def download(self, key: str, path: Path) -> str:
        path.write_bytes(self.read(key))
        return sha256_hex(self.objects[key])

    def create(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self.write(key, data)
        return True

    def replace(self, key: str, data: bytes, etag: str) -> str:
        if key not in self.objects or sha256_hex(self.objects[key]) != etag:
            raise ConflictError(key)
        return self.write(key, data)

    def touch(self, key: str) -> None:
        if key in self.objects:
            self.ages[key] = 0.0

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in sorted(self.objects):
            info = self.head(key) if key.startswith(prefix) else None
            if info is not None:
                yield info

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def delete_old(self, key: str, before: float) -> bool:
        info = self.head(key)
        if info is None or info.modified >= before:
            return False
        self.delete(key)
        return True

    def leftovers(self, before: float) -> Iterator[ObjectInfo]:
        return iter(())

    def discard(self, found: ObjectInfo) -> None:
        raise AssertionError(found)
