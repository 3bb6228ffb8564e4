"""Objects as files below one folder.

`create` is temp file + fsync + os.link + fsync of the folder; `replace` is a comparison under flock, then a rename. The
folder must be on a local or NFS 4 file system, which has hard links and locks. Unfinished writes and locks are in
`.lsr-store/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lsr.core.errors import ConflictError, NotFoundError
from lsr.store.base import RESERVED, ObjectInfo, changed, check_key, check_prefix, check_range
from lsr.store.files import explained, finish, is_left, make_folder, sweep, sync_folder, unfinished

_CHUNK = 1 << 20


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, _etag(status), status.st_mtime)


def _stamp(path: Path, ns: int) -> None:
    # The kernel's own stamps tick every few milliseconds and inode numbers are reused at once: without a finer time
    # two versions of an object could have one etag, and a compare-and-swap could overwrite what its caller never saw.
    os.utime(path, ns=(ns, ns))


class LocalStore:
    """A `Store` in a folder, which is made at the first write."""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)
        self._swept = False

    @property
    def uri(self) -> str:
        return f"file://{self._root}"

    def __repr__(self) -> str:
        return f"LocalStore({self.uri!r})"

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        check_range(start, length)
        with self._open(key) as file:
            file.seek(start)
            return file.read() if length is None else file.read(length)

    def head(self, key: str) -> ObjectInfo | None:
        with explained("inspect", self._where(key)):
            status = self._status(check_key(key))
        return None if status is None else _info(key, status)

    def write(self, key: str, data: bytes) -> str:
        with self._staged(key, "write") as (file, temp, target):
            file.write(data)
            finish(file)
            with self._locked(key):
                return self._move(temp, target)

    def write_file(self, key: str, path: Path) -> None:
        with open(path, "rb") as source, self._staged(key, "write") as (file, temp, target):
            shutil.copyfileobj(source, file, _CHUNK)
            finish(file)
            with self._locked(key):
                self._move(temp, target)

    def download(self, key: str, path: Path) -> str:
        with self._open(key) as source, explained("download to", str(path)):
            make_folder(path.parent)
            with unfinished(path.parent) as (file, temp):
                digest = hashlib.sha256()
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                file.flush()
                os.replace(temp, path)
        return digest.hexdigest()

    def create(self, key: str, data: bytes) -> bool:
        if self.head(key) is not None:
            return False
        with self._staged(key, "create") as (file, temp, target):
            file.write(data)
            finish(file)
            _stamp(temp, time.time_ns())
            try:
                os.link(temp, target)
            except FileExistsError:
                return False
            sync_folder(target.parent)
            return True

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with self._staged(key, "replace") as (file, temp, target):
            file.write(data)
            finish(file)
            with self._locked(key):
                found = self.head(key)
                if found is None or found.etag != etag:
                    raise ConflictError(changed(self._where(key)))
                return self._move(temp, target)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = check_prefix(prefix).rpartition("/")[0]
        yield from self._walk(f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with explained("delete", self._where(key)):
            if self._status(key) is None:
                return
            with self._locked(key), suppress(FileNotFoundError):
                path.unlink()
                sync_folder(path.parent)

    def touch(self, key: str) -> None:
        path = self._path(key)
        with explained("touch", self._where(key)), self._locked(key), suppress(FileNotFoundError, NotADirectoryError):
            _stamp(path, max(time.time_ns(), os.stat(path).st_mtime_ns + 1))

    def delete_old(self, key: str, before: float) -> bool:
        path = self._path(key)
        # Under the lock that `touch` and every rename take: nobody makes it young between the check and the deletion.
        with explained("delete", self._where(key)), self._locked(key):
            status = self._status(key)
            if status is None or status.st_mtime >= before:
                return False
            path.unlink()
            sync_folder(path.parent)
        return True

    def leftovers(self, before: float) -> Iterator[ObjectInfo]:
        folder = self._root / RESERVED / "tmp"
        with explained("list", self._where(RESERVED)):
            for path in sorted(folder.glob("*.tmp")):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    if status.st_mtime < before and is_left(path):
                        yield _info(f"{RESERVED}/tmp/{path.name}", status)

    def discard(self, found: ObjectInfo) -> None:
        with explained("delete", self._where(found.key)):
            (self._root / RESERVED / "tmp" / Path(found.key).name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _where(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def _status(self, key: str) -> os.stat_result | None:
        try:
            status = os.stat(self._root / key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with explained("read", self._where(key)):
            try:
                return open(path, "rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise NotFoundError(f"There is no object {key!r} in the store {self.uri}.") from error

    @contextmanager
    def _staged(self, key: str, doing: str) -> Iterator[tuple[BinaryIO, Path, Path]]:
        """An unfinished file beside the store's objects, with the path it is to get."""
        target = self._path(key)
        with explained(doing, self._where(key)):
            self._own_folder("locks")
            temp_folder = self._own_folder("tmp")
            self._sweep(temp_folder)
            make_folder(target.parent)
            with unfinished(temp_folder) as (file, temp):
                yield file, temp, target

    def _own_folder(self, name: str) -> Path:
        folder = self._root / RESERVED / name
        make_folder(folder)
        return folder

    def _sweep(self, temp_folder: Path) -> None:
        if self._swept:
            return
        self._swept = True
        sweep(temp_folder)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Exclude every other process and thread that moves or deletes this key. 256 lock files serve all keys."""
        name = hashlib.sha256(key.encode()).hexdigest()[:2]
        fd = os.open(self._own_folder("locks") / name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _move(self, temp: Path, target: Path) -> str:
        """Rename under the lock, with a time later than that of the file replaced. Returns the new etag."""
        now = time.time_ns()
        with suppress(FileNotFoundError):
            now = max(now, os.stat(target).st_mtime_ns + 1)
        _stamp(temp, now)
        etag = _etag(os.stat(temp))
        os.replace(temp, target)
        sync_folder(target.parent)
        return etag

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        """Depth first; a folder sorts as its name with the slash, which is the order of the keys."""
        with explained("list", self._where(folder)):
            try:
                entries = list(os.scandir(self._root / folder))
            except (FileNotFoundError, NotADirectoryError):
                return
        is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        for name in sorted(f"{name}/" if is_folder[name] else name for name in is_folder):
            key = folder + name
            if not (key.startswith(prefix) or (name.endswith("/") and prefix.startswith(key))):
                continue
            if not name.endswith("/"):
                status = self._status(key)
                if status is not None:
                    yield _info(key, status)
            elif key != f"{RESERVED}/":
                yield from self._walk(key, prefix)
