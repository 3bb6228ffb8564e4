"""Files that appear complete or not at all, and file-system errors as sentences. Standard library and lsr.core only."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lsr.core.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT}


@contextmanager
def explained(doing: str, where: str) -> Iterator[None]:
    """Turn an OSError into a StoreError: "Cannot <doing> <where>: <rule and way out>"."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            why = "the disk or the quota is full; free some space and run the same command again."
        elif error.errno in _REFUSED:
            why = f"the file system refuses it ({error.strerror}); choose a folder that this user may write."
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
    """A new file of a unique name in `folder`, removed at the end unless it was renamed."""
    path = folder / f"{os.getpid()}-{secrets.token_hex(8)}.tmp"
    # Not tempfile: its mode 0600 would lock colleagues out of a shared store; here the umask decides.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file, path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def finish(file: BinaryIO) -> None:
    """Put everything written so far on the disk."""
    file.flush()
    os.fsync(file.fileno())
