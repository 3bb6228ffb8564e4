"""Reading chosen files out of npm tarballs, Python sdists and wheels and Debian packages, without unpacking to disk.

Nothing of the archive decides where anything is written: members are read by name into memory, so a hostile path,
link or device has nowhere to go; an archive that holds one is rejected all the same. Standard library only.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from lsr.core.errors import IntegrityError

MAX_MEMBER = 256 << 20
MAX_TOTAL = 4 << 30

UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    OSError,
    NotImplementedError,
    RuntimeError,
)
"""What the readers raise for damaged bytes, encrypted members and unknown compressions."""

AR_MAGIC = b"!<arch>\n"


def _deb_data(path: Path) -> IO[bytes]:
    """The data.tar.* inside a .deb, which is an `ar` archive: 60-byte headers with the size in decimal at 48..58."""
    with path.open("rb") as file:
        if file.read(8) != AR_MAGIC:
            raise IntegrityError(f"{path.name} must be a Debian package (an ar archive); it is not.")
        while len(header := file.read(60)) == 60:
            name, size = header[:16].decode("ascii", "replace").strip(" /"), int(header[48:58])
            if name.startswith("data.tar"):
                return io.BytesIO(file.read(size))
            file.seek(size + size % 2, io.SEEK_CUR)
    raise IntegrityError(f"{path.name} must hold data.tar; it does not.")


def _safe_name(name: str, archive: str) -> str:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise IntegrityError(f"{archive} holds the path {name!r}, which leads outside; it was not unpacked.")
    return str(parts)


def _check_sizes(size: int, total: int, name: str, archive: str) -> None:
    if size > MAX_MEMBER or total > MAX_TOTAL:
        raise IntegrityError(
            f"{archive} must hold files of at most {MAX_MEMBER} and {MAX_TOTAL} bytes in all, found "
            f"{size} and {total} at {name}; it was not unpacked."
        )


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _members(tar: tarfile.TarFile, archive: str, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    total = 0
    for member in tar:
        name = _safe_name(member.name, archive)
        total += member.size
        _check_sizes(member.size, total, name, archive)
        if not _wanted(name, patterns):
            continue
        if not member.isfile():
            raise IntegrityError(f"{archive}: {name} must be a plain file, found a link, folder or device.")
        payload = tar.extractfile(member)
        data = payload.read() if payload else b""
        if len(data) != member.size:
            raise IntegrityError(f"{archive}: {name} must have {member.size} bytes, found {len(data)}; it is cut off.")
        yield name, data


def _zip_members(source: zipfile.ZipFile, archive: str, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    total = 0
    for member in source.infolist():
        name = _safe_name(member.filename, archive)
        total += member.file_size
        _check_sizes(member.file_size, total, name, archive)
        if not member.is_dir() and _wanted(name, patterns):
            with source.open(member) as file:
                data = file.read(member.file_size + 1)
            if len(data) != member.file_size:
                raise IntegrityError(f"{archive}: {name} must have {member.file_size} bytes; it has other ones.")
            yield name, data


def _open_members(path: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as source:
            yield from _zip_members(source, path.name, patterns)
        return
    file = _deb_data(path) if path.suffix == ".deb" else path.open("rb")
    with file, tarfile.open(fileobj=file, mode="r:*") as tar:
        yield from _members(tar, path.name, patterns)


def read_members(path: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(path inside the archive, bytes) of every file that matches one of `patterns`, in the archive's order.

    path: a .tgz, .tar.gz, .whl or .deb. patterns: whole paths, where `*` stands for any characters.
    Raises IntegrityError for an unsound archive and, at the end, for a pattern that matched nothing.
    """
    unmatched = set(patterns)
    try:
        for name, data in _open_members(path, patterns):
            unmatched -= {pattern for pattern in unmatched if fnmatchcase(name, pattern)}
            yield name, data
    except UNREADABLE as error:
        raise IntegrityError(f"{path.name} cannot be read as an archive: {error}.") from error
    if unmatched:
        raise IntegrityError(f"{path.name} must hold {', '.join(sorted(unmatched))}; it does not.")
