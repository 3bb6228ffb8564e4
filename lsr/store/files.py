"""Files that appear complete or not at all, what killed writers leave of them, and file-system errors as sentences."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lsr.core.errors import StoreError
from lsr.core.processes import process_token, token_ended

ABANDONED_SECONDS = 24 * 3600
"""Age from which an unlocked unfinished file counts as left behind when its owner cannot be seen from here."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REJECTED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT}


@contextmanager
def explained(doing: str, where: str) -> Iterator[None]:
    """Turn an OSError into a StoreError: "Cannot <doing> <where>: <rule and way out>"."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            why = "the disk or the quota is full; free some space and run the same command again."
        elif error.errno in _REJECTED:
            why = f"the file system does not allow it ({error.strerror}); choose a folder that this user may write."
        elif error.errno in _NOT_A_FOLDER:
            why = f"a part of the path is not a folder ({error.strerror}); choose another place."
        else:
            why = f"{error.strerror or error}."
        raise StoreError(f"Cannot {doing} {where}: {why}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """`mkdir -p` whose new names survive a power loss."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


@contextmanager
def unfinished(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file of a unique name in `folder`, removed at the end unless it was renamed; `sweep` knows its owner."""
    path = folder / f"{process_token()}-{secrets.token_hex(8)}.tmp"
    # Not tempfile: its mode 0600 would lock colleagues out of a shared store; here the umask decides.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield file, path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def finish(file: BinaryIO) -> None:
    """Put everything written so far on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sweep(folder: Path) -> None:
    """Remove unfinished files whose process on this machine has ended.

    Those of another machine or container go when nobody has written to them for ABANDONED_SECONDS and nobody holds
    their lock, which a living writer does.
    """
    for path in folder.glob("*.tmp"):
        with suppress(OSError):
            ended = token_ended(path.name.partition("-")[0])
            if ended or (ended is None and _age(path) > ABANDONED_SECONDS and is_left(path)):
                path.unlink()


def is_left(path: Path) -> bool:
    """Whether nobody writes to an unfinished file any more: its process has ended, or where that cannot be seen from
    here, nobody holds its lock. Raises OSError.
    """
    ended = token_ended(path.name.partition("-")[0])
    if ended is not None:
        return ended
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def sweep_folders(root: Path, prefix: str) -> None:
    """Remove folders `<prefix><process token>-*` in `root` whose process on this machine has ended."""
    for path in root.glob(f"{prefix}*"):
        if path.is_dir() and token_ended(path.name.removeprefix(prefix).partition("-")[0]):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder of this process where the system keeps temporary ones, removed at the end; those that killed processes
    left for the same purpose go now. Raises StoreError when it cannot be written.
    """
    root, prefix = Path(tempfile.gettempdir()), f"lsr-{purpose}-"
    sweep_folders(root, prefix)
    own = f"{prefix}{process_token()}-"
    with explained("write a temporary file below", str(root)), tempfile.TemporaryDirectory(prefix=own) as name:
        yield Path(name)


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
