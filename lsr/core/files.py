"""Files that appear whole or not at all, and their digests."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes | str, *, mode: int = 0o666) -> None:
    """Write a file in an existing folder; a reader, and whoever comes after a kill, finds the old or the new content.

    mode: permissions before the umask. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # No fsync: what must outlive a loss of power is in the store, which syncs. Here it would stall a training step.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def file_sha256(path: Path | bytes) -> str:
    """The sha256 of a file's content, in hex. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
